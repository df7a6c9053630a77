//! The gateway under test: its own process, on a configuration of its own, with everything it says kept.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::client::{Client, Response};
use super::last_words;
use super::lines::Lines;
use super::metrics::Samples;
use super::wait::{PATIENCE, until, until_some};

/// The program under test.
pub(crate) const TIDEGATE: &str = env!("CARGO_BIN_EXE_tidegate");

/// A running gateway. It is killed when this value goes.
pub(crate) struct Gateway {
    child: Child,
    directory: PathBuf,
    stderr: Arc<Lines>,
    stdout: Arc<Lines>,
    readers: Vec<JoinHandle<()>>,
    listeners: Vec<(String, SocketAddr)>,
    admin: Option<SocketAddr>,
}

impl Gateway {
    /// Starts a gateway on `yaml` and waits until it is ready.
    pub(crate) fn start(yaml: &str) -> Gateway {
        let directory = unique_directory();
        fs::write(directory.join("gateway.yaml"), yaml).unwrap();
        Gateway::start_in(directory, "gateway.yaml")
    }

    /// Starts a gateway on `yaml` and does not wait.
    pub(crate) fn spawn(yaml: &str) -> Gateway {
        let directory = unique_directory();
        fs::write(directory.join("gateway.yaml"), yaml).unwrap();
        Gateway::spawn_in(directory, "gateway.yaml")
    }

    /// Starts a gateway on the file `name` of `directory`, which goes when the gateway goes, and waits until it is ready.
    pub(crate) fn start_in(directory: PathBuf, name: &str) -> Gateway {
        Gateway::spawn_in(directory, name).ready()
    }

    /// Waits until it is ready.
    pub(crate) fn ready(mut self) -> Gateway {
        self.await_stderr("ready generation=1");
        let lines = self.stderr_lines();
        self.listeners = lines.iter().filter_map(|line| listening(line)).collect();
        self.admin = lines
            .iter()
            .find_map(|line| address(line, "admin listening"));
        assert!(!self.listeners.is_empty(), "ready without a listener");
        self
    }

    /// Starts a gateway on the file `name` of `directory` and does not wait.
    pub(crate) fn spawn_in(directory: PathBuf, name: &str) -> Gateway {
        let path = directory.join(name);
        Gateway::spawn_by(Command::new(TIDEGATE), directory, &path)
    }

    /// Starts a gateway on the file or directory `path` and does not wait. `command` is the program, or another one
    /// that becomes it; `directory` goes when the gateway goes.
    pub(crate) fn spawn_by(command: Command, directory: PathBuf, path: &Path) -> Gateway {
        Gateway::spawn_with(command, directory, path, &[])
    }

    /// Starts a gateway on an address, with further arguments, and does not wait.
    pub(crate) fn spawn_remote(url: &str, directory: PathBuf, arguments: &[&str]) -> Gateway {
        Gateway::spawn_with(Command::new(TIDEGATE), directory, Path::new(url), arguments)
    }

    fn spawn_with(
        mut command: Command,
        directory: PathBuf,
        path: &Path,
        arguments: &[&str],
    ) -> Gateway {
        last_words::listen();
        let mut child = command
            .args(["run", "--config"])
            .arg(path)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the gateway starts");
        let (stdout, out) = Lines::of(child.stdout.take().unwrap().into());
        let (stderr, err) = Lines::of(child.stderr.take().unwrap().into());
        Gateway {
            child,
            directory,
            stderr,
            stdout,
            readers: vec![out, err],
            listeners: Vec::new(),
            admin: None,
        }
    }

