//! The rows of the breaker as the pure core keeps them, in virtual time.
