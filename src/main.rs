//! The command line: arguments → configuration → gateway → exit code; nothing else.

mod demo;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tidegate::config::{self, Loaded, Problem};
use tidegate::server::Gateway;
use tidegate::server::inherit::Inherited;
use tidegate::server::remote::{self, Remote};
use tidegate::server::source::{Origin, Source};
use tidegate::server::upgrade::Relaunch;
use tidegate::server::watch::Watch;
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
        /// The configuration: a file, a directory whose *.yaml are read, or an https URL; a change is taken up live
        #[arg(long, default_value = "gateway.yaml")]
        config: PathBuf,
        #[command(flatten)]
        remote: RemoteOptions,
    },
    /// Tells every problem of a configuration; exits with 0 (fine), 1 (problems) or 2 (cannot be read)
    Check {
        /// The configuration: a file, or a directory whose *.yaml are read
        #[arg(default_value = "gateway.yaml")]
        file: PathBuf,
        /// For people, on stderr, or for programs, on stdout
        #[arg(long, value_enum, default_value = "text")]
        format: Shape,
    },
    /// Prints the JSON Schema of the configuration, for editors
    Schema,
    /// Runs the gateway together with the small services that the example file points to
    Demo {
        /// The configuration; a change of it is taken up live
        #[arg(long, default_value = "gateway.yaml")]
        config: PathBuf,
    },
}

