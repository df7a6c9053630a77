//! `upstreams.*.health_check`, `ejection`, `panic_below`, `slow_start` and `failover`: who serves, and who stands in.

use std::time::Duration;

use super::Upstream;
use super::fields::Fields;
use super::keys;
use super::names::Names;
use super::node::Node;
use super::path;
use super::report::{Fault, Report, quote};
use super::scalar;

/// `upstreams.*.health_check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Normalised, with its query if there is one.
    pub path: String,
    /// From one probe of an endpoint to the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Good answers in a row until an endpoint serves again, 1 to 1000.
    pub healthy: u32,
    /// Bad answers in a row until it is left out, 1 to 1000.
    pub unhealthy: u32,
    /// Status codes of a good answer: ranges with both their ends, from 100 to 599. Never empty.
    pub expect: Vec<(u16, u16)>,
}

/// `upstreams.*.ejection`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row until an endpoint is left out, at least 1.
    pub consecutive_failures: u32,
    /// For how long, the first time.
    pub base: Duration,
    /// Most endpoints left out at once, 0 to 100 of a hundred.
    pub max_percent: u32,
}

/// What an upstream says of the health of its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Active probes; `None` = off.
    pub check: Option<HealthCheck>,
    /// Passive ejection; `None` = off.
    pub ejection: Option<Ejection>,
    /// Below this share of endpoints that serve, of a million, all are used again; `None` = off.
    pub panic_below: Option<u32>,
    /// Time over which an endpoint that came back grows to its full share; `None` = off.
    pub slow_start: Option<Duration>,
    /// Upstreams that take over, by their indices, in this order. They never lead back.
    pub failover: Vec<usize>,
}

/// All but `failover`, which names upstreams that are yet to be read.
pub(super) fn parse(upstream: &Fields<'_>, report: &mut Report) -> Health {
    Health {
        check: parse_check(upstream, report),
        ejection: parse_ejection(upstream),
        panic_below: upstream.share("panic_below"),
        slow_start: upstream.duration("slow_start"),
        failover: Vec::new(),
    }
}

fn parse_check(upstream: &Fields<'_>, report: &mut Report) -> Option<HealthCheck> {
    upstream.node("health_check")?;
    if upstream.is_off("health_check") {
        return None;
    }
    let fields = upstream.section("health_check");
    let (interval, timeout) = (fields.duration("interval"), fields.duration("timeout"));
    // One of 0 was refused.
    if interval.is_some_and(|interval| !interval.is_zero()) && interval < timeout {
        let message = "`timeout` is longer than `interval`";
        let help = "the next probe of an endpoint waits for the end of the one before";
        let key = if fields.node("timeout").is_some() {
            "timeout"
        } else {
            "interval"
        };
        report.warn(fields.span(key), Fault::new(message, help));
    }
    Some(HealthCheck {
        path: path::normalise_target(fields.text("path").unwrap_or_default()),
        interval: interval.unwrap_or_default(),
        timeout: timeout.unwrap_or_default(),
        healthy: count(&fields, "healthy"),
        unhealthy: count(&fields, "unhealthy"),
        expect: parse_expect(&fields),
    })
}

fn parse_expect(fields: &Fields<'_>) -> Vec<(u16, u16)> {
    let items = fields.node("expect").map(Node::items).unwrap_or_default();
    let written = items.iter().filter_map(Node::scalar);
    let read: Vec<_> = written
        .filter_map(|scalar| statuses(&scalar.text).ok())
        .collect();
    if read.is_empty() {
        let preset = fields.text("expect").map(statuses);
        return preset.and_then(Result::ok).into_iter().collect();
    }
    read
}

fn parse_ejection(upstream: &Fields<'_>) -> Option<Ejection> {
    if upstream.is_off("ejection") {
        return None;
    }
    let fields = upstream.section("ejection");
    Some(Ejection {
        consecutive_failures: count(&fields, "consecutive_failures"),
        base: fields.duration("base").unwrap_or_default(),
        max_percent: count(&fields, "max_percent"),
    })
}

fn count(fields: &Fields<'_>, name: &str) -> u32 {
    let number = fields.number(name);
    number.map_or(0, |n| u32::try_from(n).unwrap_or(u32::MAX))
}

