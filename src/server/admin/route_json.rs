//! A route in the words of the file, whole for `/config` and as a row for `/routes`.

use http::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::effective::{off, or_off, percent, shown, size};
use super::{limit_json, resilience_json};
use crate::config::{
    Action, Config, FieldChanges, Match, PathMatch, Redirect, RedirectPath, Respond, Rewrite,
    RewriteHost, RewritePath, Route, ValueMatch,
};

/// Everything that the file says about it.
pub(super) fn whole(config: &Config, route: &Route) -> Value {
    // Taken apart, so that what is new in a file is not forgotten here.
    let Route {
        name,
        file: _,
        line: _,
        listeners: _,
        matches,
        action,
        rewrite,
        request_headers,
        response_headers,
        mirrors: _,
        timeouts,
        retry,
        websocket,
        rate_limits: _,
        max_in_flight,
        max_body,
    } = route;
    let mut said = Map::new();
    said.insert("name".into(), name.as_str().into());
    said.insert("match".into(), matches.iter().map(one_match).collect());
    let (key, value) = match action {
        Action::Respond(fixed) => ("respond", respond(fixed)),
        other => sent(config, other),
    };
    said.insert(key.into(), value);
    said.insert("max_body".into(), max_body.map_or_else(off, size));
    let mut times = json!({ "request": or_off(timeouts.request) });
    for (key, time) in [("response", timeouts.response), ("body", timeouts.body)] {
        if let Some(time) = time {
            times[key] = or_off(time);
        }
    }
    said.insert("timeouts".into(), times);
    let bound = max_in_flight.as_ref().map(limit_json::in_flight);
    said.insert("max_in_flight".into(), bound.unwrap_or_else(off));
    if matches!(action, Action::Upstream(_) | Action::Weighted(_)) {
        said.insert("retry".into(), resilience_json::retry(retry));
        let websocket = websocket.as_ref().map(resilience_json::websocket);
        said.insert("websocket".into(), websocket.unwrap_or_else(off));
    }
    // What a route does not say has no default that could be told.
    for (key, value) in [
        ("listeners", listeners(config, route)),
        ("rewrite", rewritten(rewrite)),
        ("request_headers", changes(request_headers)),
        ("response_headers", changes(response_headers)),
        ("mirror", mirrored(config, route)),
        ("rate_limits", limit_json::used(config, &route.rate_limits)),
    ] {
        if !is_empty(&value) {
            said.insert(key.into(), value);
        }
    }
    said.into()
}

/// What one needs to see why a request went where it went; `order` is the place in the file, from 0.
pub(super) fn row(config: &Config, order: usize, route: &Route) -> Value {
    let (key, value) = match &route.action {
        Action::Respond(fixed) => ("respond", json!({ "status": fixed.status.as_u16() })),
        other => sent(config, other),
    };
    let mut row = json!({
        "order": order,
        "name": route.name,
        "file": &*route.file,
        "line": route.line,
        "match": route.matches.iter().map(one_match).collect::<Vec<_>>(),
        "action": { key: value },
    });
    for (key, value) in [
        ("listeners", listeners(config, route)),
        ("rewrite", rewritten(&route.rewrite)),
        ("mirror", mirrored(config, route)),
        ("rate_limits", limit_json::used(config, &route.rate_limits)),
    ] {
        if !is_empty(&value) {
            row[key] = value;
        }
    }
    row
}

