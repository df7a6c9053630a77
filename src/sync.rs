//! Atomics: those of std, or of loom where it tries every order in which threads may see them.

#[cfg(not(gateway_loom))]
pub use std::sync::atomic;

#[cfg(gateway_loom)]
pub use loom::sync::atomic;
