//! What cannot change while the process runs: the keys that only a restart takes up, each refused by its name.

use crate::config::{Config, Problem};

/// One problem for each key of `file` that differs and needs a restart.
pub(super) fn refused(old: &Config, new: &Config, file: &str) -> Vec<Problem> {
    keys(old, new)
        .into_iter()
        .map(|what| {
            Problem::of_file(
                file,
                format!("{what} while the gateway runs"),
                Some("restart the gateway, or take the change back".to_owned()),
            )
        })
        .collect()
}

fn keys(old: &Config, new: &Config) -> Vec<String> {
    let mut keys = Vec::new();
    if old.workers != new.workers {
        keys.push("`workers` cannot change".to_owned());
    }
    match (&old.admin, &new.admin) {
        (Some(before), Some(after)) if before.bind != after.bind => {
            keys.push("`admin.bind` cannot change".to_owned());
        }
        (Some(_), None) => keys.push("`admin` cannot be switched off".to_owned()),
        (None, Some(_)) => keys.push("`admin` cannot be switched on".to_owned()),
        _ => {}
    }
    for listener in &new.listeners {
        let name = &listener.name;
        match old.listeners.iter().find(|other| other.name == *name) {
            None => keys.push(format!("`listeners[{name}]` cannot be added")),
            // The order of addresses says nothing.
            Some(other) if !same_addresses(&other.bind, &listener.bind) => {
                keys.push(format!("`listeners[{name}].bind` cannot change"));
            }
            Some(_) => {}
        }
    }
    for listener in &old.listeners {
        let name = &listener.name;
        if !new.listeners.iter().any(|other| other.name == *name) {
            keys.push(format!("`listeners[{name}]` cannot be removed"));
        }
    }
    keys
}

fn same_addresses(old: &[std::net::SocketAddr], new: &[std::net::SocketAddr]) -> bool {
    let (mut old, mut new) = (old.to_vec(), new.to_vec());
    old.sort();
    new.sort();
    old == new
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let text = format!("routes: [{{ respond: {{ status: 200 }} }}]\n{text}");
        crate::config::parse_text("f", &text, &|_| None)
            .unwrap()
            .config
    }

    fn between(old: &str, new: &str) -> Vec<String> {
        keys(&config(old), &config(new))
    }

    const ONE: &str = "listeners: [{ name: a, bind: [\"127.0.0.1:1\", \"127.0.0.1:2\"] }]\n";

    #[test]
    fn each_key_is_named() {
        let other = "listeners: [{ name: a, bind: \"127.0.0.1:1\" }, { name: b, bind: \"127.0.0.1:2\" }]\nworkers: 3\nadmin: off\n";
        assert_eq!(
            between(ONE, other),
            [
                "`workers` cannot change",
                "`admin` cannot be switched off",
                "`listeners[a].bind` cannot change",
                "`listeners[b]` cannot be added"
            ]
        );
        assert_eq!(
            between(other, ONE)[1..],
            [
                "`admin` cannot be switched on",
                "`listeners[a].bind` cannot change",
                "`listeners[b]` cannot be removed"
            ]
        );
        let moved = format!("{ONE}admin: {{ bind: \"127.0.0.1:9\" }}\n");
        assert_eq!(between(ONE, &moved), ["`admin.bind` cannot change"]);
    }

    #[test]
    fn the_token_and_the_order_of_addresses_are_live() {
        let new = "listeners: [{ name: a, bind: [\"127.0.0.1:2\", \"127.0.0.1:1\"] }]\nadmin: { token: x }\n";
        assert_eq!(between(ONE, new), [""; 0]);
    }

    #[test]
    fn a_refusal_is_a_problem_of_the_file() {
        let problems = refused(
            &config(ONE),
            &config(&format!("{ONE}workers: 7\n")),
            "g.yaml",
        );
        let text = crate::config::render(&problems);
        assert!(
            text.starts_with("error: g.yaml: `workers` cannot change while the gateway runs\n"),
            "{text}"
        );
        assert!(text.contains("restart"), "{text}");
    }
}
