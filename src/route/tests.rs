//! The table against rows of expectations: hosts, paths, methods, precedence.

mod cases;

use std::sync::LazyLock;

use super::*;

/// Rules in one line each: `hosts | path | methods -> value`, where a path that begins with `=` is exact.
fn table(rules: &[&str]) -> Table<String> {
    Table::new(rules.iter().map(|rule| {
        let (pattern, value) = rule.split_once("->").unwrap();
        let [hosts, path, methods] = pattern.split('|').collect::<Vec<_>>()[..] else {
            panic!("{rule}")
        };
        let path = match path.trim().strip_prefix('=') {
            Some(exact) => PathPattern::Exact(exact.to_owned()),
            None => PathPattern::Prefix(path.trim().to_owned()),
        };
        let hosts = hosts.split_whitespace().map(str::to_owned).collect();
        let methods = methods
            .split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect();
        (
            Pattern {
                hosts,
                path,
                methods,
                ..Pattern::default()
            },
            value.trim().to_owned(),
        )
    }))
}

/// Requests `METHOD host path -> value`, with `404` and `405 the value of Allow` for the refusals.
#[track_caller]
fn check(table: &Table<String>, rows: &[&str]) {
    for row in rows {
        let (request, expected) = row.split_once(" -> ").unwrap();
        let [method, host, path] = request.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        let method = method.parse().unwrap();
        assert_eq!(ask(table, &plain(host, path, &method)), expected, "{row}");
    }
}

static NO_FIELDS: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);

fn plain<'r>(host: &'r str, path: &'r str, method: &'r Method) -> Asked<'r> {
    Asked {
        listener: 0,
        host: host.as_bytes(),
        path,
        query: None,
        method,
        headers: &NO_FIELDS,
    }
}

fn ask(table: &Table<String>, asked: &Asked<'_>) -> String {
    match table.find(asked) {
        Found::Match(value) => value.clone(),
        Found::MethodNotAllowed(allowed) => format!("405 {allowed}"),
        Found::None => "404".to_owned(),
    }
}

#[test]
fn exact_paths_fold_neither_case_nor_slash() {
    let table = table(&["|=/one| -> v1", "|=/two| -> v2"]);
    check(
        &table,
        &[
            "GET h /one -> v1",
            "GET h /two -> v2",
            "GET h / -> 404",
            "GET h /one/example -> 404",
        ],
    );
    check(
        &table,
        &[
            "GET h /two/ -> 404",
            "GET h /ONE -> 404",
            "GET h /one/ -> 404",
        ],
    );
}

#[test]
fn exact_before_the_longest_prefix() {
    let table = table(&[
        "|=/match| -> v1",
        "|=/match/exact| -> v2",
        "|=/match/exact/one| -> v3",
        "|/match/| -> v3",
        "|/match/prefix/| -> v1",
        "|/match/prefix/one| -> v2",
    ]);
    check(
        &table,
        &[
            "GET h /match/exact/one -> v3",
            "GET h /match/exact -> v2",
            "GET h /match -> v1",
        ],
    );
    check(
        &table,
        &[
            "GET h /match/prefix/one/any -> v2",
            "GET h /match/prefix/any -> v1",
            "GET h /match/any -> v3",
        ],
    );
}

#[test]
fn a_prefix_counts_whole_segments() {
    let table = table(&["|/| -> v1", "|/v2| -> v2", "|/v2/deep/er/| -> v3"]);
    check(
        &table,
        &[
            "GET h / -> v1",
            "GET h /v2 -> v2",
            "GET h /v2/ -> v2",
            "GET h /v2/x -> v2",
        ],
    );
    check(
        &table,
        &[
            "GET h /v2example -> v1",
            "GET h /foo/v2/x -> v1",
            "GET h /v -> v1",
            "GET h /v2/deep -> v2",
        ],
    );
    check(
        &table,
        &[
            "GET h /v2/deep/er -> v3",
            "GET h /v2/deep/er/x -> v3",
            "GET h /v2/deep/erx -> v2",
        ],
    );
}

#[test]
fn head_is_not_get() {
    let table = table(&["|/|POST -> v1", "|/|GET -> v2"]);
    check(
        &table,
        &[
            "POST h / -> v1",
            "GET h / -> v2",
            "HEAD h / -> 405 GET, POST",
        ],
    );
}

#[test]
fn path_beats_method_and_a_named_method_beats_any() {
    let table = table(&[
        "|/| -> any",
        "|/|PATCH -> patch",
        "|/path5| -> v1",
        "|/path5/x|DELETE -> deep",
    ]);
    check(
        &table,
        &[
            "PATCH h /path5 -> v1",
            "PATCH h / -> patch",
            "GET h / -> any",
        ],
    );
    check(
        &table,
        &["DELETE h /path5/x -> deep", "PUT h /path5/x -> v1"],
    );
}