/// What is said of a configuration that is a URL.
#[derive(Default, Args)]
struct RemoteOptions {
    /// The authorities that its server's certificate may be from, instead of the system's
    #[arg(long, value_name = "PEM")]
    config_ca: Option<PathBuf>,
    /// The Ed25519 public key (PEM or base64) that it must be signed with; the signature is at the URL + `.sig`, in base64
    #[arg(long, value_name = "FILE")]
    config_key: Option<PathBuf>,
    /// Where the last good one is kept, for a start while the server cannot be reached
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shape {
    Text,
    Json,
}

fn main() -> ExitCode {
    let run = Command::Run {
        config: "gateway.yaml".into(),
        remote: RemoteOptions::default(),
    };
    match Arguments::parse().command.unwrap_or(run) {
        Command::Run { config, remote } => match origin(config, remote) {
            Ok(origin) => serve(origin, relaunch(), |_| Ok(())),
            Err(error) => {
                eprintln!("tidegate: {error}");
                ExitCode::from(CANNOT_READ)
            }
        },
        Command::Check { file, format } => check(&file, format),
        Command::Schema => print_line(&format!("{:#}", config::json_schema()), 0),
        Command::Demo { config } => serve(Origin::Disk(config), None, demo::start),
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// How this process was started, for the one that takes over; `None` where the system does not say.
fn relaunch() -> Option<Relaunch> {
    Some(Relaunch {
        program: std::env::current_exe().ok()?,
        arguments: std::env::args_os().skip(1).collect(),
    })
}

/// Where the configuration comes from: a URL or a path.
fn origin(config: PathBuf, options: RemoteOptions) -> std::io::Result<Origin> {
    let RemoteOptions {
        config_ca: ca,
        config_key: key,
        state_dir,
    } = options;
    match config.to_str().filter(|text| text.contains("://")) {
        Some(url) => Remote::new(remote::Options {
            url: url.to_owned(),
            ca,
            key,
            state_dir,
        })
        .map(|remote| Origin::Remote(Box::new(remote))),
        None if ca.is_some() || key.is_some() || state_dir.is_some() => {
            Err(std::io::Error::other(format!(
                "--config-ca, --config-key and --state-dir are for a configuration from a URL, and {} is a path",
                config.display()
            )))
        }
        None => Ok(Origin::Disk(config)),
    }
}

/// Runs the gateway on `origin` until it has drained; `beside` starts what runs beside it.
fn serve(
    mut origin: Origin,
    relaunch: Option<Relaunch>,
    beside: impl FnOnce(&Loaded) -> std::io::Result<()>,
) -> ExitCode {
    // What the watch has to say comes before the file could set a level.
    let level = control_log::init(tracing::Level::INFO);
    // What the environment names is unset, which only one thread may do.
    let inherited = Inherited::from_env(environment("LISTEN_FDNAMES").as_deref());
    // Watching begins before the file is read: an edit in between would be missed.
    let (announce, changes) = tokio::sync::mpsc::channel(1);
    let paths = match &origin {
        Origin::Disk(path) => vec![path.clone()],
        Origin::Remote(_) => Vec::new(),
    };
    let watch = Watch::start(paths, move || {
        // Full means that the news is on its way already.
        let _ = announce.try_send(());
    });
    let loaded = match &mut origin {
        Origin::Disk(path) => read_watched(path, watch.as_ref().ok()),
        Origin::Remote(remote) => remote.begin(&environment),
    };
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(&problems, &origin),
    };
    level.set(loaded.config.logging.level);
    eprint!("{}", config::render(&loaded.warnings));
    for default in config::not_yet_in_force(&loaded.config) {
        tracing::warn!("not yet in force: {default}");
    }
    let result = watch.and_then(|watch| {
        watch.set_paths(loaded.sources.clone());
        let source = Source {
            origin,
            watch,
            env: environment,
            changes,
        };
        let gateway = Gateway::start(loaded.config.clone(), inherited)?;
        beside(&loaded)?;
        gateway.control(Some(source), relaunch, level)
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Reads `path`, and once more where it names other files: they may have changed before anybody watched them.
fn read_watched(path: &Path, watch: Option<&Watch>) -> Result<Loaded, Vec<Problem>> {
    let loaded = config::load(path, &environment)?;
    match watch {
        Some(watch) if loaded.sources != [path] => {
            watch.set_paths(loaded.sources);
            config::load(path, &environment)
        }
        _ => Ok(loaded),
    }
}

/// Tells the problems that a start ends with.
fn refuse(problems: &[Problem], origin: &Origin) -> ExitCode {
    eprint!("{}", config::render(problems));
    if matches!(origin, Origin::Disk(path) if !path.exists()) {
        eprintln!(
            "Run it in the directory of your gateway.yaml, or name the file with --config FILE."
        );
    }
    ExitCode::from(if cannot_read(problems) {
        CANNOT_READ
    } else {
        1
    })
}

fn check(path: &Path, format: Shape) -> ExitCode {
    let (problems, pending, code) = match config::load(path, &environment) {
        Ok(loaded) => {
            let pending = config::not_yet_in_force(&loaded.config);
            (loaded.warnings, pending, 0)
        }
        Err(problems) => {
            let code = if cannot_read(&problems) {
                CANNOT_READ
            } else {
                1
            };
            (problems, Vec::new(), code)
        }
    };
    match format {
        Shape::Text => {
            let mut report = config::render(&problems);
            if !report.is_empty() && !pending.is_empty() {
                report.push('\n');
            }
            for default in pending {
                report.push_str(&format!("note: not yet in force: {default}\n"));
            }
            let verdict = match (code, problems.len()) {
                (0, 0) => "fine".to_owned(),
                (0, n) => format!("fine, with {n} warning{}", plural(n)),
                (_, n) => format!("{n} problem{}", plural(n)),
            };
            eprintln!("{report}{}: {verdict}", path.display());
            ExitCode::from(code)
        }
        Shape::Json => {
            let list: Vec<serde_json::Value> = problems.iter().map(Problem::to_json).collect();
            let report = serde_json::json!({ "problems": list, "not_yet_in_force": pending });
            print_line(&report.to_string(), code)
        }
    }
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

/// Writes to stdout; a reader that closed it early, as `head` does, is no panic.
fn print_line(text: &str, code: u8) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::from(code),
        Err(_) => ExitCode::FAILURE,
    }
}

/// A problem without a line is one of the file as a whole.
fn cannot_read(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.line == 0)
}
