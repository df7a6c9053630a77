//! `{sticky_cookie: …}`: who stays, and who gets a cookie.

use http::header;

use super::*;

fn hash(balancer: &Balancer, cookie: &str) -> Option<u64> {
    let mut headers = HeaderMap::new();
    headers.insert(header::COOKIE, HeaderValue::from_str(cookie).unwrap());
    let facts = facts("/", &headers);
    balancer.hash(&facts, &mut Vec::new())
}

#[test]
fn a_client_stays_while_its_endpoint_serves() {
    let those = endpoints(&[1, 1, 1, 0]);
    let balancer = Balancer::new(&sticky(), &those);
    let turn = AtomicUsize::new(0);
    let go = |hash, random| {
        let ask = Ask {
            hash,
            ..ask(random)
        };
        balancer.pick(&those, &turn, &ask).unwrap()
    };
    let first = go(hash(&balancer, "other=1"), 1);
    let set = balancer.set_cookie(first, None, false).unwrap();
    let cookie = set.to_str().unwrap().split(';').next().unwrap().to_owned();
    let own = hash(&balancer, &cookie);
    assert!(own.is_some());
    assert!((0..50).all(|random| go(own, random) == first));
    assert_eq!(balancer.set_cookie(first, own, false), None);
    those[first].state.connect_failed(NOW);
    let other = go(own, 2);
    assert_ne!(other, first);
    assert!(balancer.set_cookie(other, own, false).is_some());
    let unweighed = Some(sticky::token(those[3].state.address));
    assert_ne!(go(unweighed, 3), 3);
}

#[test]
fn the_token_is_of_the_address_wherever_it_stands() {
    let mut those = endpoints(&[1, 1, 1]);
    let cookie = Balancer::new(&sticky(), &those).set_cookie(2, None, true);
    those.swap(0, 2);
    assert_eq!(
        Balancer::new(&sticky(), &those).set_cookie(0, None, true),
        cookie
    );
}

#[test]
fn others_set_none() {
    let those = endpoints(&[1, 1]);
    let balancer = Balancer::new(&Way::RoundRobin, &those);
    assert_eq!(balancer.set_cookie(0, None, true), None);
    assert_eq!(hash(&balancer, "gate=0123456789abcdef"), None);
}
