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
    keys
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

    const ONE: &str = "listeners: [{ name: a, bind: \"127.0.0.1:1\" }]\n";

    #[test]
    fn workers_alone_need_a_restart() {
        let other = "listeners: [{ name: b, bind: \"127.0.0.1:2\" }]\nadmin: off\n";
        assert_eq!(keys(&config(ONE), &config(other)), [""; 0]);
        let more = format!("{ONE}workers: 3\n");
        assert_eq!(
            keys(&config(ONE), &config(&more)),
            ["`workers` cannot change"]
        );
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
