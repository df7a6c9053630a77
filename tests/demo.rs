//! `tidegate demo` as a new user meets it: the example file, the commands that are printed, a busy port.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tokio_tungstenite::tungstenite::{self, Message};

const PATIENCE: Duration = Duration::from_secs(20);

/// The ports of the example.
const PORTS: [&str; 6] = ["8080", "9901", "9001", "9002", "9003", "9004"];

/// The example in a folder of its own, on ports that are free.
struct Example {
    file: PathBuf,
    /// In the order of [`PORTS`].
    ports: Vec<u16>,
}

impl Example {
    fn lay(name: &str) -> Example {
        let sockets = PORTS.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = sockets.map(|socket| socket.local_addr().unwrap().port());
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/gateway.yaml");
        let mut text = fs::read_to_string(example).unwrap();
        for (place, port) in PORTS.iter().zip(ports) {
            text = text.replace(&format!("127.0.0.1:{place}"), &format!("127.0.0.1:{port}"));
        }
        text = text.replace("delay: 5s", "delay: 0s");
        let folder =
            std::env::temp_dir().join(format!("tidegate-demo-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("gateway.yaml");
        fs::write(&file, text).unwrap();
        Example {
            file,
            ports: ports.to_vec(),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.arg("demo").arg("--config").arg(&self.file);
        command
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.file.parent().unwrap());
    }
}

/// A demo that runs. Killed if the test ends before it.
struct Demo {
    child: Child,
    lines: Receiver<String>,
}

impl Demo {
    fn start(example: &Example) -> Demo {
        let mut command = example.command();
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Demo { child, lines }
    }

    /// What it says, up to the line that contains `word`.
    fn read_until(&self, word: &str) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            said.push(line.unwrap_or_else(|_| panic!("no `{word}` in\n{}", said.join("\n"))));
            if said.last().unwrap().contains(word) {
                return said;
            }
        }
    }

    /// Ends it as Ctrl-C does.
    fn interrupt(&mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &id])
                .status()
                .unwrap()
                .success()
        );
        self.read_until("drained");
        self.child.wait().unwrap().code()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(command: &str) -> Output {
    Command::new("sh").args(["-c", command]).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_printed_commands_work() {
    let example = Example::lay("commands");
    let mut demo = Demo::start(&example);
    let said = demo.read_until("ready");
    let commands: Vec<&str> = said
        .iter()
        .filter_map(|line| line.strip_prefix("  curl"))
        .collect();
    let outputs: Vec<Output> = commands.iter().map(|c| run(&format!("curl{c}"))).collect();
    let [echo, redirect, slow, flaky, metrics] = outputs.as_slice() else {
        panic!("not five commands: {commands:#?}");
    };
    let report: serde_json::Value = serde_json::from_slice(&echo.stdout).unwrap();
    assert_eq!(report["body"], "a body");
    assert_eq!(report["target"], "/echo/hello?a=1");
    assert_eq!(report["headers"]["x-forwarded-for"], "127.0.0.1");
    assert!(text(redirect).starts_with("HTTP/1.1 302 Found\r\n"));
    assert!(text(redirect).contains("/echo/things?a=1\r\n"));
    let gave_up = slow.status.code() == Some(28);
    assert!(gave_up || text(slow).contains("x-gateway-reason: upstream_timeout\r\n"));
    assert!(text(flaky).contains("x-gateway-reason: upstream_reset\r\n"));
    let counted = r#"tidegate_gateway_responses_total{route="flaky",reason="upstream_reset"} 1"#;
    assert!(text(metrics).contains(counted), "{}", text(metrics));
    assert_eq!(demo.interrupt(), Some(0));
}

#[test]
fn the_services_do_as_told() {
    let example = Example::lay("services");
    let mut demo = Demo::start(&example);
    demo.read_until("ready");
    let code = |port: usize, target: &str| {
        let port = example.ports[port];
        let ask = format!(
            "curl -s -m 5 -o /dev/null -w '%{{http_code}}' 'http://127.0.0.1:{port}{target}'"
        );
        text(&run(&ask))
    };
    assert_eq!(code(3, "/?ms=1"), "200");
    assert_eq!(code(3, "/?ms=soon"), "400");
    assert_eq!(code(4, "/?status=418"), "418");
    assert_eq!(
        [1, 2, 3].map(|_| code(4, "/?every=3")),
        ["200", "200", "503"]
    );
    assert_eq!(code(5, "/"), "426");
    let address = ("127.0.0.1", example.ports[5]);
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let url = format!("ws://127.0.0.1:{}/", address.1);
    let (mut chat, _) = tungstenite::client(url, stream).unwrap();
    for message in [Message::text("hello"), Message::binary(vec![0, 255])] {
        chat.send(message.clone()).unwrap();
        assert_eq!(chat.read().unwrap(), message);
    }
    assert_eq!(demo.interrupt(), Some(0));
}

#[test]
fn a_busy_port_is_named_with_a_remedy() {
    let example = Example::lay("busy");
    let port = example.ports[3];
    let _other = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let output = example.command().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    let message = format!("tidegate: 127.0.0.1:{port} of the demo's slow service cannot be bound");
    assert!(said.contains(&message), "{said}");
    assert!(
        said.contains("change the endpoint of upstream slow"),
        "{said}"
    );
}
