//! Tidegate: an API gateway. This page is the map of the house.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod config;
pub mod filter;
pub mod proxy;
pub mod snapshot;
pub mod upstream;
pub mod error;
pub mod metrics;
pub mod route;
pub mod server;
pub mod telemetry;
pub mod time;
pub mod timer;
pub mod drain;
pub mod http;
