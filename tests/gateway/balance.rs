//! Which endpoint gets a request: in turn, by weight, by load, by time, and never for long one that cannot be reached.

mod affinity;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Client, Echo, Gate, Gateway, PATIENCE, Report, Upstream, answer, until};

/// A file whose upstream `app` has these endpoints, each with its weight, and chooses among them by `balance`.
fn file(balance: &str, endpoints: &[(SocketAddr, u32)]) -> String {
    let list: Vec<String> = endpoints
        .iter()
        .map(|(address, weight)| format!("{{ url: \"http://{address}\", weight: {weight} }}"))
        .collect();
    format!(
        "workers: 2\nadmin: {{ bind: \"127.0.0.1:0\" }}\nlisteners: [{{ name: main, bind: \"127.0.0.1:0\" }}]\n\
         routes: [{{ name: all, upstream: app }}]\n\
         upstreams: {{ app: {{ balance: {balance}, endpoints: [{}] }} }}\n",
        list.join(", ")
    )
}

/// Upstreams that tell their names: `a`, `b`, ….
fn echoes<const N: usize>() -> [Echo; N] {
    let names = ["a", "b", "c", "d", "e"];
    std::array::from_fn(|i| Echo::start(names[i]))
}

fn weighing(echoes: &[Echo], weights: &[u32]) -> Vec<(SocketAddr, u32)> {
    let addresses = echoes.iter().map(Echo::address);
    addresses.zip(weights.iter().copied()).collect()
}

/// Who answered: each name with how often it did.
type Counts = BTreeMap<String, usize>;

fn who(client: &mut Client) -> String {
    Report::of(client.get("/")).upstream().to_owned()
}

fn counted(names: impl IntoIterator<Item = String>) -> Counts {
    let mut counts = Counts::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// `each` requests by each of `clients` at once, each on a connection of its own.
fn counts(gateway: &Gateway, clients: usize, each: usize) -> Counts {
    thread::scope(|scope| {
        let ask = || {
            let mut client = gateway.client();
            (0..each).map(|_| who(&mut client)).collect::<Vec<_>>()
        };
        let running: Vec<_> = (0..clients).map(|_| scope.spawn(ask)).collect();
        counted(running.into_iter().flat_map(|run| run.join().unwrap()))
    })
}

/// U3.
#[test]
fn round_robin_gives_each_the_same_over_all_workers() {
    let echoes = echoes::<3>();
    let gateway = Gateway::start(&file("round_robin", &weighing(&echoes, &[1, 1, 1])));
    let counts = counts(&gateway, 12, 25);
    assert_eq!(counts.len(), 3);
    assert!(
        counts.values().all(|n| (99..=101).contains(n)),
        "{counts:?}"
    );
}

/// U4.
#[test]
fn round_robin_is_smooth_under_weights() {
    let echoes = echoes::<4>();
    let endpoints = weighing(&echoes, &[5, 1, 1, 0]);
    let gateway = Gateway::start(&file("round_robin", &endpoints));
    let mut client = gateway.client();
    let names: Vec<String> = (0..70).map(|_| who(&mut client)).collect();
    let longest = names
        .chunk_by(|one, next| one == next)
        .map(<[_]>::len)
        .max();
    assert_eq!(longest, Some(3), "{names:?}");
    for cycle in names.chunks(7) {
        let counts = counted(cycle.iter().cloned());
        assert_eq!((counts["a"], counts["b"], counts["c"]), (5, 1, 1));
    }
}

#[test]
fn weights_hold_for_those_who_draw() {
    for balance in ["least_requests", "random"] {
        let echoes = echoes::<3>();
        let endpoints = weighing(&echoes, &[3, 1, 0]);
        let gateway = Gateway::start(&file(balance, &endpoints));
        let counts = counts(&gateway, 1, 400);
        assert_eq!(counts.get("c"), None);
        // Seven standard deviations.
        assert!((240..360).contains(&counts["a"]), "{balance}: {counts:?}");
    }
}

/// An upstream called `slow` that answers one request for `each` that `fast` answers meanwhile, until the gate opens. Of
/// `clients` that all wait here one is let go, for nobody is left who could ask the fast one.
fn one_for(each: usize, clients: usize, fast: &Arc<AtomicUsize>, end: &Gate) -> Upstream {
    let (fast, end) = (Arc::clone(fast), end.clone());
    let waiting = AtomicUsize::new(0);
    Upstream::start(move |peer| {
        peer.serve(|_, _| {
            let due = fast.load(Ordering::SeqCst) + each;
            waiting.fetch_add(1, Ordering::SeqCst);
            until(3 * PATIENCE, "the fast one has answered", || {
                let is_due = fast.load(Ordering::SeqCst) >= due || end.is_open();
                is_due || waiting.load(Ordering::SeqCst) >= clients
            });
            waiting.fetch_sub(1, Ordering::SeqCst);
            answer(200, "{\"upstream\": \"slow\"}")
        });
    })
}

/// An upstream called `fast` that counts what it answers.
fn counting(answers: &Arc<AtomicUsize>) -> Upstream {
    let answers = Arc::clone(answers);
    Upstream::start(move |peer| {
        peer.serve(|_, _| {
            answers.fetch_add(1, Ordering::SeqCst);
            answer(200, "{\"upstream\": \"fast\"}")
        });
    })
}

/// Asks with `clients` at once until `enough`, and lets all go then.
fn ask_until(gateway: &Gateway, clients: usize, end: &Gate, enough: impl Fn() -> bool + Sync) {
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut client = gateway.client();
                while !enough() && !end.is_open() {
                    who(&mut client);
                }
                end.open();
            });
        }
    });
}

