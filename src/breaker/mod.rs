//! Circuit breakers: when a failing upstream is left alone, and how it is tried again.

pub mod outcome;
