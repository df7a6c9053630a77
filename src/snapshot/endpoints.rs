//! The endpoints of an upstream, as the file has them and DNS tells them now: one for each address of each name.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderValue;

use super::carry::Carry;
use crate::config::{self, EndpointHost};
use crate::time::Nanos;
use crate::tls::Target;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::names::Addresses;
use crate::upstream::probe::{ProbePolicy, Question};

/// An endpoint before its state is found.
pub(super) struct Place<'a> {
    address: SocketAddr,
    weight: u32,
    authority: &'a str,
    name: Option<&'a Arc<str>>,
    sibling: Option<u32>,
    secure: Option<&'a Target>,
}

/// The places of `upstream`, in file order, each once. A name without an address has none.
///
/// An address that several names have belongs to the first of them, with the weights of all. The families of one name
/// take turns (RFC 8305, section 4), and each address knows one of the other family: where to turn when it is silent.
pub(super) fn places<'a>(upstream: &'a config::Upstream, addresses: &Addresses) -> Vec<Place<'a>> {
    let mut places: Vec<Place<'a>> = Vec::new();
    let mut known: HashMap<SocketAddr, usize> = HashMap::new();
    for endpoint in &upstream.endpoints {
        let begin = places.len();
        let (ips, name) = match &endpoint.host {
            EndpointHost::Ip(ip) => (vec![*ip], None),
            EndpointHost::Name(name) => (in_turn(addresses.of(name)), Some(name)),
        };
        for ip in ips {
            let address = SocketAddr::new(ip, endpoint.port);
            if let Some(first) = known.get(&address) {
                places[*first].weight += endpoint.weight;
                continue;
            }
            known.insert(address, places.len());
            places.push(Place {
                address,
                weight: endpoint.weight,
                authority: &endpoint.authority,
                name,
                sibling: None,
                secure: endpoint.secure.as_ref(),
            });
        }
        introduce_siblings(&mut places, begin);
    }
    places
}

/// Are the endpoints those of `places`, in that order?
pub(super) fn are_at(endpoints: &[Endpoint], places: &[Place<'_>]) -> bool {
    endpoints.len() == places.len()
        && endpoints.iter().zip(places).all(|(endpoint, place)| {
            endpoint.state.address == place.address
                && endpoint.weight == place.weight
                && endpoint.name.as_ref() == place.name
                && endpoint.sibling == place.sibling
                && endpoint.secure.as_deref() == place.secure
        })
}

/// Gives each place its state, and that of its probes by `probe`.
pub(super) fn settle(
    places: &[Place<'_>],
    upstream: &str,
    probe: Option<&ProbePolicy>,
    carry: &mut Carry,
    workers: usize,
) -> Vec<Endpoint> {
    let mut settle = |place: &Place<'_>| {
        // What was read as an endpoint is always a valid field value.
        let authority =
            HeaderValue::from_str(place.authority).unwrap_or_else(|_| HeaderValue::from_static(""));
        let question = probe.map(|policy| Question {
            path: policy.path.clone(),
            authority: authority.clone(),
            lock: place.secure.map_or(0, |target| target.digest),
            expect: policy.expect.clone(),
        });
        Endpoint {
            state: carry.endpoint(upstream, place.address, workers),
            probe: question.map(|question| carry.probe(upstream, place.address, question)),
            weight: place.weight,
            authority,
            name: place.name.cloned(),
            sibling: place.sibling,
            secure: place
                .secure
                .map(|target| Box::new(carry.secure(upstream, target))),
        }
    };
    let endpoints: Vec<Endpoint> = places.iter().map(&mut settle).collect();
    // Where all come at once nobody is new beside others.
    let now = carry.now();
    if endpoints
        .iter()
        .all(|endpoint| endpoint.state.joined() == now)
    {
        endpoints.iter().for_each(|e| e.state.join(Nanos(0)));
    }
    endpoints
}

/// IPv6, IPv4, IPv6 and so on, while there are both.
fn in_turn(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let (v6, v4): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|ip| ip.is_ipv6());
    let mut turns = Vec::with_capacity(addresses.len());
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    while turns.len() < addresses.len() {
        turns.extend(v6.next());
        turns.extend(v4.next());
    }
    turns
}

/// Of the places from `begin` on, the k-th of one family gets the k-th of the other; where there are fewer of those,
/// several share one.
fn introduce_siblings(places: &mut [Place<'_>], begin: usize) {
    let of_family = |is_v6: bool| -> Vec<usize> {
        let own = begin..places.len();
        own.filter(|i| places[*i].address.is_ipv6() == is_v6)
            .collect()
    };
    let (v6, v4) = (of_family(true), of_family(false));
    for (own, other) in [(&v6, &v4), (&v4, &v6)] {
        for (place, sibling) in own.iter().zip(other.iter().cycle()) {
            places[*place].sibling = u32::try_from(*sibling).ok();
        }
    }
}