#[test]
fn a_shorter_prefix_is_tried_and_405_names_the_methods_of_all() {
    let table = table(&[
        "|=/a/b|PUT -> v1",
        "|/a/b|PURGE -> v2",
        "|/a|POST PURGE -> v3",
        "|/ab|GET -> v4",
    ]);
    check(
        &table,
        &[
            "PUT h /a/b -> v1",
            "PURGE h /a/b -> v2",
            "POST h /a/b -> v3",
            "PURGE h /a -> v3",
        ],
    );
    check(
        &table,
        &[
            "GET h /a/b -> 405 POST, PUT, PURGE",
            "GET h /a/b/c -> 405 POST, PURGE",
            "GET h /ab -> v4",
        ],
    );
    check(
        &table,
        &[
            "PATCH h /a -> 405 POST, PURGE",
            "LINK h /ab/ -> 405 GET",
            "GET h /x -> 404",
        ],
    );
}

#[test]
fn the_most_specific_host_is_chosen() {
    let table = table(&[
        "bar.com|/| -> v1",
        "foo.bar.com|/| -> v2",
        "*.bar.com|/| -> v3",
        "*.foo.com|/| -> v3",
        "*.deep.bar.com|/| -> v4",
    ]);
    check(
        &table,
        &[
            "GET bar.com / -> v1",
            "GET foo.bar.com / -> v2",
            "GET baz.bar.com / -> v3",
        ],
    );
    check(
        &table,
        &[
            "GET boo.bar.com / -> v3",
            "GET multiple.prefixes.bar.com / -> v3",
        ],
    );
    check(
        &table,
        &[
            "GET multiple.prefixes.foo.com / -> v3",
            "GET foo.com / -> 404",
            "GET no.matching.host / -> 404",
        ],
    );
    check(
        &table,
        &[
            "GET a.deep.bar.com / -> v4",
            "GET deep.bar.com / -> v3",
            "GET xbar.com / -> 404",
        ],
    );
}

#[test]
fn a_wildcard_needs_a_label_and_names_have_no_case() {
    let table = table(&["*.wildcard.io|/| -> v2", "very.specific.com|/| -> v1"]);
    check(
        &table,
        &[
            "GET foo.wildcard.io / -> v2",
            "GET foo.bar.wildcard.io / -> v2",
            "GET wildcard.io / -> 404",
        ],
    );
    check(
        &table,
        &[
            "GET .wildcard.io / -> 404",
            "GET WILD.Wildcard.IO / -> v2",
            "GET Very.SPECIFIC.com / -> v1",
        ],
    );
}

#[test]
fn a_chosen_host_is_not_left_again() {
    let table = table(&[
        "first.com|/a|GET -> v1",
        "*.first.com|/b| -> v2",
        "|/| -> any",
        "www.first.com first.com|/c| -> both",
    ]);
    check(
        &table,
        &[
            "GET first.com /a -> v1",
            "GET first.com /b -> 404",
            "GET first.com /c -> both",
        ],
    );
    check(
        &table,
        &[
            "POST first.com /a -> 405 GET",
            "GET x.first.com /b -> v2",
            "GET x.first.com /c -> 404",
        ],
    );
    check(
        &table,
        &[
            "GET www.first.com /c -> both",
            "GET www.first.com /b -> 404",
            "GET third.com /b -> any",
        ],
    );
}

#[test]
fn the_first_of_equals_wins() {
    let table = table(&[
        "|/a|GET -> v1",
        "|/a/|GET POST -> v2",
        "|/a| -> v3",
        "|/a| -> v4",
    ]);
    check(
        &table,
        &["GET h /a -> v1", "POST h /a/x -> v2", "PUT h /a -> v3"],
    );
}

#[test]
fn an_empty_table_finds_nothing() {
    check(&table(&[]), &["GET h / -> 404"]);
    let asked = plain("", "/", &Method::GET);
    assert_eq!(table(&["h|/| -> v"]).find(&asked), Found::None);
    assert_eq!(
        table(&["|/| -> v"]).find(&asked),
        Found::Match(&"v".to_owned())
    );
}

#[test]
fn no_path_of_the_file_is_too_deep() {
    let deep = "/a".repeat(20_000);
    let table = table(&[
        "|/| -> root",
        &format!("|{deep}| -> deep"),
        &format!("|={deep}/x| -> exact"),
    ]);
    check(
        &table,
        &[
            &format!("GET h {deep}/x -> exact"),
            &format!("GET h {deep}/y -> deep"),
        ],
    );
    check(&table, &[&format!("GET h {deep}y -> root")]);
}

#[test]
fn every_known_method_is_itself_alone() {
    for known in [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PURGE",
    ] {
        let table = table(&[&format!("|/|{known} -> v")]);
        for asked in [
            "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
            "PURGE", "get",
        ] {
            let expected = if asked == known {
                "v".to_owned()
            } else {
                format!("405 {known}")
            };
            check(&table, &[&format!("{asked} h / -> {expected}")]);
        }
    }
}
