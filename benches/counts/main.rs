//! How many instructions a request costs, counted by callgrind: exact, so that two per cent more can be refused.
//!
//! `gate.py` beside this folder runs it and holds the counts against `counts.lock`.
#![allow(clippy::unwrap_used, missing_docs)]

mod breaker;
mod buckets;
mod choice;
mod gateway;
mod inputs;
mod peer;

use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use gungraun::Callgrind;
use gungraun::prelude::*;
use http::HeaderMap;
use tidegate::http::{fields, host, target};
use tidegate::route::Found;
use tidegate::time::Nanos;
use tidegate::upstream::balance::Way;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use breaker::Breaker;
use buckets::{Bucket, Check};
use choice::{Choice, Reading, by, sticky};
use gateway::{Gateway, Guards, Scenario};
use inputs::{BROWSER, Kind, Question};
use peer::{Expected, Peer, Turns};

/// The allocator of the gateway itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Requests in one count of an exchange; `gate.py` divides by it.
const REQUESTS: u64 = 1000;

// What is taken apart after the count is given back: dropping it is no part of the work.

#[library_benchmark(setup = inputs::question)]
#[bench::exact_of_1(1, Kind::Exact)]
#[bench::prefix_of_1(1, Kind::Prefix)]
#[bench::wildcard_of_1(1, Kind::Wildcard)]
#[bench::miss_of_1(1, Kind::Miss)]
#[bench::exact_of_50(50, Kind::Exact)]
#[bench::prefix_of_50(50, Kind::Prefix)]
#[bench::wildcard_of_50(50, Kind::Wildcard)]
#[bench::miss_of_50(50, Kind::Miss)]
#[bench::field_of_50(50, Kind::Field)]
#[bench::query_of_50(50, Kind::Query)]
#[bench::regex_of_50(50, Kind::Regex)]
#[bench::exact_of_10000(10_000, Kind::Exact)]
#[bench::prefix_of_10000(10_000, Kind::Prefix)]
#[bench::wildcard_of_10000(10_000, Kind::Wildcard)]
#[bench::miss_of_10000(10_000, Kind::Miss)]
fn find(question: Box<Question>) -> (Box<Question>, bool) {
    let asked = question.asked();
    let found = black_box(&question.table).find(black_box(&asked));
    let hit = matches!(black_box(found), Found::Match(_));
    (question, hit)
}

#[library_benchmark(setup = inputs::fields)]
#[bench::minimal(&[])]
#[bench::keep_alive(&[("Connection", "keep-alive")])]
#[bench::browser(&BROWSER)]
fn strip_request(mut headers: HeaderMap) -> HeaderMap {
    let seen = fields::scan_request(black_box(&headers), false);
    fields::strip_request(black_box(&mut headers), seen.found);
    headers
}

const ANSWER: [(&str, &str); 4] = [
    ("Content-Length", "128"),
    ("Content-Type", "text/plain"),
    ("Date", "Fri, 01 Mar 2024 12:00:00 GMT"),
    ("Server", "upstream"),
];
const NOMINATING_ANSWER: [(&str, &str); 4] = [
    ("Connection", "keep-alive, x-hop"),
    ("Keep-Alive", "timeout=5"),
    ("Transfer-Encoding", "chunked"),
    ("X-Hop", "1"),
];

#[library_benchmark(setup = inputs::fields)]
#[bench::plain(&ANSWER)]
#[bench::nominating(&NOMINATING_ANSWER)]
fn strip_response(mut headers: HeaderMap) -> HeaderMap {
    let found = fields::scan_answer(black_box(&headers));
    fields::strip_response(black_box(&mut headers), found);
    headers
}

#[library_benchmark]
#[bench::clean("/catalogue/lamps/standing/4711.html")]
#[bench::dirty("/catalogue/./lamps//standing/../%7Ewall/4711.html")]
fn normalise(path: &str) -> usize {
    let clean = target::normalise(black_box(path));
    black_box(&clean).as_ref().map_or(0, |path| path.len())
}

#[library_benchmark]
#[bench::name("shop.example.com")]
#[bench::name_and_port("shop.example.com:8443")]
#[bench::ipv4("127.0.0.1:8080")]
#[bench::ipv6("[2001:db8::1]:8080")]
fn parse_authority(text: &str) -> bool {
    black_box(host::parse_authority(black_box(text.as_bytes()))).is_ok()
}

#[library_benchmark(setup = choice::choice)]
#[bench::round_robin(Way::RoundRobin, 1000, 1)]
#[bench::round_robin_weighted(Way::RoundRobin, 1000, 10)]
#[bench::least_requests_of_2(Way::LeastRequests, 2, 1)]
#[bench::least_requests(Way::LeastRequests, 1000, 1)]
#[bench::least_requests_weighted(Way::LeastRequests, 1000, 10)]
#[bench::random(Way::Random, 1000, 1)]
#[bench::random_weighted(Way::Random, 1000, 10)]
#[bench::latency(Way::Latency, 1000, 1)]
#[bench::latency_weighted(Way::Latency, 1000, 10)]
#[bench::hash(by("client_ip"), 1000, 1)]
#[bench::sticky_cookie_new(sticky(), 1000, 1)]
fn pick(choice: Choice) -> (Choice, Option<usize>) {
    let picked = black_box(&choice).pick();
    (choice, black_box(picked))
}

#[library_benchmark(setup = choice::reading)]
#[bench::client_ip("client_ip")]
#[bench::header("header:x-tenant")]
#[bench::query("query:page")]
#[bench::sticky_cookie("")]
fn hash(mut reading: Reading) -> (Reading, Option<u64>) {
    let hash = black_box(&mut reading).hash();
    (reading, black_box(hash))
}

