//! R97 to R145: what becomes of the fields, the path and the host, and where a redirect points to.

use std::net::{SocketAddr, TcpListener};

use crate::support::{Gateway, Setup, Upstream};

use super::{Three, expect, expect_of};

#[test]
fn fields_of_the_request() {
    expect(
        "  - { match: { path: /set }, upstream: v1, request_headers: { set: { X-Header-Set: set-overwrites-values } } }
  - { match: { path: /add }, upstream: v1, request_headers: { add: { X-Header-Add: add-appends-values } } }
  - { match: { path: /remove }, upstream: v1, request_headers: { remove: [X-Header-Remove] } }
  - match: { path: /all }
    upstream: v2
    request_headers:
      add: { X-Header-Add-1: a1, X-Header-Add-2: a2, X-Both: added }
      set: { X-Header-Set-1: s1, X-Header-Set-2: s2, X-Both: set, X-Back: again }
      remove: [X-Header-Remove-1, X-Header-Remove-2, X-Back]
  - { match: { path: /case }, upstream: v3, request_headers: { set: { x-header-SET: y }, add: { X-HEADER-add: z }, remove: [x-HEADER-remove] } }",
        "R97 /set ; x-other: kept => v1 ; X-Header-Set: set-overwrites-values
         R98 /set ; X-Header-Set: some-other-value => v1 ; X-Header-Set: set-overwrites-values
         R98 /set ; X-Header-Set: one ; X-Header-Set: two => v1 ; X-Header-Set: set-overwrites-values
         R99 /add ; x-other: kept => v1 ; X-Header-Add: add-appends-values
         R100 /add ; X-Header-Add: some-other-value => v1 ; X-Header-Add: some-other-value,add-appends-values
         R101 /remove ; X-Header-Remove: x ; x-other: kept => v1 ; -X-Header-Remove
         R101 /remove ; X-Header-Remove: x ; X-Header-Remove: y => v1 ; -X-Header-Remove
         R102 /all ; X-Header-Set-1: old ; X-Header-Add-1: old ; X-Header-Remove-1: old ; X-Back: old ; X-Both: old => v2 ; \
              X-Header-Set-1: s1 ; X-Header-Set-2: s2 ; X-Header-Add-1: old,a1 ; X-Header-Add-2: a2 ; -X-Header-Remove-1 ; \
              -X-Header-Remove-2 ; X-Back: again ; X-Both: set,added
         R103 /case ; X-Header-Set: x ; x-header-add: x ; X-Header-Remove: x => v3 ; x-header-set: y ; x-header-add: x,z ; -x-header-remove",
    );
}

#[test]
fn fields_of_the_answer() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Set: theirs\r\nX-Set: twice\r\nX-Add: theirs\r\nX-Remove: theirs\r\n\
         X-Remove: twice\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2, Expires=Wed, 01 Jan 2031 00:00:00 GMT\r\nX-Other: kept\r\n\r\n",
    );
    let gateway = Setup::to(upstream.address())
        .before("match: { path: /set }, upstream: app, response_headers: { set: { x-SET: ours, X-New: new } }")
        .before("match: { path: /add }, upstream: app, response_headers: { add: { X-Add: ours, X-New: new, Set-Cookie: c=3 } }")
        .before("match: { path: /remove }, upstream: app, response_headers: { remove: [x-remove, X-Nobody] }")
        .before("match: { path: /all }, upstream: app, response_headers: { remove: [X-Remove], set: { X-Set: ours, X-Both: set }, add: { X-Add: ours, X-Both: added } }")
        .start();
    let cookies = ["a=1; Path=/", "b=2, Expires=Wed, 01 Jan 2031 00:00:00 GMT"];
    for (row, target, wanted) in [
        (
            "R104",
            "/set",
            [
                ("x-set", vec!["ours"]),
                ("x-new", vec!["new"]),
                ("x-add", vec!["theirs"]),
            ],
        ),
        (
            "R105",
            "/add",
            [
                ("x-add", vec!["theirs", "ours"]),
                ("x-new", vec!["new"]),
                ("set-cookie", vec![cookies[0], cookies[1], "c=3"]),
            ],
        ),
        (
            "R106",
            "/remove",
            [
                ("x-remove", vec![]),
                ("x-nobody", vec![]),
                ("x-set", vec!["theirs", "twice"]),
            ],
        ),
        (
            "R107",
            "/all",
            [
                ("x-remove", vec![]),
                ("x-set", vec!["ours"]),
                ("x-both", vec!["set", "added"]),
            ],
        ),
    ] {
        let answer = gateway.get(target).expect_ok();
        for (name, values) in wanted {
            assert_eq!(answer.all(name), values, "{row} {name}");
        }
        assert_eq!(answer.all("x-other"), ["kept"], "{row}");
        assert_eq!(
            answer.all("set-cookie")[..2],
            cookies,
            "{row}: never joined"
        );
    }
}

