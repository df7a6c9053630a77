//! Questions to DNS servers: one look-up of one name, from its first packet to addresses or the reason why not.
//!
//! hickory speaks with one server; which server is asked, when the next one is asked too, and which answers end a
//! look-up is decided here: hickory's own choice would take the first answer even if it says "refused".

use std::cell::Cell;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts};
use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Resolver, TokioResolver};

use super::book::{Family, Found};

/// RFC 8305, section 3, "Resolution Delay": the first family with addresses waits so long for the other.
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// Links of a chain of aliases that are followed within one answer.
const MOST_ALIASES: usize = 16;

/// The servers that are asked.
pub(super) struct Servers {
    servers: Vec<(SocketAddr, TokioResolver)>,
    /// The one that answered last is asked first.
    first: Cell<usize>,
    timeout: Duration,
}

/// Why a server's answer cannot be used.
type Failure = String;

impl Servers {
    /// Servers that are asked in this order; `timeout` bounds each question, over all servers.
    pub(super) fn new(addresses: &[SocketAddr], timeout: Duration) -> Servers {
        let servers = addresses
            .iter()
            .filter_map(|address| Some((*address, one_server(*address, timeout)?)))
            .collect();
        Servers {
            servers,
            first: Cell::new(0),
            timeout,
        }
    }

    /// Looks up the first of `spellings` that has addresses. A failure ends the search: else an outage would turn a
    /// name into another one. `part` hears what is there already when one family of addresses is late.
    pub(super) async fn look_up(&self, spellings: &[Name], part: impl AsyncFn(Found)) -> Found {
        let mut last = none("this is not a name that DNS can have");
        for name in spellings {
            last = self.look_up_one(name, &part).await;
            let is_nothing = |family: &Family| matches!(family, Family::Nothing(_));
            if !(is_nothing(&last.v4) && is_nothing(&last.v6)) {
                break;
            }
        }
        last
    }

    async fn look_up_one(&self, name: &Name, part: &impl AsyncFn(Found)) -> Found {
        let mut a = pin!(self.ask(name, RecordType::A));
        let mut aaaa = pin!(self.ask(name, RecordType::AAAA));
        tokio::select! {
            v4 = &mut a => {
                let found = |v6| Found { v4: v4.clone(), v6 };
                let v6 = rest(aaaa, &found, part).await;
                found(v6)
            }
            v6 = &mut aaaa => {
                let found = |v4| Found { v4, v6: v6.clone() };
                let v4 = rest(a, &found, part).await;
                found(v4)
            }
        }
    }

    async fn ask(&self, name: &Name, kind: RecordType) -> Family {
        let asked = tokio::time::timeout(self.timeout, self.ask_in_turn(name, kind));
        asked
            .await
            .unwrap_or_else(|_| Family::Failed(self.silence()))
    }

    /// One server after the other: the next one at once when one fails, and beside it when one is slow.
    async fn ask_in_turn(&self, name: &Name, kind: RecordType) -> Family {
        let count = self.servers.len();
        let step = self.timeout / u32::try_from(count + 1).unwrap_or(u32::MAX);
        let first = self.first.get();
        let mut left = (0..count).map(|turn| (first + turn) % count).peekable();
        let mut open = FuturesUnordered::new();
        let mut failure = String::from("no server");
        loop {
            if let Some(number) = left.next() {
                let (address, server) = &self.servers[number];
                open.push(async move {
                    let answer = ask_one(server, name, kind).await;
                    (number, answer.map_err(|why| format!("{address}: {why}")))
                });
            } else if open.is_empty() {
                return Family::Failed(failure);
            }
            tokio::select! {
                Some((number, answer)) = open.next() => match answer {
                    Ok(family) => {
                        self.first.set(number);
                        return family;
                    }
                    Err(why) => failure = why,
                },
                () = tokio::time::sleep(step), if left.peek().is_some() => {}
            }
        }
    }

    fn silence(&self) -> Failure {
        let servers: Vec<String> = self.servers.iter().map(|(a, _)| a.to_string()).collect();
        format!(
            "no answer within {:?} from {}",
            self.timeout,
            servers.join(", ")
        )
    }
}

