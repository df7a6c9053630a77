//! `rate_limits`: who shares a bucket, how fast it fills, and what happens to a request that finds it empty.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderName;

use super::fields::Fields;
use super::names::Names;
use super::node::{Node, Scalar, Style};
use super::report::{Fault, Report, quote};
use super::{address, balances, scalar};
use crate::http::key::{Key, Part};

/// One limit: an entry of `rate_limits`, or a policy that a route or a listener writes itself.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimit {
    /// Its key in the map, or made for a policy without one. Unique.
    pub name: String,
    /// Who shares a bucket.
    pub key: Key,
    /// How fast a bucket fills, and its size.
    pub rate: Rate,
    /// What a request takes.
    pub cost: Cost,
    /// What a request without the key is.
    pub on_missing_key: MissingKey,
    /// Bits of an IPv6 address that are one client; at most 128.
    pub ipv6_prefix: u8,
    /// Networks of clients that are not limited, as (address, prefix length), masked.
    pub exempt: Vec<(IpAddr, u8)>,
    /// How long a request may wait for its turn; zero = it is refused at once.
    pub max_wait: Duration,
    /// Most requests that wait at once; at least 1.
    pub max_waiting: usize,
    /// Most buckets; at least 1.
    pub max_keys: u64,
    /// Where the buckets are; `None` = in this process.
    pub store: Option<StoreUse>,
    /// What holds while the store is away.
    pub on_store_failure: OnStoreFailure,
    /// Is anybody refused? If not, it is only counted.
    pub is_enforced: bool,
    /// A second rate that is computed beside the first, and only counted.
    pub candidate: Option<Rate>,
    /// Which answers carry RateLimit fields.
    pub headers: LimitHeaders,
}

/// `store`, where it is not `local`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUse {
    /// One of `Config::stores`.
    pub store: String,
    /// Is it asked for each request?
    pub is_exact: bool,
}

/// `on_store_failure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStoreFailure {
    /// Buckets of this process.
    Local,
    /// No limit.
    Allow,
    /// 503.
    Deny,
}

/// `rate` with its `burst`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come in each `per`; at least 1.
    pub tokens: u64,
    /// At least 1 ms.
    pub per: Duration,
    /// Tokens that a full bucket has; at least 1.
    pub burst: u64,
}

/// `cost`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cost {
    /// So many tokens, at least 1.
    Fixed(u64),
    /// One token, until the upstream's answer says in this field what the request did cost.
    Header(HeaderName),
}

/// `on_missing_key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingKey {
    /// The client's address is its key.
    ClientIp,
    /// It is let through.
    Allow,
    /// It is refused.
    Deny,
}

/// `headers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitHeaders {
    /// Refusals alone.
    Refused,
    /// Every answer.
    Always,
    /// None.
    Off,
}

/// The policy at `fields`, an entry of `rate_limits` or one like it.
pub(super) fn parse(
    name: &str,
    fields: &Fields<'_>,
    stores: &Names<'_>,
    report: &mut Report,
) -> RateLimit {
    let number = |name| {
        let number = fields.number(name);
        number.and_then(|n| usize::try_from(n).ok()).unwrap_or(1)
    };
    let rate = parse_rate(fields, report);
    let cost = parse_cost(fields);
    refuse_dear(fields, &cost, rate, report);
    let candidate = fields.section("candidate");
    let key = parse_key(fields, report);
    RateLimit {
        name: name.into(),
        store: parse_store(fields, &key, stores, report),
        on_store_failure: match fields.text("on_store_failure") {
            Some("allow") => OnStoreFailure::Allow,
            Some("deny") => OnStoreFailure::Deny,
            _ => OnStoreFailure::Local,
        },
        key,
        rate,
        cost,
        on_missing_key: match fields.text("on_missing_key") {
            Some("allow") => MissingKey::Allow,
            Some("deny") => MissingKey::Deny,
            _ => MissingKey::ClientIp,
        },
        ipv6_prefix: u8::try_from(number("ipv6_prefix")).unwrap_or(128),
        exempt: address::written(fields, "exempt"),
        max_wait: fields.duration("max_wait").unwrap_or_default(),
        max_waiting: number("max_waiting"),
        max_keys: fields.number("max_keys").unwrap_or(1),
        is_enforced: fields.text("mode") != Some("observe"),
        candidate: fields
            .node("candidate")
            .map(|_| parse_rate(&candidate, report)),
        headers: match fields.text("headers") {
            Some("always") => LimitHeaders::Always,
            _ if fields.is_off("headers") => LimitHeaders::Off,
            _ => LimitHeaders::Refused,
        },
    }
}

