//! What the gateway tells in lines of text: the access log for every exchange, the control log for all else.

pub mod access_log;
pub mod control_log;
mod json;
mod levels;
mod log_writer;
pub mod rfc3339;
