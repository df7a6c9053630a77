//! Listening sockets that pass from process to process: systemd's to the gateway, the gateway's to the next binary.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};

use crate::support::{
    Client, Follower, Gate, Gateway, PATIENCE, TIDEGATE, Upstream, answer, reflecting,
    unique_directory, until, vacant,
};

fn file(listeners: &[(&str, SocketAddr)], admin: &str, upstream: SocketAddr) -> String {
    let listeners: Vec<String> = listeners
        .iter()
        .map(|(name, bind)| format!("{{ name: {name}, bind: \"{bind}\" }}"))
        .collect();
    format!(
        "workers: 2\nadmin: {{ bind: \"{admin}\" }}\ndrain: {{ delay: 30s, deadline: 40s }}\nlogging: {{ access: off }}\n\
         listeners: [{}]\nroutes:\n  - {{ match: {{ path: /own }}, respond: {{ body: own }} }}\n\
         \x20 - {{ upstream: app, websocket: {{}} }}\nupstreams: {{ app: {{ endpoints: [\"http://{upstream}\"] }} }}\n",
        listeners.join(", ")
    )
}

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Starts `program` as systemd would, with these sockets.
fn activate(yaml: &str, sockets: &[&TcpListener]) -> Gateway {
    let directory = unique_directory();
    let path = directory.join("gateway.yaml");
    fs::write(&path, yaml).unwrap();
    let mappings = sockets.iter().zip(3..).map(|(socket, child_fd)| FdMapping {
        parent_fd: OwnedFd::from(socket.try_clone().unwrap()),
        child_fd,
    });
    let mut command = Command::new(TIDEGATE);
    command
        .env("LISTEN_FDS", sockets.len().to_string())
        .env("LISTEN_FDNAMES", "edge.socket:operator:odd")
        .fd_mappings(mappings.collect())
        .unwrap();
    Gateway::spawn_by(command, directory, &path)
}

fn shut_port() -> SocketAddr {
    let [address] = vacant();
    address
}

#[test]
fn sockets_of_systemd_are_used_and_left_to_it() {
    let [edge, operator, odd] = std::array::from_fn(|_| TcpListener::bind(ANY).unwrap());
    let address = |socket: &TcpListener| socket.local_addr().unwrap();
    let yaml = file(
        &[("main", address(&edge))],
        &address(&operator).to_string(),
        shut_port(),
    );
    // Who came before the gateway is served by it.
    let mut early = Client::connect(address(&edge));
    let mut gateway = activate(&yaml, &[&edge, &operator, &odd]).ready();
    assert_eq!(gateway.address(), address(&edge));
    assert_eq!(early.get("/own").expect_ok().text(), "own");
    for _ in 0..10 {
        gateway.get("/own").expect_ok();
    }
    assert_eq!(gateway.admin_get("/readyz", "").status, 200);
    let said = gateway.await_stderr("an inherited socket has no `bind`");
    assert!(said.contains(&address(&odd).to_string()), "{said}");
    gateway.sigterm();
    gateway.await_stderr("draining");
    gateway.sigterm();
    assert_eq!(gateway.wait_exit(PATIENCE).code(), Some(0));
    // systemd listens on: who comes between two processes waits for the second.
    let mut between = Client::connect(address(&edge));
    between.send_get("/own");
    let gateway = activate(&yaml, &[&edge, &operator]).ready();
    assert_eq!(between.response().expect_ok().text(), "own");
    // A reload that takes the address away leaves it to systemd, too.
    gateway.write_config(&yaml.replace(&address(&edge).to_string(), "127.0.0.1:0"));
    gateway.sighup();
    until(PATIENCE, "it has moved", || {
        gateway.count_stderr("listens no more") == 1
    });
    TcpStream::connect(address(&edge)).unwrap();
}

#[test]
fn descriptors_for_another_process_are_let_alone() {
    let directory = unique_directory();
    let path = directory.join("gateway.yaml");
    fs::write(&path, file(&[("main", ANY)], "127.0.0.1:0", shut_port())).unwrap();
    let mut command = Command::new(TIDEGATE);
    command.env("LISTEN_FDS", "2").env("LISTEN_PID", "1");
    let gateway = Gateway::spawn_by(command, directory, &path).ready();
    gateway.get("/own").expect_ok();
    assert_eq!(gateway.count_stderr("inherited"), 0);
}

/// Clients with connections of their own and clients that keep theirs, until this value goes.
struct Load {
    done: AtomicBool,
    served: AtomicUsize,
}

impl Load {
    fn run(&self, keeps: bool, address: SocketAddr, target: &str) {
        let mut client = Client::connect(address);
        while !self.done.load(Ordering::SeqCst) {
            let answer = client.get(target).expect_ok();
            self.served.fetch_add(1, Ordering::SeqCst);
            if !keeps || answer.lists("connection", "close") {
                client = Client::connect(address);
            }
            thread::park_timeout(Duration::from_micros(300));
        }
    }

    fn await_more(&self) {
        let before = self.served.load(Ordering::SeqCst);
        until(PATIENCE, "the load goes on", || {
            self.served.load(Ordering::SeqCst) > before + 200
        });
    }
}

