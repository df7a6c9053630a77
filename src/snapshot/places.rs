//! Which listener stands at which number, when listeners come and go while connections of theirs live on.
//!
//! A connection knows its listener by number. So a listener that is gone keeps its place and its policy; where another
//! has taken over its address, its connections are served as that one's until they close, which they are asked to do.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Listener;

/// Puts `named`, the listeners of the file, to their numbers among those of the `previous` snapshot.
pub(super) fn place(mut named: Vec<Listener>, previous: &[Arc<Listener>]) -> Vec<Arc<Listener>> {
    let mut places: Vec<Arc<Listener>> = (0..)
        .zip(previous)
        .map(|(number, before)| Arc::new(gone(before, number, &named)))
        .collect();
    // A new one has the next number.
    named.sort_by_key(|listener| listener.number);
    for mut listener in named {
        let place = places.get_mut(usize::from(listener.number));
        match place {
            Some(place) => {
                let before = &previous[usize::from(listener.number)];
                listener.is_narrowed = before.name == listener.name
                    && (before.is_narrowed || !before.bind.iter().all(|a| listener.is_at(*a)));
                *place = Arc::new(listener);
            }
            None => places.push(Arc::new(listener)),
        }
    }
    places
}

/// What stays of `before`, whose number is `number`, when the file does not name it.
fn gone(before: &Listener, number: u16, named: &[Listener]) -> Listener {
    let takes_over = |other: &&Listener| before.bind.iter().any(|a| other.bind.contains(a));
    let heir = named.iter().find(takes_over);
    Listener {
        number: heir.map_or(number, |heir| heir.number),
        bind: before.bind.clone(),
        is_gone: true,
        is_narrowed: true,
        ..heir.unwrap_or(before).clone()
    }
}

impl Listener {
    /// Is `local`, the address that a connection of this listener came to, still one of its addresses?
    #[must_use]
    #[inline]
    pub fn serves(&self, local: SocketAddr) -> bool {
        !self.is_narrowed || (!self.is_gone && self.is_at(local))
    }

    fn is_at(&self, local: SocketAddr) -> bool {
        self.bind.iter().any(|bind| covers(*bind, local))
    }
}

/// Does a socket that is bound to `bind` take connections to `local`?
fn covers(bind: SocketAddr, local: SocketAddr) -> bool {
    let (ip, to) = (bind.ip(), local.ip().to_canonical());
    // `[::]` is dual stack.
    let takes_ip =
        ip.to_canonical() == to || (ip.is_unspecified() && (ip.is_ipv6() || to.is_ipv4()));
    takes_ip && (bind.port() == 0 || bind.port() == local.port())
}

#[cfg(test)]
mod tests {
    use super::super::compile::{Ground, compile};
    use super::*;
    use crate::snapshot::Snapshot;
    use crate::time::Nanos;

    fn next(listeners: &str, previous: Option<&Snapshot>) -> Snapshot {
        let text = format!("listeners: {listeners}\nroutes: [{{ respond: {{ status: 200 }} }}]\n");
        let config = crate::config::parse_text("f", &text, &|_| None)
            .unwrap()
            .config;
        let ground = Ground {
            workers: 1,
            connections: 10,
            now: Nanos(0),
        };
        compile(&config, &Default::default(), previous, ground)
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_listener_that_is_gone_keeps_its_place_and_asks_its_connections_to_leave() {
        let first = next(
            "[{ name: a, bind: \"127.0.0.1:1\" }, { name: b, bind: \"127.0.0.1:2\" }]",
            None,
        );
        let second = next(
            "[{ name: c, bind: \"127.0.0.1:3\" }, { name: b, bind: \"127.0.0.1:2\" }]",
            Some(&first),
        );
        let names: Vec<_> = second
            .listeners
            .iter()
            .map(|l| (l.name.as_str(), l.number))
            .collect();
        assert_eq!(names, [("a", 0), ("b", 1), ("c", 2)]);
        assert!(!second.listeners[0].serves(at("127.0.0.1:1")));
        assert!(second.listeners[1].serves(at("127.0.0.1:2")));
        let third = next("[{ name: a, bind: \"127.0.0.1:1\" }]", Some(&second));
        assert!(third.listeners[0].serves(at("127.0.0.1:1")), "it came back");
        assert_eq!(third.listeners.len(), 3);
    }

    #[test]
    fn connections_of_a_renamed_listener_are_served_as_the_new_one() {
        let first = next("[{ name: old, bind: \"127.0.0.1:1\" }]", None);
        let second = next(
            "[{ name: new, bind: \"127.0.0.1:1\", limits: { headers: 7 } }]",
            Some(&first),
        );
        let left = &second.listeners[0];
        assert_eq!(
            (left.name.as_str(), left.number, left.limits.headers),
            ("new", 1, 7)
        );
        assert!(!left.serves(at("127.0.0.1:1")));
        assert!(second.listeners[1].serves(at("127.0.0.1:1")));
    }

    #[test]
    fn who_came_through_an_address_that_went_leaves_and_others_stay() {
        let both = next(
            "[{ name: a, bind: [\"127.0.0.1:1\", \"127.0.0.1:2\"] }]",
            None,
        );
        let one = next("[{ name: a, bind: \"127.0.0.1:2\" }]", Some(&both));
        assert!(!one.listeners[0].serves(at("127.0.0.1:1")));
        assert!(one.listeners[0].serves(at("127.0.0.1:2")));
    }

    #[test]
    fn an_address_for_all_interfaces_covers_each() {
        for (bind, local, is_covered) in [
            ("0.0.0.0:1", "10.0.0.1:1", true),
            ("0.0.0.0:1", "10.0.0.1:2", false),
            ("0.0.0.0:1", "[::1]:1", false),
            ("[::]:1", "10.0.0.1:1", true),
            ("[::]:1", "[::ffff:10.0.0.1]:1", true),
            ("[::]:1", "[fd00::1]:1", true),
            ("127.0.0.1:0", "127.0.0.1:4711", true),
            ("127.0.0.1:0", "127.0.0.2:4711", false),
            ("[::1]:1", "[::1]:1", true),
        ] {
            assert_eq!(covers(at(bind), at(local)), is_covered, "{bind} {local}");
        }
    }
}
