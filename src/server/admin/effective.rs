//! `/config`: the configuration in force in the words of the file, defaults filled in and secrets masked.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::{limit_json, route_json, tls_json, upstream_json};
use crate::config::{
    AccessLog, Config, ErrorDetail, Listener, LogFormat, LogPath, LogPiece, Logging, Protocols,
};
use crate::snapshot::compile::Ground;

/// Stands for what must not be seen.
const MASK: &str = "***";

/// Parts of the names of header fields whose values are likely secrets.
const SECRET_NAMES: [&str; 8] = [
    "auth",
    "cookie",
    "credential",
    "key",
    "password",
    "secret",
    "session",
    "token",
];

/// Everything that `config` says, on this ground.
pub(super) fn config(config: &Config, ground: Ground) -> Value {
    // Taken apart, so that what is new in a file is not forgotten here.
    let Config {
        workers,
        dns,
        listeners,
        admin,
        upstreams,
        routes,
        drain,
        logging: logs,
        errors,
        rate_limits,
        stores,
        limits_memory,
        // Of what they hold nothing is shown; their names stand where they are named.
        files: _,
    } = config;
    let upstreams: Map<String, Value> = upstreams
        .iter()
        .map(|u| (u.name.clone(), upstream_json::whole(config, u)))
        .collect();
    json!({
        "workers": workers.map_or(ground.workers, usize::from),
        "dns": upstream_json::dns(dns),
        "listeners": listeners.iter().map(|l| listener(config, l, ground)).collect::<Vec<_>>(),
        "admin": match admin {
            None => off(),
            Some(admin) => json!({
                "bind": admin.bind.to_string(),
                "token": if admin.token.is_some() { MASK.into() } else { off() },
            }),
        },
        "upstreams": upstreams,
        "limits_memory": size(*limits_memory),
        "stores": limit_json::stores(stores),
        "rate_limits": limit_json::all(rate_limits),
        "routes": routes.iter().map(|r| route_json::whole(config, r)).collect::<Vec<_>>(),
        "drain": { "delay": duration(drain.delay), "deadline": duration(drain.deadline) },
        "logging": logging(logs),
        "errors": { "detail": match errors { ErrorDetail::Full => "full", ErrorDetail::Reason => "reason" } },
    })
}

fn listener(config: &Config, listener: &Listener, ground: Ground) -> Value {
    let Listener {
        name,
        bind,
        trusted_proxies,
        proxy_protocol,
        tls,
        protocols,
        timeouts: t,
        limits: l,
        rate_limits,
    } = listener;
    let networks = trusted_proxies.networks.iter();
    let bind: Vec<String> = bind.iter().map(ToString::to_string).collect();
    let mut said = json!({
        "name": name,
        "bind": bind,
        "trusted_proxies": networks.map(|(ip, length)| format!("{ip}/{length}")).collect::<Vec<_>>(),
        "proxy_protocol": proxy_protocol,
        "protocols": spoken(*protocols),
        "rate_limits": limit_json::used(config, rate_limits),
        "timeouts": {
            "first_byte": or_off(t.first_byte),
            "request_head": or_off(t.request_head),
            "request_body": or_off(t.request_body),
            "write": or_off(t.write),
            "idle": or_off(t.idle),
            "tls_handshake": or_off(t.tls_handshake),
        },
        "limits": {
            "min_body_rate": l.min_body_rate.map_or_else(off, |rate| json!({
                "bytes_per_second": rate.bytes_per_second, "after": duration(rate.after),
            })),
            "connections": count(l.connections.unwrap_or(Some(ground.connections))),
            "connections_per_ip": count(l.connections_per_ip),
            "head_bytes": size(l.head_bytes as u64),
            "headers": l.headers,
            "uri_bytes": size(l.uri_bytes as u64),
            "requests_per_connection": count(l.requests_per_connection),
            "h2_streams": l.h2_streams,
        },
    });
    if let Some(tls) = tls {
        said["tls"] = tls_json::whole(tls);
    }
    said
}

fn spoken(protocols: Protocols) -> Vec<&'static str> {
    let words = [("http1", protocols.http1), ("http2", protocols.http2)];
    words
        .into_iter()
        .filter_map(|(word, speaks)| speaks.then_some(word))
        .collect()
}

