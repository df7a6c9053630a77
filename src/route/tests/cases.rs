//! The rows R1 to R95 of the routing cases (those that a table decides), and what they leave open.
//!
//! A port and a dot at the end (R85, R95) are gone before the table is asked: `http::host` tests that.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::*;

/// `@host`, `#listener`, `=/exact`, `~regex`, `/prefix`, `h:name=value`, `q:name~regex`, `h:name`, `q:!name`; else a method.
fn pattern(text: &str) -> Pattern {
    let mut pattern = Pattern::default();
    for word in text.split_whitespace() {
        let (first, rest) = word.split_at(1);
        match first {
            "@" => pattern.hosts.push(rest.to_owned()),
            "#" => pattern.listeners.push(rest.parse().unwrap()),
            "=" => pattern.path = PathPattern::Exact(rest.to_owned()),
            "~" => pattern.path = PathPattern::Regex(rest.to_owned()),
            "/" => pattern.path = PathPattern::Prefix(word.to_owned()),
            _ => match word.split_at_checked(2) {
                Some(("h:", rest)) => {
                    let (name, value) = value(rest);
                    pattern.headers.push((name.parse().unwrap(), value));
                }
                Some(("q:", rest)) => pattern.query.push(value(rest)),
                _ => pattern.methods.push(word.parse().unwrap()),
            },
        }
    }
    pattern
}

fn value(text: &str) -> (String, ValueMatch) {
    let equal = text.split_once('=');
    let like = text.split_once('~');
    match (equal, like, text.strip_prefix('!')) {
        (Some((name, value)), ..) => (name.to_owned(), ValueMatch::Exact(value.to_owned())),
        (_, Some((name, regex)), _) => (name.to_owned(), ValueMatch::Regex(regex.to_owned())),
        (.., Some(name)) => (name.to_owned(), ValueMatch::Present(false)),
        _ => (text.to_owned(), ValueMatch::Present(true)),
    }
}

/// Rules `pattern OR pattern -> value`.
fn rules(lines: &[&str]) -> Table<String> {
    Table::new(lines.iter().flat_map(|line| {
        let (patterns, value) = line.split_once(" -> ").unwrap();
        let patterns = patterns.split(" OR ").map(pattern);
        patterns.map(|pattern| (pattern, value.to_owned()))
    }))
}

/// Requests `METHOD @host #listener /path?query name:value -> value`, with GET, `h` and 0 for what is not said.
#[track_caller]
fn expect(table: &Table<String>, rows: &[&str]) {
    for row in rows {
        let (request, expected) = row.split_once(" -> ").unwrap();
        let (mut host, mut target, mut listener, mut method) = ("h", "/", 0, Method::GET);
        let mut headers = HeaderMap::new();
        for word in request.split_whitespace() {
            let (first, rest) = word.split_at(1);
            match (first, word.split_once(':')) {
                ("/", _) => target = word,
                ("@", _) => host = rest,
                ("#", _) => listener = rest.parse().unwrap(),
                (_, Some((name, value))) => {
                    let name: HeaderName = name.parse().unwrap();
                    headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
                }
                _ => method = word.parse().unwrap(),
            }
        }
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let asked = Asked {
            listener,
            host: host.as_bytes(),
            path,
            query,
            method: &method,
            headers: &headers,
        };
        assert_eq!(ask(table, &asked), expected, "{row}");
    }
}

#[test]
#[rustfmt::skip]
fn r1_to_r13_exact_paths_and_prefixes() {
    let table = rules(&["=/one -> v1", "=/two -> v2"]);
    expect(&table, &["/one -> v1", "/two -> v2", "/ -> 404", "/one/example -> 404", "/two/ -> 404", "/ONE -> 404", "/one/ -> 404"]);
    let table = rules(&[
        "=/match -> v1", "=/match/exact -> v2", "=/match/exact/one -> v3",
        "/match/ -> v3", "/match/prefix/ -> v1", "/match/prefix/one -> v2",
    ]);
    expect(&table, &[
        "/match/exact/one -> v3", "/match/exact -> v2", "/match -> v1",
        "/match/prefix/one/any -> v2", "/match/prefix/any -> v1", "/match/any -> v3",
    ]);
}

#[test]
#[rustfmt::skip]
fn r14_to_r30_matches_of_one_route_are_alternatives() {
    let table = rules(&["/ OR h:version=one -> v1", "/v2 OR h:version=two -> v2"]);
    expect(&table, &[
        "/ -> v1", "/example -> v1", "/ version:one -> v1", "/v2 -> v2", "/v2/example -> v2",
        "/ version:two -> v2", "/v2/ -> v2", "/v2example -> v1", "/foo/v2/example -> v1",
    ]);
    let table = rules(&[
        "@example.com @example.net / OR @example.com @example.net h:version=one -> v1",
        "@example.com /v2 OR @example.com h:version=two -> v2",
    ]);
    expect(&table, &[
        "@example.com / -> v1", "@example.com /example -> v1", "@example.net /example -> v1",
        "@example.com /example version:one -> v1", "@example.com /v2 -> v2", "@example.net /v2 -> v1",
        "@example.com /v2/example -> v2", "@example.com / version:two -> v2",
    ]);
}

