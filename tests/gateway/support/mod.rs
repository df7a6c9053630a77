//! The peers of a conversation: a gateway process, clients in front of it, upstreams behind it.

mod census;
mod client;
// What is not needed here, the resolver's own tests need.
#[allow(dead_code)]
mod dns;
mod echo;
mod gateway;
pub(crate) mod h2;
mod last_words;
mod lines;
mod metrics;
mod namespace;
// What is not needed here, the tests of stores need.
#[allow(dead_code)]
mod redis;
mod setup;
mod site;
mod tls;
mod upstream;
mod vacant;
mod wait;
mod websocket;
mod wire;

pub(crate) use census::Census;
pub(crate) use client::{Client, Response};
pub(crate) use dns::{Dns, Say, addresses};
pub(crate) use echo::{Echo, Report};
pub(crate) use gateway::{Follower, Gateway, TIDEGATE, unique_directory};
pub(crate) use h2::H2;
pub(crate) use metrics::Samples;
pub(crate) use namespace::{mounted, without_events};
pub(crate) use redis::{Redis, Slow, free_port};
pub(crate) use setup::Setup;
pub(crate) use site::{HEALTHZ, Site};
pub(crate) use tls::{Authority, Kind, Pair, Visitor, tls_file};
pub(crate) use upstream::{Peer, Request, Upstream, answer};
pub(crate) use vacant::vacant;
pub(crate) use wait::{Gate, PATIENCE, scale, until, until_some};
pub(crate) use websocket::{
    ACCEPT, Chat, Handshake, KEY, Opcode, echoing, masked, plain, reflecting, switching,
};
pub(crate) use wire::{Head, is_timeout};
