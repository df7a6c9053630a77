//! What differs between two configurations, by name.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde_json::{Value, json};

use crate::config::{Action, Config, Listener, Route, Upstream, UsedLimit};

/// Names in one line of the control log; the answer to `POST /reload` has them all.
const SHOWN: usize = 20;

/// What a reload did: `route orders`, `upstream app`, `listener main`, or the key of a section such as `drain`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// New names.
    pub added: Vec<String>,
    /// Names that mean something else now.
    pub changed: Vec<String>,
    /// Names that are gone.
    pub removed: Vec<String>,
}

impl Changes {
    /// From `old` to `new`.
    #[must_use]
    pub fn between(old: &Config, new: &Config) -> Changes {
        let mut changes = Changes::default();
        changes.compare_sections(old, new);
        let listeners = moved_listeners(old, new);
        changes.compare("listener", &listeners, &new.listeners, |l| &l.name);
        changes.compare("limit", &old.rate_limits, &new.rate_limits, |l| &l.name);
        changes.compare("store", &old.stores, &new.stores, |s| &s.name);
        let upstreams = moved_upstreams(old, new);
        changes.compare("upstream", &upstreams, &new.upstreams, |u| &u.name);
        changes.compare("route", &moved(old, new), &unplaced(new), |r| &r.name);
        changes
    }

    /// The three lists as they stand in the answer to `POST /reload`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "added": self.added, "changed": self.changed, "removed": self.removed })
    }

    /// The parts of a file that have no names.
    fn compare_sections(&mut self, old: &Config, new: &Config) {
        for (section, differs) in [
            ("admin", old.admin != new.admin),
            ("dns", old.dns != new.dns),
            ("drain", old.drain != new.drain),
            ("logging", old.logging != new.logging),
            ("errors", old.errors != new.errors),
            ("limits_memory", old.limits_memory != new.limits_memory),
        ] {
            if differs {
                self.changed.push(section.to_owned());
            }
        }
    }

    fn compare<T: PartialEq>(
        &mut self,
        kind: &str,
        old: &[T],
        new: &[T],
        name: impl Fn(&T) -> &String,
    ) {
        let before: HashMap<&String, &T> = old.iter().map(|item| (name(item), item)).collect();
        let after: HashSet<&String> = new.iter().map(&name).collect();
        for item in new {
            match before.get(name(item)) {
                None => self.added.push(format!("{kind} {}", name(item))),
                Some(other) if *other != item => {
                    self.changed.push(format!("{kind} {}", name(item)));
                }
                Some(_) => {}
            }
        }
        self.removed.extend(
            old.iter()
                .map(name)
                .filter(|n| !after.contains(n))
                .map(|n| format!("{kind} {n}")),
        );
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [
            ("added", &self.added),
            ("changed", &self.changed),
            ("removed", &self.removed),
        ];
        for (number, (word, names)) in lists.into_iter().enumerate() {
            let gap = if number == 0 { "" } else { " " };
            let more = if names.len() > SHOWN {
                format!(" and {} more", names.len() - SHOWN)
            } else {
                String::new()
            };
            let shown = &names[..names.len().min(SHOWN)];
            write!(f, "{gap}{word}: [{}{more}]", shown.join(", "))?;
        }
        Ok(())
    }
}

/// Do both mean the same? Where in the file a route stands is no part of what it means.
#[must_use]
pub(super) fn means_the_same(old: &Config, new: &Config) -> bool {
    let mut old = old.clone();
    for (before, after) in old.routes.iter_mut().zip(&new.routes) {
        before.line = after.line;
        before.file = after.file.clone();
    }
    // What they hold shows in the policies and targets made of it.
    old.files.clone_from(&new.files);
    old == *new
}

/// The routes without their places.
fn unplaced(config: &Config) -> Vec<Route> {
    let mut routes = config.routes.clone();
    for route in &mut routes {
        route.line = 0;
        route.file = "".into();
    }
    routes
}

/// The routes of `old` without their places, as `new` would have to write them: a route names upstreams and listeners
/// by index, and that moves with the order of the file while the name stays.
fn moved(old: &Config, new: &Config) -> Vec<Route> {
    let upstreams = places(&old.upstreams, &new.upstreams, |u| &u.name);
    let listeners = places(&old.listeners, &new.listeners, |l| &l.name);
    let limits = places(&old.rate_limits, &new.rate_limits, |l| &l.name);
    let mut routes = unplaced(old);
    for route in &mut routes {
        move_limits(&mut route.rate_limits, &limits);
        match &mut route.action {
            Action::Upstream(index) => *index = place(&upstreams, *index),
            Action::Weighted(branches) => branches
                .iter_mut()
                .for_each(|(index, _)| *index = place(&upstreams, *index)),
            Action::Respond(_) | Action::Redirect(_) => {}
        }
        for mirror in &mut route.mirrors {
            mirror.upstream = place(&upstreams, mirror.upstream);
        }
        for index in &mut route.listeners {
            *index = place(&listeners, *index);
        }
    }
    routes
}