/// `{redis: NAME, mode: leased}`.
fn parse_store(
    fields: &Fields<'_>,
    key: &Key,
    stores: &Names<'_>,
    report: &mut Report,
) -> Option<StoreUse> {
    let section = fields.section("store");
    let name = section.node("redis")?;
    if key.parts().contains(&Part::Connection) {
        let help = "`store: local`, or another key";
        let message = "a connection belongs to one gateway: its bucket cannot be shared";
        report.error(fields.span("store"), Fault::new(message, help));
    }
    let scalar = name.scalar()?;
    stores.find(name, &scalar.text, scalar.shown(), report)?;
    Some(StoreUse {
        store: scalar.text.clone(),
        is_exact: section.text("mode") == Some("exact"),
    })
}

/// The `key` of a map that has one; `client_ip` where it is not written.
pub(super) fn parse_key(fields: &Fields<'_>, report: &mut Report) -> Key {
    match fields.node("key") {
        Some(node) => balances::parse_key(node, report),
        None => Key::client_ip(),
    }
}

fn parse_rate(fields: &Fields<'_>, report: &mut Report) -> Rate {
    let written = fields.text("rate").map(scalar::rate);
    let (tokens, per) = match written {
        Some(Ok(rate)) => rate,
        // It was reported that there is none.
        _ => (1, Duration::from_secs(1)),
    };
    // One of 0 was refused.
    let burst = fields.number("burst").unwrap_or(tokens).max(1);
    if let Err(error) = crate::limit::Quota::new(tokens, per, burst) {
        let key = if fields.node("burst").is_some() {
            "burst"
        } else {
            "rate"
        };
        let fault = Fault::bare(format!("this cannot be kept exactly: {error}"));
        report.error(fields.span(key), fault);
    }
    Rate { tokens, per, burst }
}

fn parse_cost(fields: &Fields<'_>) -> Cost {
    let written = fields.node("cost").and_then(Node::scalar);
    let cost = written.and_then(|scalar| cost(scalar).ok());
    cost.unwrap_or(Cost::Fixed(1))
}

/// The `cost` that is written for the use of a limit elsewhere, which takes the place of its own.
pub(super) fn parse_use(fields: &Fields<'_>, rate: Rate, report: &mut Report) -> Option<Cost> {
    fields.node("cost")?;
    let cost = parse_cost(fields);
    refuse_dear(fields, &cost, rate, report);
    Some(cost)
}

fn refuse_dear(fields: &Fields<'_>, cost: &Cost, rate: Rate, report: &mut Report) {
    let dear = match cost {
        Cost::Fixed(cost) => *cost > rate.burst,
        Cost::Header(_) => false,
    };
    if dear {
        let message = "no request could ever pass";
        let help = format!(
            "it takes more tokens than a full bucket has: {}",
            rate.burst
        );
        report.error(fields.span("cost"), Fault::new(message, help));
    }
}

/// `cost`: a whole number, at least 1, or `header:NAME`.
pub(super) fn cost(value: &Scalar) -> Result<Cost, Fault> {
    let text = value.text.as_str();
    let help = "a whole number, at least 1, or `header:NAME`";
    if let Some(name) = text.strip_prefix("header:") {
        return HeaderName::from_bytes(name.as_bytes())
            .map(Cost::Header)
            .map_err(|_| {
                let message = format!("{} is not the name of a header", quote(name));
                Fault::new(message, "such as `header:X-Cost`")
            });
    }
    match scalar::whole(text) {
        Some(0) => Err(Fault::new(
            "a request that costs nothing needs no limit",
            help,
        )),
        Some(_) if value.style == Style::Quoted => Err(Fault::new(
            "a text in quotes is no number",
            "leave the quotes out",
        )),
        Some(number) => Ok(Cost::Fixed(number)),
        None => {
            let message = format!("{} is not a cost", quote(value.shown()));
            Err(Fault::new(message, help))
        }
    }
}
