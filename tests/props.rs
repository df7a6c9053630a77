//! Laws of the pure cores, held against inputs that nobody chose.
#![allow(clippy::unwrap_used)]

#[path = "props/limit.rs"]
mod limit;

mod table {
    //! `route::Table` answers what a linear matcher over the rules would.

    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use http::{HeaderMap, HeaderName, HeaderValue, Method};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use regex::Regex;
    use tidegate::route::{Asked, Found, PathPattern, Pattern, Table, ValueMatch};

    /// A request whose fields and parameters are not yet spelled.
    #[derive(Clone, Debug)]
    struct Request {
        listener: u16,
        host: String,
        path: String,
        method: Method,
        fields: Vec<(HeaderName, &'static str)>,
        /// `None` for a parameter without `=`.
        query: Option<Vec<(&'static str, Option<&'static str>)>>,
        /// Is every byte of the query escaped?
        escaped: bool,
    }

    /// The rules of the contract, said as plainly as possible.
    fn find_linearly(rules: &[Pattern], request: &Request) -> Result<usize, Vec<Method>> {
        let host = request.host.to_ascii_lowercase();
        let served: Vec<(usize, &Pattern)> = rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| {
                rule.listeners.is_empty() || rule.listeners.contains(&request.listener)
            })
            .collect();
        let hosts = served
            .iter()
            .flat_map(|(_, rule)| every_host_rank(rule, &host));
        let Some(chosen) = hosts.max() else {
            return Err(Vec::new());
        };
        let of_host: Vec<(usize, &Pattern)> = served
            .into_iter()
            .filter(|(_, rule)| every_host_rank(rule, &host).contains(&chosen))
            .collect();
        let fitting: Vec<(usize, &Pattern, (u8, isize))> = of_host
            .iter()
            .filter(|(_, rule)| conditions_hold(rule, request))
            .filter_map(|(number, rule)| {
                Some((
                    *number,
                    *rule,
                    path_rank(&rule.path, &request.path, &of_host)?,
                ))
            })
            .collect();
        fitting
            .iter()
            .filter(|(_, rule, _)| {
                rule.methods.is_empty() || rule.methods.contains(&request.method)
            })
            .max_by_key(|(number, rule, rank)| {
                let asked = (rule.headers.len(), rule.query.len());
                let in_file = std::cmp::Reverse(*number);
                (*rank, !rule.methods.is_empty(), asked, in_file)
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

    /// Equal expressions are one path, which stands where the first of them stands.
    fn path_rank(
        pattern: &PathPattern,
        path: &str,
        of_host: &[(usize, &Pattern)],
    ) -> Option<(u8, isize)> {
        match pattern {
            PathPattern::Exact(exact) => (exact == path).then_some((2, 0)),
            PathPattern::Regex(regex) => {
                let first = of_host.iter().position(|(_, rule)| rule.path == *pattern)?;
                is_whole(regex, path).then_some((1, -isize::try_from(first).unwrap()))
            }
            PathPattern::Prefix(prefix) => {
                let prefix = prefix.trim_end_matches('/');
                let fits = path == prefix || path.starts_with(&format!("{prefix}/"));
                fits.then_some((0, isize::try_from(prefix.len()).unwrap()))
            }
        }
    }

    fn conditions_hold(rule: &Pattern, request: &Request) -> bool {
        let field = |name: &HeaderName| {
            let lines = request.fields.iter().filter(|(other, _)| other == name);
            let lines: Vec<&str> = lines.map(|(_, value)| *value).collect();
            (!lines.is_empty()).then(|| lines.join(","))
        };
        let parameter = |name: &String| {
            let mut pairs = request.query.iter().flatten();
            let (_, value) = pairs.find(|(other, _)| other == name)?;
            Some(value.unwrap_or_default().to_owned())
        };
        let headers = rule.headers.iter();
        let query = rule.query.iter();
        headers.map(|(name, test)| (field(name), test)).all(holds)
            && query.map(|(name, test)| (parameter(name), test)).all(holds)
    }

    fn holds((value, test): (Option<String>, &ValueMatch)) -> bool {
        match test {
            ValueMatch::Exact(wanted) => value.as_ref() == Some(wanted),
            ValueMatch::Regex(regex) => value.is_some_and(|value| is_whole(regex, &value)),
            ValueMatch::Present(wanted) => value.is_some() == *wanted,
        }
    }

    fn is_whole(expression: &str, text: &str) -> bool {
        static KNOWN: Mutex<BTreeMap<String, Regex>> = Mutex::new(BTreeMap::new());
        let mut known = KNOWN.lock().unwrap();
        let whole = known
            .entry(expression.to_owned())
            .or_insert_with(|| Regex::new(&format!(r"\A({expression})\z")).unwrap());
        whole.is_match(text)
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

    /// A few expressions many times, and pieces put together as nobody would.
    fn expression() -> impl Strategy<Value = String> {
        let pieces = vec![
            "/", "/a", "/ab?", "b", "|", "a*", "(a|/b)", "[ab-]+", ".", "(?i:/A)", "/{0,2}", "^",
            "$",
        ];
        prop_oneof![
            4 => select(vec!["/a.*", "/[ab]+", "/a/b|/b", ".*b", "/(a|b|ab)(/.*)?"])
                .prop_map(str::to_owned),
            1 => vec(select(pieces), 1..5).prop_map(|pieces| pieces.concat()),
        ]
    }

    const VALUES: [&str; 7] = ["", "1", "11", "a,b", "a", "b", "1+1"];

    fn test() -> impl Strategy<Value = ValueMatch> {
        prop_oneof![
            3 => select(VALUES.to_vec()).prop_map(|value| ValueMatch::Exact(value.to_owned())),
            1 => select(vec!["1+", "a|b", ".*,.*", ""]).prop_map(|text| ValueMatch::Regex(text.to_owned())),
            1 => any::<bool>().prop_map(ValueMatch::Present),
        ]
    }

    fn field() -> impl Strategy<Value = HeaderName> {
        select(vec!["accept", "x-a", "x-b"]).prop_map(HeaderName::from_static)
    }

    fn parameter() -> impl Strategy<Value = &'static str> {
        select(vec!["a", "A", "b&", "="])
    }

    prop_compose! {
        fn pattern()(
            listeners in prop_oneof![3 => Just(Vec::new()), 1 => vec(0_u16..4, 1..3)],
            hosts in vec(host_pattern(), 0..3),
            path in prop_oneof![
                path().prop_map(PathPattern::Exact),
                path().prop_map(PathPattern::Prefix),
                expression()
                    .prop_filter("an expression", |text| Regex::new(text).is_ok())
                    .prop_map(PathPattern::Regex),
            ],
            methods in vec(method(), 0..3),
            headers in prop_oneof![2 => Just(Vec::new()), 1 => vec((field(), test()), 1..3)],
            query in prop_oneof![
                2 => Just(Vec::new()),
                1 => vec((parameter().prop_map(str::to_owned), test()), 1..3),
            ],
        ) -> Pattern {
            Pattern { listeners, hosts, path, methods, headers, query }
        }
    }

    /// Half of the tables know hosts, and half know paths: in the others all rules meet in one place.
    fn rules() -> impl Strategy<Value = Vec<Pattern>> {
        let rules = vec(pattern(), 0..30);
        (rules, any::<bool>(), any::<bool>()).prop_map(|(mut rules, hosts, paths)| {
            for rule in &mut rules {
                if !hosts {
                    rule.hosts.clear();
                }
                if !paths {
                    rule.path = PathPattern::default();
                }
            }
            rules
        })
    }

    prop_compose! {
        fn request()(
            listener in 0_u16..5,
            host in name(),
            shout in any::<bool>(),
            path in path(),
            method in method(),
            fields in vec((field(), select(VALUES.to_vec())), 0..4),
            query in proptest::option::of(
                vec((parameter(), proptest::option::of(select(VALUES.to_vec()))), 0..4)
            ),
            escaped in any::<bool>(),
        ) -> Request {
            let host = if shout { host.to_ascii_uppercase() } else { host };
            Request { listener, host, path, method, fields, query, escaped }
        }
    }

    /// The query as a client may write it.
    fn written(request: &Request) -> Option<String> {
        let escape = |text: &str| -> String {
            let byte = |byte: u8| match byte {
                b'&' | b'=' => format!("%{byte:02x}"),
                _ if request.escaped => format!("%{byte:02X}"),
                _ => char::from(byte).to_string(),
            };
            text.bytes().map(byte).collect()
        };
        let pair = |(name, value): &(&str, Option<&str>)| match value {
            Some(value) => format!("{}={}", escape(name), escape(value)),
            None => escape(name),
        };
        let pairs: Vec<String> = request.query.as_ref()?.iter().map(pair).collect();
        Some(pairs.join("&"))
    }

    fn find(table: &Table<usize>, request: &Request) -> Result<usize, Vec<Method>> {
        let query = written(request);
        let fields = request.fields.iter();
        let headers: HeaderMap = fields
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect();
        let asked = Asked {
            listener: request.listener,
            host: request.host.as_bytes(),
            path: &request.path,
            query: query.as_deref(),
            method: &request.method,
            headers: &headers,
        };
        match table.find(&asked) {
            Found::Match(&number) => Ok(number),
            Found::MethodNotAllowed(allowed) => Err(sorted(allowed.iter().cloned())),
            Found::None => Err(Vec::new()),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn finds_what_a_linear_matcher_finds(
            rules in rules(),
            requests in vec(request(), 1..20),
        ) {
            let table = Table::new(rules.iter().cloned().enumerate().map(|(number, rule)| (rule, number)));
            for request in requests {
                let expected = find_linearly(&rules, &request);
                prop_assert_eq!(find(&table, &request), expected, "{:?}", request);
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
