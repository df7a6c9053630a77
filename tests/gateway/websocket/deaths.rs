//! Twelve ways in which a WebSocket dies: whoever goes, and however, nothing of it is left.

use std::fs;
use std::net::SocketAddr;

use crate::support::{
    Client, Gate, Gateway, Handshake, Opcode, PATIENCE, Setup, Upstream, answer, masked, until,
};

use super::{ALL, CLOSES, OPEN};

/// How often each death is died: what stays behind each time is seen.
const TIMES: usize = 6;

/// What an upstream does with a socket that is open.
enum Part {
    /// Sends every byte back until the gateway ends its side.
    Reflects,
    /// Ends at the first byte.
    Ends,
    /// Breaks at the first byte.
    Breaks,
    /// Ends its own side at the first byte, and goes on to listen.
    EndsHalf,
    /// Says nothing, and keeps its side open until the gate opens.
    Stays(Gate),
    /// Pours bytes without end.
    Pours,
}

/// An upstream that plays `part` in every socket, and answers other requests.
fn playing(part: Part) -> Upstream {
    Upstream::start(move |peer| {
        while let Some(request) = peer.request() {
            if !request.lists("upgrade", "websocket") {
                if peer.send(answer(200, "served")).is_err() {
                    return;
                }
                continue;
            }
            if peer.send(crate::support::switching(&request, "")).is_err() {
                return;
            }
            return match &part {
                Part::Reflects => peer.reflect(),
                Part::Ends => drop(peer.bytes(1)),
                Part::Breaks => {
                    let _ = peer.bytes(1);
                    peer.reset();
                }
                Part::EndsHalf => {
                    let _ = peer.bytes(1);
                    peer.half_close();
                    peer.closed();
                }
                Part::Stays(gate) => {
                    while peer.some_bytes().is_ok_and(|bytes| !bytes.is_empty()) {}
                    gate.pass();
                }
                Part::Pours => while peer.send([0; 64 * 1024]).is_ok() {},
            };
        }
    })
}

/// A gateway and what it was like before anybody died.
struct Scene {
    gateway: Gateway,
    descriptors: usize,
}

impl Scene {
    /// A gateway in front of `upstream` that has carried a socket before.
    fn set(upstream: SocketAddr, listener: &str, route: &str) -> Scene {
        let gateway = Setup::to(upstream)
            .listener(listener)
            .route(route)
            .upstream("pool: { max_idle_per_endpoint: 4 }")
            .start();
        let mut scene = Scene {
            gateway,
            descriptors: 0,
        };
        // What is made at the first need is there from now on.
        for client in scene.open(TIMES) {
            client.reset();
        }
        let first = |scene: &Scene| scene.closes(None) == TIMES as f64;
        until(PATIENCE, "a rehearsal", || first(&scene));
        scene.await_quiet();
        scene.descriptors = scene.count_descriptors();
        scene
    }

    fn open(&self, count: usize) -> Vec<Client> {
        let sockets = (0..count).map(|_| {
            let mut client = self.gateway.client();
            client.upgrade(&Handshake::to("/"));
            client
        });
        let sockets: Vec<Client> = sockets.collect();
        self.gateway.await_metric(OPEN, &ALL, count as f64);
        let busy = [("upstream", "app"), ("state", "busy")];
        self.gateway
            .await_metric("tidegate_upstream_connections", &busy, count as f64);
        let held = [("listener", "main")];
        self.gateway
            .await_metric("tidegate_connections", &held, count as f64);
        sockets
    }

    fn closes(&self, by: Option<&str>) -> f64 {
        let mut labels = ALL.to_vec();
        labels.extend(by.map(|by| ("by", by)));
        self.gateway.metric(CLOSES, &labels).unwrap_or_default()
    }

    /// Waits until every gauge says that nothing is open.
    fn await_quiet(&self) {
        let gateway = &self.gateway;
        gateway.await_metric(OPEN, &ALL, 0.0);
        gateway.await_metric("tidegate_connections", &[("listener", "main")], 0.0);
        let busy = [("upstream", "app"), ("state", "busy")];
        gateway.await_metric("tidegate_upstream_connections", &busy, 0.0);
        gateway.await_metric("tidegate_requests_in_flight", &ALL, 0.0);
    }