fn mirrored(config: &Config, route: &Route) -> Value {
    let mirrors = route.mirrors.iter();
    mirrors
        .map(|m| json!({ "upstream": upstream(config, m.upstream), "percent": percent(m.per_million) }))
        .collect()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

fn listeners(config: &Config, route: &Route) -> Value {
    let names = route
        .listeners
        .iter()
        .filter_map(|index| config.listeners.get(*index));
    names.map(|listener| listener.name.as_str()).collect()
}

fn upstream(config: &Config, index: usize) -> &str {
    config.upstreams.get(index).map_or("", |u| u.name.as_str())
}

/// Where requests go, with the key of the file.
fn sent(config: &Config, action: &Action) -> (&'static str, Value) {
    match action {
        Action::Upstream(index) => ("upstream", upstream(config, *index).into()),
        Action::Weighted(branches) => {
            let weights: Map<String, Value> = branches
                .iter()
                .map(|(index, weight)| (upstream(config, *index).to_owned(), (*weight).into()))
                .collect();
            ("upstream", weights.into())
        }
        Action::Redirect(to) => ("redirect", redirect(to)),
        Action::Respond(fixed) => ("respond", respond(fixed)),
    }
}

fn one_match(one: &Match) -> Value {
    let Match {
        hosts,
        path,
        methods,
        headers,
        query,
    } = one;
    let (key, path) = match path {
        PathMatch::Exact(path) => ("path", path),
        PathMatch::Prefix(path) => ("path_prefix", path),
        PathMatch::Regex(path) => ("path_regex", path),
    };
    let mut said = json!({ key: path });
    if !hosts.is_empty() {
        said["hosts"] = hosts.iter().map(String::as_str).collect();
    }
    if !methods.is_empty() {
        said["methods"] = methods.iter().map(http::Method::as_str).collect();
    }
    if !headers.is_empty() {
        let values = headers.iter();
        said["headers"] = Value::Object(
            values
                .map(|(name, value)| (name.as_str().to_owned(), wanted(value)))
                .collect(),
        );
    }
    if !query.is_empty() {
        let values = query.iter();
        said["query"] = Value::Object(
            values
                .map(|(name, value)| (name.clone(), wanted(value)))
                .collect(),
        );
    }
    said
}

fn wanted(value: &ValueMatch) -> Value {
    match value {
        ValueMatch::Exact(text) => text.as_str().into(),
        ValueMatch::Regex(pattern) => json!({ "regex": pattern }),
        ValueMatch::Present(present) => json!({ "present": present }),
    }
}

pub(super) fn respond(fixed: &Respond) -> Value {
    let Respond {
        status,
        headers,
        body,
    } = fixed;
    json!({
        "status": status.as_u16(),
        "headers": by_name(headers),
        "body": String::from_utf8_lossy(body),
    })
}

fn redirect(to: &Redirect) -> Value {
    let Redirect {
        scheme,
        host,
        port,
        path,
        status,
    } = to;
    let mut said = json!({ "status": status.as_u16() });
    if let Some(scheme) = scheme {
        said["scheme"] = scheme.as_str().into();
    }
    if let Some(host) = host {
        said["host"] = host.as_str().into();
    }
    if let Some(port) = port {
        said["port"] = (*port).into();
    }
    match path {
        None => {}
        Some(RedirectPath::Full(path)) => said["path"] = path.as_str().into(),
        Some(RedirectPath::Prefix(path)) => said["path_prefix"] = path.as_str().into(),
    }
    said
}

fn rewritten(rewrite: &Rewrite) -> Value {
    let Rewrite { path, host } = rewrite;
    let mut said = json!({});
    match path {
        None => {}
        Some(RewritePath::Full(path)) => said["path"] = path.as_str().into(),
        Some(RewritePath::Prefix(path)) => said["path_prefix"] = path.as_str().into(),
        Some(RewritePath::Regex { pattern, replace }) => {
            said["path_regex"] = json!({ "pattern": pattern, "replace": replace });
        }
    }
    match host {
        None => {}
        Some(RewriteHost::Name(name)) => said["host"] = name.as_str().into(),
        Some(RewriteHost::Endpoint) => said["host"] = "upstream".into(),
    }
    said
}

fn changes(changes: &FieldChanges) -> Value {
    let FieldChanges { remove, set, add } = changes;
    let mut said = json!({});
    if !remove.is_empty() {
        said["remove"] = remove.iter().map(HeaderName::as_str).collect();
    }
    for (key, fields) in [("set", set), ("add", add)] {
        if !fields.is_empty() {
            said[key] = by_name(fields);
        }
    }
    said
}

/// A value for each name, or a list of them.
fn by_name(fields: &[(HeaderName, HeaderValue)]) -> Value {
    let mut said = Map::new();
    for (name, value) in fields {
        let value = shown(name, value);
        match said.get_mut(name.as_str()) {
            None => {
                said.insert(name.as_str().to_owned(), value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    said.into()
}
