//! The small services that the example file points to.

use tidegate::config::Loaded;

pub fn start(_: &Loaded) -> std::io::Result<()> {
    Ok(())
}
