//! Tidegate: an API gateway. This page is the map of the house.
//!
//! YAML files become a [`config::Config`] in which nothing can be wrong, and a `Config` becomes a
//! [`snapshot::Snapshot`] that cannot fail to be built. The one current snapshot sits in one `ArcSwap`; a request pins
//! it once and walks only through what it pinned. What decides is synchronous and takes `now` as an argument; what
//! waits on the way of a request is in few files: `upstream/connect`, `proxy/forward`, `proxy/wait`, the tunnel and the bodies.
//!
//! # Floors
//!
//! Imports go down only; `tests/house.rs` holds every file against this table.
//!
//! | floor | modules | what is there |
//! |---|---|---|
//! | 0 words | [`error`] [`time`] [`timer`] [`drain`] `sync` | why a request was refused; the clock; deadlines; "please finish"; locks and atomics |
//! | 1 cores | [`http`] [`limit`] [`breaker`] [`route`] [`metrics`] [`telemetry`] [`tls`] | rules of HTTP; how often; when a failing upstream is left alone; which route; what is counted; what is logged; certificates |
//! | 2 parts | [`config`] [`filter`] [`store`] [`upstream`] | the file's meaning; what a route does itself; buckets in Redis; endpoints and connections |
//! | 3 snapshot | [`snapshot`] | the parts put together, immutable; the state that outlives a reload |
//! | 4 proxy | [`proxy`] | a request's life |
//! | 5 server | [`server`] | threads, sockets, signals, files that change, reload, names, admin |
//! | 6 | `main` `demo` | the command line; the services of the example |
//!
//! # The life of a request
//!
//! 1. [`server::listener`] accepts on one worker's own socket; the connection stays with that worker.
//! 2. `server/handshake` leads its TLS handshake, if the listener has one ([`tls`] decides who gets which certificate);
//!    `server/connection` gives it to hyper, through [`http::guard`], and parks it while it is idle; what turns out to
//!    be HTTP/2 goes to `server/h2`, which makes a client of each stream and watches the frames by [`http::frames`].
//! 3. [`proxy::handle`] pins the snapshot and opens an [`proxy::exchange::Exchange`]: whatever happens, one count, one line.
//! 4. [`proxy::head`] refuses what no upstream may see: framing, Host, target, expectations, upgrades.
//! 5. [`http::target`] brings the path into its one spelling; [`route::Table::find`] chooses the route.
//!    Before it the listener's rate limits are asked, after it the route's, and a place among the requests that the route
//!    carries at once ([`filter::limit`], [`limit`]): `proxy/limits` decides, and waits where a limit shapes.
//! 6. `respond` and `redirect` answer here ([`filter`]); a body announced as too large gets its 413.
//! 7. [`http::fields`] strips what belongs to the connection; [`http::forwarded`] says who the client is; the route
//!    changes path, host and fields, and draws an upstream by weight ([`filter`]); mirrors get their copies.
//! 8. [`proxy::breaker`] lets it pass, or has somebody else answer; [`proxy::forward`] picks an endpoint, takes the newest pooled connection or dials (where the endpoint bears only so
//!    many, when its turn has come), sends, waits for the head. A try that failed is weighed in [`proxy::retry`], and
//!    followed by another where the route and the upstream's budget allow it.
//! 9. The request's body streams beside it ([`http::upload`]): no faster than it is taken, within its bounds.
//! 10. The answer's head is checked, stripped and changed as the route says; its body streams through [`proxy::body`].
//!     A 101 that fits its handshake ([`http::upgrade`]) makes the two connections a [`proxy::tunnel`] instead.
//! 11. At its end the connection goes back to the pool, the exchange counts and logs.
//! 12. Whatever was refused on the way leaves by one door: [`http::reply`] makes the answer of a [`error::Reason`].
//!
//! # Lexicon
//!
//! | word | what it is |
//! |---|---|
//! | listener | addresses with their rules, where clients connect |
//! | exchange | one request and its answer |
//! | route | what happens to the requests of one match |
//! | upstream, endpoint | a named group; one address of it |
//! | attempt | one try to get an answer from one endpoint |
//! | tunnel | a WebSocket after its 101: two sockets and the bytes between them |
//! | mirror | an upstream that gets copies of requests, whose answers nobody sees |
//! | limit, key, bucket | how often; whose requests count together; what is left to them |
//! | store | Redis or Valkey, where several gateways share the buckets of limits |
//! | lease | tokens that one gateway took from a store ahead of need |
//! | breaker | closed = traffic flows, open = refused, half-open = probing |
//! | probe | one of the few requests that a half-open breaker lets pass |
//! | permit | the right to one connection, of those that an endpoint bears; of a breaker, to one request |
//! | pool | one worker's idle upstream connections |
//! | snapshot, generation | a configuration compiled for use; its number |
//! | pin | the hold of a request on the snapshot that it began with |
//! | worker, control thread | carries traffic; carries everything else |
//! | drain | the orderly end: announced, closing, cut |
//! | problem | what is wrong in a configuration |
//! | reason | why a request was refused: one word, the same in answer, log and metric |
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod breaker;
pub mod config;
pub mod drain;
pub mod error;
pub mod filter;
pub mod http;
pub mod limit;
pub mod metrics;
pub mod proxy;
pub mod route;
pub mod server;
pub mod snapshot;
pub mod store;
mod sync;
pub mod telemetry;
pub mod time;
pub mod timer;
pub mod tls;
pub mod upstream;
