//! HTTP rules that know nothing of gateways.

pub mod host;
pub mod target;