/// U5.
#[test]
fn least_requests_gives_a_slow_endpoint_less() {
    let (answers, end) = (Arc::new(AtomicUsize::new(0)), Gate::default());
    let (slow, fast) = (one_for(20, 8, &answers, &end), counting(&answers));
    let endpoints = [(slow.address(), 1), (fast.address(), 1)];
    let gateway = Gateway::start(&file("least_requests", &endpoints));
    ask_until(&gateway, 8, &end, || answers.load(Ordering::SeqCst) >= 400);
    let (slow, fast) = (slow.requests().len(), fast.requests().len());
    // Of eight under way it has four at most, and each of them takes as long as 20 of the others'.
    assert!(slow >= 8, "{slow} of {}", slow + fast);
    assert!(4 * slow <= fast, "{slow} of {}", slow + fast);
}

#[test]
fn latency_prefers_the_faster() {
    let (answers, end) = (Arc::new(AtomicUsize::new(0)), Gate::default());
    let (slow, fast) = (one_for(200, 2, &answers, &end), counting(&answers));
    let endpoints = [(slow.address(), 1), (fast.address(), 1)];
    let gateway = Gateway::start(&file("latency", &endpoints));
    let enough = || answers.load(Ordering::SeqCst) >= 600;
    thread::scope(|scope| {
        // Nobody knows them yet: one client comes to both before it comes to one of them twice.
        scope.spawn(|| ask_until(&gateway, 1, &end, enough));
        slow.await_requests(1);
        scope.spawn(|| ask_until(&gateway, 1, &end, enough));
    });
    // Once to learn it; on a busy machine the fast one looks slow for a moment, too.
    let slow = slow.requests().len();
    assert!(slow <= 30, "{slow} of 600");
}

/// U6.
#[test]
fn an_endpoint_that_a_reload_adds_gets_its_share() {
    let echoes = echoes::<2>();
    let both = weighing(&echoes, &[1, 1]);
    let gateway = Gateway::start(&file("round_robin", &both[..1]));
    assert_eq!(counts(&gateway, 2, 10), Counts::from([("a".into(), 20)]));
    gateway.apply(&file("round_robin", &both));
    let after = counts(&gateway, 2, 10);
    assert_eq!(after, Counts::from([("a".into(), 10), ("b".into(), 10)]));
    let answered = |echo: &Echo| {
        let endpoint = echo.address().to_string();
        let labels = [("upstream", "app"), ("endpoint", endpoint.as_str())];
        gateway.metric("tidegate_upstream_requests_total", &labels)
    };
    assert_eq!(echoes.each_ref().map(answered), [Some(30.0), Some(10.0)]);
}

/// The one that refuses is tried once a second, whoever asks, and the others notice nothing.
#[test]
fn an_endpoint_that_cannot_be_reached_is_left_alone_for_a_second() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).unwrap();
    let refusing = socket.local_addr().unwrap().as_socket().unwrap();
    let [alive] = echoes();
    let endpoints = [(refusing, 1), (alive.address(), 1)];
    // It would be left out for longer after the third time.
    let text = file("round_robin", &endpoints).replace("balance:", "ejection: off, balance:");
    let gateway = Gateway::start(&text);
    let failed = || {
        let labels = [("upstream", "app"), ("cause", "connect")];
        let retries = gateway.metric("tidegate_upstream_retries_total", &labels);
        retries.unwrap_or(0.0)
    };
    let begin = Instant::now();
    let mut client = gateway.client();
    until(PATIENCE, "it is tried three times", || {
        assert_eq!(who(&mut client), "a");
        failed() >= 3.0
    });
    assert!(
        begin.elapsed() >= Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    // As soon as it can be reached, it has its share again.
    socket.listen(16).unwrap();
    let listener: TcpListener = socket.into();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        let text = answer(200, "{\"upstream\": \"back\"}");
        stream.write_all(text.as_bytes()).unwrap();
    });
    until(PATIENCE, "it serves again", || who(&mut client) == "back");
}