/// The listeners of `old`, as `new` would have to write them.
fn moved_listeners(old: &Config, new: &Config) -> Vec<Listener> {
    let limits = places(&old.rate_limits, &new.rate_limits, |l| &l.name);
    let mut listeners = old.listeners.clone();
    for listener in &mut listeners {
        move_limits(&mut listener.rate_limits, &limits);
    }
    listeners
}

fn move_limits(uses: &mut [UsedLimit], places: &[usize]) {
    for used in uses {
        used.limit = place(places, used.limit);
    }
}

/// The same for upstreams, which name those that stand in for them.
fn moved_upstreams(old: &Config, new: &Config) -> Vec<Upstream> {
    let places = places(&old.upstreams, &new.upstreams, |u| &u.name);
    let mut upstreams = old.upstreams.clone();
    for upstream in &mut upstreams {
        for index in &mut upstream.health.failover {
            *index = place(&places, *index);
        }
    }
    upstreams
}

/// Where each item of `old` stands in `new`; one that is gone stands nowhere.
fn places<T>(old: &[T], new: &[T], name: impl Fn(&T) -> &String) -> Vec<usize> {
    let after: HashMap<&String, usize> = new
        .iter()
        .enumerate()
        .map(|(index, item)| (name(item), index))
        .collect();
    old.iter()
        .map(|item| after.get(name(item)).copied().unwrap_or(usize::MAX))
        .collect()
}

fn place(places: &[usize], index: usize) -> usize {
    places.get(index).copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let text = format!("listeners: [{{ bind: \"127.0.0.1:8080\" }}]\n{text}");
        crate::config::parse_text("f", &text, &|_| None)
            .unwrap()
            .config
    }

    const UPSTREAMS: &str = "upstreams:\n  a: { endpoints: [\"http://127.0.0.1:1\"] }\n  b: { endpoints: [\"http://127.0.0.1:2\"] }\n";
    const SWAPPED: &str = "upstreams:\n  b: { endpoints: [\"http://127.0.0.1:2\"] }\n  a: { endpoints: [\"http://127.0.0.1:1\"] }\n";
    const ROUTE: &str = "routes: [{ name: r, upstream: a }]\n";

    #[test]
    fn a_route_goes_by_the_name_of_its_upstream_and_not_by_its_place() {
        let old = config(&format!("{UPSTREAMS}{ROUTE}"));
        let swapped = config(&format!("{SWAPPED}{ROUTE}"));
        assert_eq!(Changes::between(&old, &swapped), Changes::default());
        let other = config(&format!("{SWAPPED}{}", ROUTE.replace(": a", ": b")));
        // The index is the same as in `old`, the upstream is not.
        assert_eq!(old.routes[0].action, other.routes[0].action);
        assert_eq!(Changes::between(&old, &other).changed, ["route r"]);
    }

    #[test]
    fn everything_that_differs_has_a_name() {
        let old = config(&format!("{UPSTREAMS}{ROUTE}"));
        let new = config(
            "upstreams:\n  a: { endpoints: [\"http://127.0.0.1:9\"] }\nroutes: [{ name: s, upstream: a }]\n\
             drain: { delay: 1s }\nlogging: { level: debug }\nerrors: reason\nadmin: { token: x }\n",
        );
        let changes = Changes::between(&old, &new);
        assert_eq!(
            changes.to_json(),
            json!({
                "added": ["route s"],
                "changed": ["admin", "drain", "logging", "errors", "upstream a"],
                "removed": ["upstream b", "route r"],
            })
        );
        assert_eq!(
            changes.to_string(),
            "added: [route s] changed: [admin, drain, logging, errors, upstream a] removed: [upstream b, route r]"
        );
    }

    #[test]
    fn a_place_in_the_file_means_nothing() {
        let old = config(&format!("{UPSTREAMS}{ROUTE}"));
        let new = config(&format!("# a line more\n{UPSTREAMS}{ROUTE}"));
        assert!(old != new && means_the_same(&old, &new));
        assert_eq!(Changes::between(&old, &new), Changes::default());
        assert!(!means_the_same(
            &old,
            &config(
                ROUTE
                    .replace("upstream: a", "respond: { status: 200 }")
                    .as_str()
            )
        ));
    }

    #[test]
    fn a_long_list_is_cut_in_the_log() {
        let routes: Vec<String> = (0..25)
            .map(|n| format!("{{ name: n{n}, match: {{ path: /{n} }}, upstream: a }}"))
            .collect();
        let old = config(&format!("{UPSTREAMS}{ROUTE}"));
        let new = config(&format!("{UPSTREAMS}routes: [{}]\n", routes.join(", ")));
        let changes = Changes::between(&old, &new);
        assert_eq!(changes.added.len(), 25);
        assert!(changes.to_string().contains("route n19 and 5 more]"));
    }
}
