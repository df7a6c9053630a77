//! Keys as people write them, and values that a request has twice.

use super::*;

#[test]
fn a_definition_is_shown_as_a_file_writes_it() {
    let parts = [
        "client_ip",
        "header:x-tenant",
        "cookie:c",
        "query:q",
        "client_cert",
        "host",
        "path",
        "method",
        "route",
        "connection",
        "global",
    ];
    let key = Key::new(parts.iter().map(|text| part(text)).collect());
    assert_eq!(key.to_string(), parts.join(","));
}

#[test]
fn a_value_is_shown_in_its_parts() {
    let key = Key::new(vec![
        part("client_ip"),
        part("path"),
        part("method"),
        part("connection"),
        part("global"),
    ]);
    let bytes = Request::plain().of(key.parts()).unwrap();
    assert_eq!(key.show(&bytes), "192.0.2.1,/a,GET,7,global");
    let mut client = Vec::new();
    Key::append_client([192, 0, 2, 9].into(), &mut client);
    assert_eq!(key.show(&client), "client_ip=192.0.2.9");
    assert_eq!(Key::client_ip().show(&client), "192.0.2.9");
    for text in [
        "192.0.2.1",
        "192.0.2.1,/a,GET,7,global,x",
        "x,/a,GET,7,global",
        "192.0.2.1,/a,GET,seven,global",
        "",
    ] {
        assert_eq!(
            key.read(text, |address| address, &mut Vec::new()),
            None,
            "{text}"
        );
    }
}

proptest! {
    /// What is shown can be asked for.
    #[test]
    fn a_shown_value_is_read_back(value in "[ -~]{1,60}", path in "/[a-z%,/*=]{0,30}", long in 1000_usize..3000) {
        let key = Key::new(vec![part("header:x-tenant"), part("path"), part("client_ip")]);
        for value in [value, "v".repeat(long)] {
            let mut request = Request::with(TENANT, &[&value]);
            request.path.clone_from(&path);
            let bytes = request.of(key.parts()).unwrap();
            let mut again = Vec::new();
            prop_assert!(key.read(&key.show(&bytes), |address| address, &mut again).is_some());
            prop_assert_eq!(bytes, again);
        }
    }

    #[test]
    fn what_is_repeated_is_no_key(value in "[a-z]{1,9}", other in "[a-z]{1,9}") {
        let facts = |request: &Request, key: &str| {
            let key = Key::new(vec![part(key)]);
            let facts = Facts {
                client: request.client,
                host: b"",
                path: "/",
                query: request.query.as_deref(),
                method: &request.method,
                headers: &request.headers,
                route: "",
                connection: 0,
                subject: b"",
            };
            (key.append(&facts, &mut Vec::new()), key.append_single(&facts, &mut Vec::new()))
        };
        let cookies = format!("c={value}; c={other}");
        prop_assert_eq!(facts(&Request::with(TENANT, &[&value]), "header:x-tenant"), (true, true));
        prop_assert_eq!(facts(&Request::with(TENANT, &[&value, &other]), "header:x-tenant"), (true, false));
        prop_assert_eq!(facts(&Request::with(header::COOKIE, &[&cookies]), "cookie:c"), (true, false));
        prop_assert_eq!(facts(&Request::asking(&format!("q={value}&%71={other}")), "query:q"), (true, false));
    }
}
