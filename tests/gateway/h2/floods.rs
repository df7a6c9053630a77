//! Floods: whoever makes work without getting on is cut or bounded, while others are served and memory stays.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::h2::{
    ACK, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PING,
    PREFACE, PRIORITY, PROTOCOL_ERROR, RST_STREAM, SETTINGS, WHOLE, WINDOW_UPDATE, block, frame,
    head, settings,
};
use crate::support::{Echo, Gateway, H2, PATIENCE, Setup, scale};

const ATTACKERS: usize = 4;
const MOST_MEMORY: u64 = 64 << 20;

/// What an attacker sends again and again; the number of the next stream is counted on.
type Attack = fn(&mut u32) -> Vec<u8>;

fn next(stream: &mut u32) -> u32 {
    *stream += 2;
    *stream - 2
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, block(&head("GET", "/flood", &[])))
}

fn post(stream: u32) -> Vec<u8> {
    frame(
        HEADERS,
        END_HEADERS,
        stream,
        block(&head("POST", "/flood", &[])),
    )
}

/// Connects, and attacks until the gateway cuts or `over` is true; tells whether it was cut.
fn attack(address: SocketAddr, first: &[(u16, u32)], attack: Attack, over: &AtomicBool) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return true;
    };
    stream.set_nodelay(true).unwrap();
    stream
        .set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    // What is said back is read and dropped, so that it is not the socket that holds the attack up.
    let mut reader = stream.try_clone().unwrap();
    let cut = thread::spawn(move || {
        let mut sink = [0; 64 * 1024];
        while matches!(reader.read(&mut sink), Ok(1..)) {}
    });
    let mut number = 1;
    let _ = stream.write_all(&[PREFACE, &settings(first)].concat());
    while !over.load(Ordering::Relaxed) && !cut.is_finished() {
        let mut bytes = Vec::new();
        while bytes.len() < 16 * 1024 {
            bytes.extend(attack(&mut number));
        }
        match stream.write_all(&bytes) {
            Err(error) if !crate::support::is_timeout(&error) => return true,
            _ => {}
        }
    }
    let was_cut = cut.is_finished();
    let _ = stream.shutdown(std::net::Shutdown::Both);
    cut.join().unwrap();
    was_cut
}

/// Attackers of one kind, over and over, while good clients of both protocols ask and all their requests succeed.
fn withstand(gateway: &Gateway, what: &str, first: &[(u16, u32)], kind: Attack, is_cut: bool) {
    eprintln!("flood: {what}");
    let over = AtomicBool::new(false);
    let cuts = AtomicUsize::new(0);
    let address = gateway.address();
    let before = gateway.rss();
    let begin = Instant::now();
    thread::scope(|scope| {
        for _ in 0..ATTACKERS {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    if attack(address, first, kind, &over) {
                        cuts.fetch_add(1, Ordering::Relaxed);
                        // Each attacker may come again, but not as a flood of connections.
                        thread::park_timeout(Duration::from_millis(50));
                    }
                }
            });
        }
        let (mut one, mut two) = (gateway.client(), H2::connect(address));
        let (mut asked, mut slowest, mut memory) = (0, Duration::ZERO, 0);
        let least = scale(Duration::from_millis(1200), Duration::from_secs(4));
        // On a machine that is busy the first cut and the fourth answer may take longer.
        let awaits = |asked| asked < 4 || (is_cut && cuts.load(Ordering::Relaxed) == 0);
        while begin.elapsed() < least || (awaits(asked) && begin.elapsed() < PATIENCE) {
            let since = Instant::now();
            assert_eq!(one.get("/own").status, 200, "{what}");
            assert_eq!(two.get("/own").status, 200, "{what}");
            (asked, slowest) = (asked + 2, slowest.max(since.elapsed()));
            memory = memory.max(gateway.rss());
        }
        over.store(true, Ordering::Relaxed);
        assert!(asked >= 4, "{what}: only {asked} requests were served");
        let grown = memory.saturating_sub(before);
        eprintln!(
            "  {asked} served, slowest {slowest:?}, grown {} KiB",
            grown >> 10
        );
        assert!(grown <= MOST_MEMORY, "{what}: grown by {} MiB", grown >> 20);
    });
    if is_cut {
        assert!(cuts.into_inner() > 0, "{what}: nobody was cut");
        let count = gateway.metric("tidegate_connections_cut_total", &[]);
        assert!(count > Some(0.0), "{what}: nobody was counted");
    }
}

