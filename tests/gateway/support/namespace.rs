//! A gateway in namespaces of its own: with a directory mounted elsewhere, or on a system that has no file events left.

use std::path::Path;
use std::process::{Command, Stdio};

use super::gateway::TIDEGATE;

/// The gateway where `from` is also mounted at `to`; `None`, with a word about it, where that is not permitted.
pub(crate) fn mounted(from: &Path, to: &Path) -> Option<Command> {
    let become_it = |program: &str| {
        let mut command = Command::new("unshare");
        let script = "mount --bind \"$0\" \"$1\" && shift && exec \"$@\"";
        command
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
            .args([from, to])
            .arg(program);
        command
    };
    permitted(become_it("true"), "a mount").then(|| become_it(TIDEGATE))
}

/// The gateway where the system refuses every subscription to file events; `None`, with a word about it, where such a
/// system cannot be made.
pub(crate) fn without_events() -> Option<Command> {
    let become_it = |program: &str| {
        let mut command = Command::new("unshare");
        let script = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$0\" \"$@\"";
        command
            .args(["--user", "--map-root-user", "sh", "-c", script])
            .arg(program);
        command
    };
    permitted(become_it("true"), "a system without file events").then(|| become_it(TIDEGATE))
}

fn permitted(mut trial: Command, what: &str) -> bool {
    let tried = trial.stdin(Stdio::null()).output();
    let permitted = tried.is_ok_and(|output| output.status.success());
    if !permitted {
        eprintln!("{what} is not permitted here");
    }
    permitted
}