// The key is hashed, too: nobody has it hashed already.
#[library_benchmark(setup = buckets::check)]
#[bench::live_key(Bucket::Live, "192.0.2.17")]
#[bench::new_key(Bucket::New, "192.0.2.17")]
#[bench::refusal(Bucket::Empty, "192.0.2.17")]
#[bench::composite_key(Bucket::Live, "192.0.2.17|POST|/v1/orders|f3b0c442-98fc-1c14")]
fn check(asked: Check) -> (Check, bool) {
    let verdict = black_box(&asked).check(black_box(Nanos(1_000)));
    (asked, black_box(verdict).admitted)
}

#[library_benchmark(setup = breaker::breaker)]
#[bench::closed(false, false)]
#[bench::closed_with_rates(true, false)]
#[bench::refusal(false, true)]
fn pass(breaker: Breaker) -> (Breaker, bool) {
    let passed = black_box(&breaker).pass();
    (breaker, black_box(passed))
}

/// The smallest request and answer.
fn small() -> Scenario {
    Scenario {
        request: inputs::request("GET", "/small", &[], 0),
        forwarded: ("GET /small HTTP/1.1\r\n", 0),
        answer: 128,
        logged: false,
        limited: false,
        guards: Guards::Default,
    }
}

fn small_logged() -> Scenario {
    Scenario {
        logged: true,
        ..small()
    }
}

fn small_limited() -> Scenario {
    Scenario {
        limited: true,
        ..small()
    }
}

fn small_guarded(guards: Guards) -> Scenario {
    Scenario { guards, ..small() }
}

fn browser() -> Scenario {
    Scenario {
        request: inputs::request("GET", "/small", &BROWSER, 0),
        ..small()
    }
}

fn answer_16k() -> Scenario {
    Scenario {
        answer: 16 * 1024,
        ..small()
    }
}

fn post_16k() -> Scenario {
    Scenario {
        request: inputs::request("POST", "/post", &[], 16 * 1024),
        forwarded: ("POST /post HTTP/1.1\r\n", 16 * 1024),
        ..small()
    }
}

#[library_benchmark(setup = Gateway::new)]
#[bench::get(small())]
#[bench::get_logged(small_logged())]
#[bench::get_limited(small_limited())]
#[bench::get_unguarded(small_guarded(Guards::None))]
#[bench::get_guarded(small_guarded(Guards::All))]
#[bench::get_browser(browser())]
#[bench::get_16k(answer_16k())]
#[bench::post_16k(post_16k())]
fn exchange(gateway: Gateway) -> Gateway {
    gateway.exchange(black_box(REQUESTS));
    gateway
}

struct Peers {
    client: Peer,
    service: Peer,
    asked: Vec<u8>,
    answered: Vec<u8>,
}

fn peers(scenario: Scenario) -> Peers {
    let answer = inputs::answer(scenario.answer);
    let (asked, answered) = (scenario.request.to_vec(), answer.to_vec());
    let turns = Arc::new(Turns::with(u64::MAX));
    Peers {
        client: Peer::client(scenario.request, Expected::Bytes(answered.len()), turns),
        service: Peer::service(answer, Expected::Bytes(asked.len())),
        asked,
        answered,
    }
}

// What the far ends alone cost of an exchange: two reads that give bytes, two that do not, two writes.
#[library_benchmark(setup = peers)]
#[bench::get(small())]
#[bench::get_browser(browser())]
#[bench::get_16k(answer_16k())]
#[bench::post_16k(post_16k())]
fn peers_alone(mut peers: Peers) -> Peers {
    let mut cx = Context::from_waker(Waker::noop());
    let mut space = vec![0; 32 * 1024];
    let mut read = |peer: &mut Peer| {
        let mut buf = ReadBuf::new(&mut space);
        Pin::new(peer).poll_read(&mut cx, &mut buf).is_ready()
    };
    let mut carried = 0;
    for _ in 0..black_box(REQUESTS) {
        carried += u64::from(read(&mut peers.client));
        carried += u64::from(!read(&mut peers.client));
        write(&mut peers.service, &peers.asked);
        carried += u64::from(read(&mut peers.service));
        carried += u64::from(!read(&mut peers.service));
        write(&mut peers.client, &peers.answered);
    }
    assert_eq!(carried, 4 * REQUESTS, "a peer was out of step");
    peers
}

fn write(peer: &mut Peer, bytes: &[u8]) {
    let mut cx = Context::from_waker(Waker::noop());
    let _ = Pin::new(peer).poll_write(&mut cx, black_box(bytes));
}

library_benchmark_group!(name = route, benchmarks = [find]);
library_benchmark_group!(
    name = hygiene,
    benchmarks = [strip_request, strip_response, normalise, parse_authority]
);
library_benchmark_group!(name = balance, benchmarks = [pick, hash]);
library_benchmark_group!(name = limit, benchmarks = [check]);
library_benchmark_group!(name = breaking, benchmarks = [pass]);
library_benchmark_group!(name = handle, benchmarks = [exchange, peers_alone]);

// Callgrind counts each byte of a `rep movsb` as an instruction, and glibc takes it for blocks where the processor has
// ERMS: a copy of 16 KiB would outweigh all else. The vector loop that is counted instead is the same on all machines.
main!(
    config = LibraryBenchmarkConfig::default()
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-ERMS")
        .tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = [route, hygiene, balance, limit, breaking, handle]
);
