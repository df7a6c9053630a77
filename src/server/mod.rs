//! The process: what runs beside the workers.

pub mod watch;