fn logging(logging: &Logging) -> Value {
    json!({
        "level": logging.level.as_str().to_ascii_lowercase(),
        "access": logging.access.as_ref().map_or_else(off, access),
    })
}

fn access(access: &AccessLog) -> Value {
    let mut said = json!({
        "path": match &access.path {
            LogPath::Stdout => "stdout".into(),
            LogPath::File(path) => path.display().to_string(),
        },
        "sample": percent(access.sample_per_million),
    });
    match &access.format {
        LogFormat::Json(fields) => {
            said["format"] = "json".into();
            said["fields"] = fields.iter().map(|field| field.key()).collect();
        }
        LogFormat::Text(pieces) => {
            said["format"] = pieces.iter().map(piece).collect::<String>().into()
        }
    }
    said
}

fn piece(piece: &LogPiece) -> String {
    match piece {
        LogPiece::Literal(text) => text.clone(),
        LogPiece::Field(field) => format!("{{{}}}", field.key()),
    }
}

/// The value of a header field as it may be shown.
pub(super) fn shown(name: &HeaderName, value: &HeaderValue) -> Value {
    let named = SECRET_NAMES.iter().any(|part| name.as_str().contains(part));
    if named || value.is_sensitive() {
        return MASK.into();
    }
    String::from_utf8_lossy(value.as_bytes())
        .into_owned()
        .into()
}

/// How the file switches something off.
pub(super) fn off() -> Value {
    "off".into()
}

