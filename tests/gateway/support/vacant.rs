//! Addresses at which nobody listens, and nobody begins to while the test runs.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below what the system hands out for port 0 and for connections, so that no other test gets one by chance.
const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;

/// Addresses of 127.0.0.1, each another one, whose ports are free on `::1` too.
pub(crate) fn vacant<const N: usize>() -> [SocketAddr; N] {
    std::array::from_fn(|_| {
        let port = std::iter::repeat_with(next).find(|port| {
            let is_free = |bound: std::io::Result<TcpListener>| bound.is_ok();
            is_free(TcpListener::bind((Ipv4Addr::LOCALHOST, *port)))
                && is_free(TcpListener::bind((Ipv6Addr::LOCALHOST, *port)))
        });
        (Ipv4Addr::LOCALHOST, port.unwrap()).into()
    })
}

/// Tests run in processes of their own: each begins at another place.
fn next() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::SeqCst);
    assert!(number < COUNT, "no port is free");
    let place = std::process::id().wrapping_mul(7919).wrapping_add(number) % COUNT;
    u16::try_from(FIRST + place).unwrap()
}