#[test]
#[rustfmt::skip]
fn r31_to_r41_fields() {
    let table = rules(&[
        "h:version=one -> v1", "h:version=two -> v2", "h:version=two h:color=orange -> v1",
        "h:color=blue OR h:color=green -> v1", "h:color=red OR h:color=yellow -> v2",
    ]);
    expect(&table, &[
        "version:one -> v1", "version:two -> v2", "version:two color:orange -> v1", "version:two color:blue -> v2",
        "color:orange -> 404", "other:one -> 404", "color:blue -> v1", "color:green -> v1", "color:red -> v2",
        "color:yellow -> v2", "color:purple -> 404", "VERSION:one -> v1", "version:One -> 404",
    ]);
}

#[test]
#[rustfmt::skip]
fn r42_and_r43_expressions_and_several_lines() {
    let table = rules(&["h:x~^v[0-9]+$ -> v1"]);
    expect(&table, &["x:v12 -> v1", "x:xv12 -> 404", "x:v12x -> 404", "/ -> 404", "x:v1 x:v2 -> 404"]);
    expect(&rules(&["h:x=a -> v1"]), &["x:a -> v1", "x:a x:b -> 404", "x:b x:a -> 404"]);
    let table = rules(&["h:x=a,b, -> exact", "h:x~[ac]+,[bd]* -> like"]);
    expect(&table, &["x:a x:b x: -> exact", "x:a,b x: -> exact", "x:c x:d -> like", "x:c x: -> like", "x:a x:b x:c -> 404"]);
    expect(&rules(&["h:x -> there", "h:!x -> not"]), &["x:1 x:2 -> there", "x: -> there", "y:1 -> not"]);
}

#[test]
#[rustfmt::skip]
fn r44_to_r53_query() {
    let table = rules(&["q:animal=whale -> v1", "q:animal=dolphin -> v2", "q:animal=dolphin q:color=blue OR q:ANIMAL=Whale -> v3"]);
    expect(&table, &[
        "/?animal=whale -> v1", "/?animal=dolphin -> v2", "/?animal=dolphin&color=blue -> v3", "/?ANIMAL=Whale -> v3",
        "/?animal=whale&otherparam=irrelevant -> v1", "/?animal=dolphin&color=yellow -> v2", "/?color=blue -> 404",
        "/?animal=dog -> 404", "/?animal=whaledolphin -> 404", "/ -> 404",
    ]);
}

#[test]
#[rustfmt::skip]
fn r54_to_r63_query_with_paths_and_fields() {
    let mut lines = vec![
        "/path1 q:animal=whale -> v1", "h:version=one q:animal=whale -> v2", "/path2 h:version=two q:animal=whale -> v3",
        "/path3 q:animal=shark OR /path4 h:version=three q:animal=kraken -> v1",
    ];
    let rows = [
        "/path1?animal=whale -> v1", "/?animal=whale version:one -> v2", "/path2?animal=whale version:two -> v3",
        "/path3?animal=shark -> v1", "/path4?animal=kraken version:three -> v1",
    ];
    let table = rules(&lines);
    expect(&table, &rows);
    expect(&table, &["/?animal=shark -> 404", "/path4?animal=kraken -> 404"]);
    lines.extend(["/path5 -> v1", "q:animal=hydra -> v2", "h:version=four -> v3"]);
    let table = rules(&lines);
    expect(&table, &rows);
    expect(&table, &["/path5?animal=hydra -> v1", "/?animal=hydra version:four -> v3"]);
    let table = rules(&["q:animal=whale -> v1"]);
    expect(&table, &["/?animal=dog&animal=whale -> 404", "/?animal=wh%61le -> v1", "/?animal=whale+ -> 404", "/?%61nimal=whale -> v1"]);
    let table = rules(&["q:a~x+y -> like", "q:a -> there", "q:!a -> not"]);
    expect(&table, &["/?a=xxy -> like", "/?a=%78y -> like", "/?a=x+y -> there", "/?a -> there", "/?b=a -> not", "/ -> not"]);
}

#[test]
#[rustfmt::skip]
fn r64_to_r75_methods() {
    expect(&rules(&["POST -> v1", "GET -> v2"]), &["POST / -> v1", "GET / -> v2", "HEAD / -> 405 GET, POST"]);
    let mut lines = vec![
        "/path1 GET -> v1", "h:version=one PUT -> v2", "/path2 h:version=two POST -> v3",
        "/path3 PATCH OR /path4 h:version=three DELETE -> v1",
    ];
    let rows = [
        "GET /path1 -> v1", "PUT / version:one -> v2", "POST /path2 version:two -> v3", "PATCH /path3 -> v1",
        "DELETE /path4 version:three -> v1",
    ];
    expect(&rules(&lines), &rows);
    lines.extend(["/path5 -> v1", "PATCH -> v2", "h:version=four -> v3"]);
    let table = rules(&lines);
    expect(&table, &rows);
    expect(&table, &["PUT / -> 405 PATCH", "DELETE /path4 -> 405 PATCH", "PATCH /path5 -> v1", "PATCH / version:four -> v2"]);
}

