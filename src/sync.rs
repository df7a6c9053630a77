//! Locks and atomics: those of the standard library, or loom's where its model checker runs (`cfg(gateway_loom)`).

#[cfg(not(all(test, gateway_loom)))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};

#[cfg(all(test, gateway_loom))]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};
