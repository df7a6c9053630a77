//! Autobahn's cases of RFC 6455 and RFC 7692, asked of an echo, and of the same echo through the gateway.
//!
//! PyPI's `kosoku` runs the cases, `websockets` is the echo; `.ci/need-python` installs both. The tunnel looks at no
//! frame, so whatever passes without the gateway has to pass through it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Setup, scale, unique_directory, until_some};

/// One of each kind; `make soak` runs all.
const SOME: [&str; 30] = [
    "1.1.1", "1.1.6", "1.2.4", "1.2.8", "2.2", "2.6", "2.11", "3.2", "4.1.1", "4.2.3", "5.1",
    "5.6", "5.15", "5.19", "6.1.2", "6.2.3", "6.4.1", "7.1.1", "7.1.6", "7.3.1", "7.5.1", "7.7.1",
    "7.9.1", "9.1.4", "9.4.3", "9.5.2", "9.7.1", "10.1.1", "12.1.1", "13.3.1",
];

const ALL: usize = 517;

/// Those in which the echo itself differs from what Autobahn expects: a close amid the fragments of a message it calls
/// an error (1002), Autobahn an ordinary close.
const NOT_THE_ECHOS: [&str; 1] = ["7.1.5"];

#[test]
fn what_passes_without_the_gateway_passes_through_it() {
    let Some(python) = find_python() else { return };
    let echo = Echo::start(&python);
    let cases = scale(SOME.as_slice(), &[]);
    let without = run(&python, echo.address, cases);
    assert_eq!(without.len(), scale(SOME.len(), ALL), "cases that ran");
    let failed = |verdicts: &BTreeMap<String, Value>| {
        let of_echo = |case: &str| NOT_THE_ECHOS.contains(&case);
        let failed = verdicts
            .iter()
            .filter(|(case, verdict)| verdict["passed"] != true && !of_echo(case))
            .map(|(case, verdict)| format!("{case}: {}", verdict["said"]));
        failed.collect::<Vec<_>>()
    };
    assert_eq!(failed(&without), Vec::<String>::new(), "the echo itself");
    let gateway = Setup::to(echo.address)
        .top("logging: { access: off }")
        .start();
    let through = run(&python, gateway.address(), cases);
    assert_eq!(through.len(), without.len());
    assert_eq!(
        failed(&through),
        Vec::<String>::new(),
        "through the gateway"
    );
    // One for each case, and some before and after them.
    let opens = gateway.metric("tidegate_websocket_opens_total", &[]);
    assert!(opens.is_some_and(|opens| opens >= through.len() as f64));
    gateway.await_metric("tidegate_websocket_connections", &[], 0.0);
}

/// The Python that has what is needed; `None`, with a word about it, where it is missing. The checks of a submission
/// may not lack it.
fn find_python() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python/bin/python");
    let mut trial = Command::new(&python);
    trial.args(["-c", "import kosoku, websockets"]);
    if trial.output().is_ok_and(|tried| tried.status.success()) {
        return Some(python);
    }
    let missing = format!(
        "{} with kosoku and websockets is missing: `make test` makes it (.ci/need-python)",
        python.display()
    );
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "Autobahn's cases did not run: {missing}"
    );
    eprintln!("{missing}");
    None
}

/// A program of `tests/autobahn`.
fn script(python: &Path, name: &str) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/autobahn");
    let mut command = Command::new(python);
    // Nothing of Python's is written beside the sources.
    command.arg("-B").arg(path.join(name));
    command
}

/// The verdicts of `cases`, all for none, against the server at `address`.
fn run(python: &Path, address: SocketAddr, cases: &[&str]) -> BTreeMap<String, Value> {
    let directory = unique_directory();
    let output = directory.join("verdicts.json");
    let mut child = Ends(
        script(python, "cases.py")
            .arg(format!("ws://{address}"))
            .args(cases)
            .stdin(Stdio::null())
            .stdout(File::create(&output).unwrap())
            .spawn()
            .unwrap(),
    );
    let deadline = Duration::from_secs(scale(120, 3600));
    let status = until_some(deadline, "the cases end", || child.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
    let verdicts = serde_json::from_slice(&fs::read(&output).unwrap()).unwrap();
    fs::remove_dir_all(directory).unwrap();
    verdicts
}

/// The echo, a process of its own.
struct Echo {
    _child: Ends,
    address: SocketAddr,
}

impl Echo {
    fn start(python: &Path) -> Echo {
        let mut child = Ends(
            script(python, "echo.py")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        let mut port = String::new();
        let mut said = BufReader::new(child.0.stdout.take().unwrap());
        said.read_line(&mut port).unwrap();
        let port: u16 = port.trim().parse().expect("the echo tells its port");
        Echo {
            _child: child,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }
}

/// A process that is ended however the test ends.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
