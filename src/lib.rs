//! Tidegate: an API gateway. This page is the map of the house.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod config;
pub mod drain;
pub mod error;
pub mod filter;
pub mod http;
pub mod metrics;
pub mod proxy;
pub mod route;
pub mod server;
pub mod snapshot;
pub mod telemetry;
pub mod time;
pub mod timer;
pub mod upstream;