    /// Files that the gateway holds open.
    fn count_descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.gateway.pid());
        fs::read_dir(folder).unwrap().count()
    }

    /// Opens sockets, lets them die, and fails unless all of it is counted and gone.
    fn die(&self, by: &str, mut death: impl FnMut(Vec<Client>)) {
        let (before, all) = (self.closes(Some(by)), self.closes(None));
        death(self.open(TIMES));
        until(2 * PATIENCE, "every death is counted", || {
            self.closes(None) - all >= TIMES as f64
        });
        let (by_them, all_now) = (self.closes(Some(by)), self.closes(None));
        assert_eq!(by_them - before, TIMES as f64, "by {by}");
        assert_eq!(all_now - all, TIMES as f64, "each is counted once");
        self.await_quiet();
        until(PATIENCE, "every descriptor is given back", || {
            self.count_descriptors() <= self.descriptors
        });
        let opens = self.gateway.metric("tidegate_websocket_opens_total", &ALL);
        assert_eq!(opens, Some(all_now), "as many ends as beginnings");
    }
}

fn speak(client: &mut Client) {
    client.send(masked(Opcode::Text, true, b"a"));
}

#[test]
fn the_client_ends() {
    let upstream = playing(Part::Reflects);
    let scene = Scene::set(upstream.address(), "limits: {}", "websocket: {}");
    scene.die("client", drop);
    upstream.await_all_closed();
}

#[test]
fn the_client_breaks() {
    let upstream = playing(Part::Reflects);
    let scene = Scene::set(upstream.address(), "limits: {}", "websocket: {}");
    scene.die("client", |clients| {
        clients.into_iter().for_each(Client::reset);
    });
    upstream.await_all_closed();
}

/// A second gateway stands for the client: its process is killed.
#[test]
fn the_client_is_killed() {
    let upstream = playing(Part::Reflects);
    let scene = Scene::set(upstream.address(), "limits: {}", "websocket: {}");
    let all = scene.closes(None);
    let mut client = Setup::to(scene.gateway.address()).start();
    let mut sockets: Vec<Client> = (0..TIMES).map(|_| client.client()).collect();
    for socket in &mut sockets {
        socket.upgrade(&Handshake::to("/"));
        socket.expect_echo(&masked(Opcode::Text, true, b"alive"));
    }
    scene.gateway.await_metric(OPEN, &ALL, TIMES as f64);
    let before = scene.closes(Some("client"));
    client.kill();
    until(PATIENCE, "the deaths are counted", || {
        scene.closes(Some("client")) - before == TIMES as f64
    });
    assert_eq!(scene.closes(None) - all, TIMES as f64);
    scene.await_quiet();
    upstream.await_all_closed();
    until(PATIENCE, "every descriptor is given back", || {
        scene.count_descriptors() <= scene.descriptors
    });
}

#[test]
fn the_client_ends_its_half_and_nobody_says_more() {
    let gate = Gate::default();
    let upstream = playing(Part::Stays(gate.clone()));
    let scene = Scene::set(
        upstream.address(),
        "limits: {}",
        "websocket: { idle_timeout: 1s }",
    );
    scene.die("client", |clients| {
        clients.iter().for_each(Client::half_close);
        let gateway = &scene.gateway;
        gateway.await_metric(OPEN, &ALL, 0.0);
        // Both ends of the test are open until now.
        gate.open();
        drop(clients);
    });
    upstream.await_all_closed();
}

#[test]
fn the_upstream_ends() {
    let upstream = playing(Part::Ends);
    let scene = Scene::set(upstream.address(), "limits: {}", "websocket: {}");
    scene.die("upstream", |mut clients| {
        for client in &mut clients {
            speak(client);
            client.read_to_end().unwrap();
        }
    });
    upstream.await_all_closed();
}

#[test]
fn the_upstream_breaks() {
    let upstream = playing(Part::Breaks);
    let scene = Scene::set(upstream.address(), "limits: {}", "websocket: {}");
    scene.die("upstream", |mut clients| {
        for client in &mut clients {
            speak(client);
            let _ = client.read_to_end();
        }
    });
    upstream.await_all_closed();
}