#[test]
#[rustfmt::skip]
fn r76_to_r95_hosts() {
    let table = rules(&["@bar.com -> v1", "@foo.bar.com -> v2", "@*.bar.com -> v3", "@*.foo.com -> v3"]);
    expect(&table, &[
        "@bar.com / -> v1", "@foo.bar.com / -> v2", "@baz.bar.com / -> v3", "@boo.bar.com / -> v3",
        "@multiple.prefixes.bar.com / -> v3", "@multiple.prefixes.foo.com / -> v3", "@foo.com / -> 404",
        "@no.matching.host / -> 404",
    ]);
    let table = rules(&["@very.specific.com -> v1", "@*.wildcard.io -> v2"]);
    expect(&table, &[
        "@very.specific.com / -> v1", "@non.matching.com / -> 404", "@foo.wildcard.io / -> v2",
        "@foo.bar.wildcard.io / -> v2", "@wildcard.io / -> 404", "@WILD.Wildcard.IO / -> v2",
    ]);
    let table = rules(&["@first.com @*.second.com -> v"]);
    expect(&table, &["@first.com / -> v", "@sub.second.com / -> v", "@third.com / -> 404", "@second.com / -> 404"]);
}

#[test]
#[rustfmt::skip]
fn expressions_stand_between_exact_paths_and_prefixes() {
    let table = rules(&[
        "/items/list -> prefix", "~/items/[a-z]+ -> letters", "~/items/.+ -> all", "~/items/.+ GET -> get",
        "=/items/list POST -> exact", "~/items/[0-9]+ -> digits",
    ]);
    expect(&table, &[
        "POST /items/list -> exact", "GET /items/list -> letters", "POST /items/7 -> all", "GET /items/7 -> get",
        "GET /items/list/x -> get", "GET /items -> 404", "GET /x/items/a -> 404",
    ]);
    let table = rules(&["~/a/[bc] PUT -> like", "=/a/b PATCH -> exact", "/a DELETE -> prefix", "~/a/[xb] POST h:x=1 -> field"]);
    expect(&table, &[
        "DELETE /a/b -> prefix", "GET /a/b -> 405 PUT, DELETE, PATCH", "GET /a/c -> 405 PUT, DELETE",
        "GET /a/x -> 405 DELETE", "GET /a/x x:1 -> 405 POST, DELETE", "GET /b -> 404", "POST /a/b x:1 -> field",
    ]);
    let table = rules(&["@a.b ~/x+ -> own", "~/x+|/y -> any", "@a.b ~( -> never"]);
    expect(&table, &["@a.b /xx -> own", "@a.b /y -> 404", "@b /xx -> any", "@b /y -> any", "@b /( -> 404"]);
}

#[test]
#[rustfmt::skip]
fn a_listener_has_its_rules_and_no_others() {
    let table = rules(&[
        "@a.b #1 -> own", "@*.b -> wild", "#2 #4 /x -> second", "/y -> all", "@a.b #4 ~/[xz] -> like", "@a.b ~/[zx] -> later",
    ]);
    expect(&table, &[
        "@a.b #1 /q -> own", "@a.b #0 /q -> 404", "@a.b #0 /z -> later", "@c.b #1 / -> wild", "@c.b #2 /x -> wild",
        "@a.b #4 /z -> like", "@c #2 /x -> second", "@c #4 /x -> second", "@c #3 /x -> 404", "@c #0 /x -> 404",
        "@c #4 /y -> all", "@c #65535 /y -> all",
    ]);
    let table = rules(&["@a.b #1 GET -> own", "GET -> all"]);
    expect(&table, &["PUT @a.b #1 / -> 405 GET", "@a.b #2 / -> all", "@a.b #1 / -> own"]);
}

#[test]
#[rustfmt::skip]
fn fields_before_query_before_the_file() {
    let table = rules(&[
        "/ -> none", "q:a q:b q:c -> query", "h:x -> x", "h:y -> y", "h:x q:a -> both", "h:x h:y -> fields", "q:a -> a",
    ]);
    expect(&table, &[
        "/ -> none", "/?a&b&c -> query", "/?a&b&c x:1 -> both", "/?c x:1 -> x", "/?a x:1 y:1 -> fields",
        "/ y:1 -> y", "/?a -> a", "/?b -> none",
    ]);
    let table = rules(&["h:x=1 GET -> v1", "h:x=2 PUT -> v2", "q:a=1 POST -> v3"]);
    expect(&table, &["PUT / x:1 -> 405 GET", "PUT / x:3 -> 404", "GET /?a=1 x:2 -> 405 POST, PUT", "GET /?a=2 -> 404"]);
}