const REDIRECTS: &str = "  - { match: { path_prefix: /hostname-redirect }, redirect: { host: example.org } }
  - { match: { path_prefix: /host-and-status }, redirect: { host: example.org, status: 301 } }
  - { match: { path_prefix: /see-other }, redirect: { host: example.org, status: 303 } }
  - { match: { path_prefix: /temporary }, redirect: { host: example.org, status: 307 } }
  - { match: { path_prefix: /permanent }, redirect: { host: example.org, status: 308 } }
  - { match: { path_prefix: /original-prefix }, redirect: { path_prefix: /replacement-prefix } }
  - { match: { path_prefix: /full }, redirect: { path: /full-path-replacement } }
  - { match: { path_prefix: /prefix-and-host }, redirect: { path_prefix: /replacement-prefix, host: example.org } }
  - { match: { path_prefix: /prefix-and-status }, redirect: { path_prefix: /replacement-prefix, status: 301 } }
  - { match: { path_prefix: /full-and-host }, redirect: { path: /replacement-full, host: example.org } }
  - { match: { path_prefix: /full-and-status }, redirect: { path: /replacement-full, status: 301 } }
  - { match: { path: /nil-nil }, redirect: { host: b.test } }
  - { match: { path: /nil-80 }, redirect: { host: b.test, port: 80 } }
  - { match: { path: /nil-8080 }, redirect: { host: b.test, port: 8080 } }
  - { match: { path: /https-nil }, redirect: { host: b.test, scheme: https } }
  - { match: { path: /https-443 }, redirect: { host: b.test, scheme: https, port: 443 } }
  - { match: { path: /https-8443 }, redirect: { host: b.test, scheme: https, port: 8443 } }";

/// Whatever the listener's port is.
const REDIRECTED: &str = "
    R110 /hostname-redirect?q=%20 => 302 ; location: http://example.orgPORT/hostname-redirect?q=%20
    R111 /host-and-status => 301 ; location: http://example.orgPORT/host-and-status
    R112 /see-other => 303 ; location: http://example.orgPORT/see-other
    R113 /temporary => 307 ; location: http://example.orgPORT/temporary
    R114 /permanent => 308 ; location: http://example.orgPORT/permanent
    R115 /original-prefix/lemon => 302 ; location: http://a.testPORT/replacement-prefix/lemon
    R115 /original-prefix => 302 ; location: http://a.testPORT/replacement-prefix
    R116 /full/path/original => 302 ; location: http://a.testPORT/full-path-replacement
    R117 /prefix-and-host/lemon => 302 ; location: http://example.orgPORT/replacement-prefix/lemon
    R118 /prefix-and-status/lemon => 301 ; location: http://a.testPORT/replacement-prefix/lemon
    R119 /full-and-host/lemon => 302 ; location: http://example.orgPORT/replacement-full
    R120 /full-and-status/lemon => 301 ; location: http://a.testPORT/replacement-full";

#[test]
fn redirects() {
    let three = Three::start();
    let gateway = Gateway::start(&three.file("127.0.0.1:0", REDIRECTS));
    expect_of(&gateway, gateway.address(), REDIRECTED);
    // R127 to R129 say 8080; any port that is not the default one is as good.
    expect_of(
        &gateway,
        gateway.address(),
        "R127 /nil-nil => 302 ; location: http://b.testPORT/nil-nil
         R128 /nil-80 => 302 ; location: http://b.test/nil-80
         R129 /https-nil => 302 ; location: https://b.test/https-nil",
    );
    for echo in &three.0 {
        echo.upstream().expect_untouched();
    }
}