/// A time in the largest unit that tells it whole.
pub(super) fn duration(time: Duration) -> Value {
    const UNITS: [(u128, &str); 3] = [(3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let millis = time.as_millis();
    if millis == 0 {
        return "0s".into();
    }
    let unit = UNITS.iter().find(|(unit, _)| millis.is_multiple_of(*unit));
    let (unit, name) = unit.copied().unwrap_or((1, "ms"));
    format!("{}{name}", millis / unit).into()
}

pub(super) fn or_off(time: Option<Duration>) -> Value {
    time.map_or_else(off, duration)
}

/// A size in the largest unit that tells it whole.
pub(super) fn size(bytes: u64) -> Value {
    const UNITS: [(u32, &str); 3] = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = UNITS
        .iter()
        .find(|(bits, _)| bytes != 0 && bytes.trailing_zeros() >= *bits);
    let (bits, name) = unit.copied().unwrap_or((0, "B"));
    format!("{}{name}", bytes >> bits).into()
}

pub(super) fn count<T: Into<Value>>(number: Option<T>) -> Value {
    number.map_or_else(off, Into::into)
}

/// A share of a million as a percentage, without zeros at its end.
pub(super) fn percent(per_million: u32) -> Value {
    let text = format!("{}.{:04}", per_million / 10_000, per_million % 10_000);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.')).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::reload::Changes;

    const GROUND: Ground = Ground {
        workers: 3,
        connections: 777,
        now: crate::time::Nanos(0),
    };

    fn parse(text: &str) -> Config {
        crate::config::parse_text("f", text, &|_| None)
            .unwrap_or_else(|problems| panic!("{}", crate::config::render(&problems)))
            .config
    }

    #[test]
    fn units_are_the_largest_that_tell_all() {
        let millis = |ms| duration(Duration::from_millis(ms));
        let times = [
            (0, "0s"),
            (250, "250ms"),
            (1500, "1500ms"),
            (5000, "5s"),
            (90_000, "90s"),
            (120_000, "2m"),
            (86_400_000, "24h"),
        ];
        for (ms, text) in times {
            assert_eq!(millis(ms), text);
        }
        for (bytes, text) in [
            (0, "0B"),
            (500, "500B"),
            (32 << 10, "32KiB"),
            (10 << 20, "10MiB"),
            (3 << 30, "3GiB"),
            (1025, "1025B"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (share, text) in [
            (0, "0%"),
            (1_000_000, "100%"),
            (10_000, "1%"),
            (2500, "0.25%"),
            (125_000, "12.5%"),
        ] {
            assert_eq!(percent(share), text);
        }
    }

    #[test]
    fn what_is_told_is_a_file_that_means_the_same() {
        let example = parse(include_str!("../../../gateway.yaml"));
        let small = parse(
            "listeners: [{ bind: [\"127.0.0.1:1\", \"[::1]:2\"], trusted_proxies: private }]\nroutes: [{ match: [{ hosts: \"*.a.test\", path_prefix: /x }, { path_prefix: /y, methods: GET }], redirect: { path_prefix: /z, scheme: https } }]\nadmin: off\nlogging: { access: off }\n",
        );
        let full = parse(
            "listeners: [{ bind: \"127.0.0.1:1\" }]
dns: { servers: [10.0.0.2, \"[::1]:5353\"], min_ttl: 2s, max_ttl: 3s, timeout: 1s }
upstreams:
  a: { endpoints: [http://App.internal, { url: \"http://[::1]:9\", weight: 7 }], balance: { hash: [client_ip, header:X-A, cookie:b, query:c, host, path, method, route, connection, global] } }
  b: { endpoints: [http://localhost:1], balance: { sticky_cookie: { name: s, ttl: 1h } }, pool: { max_connections_per_endpoint: 8 }, retry_budget: off }
  c: { endpoints: [http://localhost:1], balance: random, retry_budget: { percent: 5%, min_per_second: 0 } }
  d: { endpoints: [http://localhost:1], balance: latency }
  e: { endpoints: [http://localhost:1], circuit_breaker: { scope: endpoint, consecutive_failures: off, failure_rate: { percent: 12.5% }, slow_rate: { slower_than: 1s, window: 3s, min_requests: 7 }, open_for: 1s, max_open_for: 1m, half_open_successes: 3, half_open_probes: 4, half_open_timeout: 5s, failures: [connect, 503, 404], stream_stable_after: 2s, fallback: { upstream: d }, mode: observe } }
  f: { endpoints: [http://localhost:1], circuit_breaker: { fallback: { status: 203, headers: { x-a: [b, c] }, body: text } } }
  g: { endpoints: [http://localhost:1], max_in_flight: 7, queue: { size: 3, timeout: 2s }, circuit_breaker: {} }
routes:
  - { match: { path: /a }, upstream: a, retry: { attempts: 2, on: [connect, refused_stream, reset, timeout, 500, 502, 503, 504], per_try_timeout: 1s, backoff: { base: 1ms, max: 1ms } }, websocket: off }
  - { match: { path: /b }, upstream: b, retry: off, websocket: { origins: [any, same_host, \"https://a.test:1\", a.test, \"*.a.test\", \"http://*.a.test:2\"], idle_timeout: off } }
",
        );
        for config in [example, small, full] {
            let mut told = super::config(&config, GROUND);
            if let Some(access) = told["logging"]["access"].as_object_mut() {
                // Both say the default here, at length.
                access.retain(|key, _| key != "fields" && key != "sample");
            }
            let told = told.to_string();
            let again = parse(&told);
            let changes = Changes::between(&config, &again);
            // Two numbers that the file leaves open are filled in.
            let mut open = again.clone();
            open.listeners
                .iter_mut()
                .zip(&config.listeners)
                .for_each(|(l, was)| l.limits.connections = was.limits.connections);
            assert_eq!(
                Changes::between(&config, &open),
                Changes::default(),
                "{told}"
            );
            assert!(changes.added.is_empty() && changes.removed.is_empty());
            assert_eq!(again.workers.map(usize::from), Some(GROUND.workers));
        }
    }

    #[test]
    fn a_secret_is_not_told() {
        let config = parse(
            "listeners: [{ bind: \"127.0.0.1:1\" }]\nadmin: { token: s3cret }\nroutes: [{ respond: { headers: { set-cookie: \"id=s3cret\", x-api-key: s3cret, x-plain: seen } } }]\n",
        );
        let told = super::config(&config, GROUND);
        assert!(!told.to_string().contains("s3cret"), "{told}");
        assert_eq!(told["admin"]["token"], MASK);
        assert_eq!(told["routes"][0]["respond"]["headers"]["x-plain"], "seen");
        assert_eq!(told["listeners"][0]["limits"]["connections"], 777);
        let mut value = HeaderValue::from_static("filled in");
        let name = HeaderName::from_static("x-plain");
        assert_eq!(shown(&name, &value), "filled in");
        value.set_sensitive(true);
        assert_eq!(shown(&name, &value), MASK);
    }
}