fn gateway(echo: &Echo) -> Gateway {
    Setup::to(echo.address())
        .top("logging: { access: off }")
        .before("match: { path: /own }, respond: { status: 200, body: own }")
        .listener(
            "timeouts: { request_head: 1s, write: 1s }, limits: { requests_per_connection: off }",
        )
        .start()
}

#[test]
fn frames_that_ask_for_nothing_are_cut() {
    let echo = Echo::start("app");
    let gateway = gateway(&echo);
    let rows: [(&str, Attack); 7] = [
        ("settings", |_| settings(&[(4, 65_535)])),
        ("acknowledged settings", |_| frame(SETTINGS, ACK, 0, [])),
        ("pings", |_| frame(PING, 0, 0, [0; 8])),
        ("pongs", |_| frame(PING, ACK, 0, [0; 8])),
        ("priorities", |_| frame(PRIORITY, 0, 1, [0, 0, 0, 0, 9])),
        ("windows", |_| {
            frame(WINDOW_UPDATE, 0, 0, 1u32.to_be_bytes())
        }),
        ("unknown frames", |_| frame(0x77, 0, 0, [])),
    ];
    for (what, kind) in rows {
        withstand(&gateway, what, &[], kind, true);
    }
}

#[test]
fn streams_that_are_begun_for_nothing_are_cut() {
    let echo = Echo::start("app");
    let gateway = gateway(&echo);
    withstand(
        &gateway,
        "rapid reset",
        &[],
        |number| {
            let stream = next(number);
            [
                get(stream),
                frame(RST_STREAM, 0, stream, CANCEL.to_be_bytes()),
            ]
            .concat()
        },
        true,
    );
    withstand(
        &gateway,
        "made you reset",
        &[],
        |number| {
            let stream = next(number);
            [get(stream), frame(WINDOW_UPDATE, 0, stream, [0; 4])].concat()
        },
        true,
    );
    withstand(
        &gateway,
        "malformed heads",
        &[],
        |number| frame(HEADERS, WHOLE, next(number), block(&[("x-a", "b")])),
        true,
    );
}

#[test]
fn header_blocks_without_end_are_cut() {
    let echo = Echo::start("app");
    let gateway = gateway(&echo);
    withstand(
        &gateway,
        "continuations",
        &[],
        |number| {
            if *number == 1 {
                return frame(
                    HEADERS,
                    END_STREAM,
                    next(number),
                    block(&head("GET", "/", &[])),
                );
            }
            frame(
                CONTINUATION,
                0,
                1,
                block(&[("x-a", "some value that is not short")]),
            )
        },
        true,
    );
    withstand(
        &gateway,
        "empty continuations",
        &[],
        |number| {
            if *number == 1 {
                return frame(
                    HEADERS,
                    END_STREAM,
                    next(number),
                    block(&head("GET", "/", &[])),
                );
            }
            frame(CONTINUATION, 0, 1, [])
        },
        true,
    );
    withstand(
        &gateway,
        "a bomb of indexes",
        &[],
        |number| {
            // One long field is put into the table, and then named as often as a frame allows.
            let long = "v".repeat(3000);
            let stream = next(number);
            let mut bomb = block(&head("GET", "/own", &[]));
            bomb.extend([0x40, 1, b'x', 127]);
            bomb.extend([(3000 - 127) as u8 | 0x80, ((3000 - 127) >> 7) as u8]);
            bomb.extend(long.bytes());
            bomb.extend([0xbe; 10_000]);
            frame(HEADERS, WHOLE, stream, bomb)
        },
        true,
    );
}