    /// The address of the first listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listeners[0].1
    }

    /// The address of the listener called `name`.
    pub(crate) fn listener(&self, name: &str) -> SocketAddr {
        let found = self.listeners.iter().find(|(other, _)| other == name);
        found
            .unwrap_or_else(|| panic!("no listener {name} among {:?}", self.listeners))
            .1
    }

    /// The address of the admin port, `None` if it is off.
    pub(crate) fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Connects to the first listener.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// One GET on a connection of its own.
    pub(crate) fn get(&self, target: &str) -> Response {
        self.client().get(target)
    }

    /// One GET to the admin port, with further field lines.
    pub(crate) fn admin_get(&self, target: &str, fields: &str) -> Response {
        let address = self.admin.expect("admin is on");
        Client::connect(address).ask(format!(
            "GET {target} HTTP/1.1\r\nHost: {address}\r\n{fields}\r\n"
        ))
    }

    /// One POST to the admin port, without a body.
    pub(crate) fn admin_post(&self, target: &str) -> Response {
        let address = self.admin.expect("admin is on");
        Client::connect(address).ask(format!(
            "POST {target} HTTP/1.1\r\nHost: {address}\r\nX-Tidegate-Admin: 1\r\nContent-Length: 0\r\n\r\n"
        ))
    }

    /// What `/metrics` says now.
    pub(crate) fn metrics(&self) -> Samples {
        Samples::parse(&self.admin_get("/metrics", "").expect_ok().text())
    }

    /// The sum of the samples of `name` that have all of `labels`; `None` if there is none.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.metrics().sum(name, labels)
    }

    /// Waits until the metric has this value.
    pub(crate) fn await_metric(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let what = format!("{name} {labels:?} = {value}");
        until(PATIENCE, &what, || {
            self.metric(name, labels)
                .is_some_and(|now| (now - value).abs() < 1e-9)
        });
    }

    /// The path of the configuration file.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.directory.join("gateway.yaml")
    }

    /// The directory that belongs to this gateway alone.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Replaces the configuration as editors do: a new file, renamed over the old one.
    pub(crate) fn write_config(&self, yaml: &str) {
        let fresh = self.directory.join("gateway.yaml.new");
        fs::write(&fresh, yaml).unwrap();
        fs::rename(fresh, self.config_path()).unwrap();
    }

    /// Replaces the configuration and waits until the new generation serves.
    pub(crate) fn apply(&self, yaml: &str) {
        let wanted = self.metric("tidegate_config_generation", &[]).unwrap() + 1.0;
        self.write_config(yaml);
        self.sighup();
        self.await_metric("tidegate_config_generation", &[], wanted);
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).expect("the gateway is alive");
    }

    /// Asks for a reload.
    pub(crate) fn sighup(&self) {
        self.signal(Signal::HUP);
    }

    /// Ends it at once, as a power cut would, and waits for the end.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait_exit(PATIENCE);
    }

    /// Asks for a drain, as a terminal does.
    pub(crate) fn sigint(&self) {
        self.signal(Signal::INT);
    }

    /// Asks for a drain.
    pub(crate) fn sigterm(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits for the end of the process.
    pub(crate) fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        let status = until_some(deadline, "the gateway exits", || {
            self.child.try_wait().unwrap()
        });
        // Its last words may still be in the pipes.
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        status
    }

    /// Asks that another process takes over.
    pub(crate) fn sigusr2(&self) {
        self.signal(Signal::USR2);
    }

    /// Waits until another process has taken over and this one has ended; what they say comes together.
    pub(crate) fn await_follower(&mut self) -> (Follower, ExitStatus) {
        let said = self.await_stderr("another process serves");
        let follower = Follower::of(&said);
        // Its pipes stay open: the other one has them too.
        let status = until_some(3 * PATIENCE, "the process that is followed ends", || {
            self.child.try_wait().unwrap()
        });
        (follower, status)
    }

    /// True while the process runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Resident memory, in bytes.
    pub(crate) fn rss(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// The lines of the control log so far.
    pub(crate) fn stderr_lines(&self) -> Vec<String> {
        self.stderr.all()
    }

    /// Waits for a line of the control log that contains `text`, and returns it.
    pub(crate) fn await_stderr(&mut self, text: &str) -> String {
        until_some(PATIENCE, &format!("{text:?} in the control log"), || {
            let ended = self.child.try_wait().unwrap();
            let line = self.stderr.find(text);
            assert!(
                line.is_some() || ended.is_none(),
                "the gateway ended ({ended:?}): {:#?}",
                self.stderr_lines()
            );
            line
        })
    }

    /// How many lines of the control log contain `text`.
    pub(crate) fn count_stderr(&self, text: &str) -> usize {
        self.stderr.count(text)
    }

    /// Every line of the access log so far.
    pub(crate) fn access_log(&self) -> Vec<Value> {
        let lines = self.stdout.all();
        lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line:?}")))
            .collect()
    }

    /// Waits for a line of the access log whose `key` is `value`, and returns it.
    pub(crate) fn await_access(&self, key: &str, value: &str) -> Value {
        until_some(
            PATIENCE,
            &format!("{key}={value} in the access log"),
            || {
                self.access_log()
                    .into_iter()
                    .find(|entry| entry[key] == value)
            },
        )
    }

    /// Waits until the access log has `count` lines, and returns them.
    pub(crate) fn await_access_lines(&self, count: usize) -> Vec<Value> {
        until(
            PATIENCE,
            &format!("{count} lines in the access log"),
            || self.stdout.len() >= count,
        );
        self.access_log()
    }
}

/// A process that took over from a [`Gateway`]. It is killed when this value goes.
pub(crate) struct Follower(Pid);

impl Follower {
    /// The process that a line of the control log is about.
    pub(crate) fn of(line: &str) -> Follower {
        let (_, pid) = line.split_once("pid=").unwrap();
        Follower(Pid::from_raw(pid.trim().parse().unwrap()).unwrap())
    }

    /// The file that it runs.
    pub(crate) fn program(&self) -> PathBuf {
        fs::read_link(format!("/proc/{}/exe", self.0.as_raw_nonzero())).unwrap()
    }

    /// Asks that another process takes over.
    pub(crate) fn sigusr2(&self) {
        kill_process(self.0, Signal::USR2).expect("it is alive");
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if self.is_alive() && std::env::var_os("LLVM_PROFILE_FILE").is_some() {
            // A coverage run counts only processes that end by themselves; a second SIGTERM ends at once.
            self.sigterm();
            self.await_stderr("drain");
            self.sigterm();
            self.wait_exit(PATIENCE);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
        let panicked = self
            .stderr_lines()
            .iter()
            .any(|line| line.contains("panicked at"));
        if thread::panicking() {
            last_words::print(&self.stderr_lines(), &self.stdout.all());
        } else {
            assert!(
                !panicked,
                "the gateway panicked: {:#?}",
                self.stderr_lines()
            );
        }
    }
}

/// A directory that nobody else has.
pub(crate) fn unique_directory() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::SeqCst);
    let directory = std::env::temp_dir().join(format!("tidegate-{}-{number}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    directory
}

fn listening(line: &str) -> Option<(String, SocketAddr)> {
    let (_, rest) = line.split_once("listening listener=")?;
    let name = rest.split_whitespace().next()?.trim_matches('"');
    Some((name.to_owned(), address(line, "listening listener=")?))
}

fn address(line: &str, after: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(after)?;
    let (_, rest) = rest.split_once("address=")?;
    rest.split_whitespace()
        .next()?
        .trim_matches('"')
        .parse()
        .ok()
}
