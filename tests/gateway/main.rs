//! Conversations with the real gateway: its own process, real sockets, scripted peers on both sides.
//!
//! A test reads as a conversation: the upstream expects and answers, the client sends and expects. Every
//! listener is on port 0 and nothing sleeps: what has to happen is waited for, with a deadline. The long
//! forms of the tests (1 GiB bodies, 1,000 reloads) run with `TIDEGATE_SOAK=1`, which `make soak` sets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod access_log;
mod admin;
mod answers;
mod autobahn;
mod balance;
mod breaker;
mod bulkhead;
mod config_dir;
mod connections;
mod dns;
mod dns_outage;
mod drain;
mod ejection;
mod events;
mod failover;
mod forwarded;
mod framing;
mod h2;
mod handover;
mod harness;
mod header_changes;
mod health;
mod health_reload;
mod hostile;
mod hygiene;
mod limits;
mod limits_redis;
mod listeners;
mod log_format;
mod messages;
mod operator;
mod operator_guards;
mod paths;
mod pool;
mod pool_bound;
mod pool_reload;
mod pool_stale;
mod proxy_protocol;
mod redirects;
mod reload;
mod reload_load;
mod reload_ways;
mod remote;
mod retry;
mod retry_bodies;
mod retry_budget;
mod retry_deadlines;
mod rewrite;
mod routing;
mod routing_cases;
mod slow_clients;
mod smuggling;
mod startup;
mod streaming;
mod support;
mod tls;
mod unreachable;
mod uploads;
mod upstream_tls;
mod websocket;