/// Waits for the other family, and says what is there already when that takes longer.
async fn rest(
    mut other: Pin<&mut impl Future<Output = Family>>,
    found: &impl Fn(Family) -> Found,
    part: &impl AsyncFn(Found),
) -> Family {
    let early = found(Family::Late);
    let has_addresses = |family: &Family| matches!(family, Family::Addresses(..));
    if has_addresses(&early.v4) || has_addresses(&early.v6) {
        if let Ok(other) = tokio::time::timeout(RESOLUTION_DELAY, other.as_mut()).await {
            return other;
        }
        part(early).await;
    }
    other.await
}

/// The addresses that `/etc/hosts` has.
pub(super) fn from_hosts(addresses: &[IpAddr], ttl: Duration) -> Found {
    let usable = addresses.iter().copied().filter_map(usable);
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = usable.partition(IpAddr::is_ipv4);
    let family = |list: Vec<IpAddr>| {
        if list.is_empty() {
            Family::Nothing("/etc/hosts has no usable address".into())
        } else {
            Family::Addresses(list, ttl)
        }
    };
    Found {
        v4: family(v4),
        v6: family(v6),
    }
}

/// A look-up that came to nothing.
pub(super) fn failed(why: &str) -> Found {
    Found {
        v4: Family::Failed(why.into()),
        v6: Family::Failed(why.into()),
    }
}

fn none(why: &str) -> Found {
    Found {
        v4: Family::Nothing(why.into()),
        v6: Family::Nothing(why.into()),
    }
}

fn one_server(address: SocketAddr, timeout: Duration) -> Option<TokioResolver> {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    let server = NameServerConfig::new(address.ip(), true, connections.into());
    let config = ResolverConfig::from_name_servers(vec![server]);
    let mut options = ResolverOpts::default();
    options.timeout = timeout;
    // An answer that cannot be read is asked for once more; lost packets are sent again below this.
    options.attempts = 1;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.num_concurrent_reqs = 1;
    let builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    builder
        .with_options(options)
        .build()
        .inspect_err(|error| tracing::error!(%address, %error, "this DNS server is not asked"))
        .ok()
}

/// `Err` is what another server may know better.
async fn ask_one(server: &TokioResolver, name: &Name, kind: RecordType) -> Result<Family, Failure> {
    // A cache without room keeps an answer for a moment all the same.
    server.clear_cache();
    match server.lookup(name.clone(), kind).await {
        Ok(lookup) => Ok(read(lookup.answers(), name, kind)),
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
            Ok(Family::Nothing(match none.response_code {
                ResponseCode::NXDomain => format!("{name} does not exist"),
                _ => format!("{name} has no address"),
            }))
        }
        Err(NetError::Dns(DnsError::ResponseCode(code))) => Err(format!("{code}")),
        Err(NetError::Timeout) => Err("no answer".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// The addresses of `name` and of what it is an alias of; whatever else stands in the answer is not believed.
fn read(answers: &[Record], name: &Name, kind: RecordType) -> Family {
    let mut owners = vec![name];
    let mut ttl = u32::MAX;
    for _ in 0..MOST_ALIASES {
        let next = answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if owners.last() == Some(&&record.name) => {
                Some((&target.0, record.ttl))
            }
            _ => None,
        });
        let Some((target, alias_ttl)) = next else {
            break;
        };
        ttl = ttl.min(alias_ttl);
        owners.push(target);
    }
    let mut addresses = Vec::new();
    for record in answers {
        if record.record_type() != kind || !owners.contains(&&record.name) {
            continue;
        }
        ttl = ttl.min(record.ttl);
        addresses.extend(record.data.ip_addr().and_then(usable));
    }
    if addresses.is_empty() {
        Family::Nothing(format!("{name} has no usable address"))
    } else {
        Family::Addresses(addresses, Duration::from_secs(ttl.into()))
    }
}

/// An address that a connection can be made to: blocklists answer 0.0.0.0, which would be this machine itself, and a
/// link-local IPv6 address is none without the name of its link.
fn usable(ip: IpAddr) -> Option<IpAddr> {
    let ip = ip.to_canonical();
    let is_nowhere = match ip {
        IpAddr::V4(v4) => v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    (!ip.is_unspecified() && !ip.is_multicast() && !is_nowhere).then_some(ip)
}