/// A second gateway stands for the upstream: its process is killed.
#[test]
fn the_upstream_is_killed() {
    let end = playing(Part::Reflects);
    let mut upstream = Setup::to(end.address()).start();
    let scene = Scene::set(upstream.address(), "limits: {}", "websocket: {}");
    scene.die("upstream", |mut clients| {
        for client in &mut clients {
            client.expect_echo(&masked(Opcode::Text, true, b"alive"));
        }
        upstream.kill();
        for client in &mut clients {
            let _ = client.read_to_end();
        }
    });
    end.await_all_closed();
}

#[test]
fn the_upstream_ends_its_half() {
    let upstream = playing(Part::EndsHalf);
    let scene = Scene::set(upstream.address(), "limits: {}", "websocket: {}");
    scene.die("upstream", |mut clients| {
        for client in &mut clients {
            speak(client);
            client.read_to_end().unwrap();
            speak(client);
            client.half_close();
        }
    });
    upstream.await_all_closed();
}

#[test]
fn nobody_says_anything() {
    let upstream = playing(Part::Reflects);
    let scene = Scene::set(
        upstream.address(),
        "limits: {}",
        "websocket: { idle_timeout: 1500ms }",
    );
    scene.die("gateway", |mut clients| {
        for client in &mut clients {
            client.expect_closed();
        }
    });
    upstream.await_all_closed();
}

#[test]
fn the_client_takes_nothing() {
    let upstream = playing(Part::Pours);
    let scene = Scene::set(
        upstream.address(),
        "timeouts: { write: 700ms }",
        "websocket: {}",
    );
    scene.die("gateway", |clients| {
        scene.gateway.await_metric(OPEN, &ALL, 0.0);
        drop(clients);
    });
    upstream.await_all_closed();
}

/// A gateway that drains, held up by a request until the gate opens, so that it can be asked how its sockets ended.
fn drain(keys: &str, at_the_end: impl FnOnce(&Scene)) {
    let gate = Gate::default();
    let shut = gate.clone();
    let upstream = Upstream::start(move |peer| {
        while let Some(request) = peer.request() {
            if request.target == "/slow" {
                shut.pass();
            }
            if !request.lists("upgrade", "websocket") {
                let _ = peer.send(answer(200, "served"));
                continue;
            }
            peer.send(crate::support::switching(&request, "")).unwrap();
            return peer.reflect();
        }
    });
    let gateway = Setup::to(upstream.address())
        .top(&format!("drain: {{ {keys} }}"))
        .start();
    let mut scene = Scene {
        gateway,
        descriptors: 0,
    };
    let mut clients = scene.open(TIMES);
    let mut slow = scene.gateway.client();
    slow.send_get("/slow");
    upstream.await_requests(TIMES + 1);
    scene.gateway.sigterm();
    at_the_end(&scene);
    for client in &mut clients {
        client.expect_closed();
    }
    gate.open();
    let _ = slow.try_response();
    assert_eq!(scene.gateway.wait_exit(PATIENCE).code(), Some(0));
    upstream.await_all_closed();
}

#[test]
fn the_gateway_drains() {
    drain("delay: 200ms, deadline: 6s", |scene| {
        scene.gateway.await_metric(OPEN, &ALL, 0.0);
        assert_eq!(scene.closes(Some("gateway")), TIMES as f64);
        assert_eq!(scene.closes(None), TIMES as f64);
        let busy = [("upstream", "app"), ("state", "busy")];
        // The slow request's own.
        let connections = "tidegate_upstream_connections";
        scene.gateway.await_metric(connections, &busy, 1.0);
        let open = [("listener", "main")];
        scene
            .gateway
            .await_metric("tidegate_connections", &open, 1.0);
    });
}

/// No time is left between the delay and the deadline: the sockets are cut, and nobody waits for them.
#[test]
fn the_gateway_has_no_time_left() {
    drain("delay: 600ms, deadline: 600ms", |_| {});
}