/// Ends the load however the test ends.
struct Ends<'a>(&'a Load);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.done.store(true, Ordering::SeqCst);
    }
}

#[test]
fn the_next_binary_takes_over_under_load_and_nobody_feels_it() {
    let upstream = Upstream::answering(answer(200, "served"));
    // Port 0: the ports that the first process got are those of the next one.
    let yaml = file(
        &[("main", ANY), ("side", ANY)],
        "127.0.0.1:0",
        upstream.address(),
    );
    let mut gateway = Gateway::start(&yaml);
    let (main, side) = (gateway.address(), gateway.listener("side"));
    let load = Load {
        done: AtomicBool::new(false),
        served: AtomicUsize::new(0),
    };
    let (follower, _next) = thread::scope(|scope| {
        let clients = [
            (true, main, "/own"),
            (false, main, "/own"),
            (true, side, "/x"),
            (false, side, "/x"),
        ]
        .map(|(keeps, address, target)| {
            let load = &load;
            scope.spawn(move || load.run(keeps, address, target))
        });
        let _ends = Ends(&load);
        load.await_more();
        gateway.sigusr2();
        let (follower, status) = gateway.await_follower();
        assert_eq!(status.code(), Some(0));
        load.await_more();
        // And once more, by the process that took over.
        follower.sigusr2();
        until(PATIENCE, "another one serves", || {
            gateway.count_stderr("another process serves") == 2
        });
        load.await_more();
        let next = last_follower(&gateway);
        assert!(
            !clients.iter().any(|client| client.is_finished()),
            "a client failed"
        );
        (follower, next)
    });
    assert_eq!(gateway.admin_get("/readyz", "").status, 200);
    assert_eq!(gateway.count_stderr("cannot be bound"), 0);
    drop(follower);
}

/// The process that the last word is about.
fn last_follower(gateway: &Gateway) -> Follower {
    let lines = gateway.stderr_lines();
    let said = lines
        .iter()
        .rfind(|line| line.contains("another process serves"))
        .unwrap();
    Follower::of(said)
}

#[test]
fn what_is_under_way_ends_in_the_process_where_it_began() {
    let gate = Gate::default();
    let shut = gate.clone();
    let upstream = Upstream::start(move |peer| {
        peer.serve(|_, _| {
            shut.pass();
            answer(200, "served")
        });
    });
    let mut gateway = Gateway::start(&file(&[("main", ANY)], "127.0.0.1:0", upstream.address()));
    let mut slow = gateway.client();
    slow.send_get("/slow");
    upstream.await_requests(1);
    gateway.sigusr2();
    gateway.await_stderr("another process serves");
    let _follower = last_follower(&gateway);
    assert_eq!(gateway.get("/own").expect_ok().text(), "own");
    assert!(gateway.is_alive(), "a request is still in flight");
    gateway.await_stderr("draining");
    gate.open();
    let answer = slow.response().expect_ok();
    assert_eq!(answer.text(), "served");
    assert!(answer.lists("connection", "close"));
    let (_, status) = gateway.await_follower();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_process_that_does_not_come_to_serve_changes_nothing() {
    let upstream = reflecting();
    let good = file(&[("main", ANY)], "127.0.0.1:0", upstream.address());
    let mut gateway = Gateway::start(&good);
    let mut kept = gateway.client();
    kept.get("/own").expect_ok();
    gateway.write_config("listeners: nonsense\n");
    gateway.sigusr2();
    let said = gateway.await_stderr("no other process took over");
    assert!(said.contains("exit status: 1"), "{said}");
    // Two processes write there, so lines may run into each other.
    assert!(gateway.count_stderr("error: ") > 0, "its own words");
    assert!(!kept.get("/own").expect_ok().lists("connection", "close"));
    assert!(gateway.is_alive());
    gateway.get("/own").expect_ok();
    // A second attempt, with a file that is in order.
    gateway.write_config(&good);
    gateway.sigusr2();
    let (_follower, status) = gateway.await_follower();
    assert_eq!(status.code(), Some(0));
    gateway.get("/own").expect_ok();
}

#[test]
fn what_stands_under_the_name_of_the_program_is_started() {
    let directory = unique_directory();
    let path = directory.join("gateway.yaml");
    fs::write(&path, file(&[("main", ANY)], "127.0.0.1:0", shut_port())).unwrap();
    let program = directory.join("tidegate-of-this-test");
    let install = |program: &Path| {
        let fresh = program.with_extension("new");
        fs::copy(TIDEGATE, &fresh).unwrap();
        fs::rename(fresh, program).unwrap();
    };
    install(&program);
    let mut gateway = Gateway::spawn_by(Command::new(&program), directory, &path).ready();
    install(&program);
    gateway.sigusr2();
    let (follower, status) = gateway.await_follower();
    assert_eq!(status.code(), Some(0));
    assert_eq!(
        follower.program(),
        program,
        "not the file that was replaced"
    );
    gateway.get("/own").expect_ok();
    // A program that is gone: the one that runs goes on.
    fs::remove_file(&program).unwrap();
    follower.sigusr2();
    until(PATIENCE, "it says so", || {
        gateway.count_stderr("no other process took over") == 1
    });
    gateway.get("/own").expect_ok();
}