#[test]
fn bodies_in_crumbs_are_cut() {
    let echo = Echo::start("app");
    let gateway = gateway(&echo);
    withstand(
        &gateway,
        "empty data",
        &[],
        |number| {
            if *number == 1 {
                return post(next(number));
            }
            frame(DATA, 0, 1, [])
        },
        true,
    );
    withstand(
        &gateway,
        "data of one byte",
        &[],
        |number| {
            if *number == 1 {
                return post(next(number));
            }
            frame(DATA, 0, 1, b"x")
        },
        false,
    );
}

#[test]
fn streams_without_window_hold_little() {
    let large =
        crate::support::Upstream::answering(crate::support::answer(200, &"y".repeat(2 << 20)));
    let gateway = Setup::to(large.address())
        .top("logging: { access: off }")
        .before("match: { path: /own }, respond: { status: 200, body: own }")
        .listener("timeouts: { write: 1s }")
        .start();
    let before = gateway.rss();
    let mut clients: Vec<H2> = (0..ATTACKERS)
        .map(|_| {
            let mut client = H2::with(gateway.address(), &[(4, 0)]);
            for _ in 0..100 {
                client.send_get("/large");
            }
            client
        })
        .collect();
    large.await_requests(100 * ATTACKERS);
    let mut good = H2::connect(gateway.address());
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(1) {
        assert_eq!(good.get("/own").status, 200);
        let grown = gateway.rss().saturating_sub(before);
        assert!(grown <= MOST_MEMORY, "grown by {} MiB", grown >> 20);
    }
    // And none of them stays.
    for client in &mut clients {
        for stream in (0..100).map(|number| 2 * number + 1) {
            assert!(client.answer(stream).reset.is_some());
        }
    }
    let busy = [("upstream", "app"), ("state", "busy")];
    gateway.await_metric("tidegate_upstream_connections", &busy, 0.0);
}

#[test]
fn who_is_cut_is_told_why() {
    let echo = Echo::start("app");
    let mut gateway = Setup::to(echo.address())
        .top("logging: { level: debug }")
        .start();
    let mut client = H2::connect(gateway.address());
    client.send(frame(PING, ACK, 0, [0; 8]).repeat(1500));
    assert_eq!(client.end(), Some(ENHANCE_YOUR_CALM));
    assert!(
        client.goaways[0].2.contains("ask for nothing"),
        "{:?}",
        client.goaways
    );
    gateway.await_stderr("too many frames that ask for nothing");
    // One line for all of them: the library's own, one for each frame, would fill the disk.
    assert_eq!(gateway.count_stderr("PING"), 0);
    let cuts = |cause: &str, count: f64| {
        gateway.await_metric("tidegate_connections_cut_total", &[("cause", cause)], count);
    };
    cuts("flood", 1.0);
    // What the library itself cuts.
    let mut client = H2::connect(gateway.address());
    client.send(frame(RST_STREAM, 0, 99, CANCEL.to_be_bytes()));
    assert_eq!(client.end(), Some(PROTOCOL_ERROR));
    cuts("protocol", 1.0);
    let mut client = H2::connect(gateway.address());
    let resets = (0..600).flat_map(|number| {
        let stream = 2 * number + 1;
        let reset = frame(RST_STREAM, 0, stream, CANCEL.to_be_bytes());
        [get(stream), reset].concat()
    });
    client.send(resets.collect::<Vec<u8>>());
    assert_eq!(client.end(), Some(ENHANCE_YOUR_CALM));
    cuts("flood", 2.0);
    // Who leaves is not cut.
    H2::connect(gateway.address()).get("/").expect_ok();
    gateway.await_metric("tidegate_connections", &[], 0.0);
    cuts("protocol", 1.0);
    cuts("flood", 2.0);
}

#[test]
fn whoever_reads_much_may_give_many_windows() {
    let large =
        crate::support::Upstream::answering(crate::support::answer(200, &"y".repeat(20 << 20)));
    let gateway = Setup::to(large.address()).start();
    let mut client = H2::connect(gateway.address());
    // A window for each frame of data, for the stream and for the connection.
    for _ in 0..2 {
        assert_eq!(client.get("/").body.len(), 20 << 20);
    }
}
