//! Addresses by host name: what the resolver publishes, what a snapshot is compiled with, and how workers ask for more.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::mpsc;

/// Complaints that may wait. One that finds no room is dropped: the next failure brings another.
const COMPLAINTS: usize = 64;

/// The addresses of host names. A clone is cheap and never changes.
#[derive(Clone, Debug, Default)]
pub struct Addresses(Arc<BTreeMap<Arc<str>, Vec<IpAddr>>>);

impl Addresses {
    /// The addresses of `name`, in order and each once; empty where none is known.
    #[must_use]
    pub fn of(&self, name: &str) -> &[IpAddr] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }
}

impl PartialEq for Addresses {
    fn eq(&self, other: &Addresses) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl FromIterator<(Arc<str>, Vec<IpAddr>)> for Addresses {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Vec<IpAddr>)>>(names: I) -> Addresses {
        let sorted = names.into_iter().map(|(name, mut addresses)| {
            addresses.sort_unstable();
            addresses.dedup();
            (name, addresses)
        });
        Addresses(Arc::new(sorted.collect()))
    }
}

/// Where workers tell that an address of a name was not reached, so that the name is looked up before its time.
#[derive(Clone, Debug)]
pub struct Complaints(mpsc::Sender<Arc<str>>);

impl Complaints {
    /// The workers' end and the resolver's.
    #[must_use]
    pub fn new() -> (Complaints, mpsc::Receiver<Arc<str>>) {
        let (sender, receiver) = mpsc::channel(COMPLAINTS);
        (Complaints(sender), receiver)
    }

    /// A connect to an address of `name` failed. Never waits.
    pub fn unreached(&self, name: &Arc<str>) {
        // Full: enough look-ups are asked for already. Closed: the gateway ends.
        let _ = self.0.try_send(name.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn addresses(name: &str, list: &[&str]) -> Addresses {
        let list = list.iter().map(|text| ip(text)).collect();
        Addresses::from_iter([(Arc::from(name), list)])
    }

    #[test]
    fn a_set_is_sorted_without_doubles_and_a_rotated_one_is_the_same() {
        let one = addresses("app", &["10.0.0.2", "::1", "10.0.0.1", "10.0.0.2"]);
        let other = addresses("app", &["::1", "10.0.0.1", "10.0.0.2"]);
        assert_eq!(one, other);
        assert_eq!(
            one.of("app"),
            [ip("10.0.0.1"), ip("10.0.0.2"), ip("::1")].as_slice()
        );
        assert!(one.of("other").is_empty());
        assert_ne!(one, addresses("app", &["10.0.0.1"]));
        assert_ne!(one, Addresses::default());
    }

    #[test]
    fn complaints_are_bounded_and_never_wait() {
        let (complaints, mut heard) = Complaints::new();
        let name: Arc<str> = Arc::from("app");
        for _ in 0..3 * COMPLAINTS {
            complaints.unreached(&name);
        }
        let mut count = 0;
        while heard.try_recv().is_ok() {
            count += 1;
        }
        assert_eq!(count, COMPLAINTS);
        drop(heard);
        complaints.unreached(&name);
    }
}