#[test]
fn redirects_of_the_default_port() {
    let address: SocketAddr = "127.0.80.80:80".parse().unwrap();
    if let Err(error) = TcpListener::bind(address) {
        eprintln!("port 80 cannot be had here ({error}): the unit tests of redirects cover it");
        return;
    }
    let three = Three::start();
    let gateway = Gateway::start(&three.file(&address.to_string(), REDIRECTS));
    expect_of(&gateway, address, REDIRECTED);
    expect_of(
        &gateway,
        address,
        "R121 /nil-nil => 302 ; location: http://b.test/nil-nil
         R122 /nil-80 => 302 ; location: http://b.test/nil-80
         R123 /nil-8080 => 302 ; location: http://b.test:8080/nil-8080
         R124 /https-nil => 302 ; location: https://b.test/https-nil
         R125 /https-443 => 302 ; location: https://b.test/https-443
         R126 /https-8443 => 302 ; location: https://b.test:8443/https-8443",
    );
}

#[test]
fn rewrites() {
    expect(
        "  - { match: { path_prefix: /prefix/one }, upstream: v1, rewrite: { path_prefix: /one } }
  - { match: { path_prefix: /strip-prefix }, upstream: v1, rewrite: { path_prefix: / } }
  - { match: { path_prefix: /full/one }, upstream: v1, rewrite: { path: /one } }
  - match: { path_prefix: /modified }
    upstream: v2
    rewrite: { path_prefix: /prefix }
    request_headers: { set: { X-Header-Set: s }, add: { X-Header-Add: a }, remove: [X-Header-Remove] }
  - match: { path_prefix: /full-modified }
    upstream: v2
    rewrite: { path: /test }
    request_headers: { set: { X-Header-Set: s }, add: { X-Header-Add: a }, remove: [X-Header-Remove] }
  - { match: { hosts: [rewrite.example], path_prefix: /one }, upstream: v3, rewrite: { host: one.example.org } }
  - { match: { hosts: [rewrite.example], path_prefix: /both }, upstream: v3, rewrite: { host: one.example.org, path_prefix: /b } }",
        "R136 /prefix/one/two => v1 /one/two
         R136 /prefix/one => v1 /one
         R137 /strip-prefix/three => v1 /three
         R138 /strip-prefix => v1 /
         R138 /strip-prefix/ => v1 /
         R138 /strip-prefix?x=1 => v1 /?x=1
         R138 /strip-prefix//three => v1 /three
         R139 /full/one/two => v1 /one
         R139 /full/one/two?x=1 => v1 /one?x=1
         R140 /modified/x ; X-Header-Set: old ; X-Header-Add: old ; X-Header-Remove: old => v2 /prefix/x ; \
              X-Header-Set: s ; X-Header-Add: old,a ; -X-Header-Remove
         R141 /full-modified/x ; X-Header-Remove: old => v2 /test ; X-Header-Set: s ; X-Header-Add: a ; -X-Header-Remove
         R142 rewrite.example/one/x => v3 one.example.org/one/x
         R143 rewrite.example/both/x?y=/both => v3 one.example.org/b/x?y=/both
         R144 /prefix/one/a%2Fb?x=%20 => v1 /one/a%2Fb?x=%20
         R144 /strip-prefix/%C3%A9;p=1?x=/../%2e => v1 /%C3%A9;p=1?x=/../%2e",
    );
}

/// Normalised before matching: what is matched is what is rewritten and sent.
#[test]
fn dots_are_resolved_before_the_route_is_chosen() {
    expect(
        "  - { match: { path_prefix: /a }, upstream: v1, rewrite: { path_prefix: /b } }
  - { match: { path_prefix: / }, upstream: v2 }",
        "R145 /a/%2e%2e/c => v2 /c
         R145 /a/../c => v2 /c
         R145 /x/../a/c => v1 /b/c
         R145 /a/x/%2E%2e/c => v1 /b/c
         R145 /a/%2e/c => v1 /b/c
         R145 /a//c => v1 /b/c
         R145 /%61/c => v1 /b/c",
    );
}