/// `200`, or `200-299`: both ends of what is meant.
pub(super) fn statuses(text: &str) -> Result<(u16, u16), Fault> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let code = |text: &str| {
        let digits = (text.len() == 3).then_some(text);
        let number = digits.and_then(scalar::whole)?;
        u16::try_from(number)
            .ok()
            .filter(|n| (100..600).contains(n))
    };
    let Some((from, to)) = code(from).zip(code(to)) else {
        let help = match text {
            "2xx" | "3xx" => Some(format!("write `{0}00-{0}99`", &text[..1])),
            _ => None,
        };
        let help =
            help.unwrap_or_else(|| "a code such as `200`, or a range such as `200-299`".into());
        let message = format!("{} is no status code from 100 to 599", quote(text));
        return Err(Fault::new(message, help));
    };
    if from > to {
        let message = format!("{} ends before it begins", quote(text));
        return Err(Fault::new(message, format!("`{to}-{from}`")));
    }
    Ok((from, to))
}

/// Reads who stands in for whom, now that all have names.
pub(super) fn join(root: &Fields<'_>, upstreams: &mut [Upstream], report: &mut Report) {
    let nodes = root.node("upstreams").and_then(Node::map);
    let names = Names::of_upstreams(upstreams);
    let said: Vec<Vec<(usize, &Node)>> = nodes
        .unwrap_or_default()
        .iter()
        .map(|(_, node)| stand_ins(&Fields::new(Some(node), keys::UPSTREAM), &names, report))
        .collect();
    let next: Vec<Vec<usize>> = said
        .iter()
        .map(|said| said.iter().map(|(to, _)| *to).collect())
        .collect();
    for (index, said) in said.iter().enumerate() {
        for (to, node) in said {
            if let Some(way) = find_way(*to, index, &next) {
                let way = way.iter().map(|at| quote(&upstreams[*at].name));
                let way: Vec<String> = [quote(&upstreams[index].name)]
                    .into_iter()
                    .chain(way)
                    .collect();
                let message = format!("this leads back: {}", way.join(" → "));
                let help = "an upstream that stands in must not need the one that it stands in for";
                report.error(node.span, Fault::new(message, help));
            }
        }
    }
    for (upstream, failover) in upstreams.iter_mut().zip(next) {
        upstream.health.failover = failover;
    }
}

fn stand_ins<'a>(
    upstream: &Fields<'a>,
    names: &Names<'_>,
    report: &mut Report,
) -> Vec<(usize, &'a Node)> {
    let Some(node) = upstream.node("failover") else {
        return Vec::new();
    };
    if upstream.node("health_check").is_none() || upstream.is_off("health_check") {
        let message = "`failover` needs a `health_check`";
        let help = "without probes nobody finds out that an upstream is back: `health_check: {}`";
        report.error(node.span, Fault::new(message, help));
    }
    let mut all: Vec<(usize, &Node)> = Vec::new();
    for item in node.items() {
        let Some(scalar) = item.scalar() else {
            continue;
        };
        let Some(index) = names.find(item, &scalar.text, scalar.shown(), report) else {
            continue;
        };
        if all.iter().any(|(known, _)| *known == index) {
            let message = format!("{} is listed twice", quote(scalar.shown()));
            report.error(item.span, Fault::bare(message));
            continue;
        }
        all.push((index, item));
    }
    all
}

/// A shortest way from one upstream to another, both ends included.
fn find_way(from: usize, to: usize, next: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut came: Vec<Option<usize>> = vec![None; next.len()];
    let mut seen = vec![from];
    let mut at = 0;
    while let Some(here) = seen.get(at).copied() {
        if here == to {
            let mut way = vec![here];
            while let Some(before) = way.last().copied().filter(|last| *last != from) {
                way.push(came[before]?);
            }
            way.reverse();
            return Some(way);
        }
        for there in &next[here] {
            if !seen.contains(there) {
                came[*there] = Some(here);
                seen.push(*there);
            }
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_codes_and_ranges() {
        assert_eq!(statuses("200"), Ok((200, 200)));
        assert_eq!(statuses("200-399"), Ok((200, 399)));
        for bad in [
            "",
            "20",
            "2000",
            "2xx",
            "600",
            "099",
            "200-",
            "-200",
            "300-200",
            "200-299-300",
            "0200",
            "+20",
        ] {
            assert!(statuses(bad).is_err(), "{bad}");
        }
        assert_eq!(
            statuses("2xx").unwrap_err().help.unwrap(),
            "write `200-299`"
        );
        assert_eq!(statuses("299-200").unwrap_err().help.unwrap(), "`200-299`");
    }

    #[test]
    fn ways_are_found_and_are_short() {
        let next = [vec![1, 2], vec![3], vec![3], vec![0], vec![4]];
        assert_eq!(find_way(1, 0, &next), Some(vec![1, 3, 0]));
        assert_eq!(find_way(4, 4, &next), Some(vec![4]));
        assert_eq!(find_way(0, 4, &next), None);
    }
}
