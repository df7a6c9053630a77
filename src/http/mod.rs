//! HTTP rules that know nothing of gateways: RFC 9110 (semantics), 9112 (HTTP/1.1), 3986 (URIs), 9209 (Proxy-Status).

pub mod cookie;
pub mod copy;
pub mod fields;
pub mod forwarded;
pub mod frames;
pub mod guard;
pub mod host;
mod kept;
pub mod key;
pub mod origin;
pub(crate) mod query;
pub mod reply;
mod request_body;
pub mod request_id;
pub mod target;
pub mod upgrade;
pub mod upload;
