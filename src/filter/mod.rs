//! What a route does to a request before, or instead of, forwarding it. Synchronous, decided from what was compiled.

pub mod fields;
pub mod in_flight;
pub mod limit;
pub mod redirect;
pub mod rewrite;
pub mod split;
