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
