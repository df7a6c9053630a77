//! Laws of the pure cores, held against inputs that nobody chose.
#![allow(clippy::unwrap_used)]

mod table {
    //! `route::Table` answers what a linear matcher over the rules would.

    use http::Method;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use tidegate::route::{Found, PathPattern, Pattern, Table};

    /// The rules of the contract, said as plainly as possible.
    fn find_linearly(
        rules: &[Pattern],
        host: &str,
        path: &str,
        method: &Method,
    ) -> Result<usize, Vec<Method>> {
        let host = host.to_ascii_lowercase();
        let hosts = rules.iter().filter_map(|rule| host_rank(rule, &host));
        let Some(chosen) = hosts.max() else {
            return Err(Vec::new());
        };
        let fitting: Vec<(usize, &Pattern, usize)> = rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| every_host_rank(rule, &host).contains(&chosen))
            .filter_map(|(number, rule)| Some((number, rule, path_rank(&rule.path, path)?)))
            .collect();
        fitting
            .iter()
            .filter(|(_, rule, _)| rule.methods.is_empty() || rule.methods.contains(method))
            .max_by_key(|(number, rule, rank)| {
                (*rank, !rule.methods.is_empty(), std::cmp::Reverse(*number))
            })
            .map(|(number, ..)| *number)
            .ok_or_else(|| sorted(fitting.iter().flat_map(|(_, rule, _)| rule.methods.clone())))
    }

    fn every_host_rank(rule: &Pattern, host: &str) -> Vec<usize> {
        let rank = |name: &String| match name.strip_prefix('*') {
            Some(suffix) => {
                (host.len() > suffix.len() && host.ends_with(suffix)).then_some(suffix.len())
            }
            None => (name == host).then_some(usize::MAX),
        };
        if rule.hosts.is_empty() {
            vec![0]
        } else {
            rule.hosts.iter().filter_map(rank).collect()
        }
    }

    fn host_rank(rule: &Pattern, host: &str) -> Option<usize> {
        every_host_rank(rule, host).into_iter().max()
    }

    fn path_rank(pattern: &PathPattern, path: &str) -> Option<usize> {
        match pattern {
            PathPattern::Exact(exact) => (exact == path).then_some(usize::MAX),
            PathPattern::Prefix(prefix) => {
                let prefix = prefix.trim_end_matches('/');
                (path == prefix || path.starts_with(&format!("{prefix}/"))).then_some(prefix.len())
            }
        }
    }

    fn sorted(methods: impl Iterator<Item = Method>) -> Vec<Method> {
        let mut methods: Vec<Method> = methods.collect();
        methods.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        methods.dedup();
        methods
    }

    fn name() -> impl Strategy<Value = String> {
        vec(select(vec!["a", "b", "ab", "ba"]), 1..4).prop_map(|labels| labels.join("."))
    }

    fn host_pattern() -> impl Strategy<Value = String> {
        prop_oneof![name(), name().prop_map(|name| format!("*.{name}"))]
    }

    fn path() -> impl Strategy<Value = String> {
        let segments = vec(select(vec!["a", "b", "ab", "a-", "abc"]), 0..4);
        prop_oneof![
            4 => (segments, select(vec!["", "/"]))
                .prop_map(|(segments, end)| format!("/{}{end}", segments.join("/")).replace("//", "/")),
            1 => "/[/ab-]{0,5}",
        ]
    }

    fn method() -> impl Strategy<Value = Method> {
        select(vec!["GET", "HEAD", "POST", "PURGE", "LINK"]).prop_map(|word| word.parse().unwrap())
    }

    fn pattern() -> impl Strategy<Value = Pattern> {
        let path = prop_oneof![
            path().prop_map(PathPattern::Exact),
            path().prop_map(PathPattern::Prefix)
        ];
        (vec(host_pattern(), 0..3), path, vec(method(), 0..3)).prop_map(|(hosts, path, methods)| {
            Pattern {
                hosts,
                path,
                methods,
            }
        })
    }

    fn request() -> impl Strategy<Value = (String, String, Method)> {
        let host = (name(), any::<bool>()).prop_map(|(name, shout)| {
            if shout {
                name.to_ascii_uppercase()
            } else {
                name
            }
        });
        (host, path(), method())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn finds_what_a_linear_matcher_finds(
            rules in vec(pattern(), 0..40),
            requests in vec(request(), 1..20),
        ) {
            let table = Table::new(rules.iter().cloned().enumerate().map(|(number, rule)| (rule, number)));
            for (host, path, method) in requests {
                let found = match table.find(host.as_bytes(), &path, &method) {
                    Found::Match(&number) => Ok(number),
                    Found::MethodNotAllowed(allowed) => Err(sorted(allowed.iter().cloned())),
                    Found::None => Err(Vec::new()),
                };
                let expected = find_linearly(&rules, &host, &path, &method);
                prop_assert_eq!(found, expected, "{} {} {}", method, host, path);
            }
        }
    }
}

mod target {
    //! `http::target` gives each path one spelling.

    use proptest::prelude::*;
    use tidegate::http::target::normalise;

    /// Section 5.2.4 of RFC 3986 over the segments of a path whose slashes are folded and whose escapes are decoded.
    fn remove_dots(path: &str) -> String {
        let mut kept: Vec<&str> = Vec::new();
        let segments: Vec<&str> = path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .collect();
        for segment in &segments {
            match *segment {
                "." => {}
                ".." => drop(kept.pop()),
                other => kept.push(other),
            }
        }
        let open = path.ends_with('/') || matches!(segments.last(), Some(&("." | "..")));
        let end = if open && !kept.is_empty() { "/" } else { "" };
        format!("/{}{end}", kept.join("/"))
    }

    fn path() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => "[a.b]",
            3 => Just("/".to_owned()),
            1 => Just("..".to_owned()),
            1 => "%(2[eEfF5]|41|7e|C3|c3)",
            1 => "\\PC",
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn one_spelling_and_no_second_step(path in path()) {
            if let Ok(normal) = normalise(&path) {
                prop_assert_eq!(normalise(&normal), Ok(normal.clone()), "{}", path);
                prop_assert!(normal.starts_with('/') && !normal.contains("//"), "{} {}", path, normal);
                prop_assert!(!normal.split('/').any(|segment| segment == "." || segment == ".."), "{} {}", path, normal);
            }
        }

        #[test]
        fn agrees_with_the_rules_said_plainly(path in "/([a.]|/|%2e|%2E|%61|%2f|%2F|caf\u{e9}){0,40}") {
            let decoded = path.replace("%2e", ".").replace("%2E", ".").replace("%61", "a");
            prop_assert_eq!(normalise(&path), Ok(remove_dots(&decoded).into()), "{}", path);
        }
    }
}
