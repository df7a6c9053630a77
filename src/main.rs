//! The command line: arguments → configuration → gateway → exit code; nothing else.

mod demo;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tidegate::config::{self, Loaded, Problem};
use tidegate::server::watch::Watch;
use tidegate::server::{Gateway, Source};
use tidegate::telemetry::control_log;

/// Thread-local heaps: workers share nothing, not even an allocator's lock.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CANNOT_READ: u8 = 2;

/// An API gateway: a fast HTTP edge that says why it refused and loses nothing on a reload.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the gateway (the default)
    Run {
        /// The configuration; a change of it is taken up live
        #[arg(long, default_value = "gateway.yaml")]
        config: PathBuf,
    },
    /// Tells every problem of a configuration; exits with 0 (fine), 1 (problems) or 2 (cannot be read)
    Check {
        /// The configuration
        #[arg(default_value = "gateway.yaml")]
        file: PathBuf,
        /// For people, on stderr, or for programs, on stdout
        #[arg(long, value_enum, default_value = "text")]
        format: Shape,
    },
    /// Runs the gateway together with the small services that the example file points to
    Demo {
        /// The configuration; a change of it is taken up live
        #[arg(long, default_value = "gateway.yaml")]
        config: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Shape {
    Text,
    Json,
}

fn main() -> ExitCode {
    let run = Command::Run {
        config: "gateway.yaml".into(),
    };
    match Arguments::parse().command.unwrap_or(run) {
        Command::Run { config } => serve(&config, |_| Ok(())),
        Command::Check { file, format } => check(&file, format),
        Command::Demo { config } => serve(&config, demo::start),
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Runs the gateway on `path` until it has drained; `beside` starts what runs beside it.
fn serve(path: &Path, beside: impl FnOnce(&Loaded) -> std::io::Result<()>) -> ExitCode {
    // Watching begins before the file is read: an edit in between would be missed.
    let (announce, changes) = tokio::sync::mpsc::channel(1);
    let watch = Watch::start(vec![path.to_owned()], move || {
        // Full means that the news is on its way already.
        let _ = announce.try_send(());
    });
    let loaded = match config::load(path, &environment) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprint!("{}", config::render(&problems));
            if !path.exists() {
                eprintln!(
                    "Run it in the directory of your gateway.yaml, or name the file with --config FILE."
                );
            }
            return ExitCode::from(if cannot_read(&problems) {
                CANNOT_READ
            } else {
                1
            });
        }
    };
    let level = control_log::init(loaded.config.logging.level);
    eprint!("{}", config::render(&loaded.warnings));
    for default in config::not_yet_in_force(&loaded.config) {
        tracing::warn!("not yet in force: {default}");
    }
    let result = watch.and_then(|watch| {
        watch.set_paths(loaded.sources.clone());
        let source = Source {
            path: path.to_owned(),
            watch,
            env: environment,
            changes,
        };
        let gateway = Gateway::start(loaded.config.clone())?;
        beside(&loaded)?;
        gateway.control(Some(source), level)
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check(path: &Path, format: Shape) -> ExitCode {
    let (problems, code) = match config::load(path, &environment) {
        Ok(loaded) => (loaded.warnings, ExitCode::SUCCESS),
        Err(problems) => {
            let code = if cannot_read(&problems) {
                CANNOT_READ
            } else {
                1
            };
            (problems, ExitCode::from(code))
        }
    };
    match format {
        Shape::Text if problems.is_empty() => eprintln!("{}: fine", path.display()),
        Shape::Text => eprint!("{}", config::render(&problems)),
        Shape::Json => {
            let list: Vec<serde_json::Value> = problems.iter().map(Problem::to_json).collect();
            println!("{}", serde_json::json!({ "problems": list }));
        }
    }
    code
}

/// A problem without a line is one of the file as a whole.
fn cannot_read(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.line == 0)
}
