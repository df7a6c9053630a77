//! R1 to R95: which route is chosen, by path, header, query, method and host.

use super::expect;

#[test]
fn exact_paths() {
    expect(
        "  - { match: { path: /one }, upstream: v1 }
  - { match: { path: /two }, upstream: v2 }",
        "R1 /one => v1
         R2 /two => v2
         R3 / => 404
         R4 /one/example => 404
         R5 /two/ => 404
         R6 /ONE => 404
         R7 /one/ => 404",
    );
}

#[test]
fn exact_before_prefix_and_long_before_short() {
    expect(
        "  - { match: { path: /match }, upstream: v1 }
  - { match: { path: /match/exact }, upstream: v2 }
  - { match: { path: /match/exact/one }, upstream: v3 }
  - { match: { path_prefix: /match/ }, upstream: v3 }
  - { match: { path_prefix: /match/prefix/ }, upstream: v1 }
  - { match: { path_prefix: /match/prefix/one }, upstream: v2 }",
        "R8 /match/exact/one => v3
         R9 /match/exact => v2
         R10 /match => v1
         R11 /match/prefix/one/any => v2
         R12 /match/prefix/any => v1
         R13 /match/any => v3",
    );
}

#[test]
fn a_path_or_a_header() {
    expect(
        "  - { match: [{ path_prefix: / }, { headers: { version: one } }], upstream: v1 }
  - { match: [{ path_prefix: /v2 }, { headers: { version: two } }], upstream: v2 }",
        "R14 / => v1
         R15 /example => v1
         R16 / ; version: one => v1
         R17 /v2 => v2
         R18 /v2/example => v2
         R19 / ; version: two => v2
         R20 /v2/ => v2
         R21 /v2example => v1
         R22 /foo/v2/example => v1",
    );
}

#[test]
fn hosts_of_several_routes() {
    expect(
        "  - match:
      - { hosts: [example.com, example.net], path_prefix: / }
      - { hosts: [example.com, example.net], headers: { version: one } }
    upstream: v1
  - match:
      - { hosts: [example.com], path_prefix: /v2 }
      - { hosts: [example.com], headers: { version: two } }
    upstream: v2",
        "R23 example.com/ => v1
         R24 example.com/example => v1
         R25 example.net/example => v1
         R26 example.com/example ; version: one => v1
         R27 example.com/v2 => v2
         R28 example.net/v2 => v1
         R29 example.com/v2/example => v2
         R30 example.com/ ; version: two => v2",
    );
}

#[test]
fn headers() {
    expect(
        "  - { match: { headers: { version: one } }, upstream: v1 }
  - { match: { headers: { version: two } }, upstream: v2 }
  - { match: { headers: { version: two, color: orange } }, upstream: v1 }
  - { match: [{ headers: { color: blue } }, { headers: { color: green } }], upstream: v1 }
  - { match: [{ headers: { color: red } }, { headers: { color: yellow } }], upstream: v2 }",
        "R31 / ; version: one => v1
         R32 / ; version: two => v2
         R33 / ; version: two ; color: orange => v1
         R34 / ; version: two ; color: blue => v2
         R35 / ; color: orange => 404
         R36 / ; other: one => 404
         R37 / ; color: blue => v1
         R38 / ; color: green => v1
         R39 / ; color: red => v2
         R40 / ; color: yellow => v2
         R41 / ; color: purple => 404
         R31-case / ; VERSION: one => v1
         R31-value / ; version: ONE => 404",
    );
}

#[test]
fn a_regex_is_for_the_whole_value() {
    expect(
        "  - { match: { path: /anchored, headers: { x: { regex: \"^v[0-9]+$\" } } }, upstream: v1 }
  - { match: { path: /bare, headers: { x: { regex: \"v[0-9]+\" } } }, upstream: v1 }
  - { match: { path: /there, headers: { x: { present: true } } }, upstream: v1 }
  - { match: { path: /away, headers: { x: { present: false } } }, upstream: v2 }",
        "R42 /anchored ; x: v12 => v1
         R42 /anchored ; x: xv12 => 404
         R42 /anchored => 404
         R42 /bare ; x: v12 => v1
         R42 /bare ; x: xv12 => 404
         R42 /bare ; x: v12x => 404
         R42 /bare => 404
         R42 /there ; x: any => v1
         R42 /there => 404
         R42 /away => v2
         R42 /away ; x: any => 404",
    );
}

#[test]
fn two_lines_are_one_value() {
    expect(
        "  - { match: { path: /a, headers: { x: a } }, upstream: v1 }
  - { match: { path: /b, headers: { x: { regex: \"a, ?b\" } } }, upstream: v2 }",
        "R43 /a ; x: a => v1
         R43 /a ; x: a ; x: b => 404
         R43 /a ; x: b ; x: a => 404
         R43 /b ; x: a ; x: b => v2
         R43 /b ; x: b ; x: a => 404",
    );
}

#[test]
fn queries() {
    expect(
        "  - { match: { query: { animal: whale } }, upstream: v1 }
  - { match: { query: { animal: dolphin } }, upstream: v2 }
  - { match: [{ query: { animal: dolphin, color: blue } }, { query: { ANIMAL: Whale } }], upstream: v3 }",
        "R44 /?animal=whale => v1
         R45 /?animal=dolphin => v2
         R46 /?animal=dolphin&color=blue => v3
         R47 /?ANIMAL=Whale => v3
         R48 /?animal=whale&otherparam=irrelevant => v1
         R49 /?animal=dolphin&color=yellow => v2
         R50 /?color=blue => 404
         R51 /?animal=dog => 404
         R52 /?animal=whaledolphin => 404
         R53 / => 404
         R63 /?animal=dog&animal=whale => 404
         R63 /?animal=whale&animal=dog => v1
         R63 /?animal=wh%61le => v1
         R63 /?%61nimal=whale => v1
         R63 /?animal=whale+ => 404",
    );
}

#[test]
fn path_header_and_query_together() {
    expect(
        "  - { match: { path_prefix: /path1, query: { animal: whale } }, upstream: v1 }
  - { match: { headers: { version: one }, query: { animal: whale } }, upstream: v2 }
  - { match: { path_prefix: /path2, headers: { version: two }, query: { animal: whale } }, upstream: v3 }
  - match:
      - { path_prefix: /path3, query: { animal: shark } }
      - { path_prefix: /path4, headers: { version: three }, query: { animal: kraken } }
    upstream: v1
  - { match: { path_prefix: /path5 }, upstream: v1 }
  - { match: { query: { animal: hydra } }, upstream: v2 }
  - { match: { headers: { version: four } }, upstream: v3 }",
        "R54 /path1?animal=whale => v1
         R55 /?animal=whale ; version: one => v2
         R56 /path2?animal=whale ; version: two => v3
         R57 /path3?animal=shark => v1
         R58 /path4?animal=kraken ; version: three => v1
         R59 /?animal=shark => 404
         R60 /path4?animal=kraken => 404
         R61 /path5?animal=hydra => v1
         R62 /?animal=hydra ; version: four => v3",
    );
}

#[test]
fn methods() {
    expect(
        "  - { match: { methods: [POST] }, upstream: v1 }
  - { match: { methods: [GET] }, upstream: v2 }",
        "R64 POST / => v1
         R65 GET / => v2
         R66 HEAD / => 405 ; allow: GET, POST ; x-gateway-reason: method_not_allowed",
    );
}

#[test]
fn methods_with_path_and_header() {
    expect(
        "  - { match: { path_prefix: /path1, methods: [GET] }, upstream: v1 }
  - { match: { headers: { version: one }, methods: [PUT] }, upstream: v2 }
  - { match: { path_prefix: /path2, headers: { version: two }, methods: [POST] }, upstream: v3 }
  - match:
      - { path_prefix: /path3, methods: [PATCH] }
      - { path_prefix: /path4, headers: { version: three }, methods: [DELETE] }
    upstream: v1
  - { match: { path_prefix: /path5 }, upstream: v1 }
  - { match: { methods: [PATCH] }, upstream: v2 }
  - { match: { headers: { version: four } }, upstream: v3 }",
        "R67 /path1 => v1
         R68 PUT / ; version: one => v2
         R69 POST /path2 ; version: two => v3
         R70 PATCH /path3 => v1
         R71 DELETE /path4 ; version: three => v1
         R72 PUT / => 405 ; allow: PATCH
         R73 DELETE /path4 => 405 ; allow: PATCH
         R74 PATCH /path5 => v1
         R75 PATCH / ; version: four => v2",
    );
}

#[test]
fn the_most_specific_host() {
    expect(
        "  - { match: { hosts: [bar.com] }, upstream: v1 }
  - { match: { hosts: [foo.bar.com] }, upstream: v2 }
  - { match: { hosts: [\"*.bar.com\"] }, upstream: v3 }
  - { match: { hosts: [\"*.foo.com\"] }, upstream: v3 }",
        "R76 bar.com/ => v1
         R77 foo.bar.com/ => v2
         R78 baz.bar.com/ => v3
         R79 boo.bar.com/ => v3
         R80 multiple.prefixes.bar.com/ => v3
         R81 multiple.prefixes.foo.com/ => v3
         R82 foo.com/ => 404
         R83 no.matching.host/ => 404",
    );
}

#[test]
fn ports_wildcards_and_case_of_hosts() {
    expect(
        "  - { match: { hosts: [very.specific.com] }, upstream: v1 }
  - { match: { hosts: [\"*.wildcard.io\"] }, upstream: v2 }
  - { match: { hosts: [first.com, \"*.second.com\"] }, upstream: v3 }",
        "R84 very.specific.com/ => v1
         R85 very.specific.com:1234/ => v1
         R86 non.matching.com/ => 404
         R87 foo.wildcard.io/ => v2
         R88 foo.bar.wildcard.io/ => v2
         R89 wildcard.io/ => 404
         R90 WILD.Wildcard.IO/ => v2
         R91 first.com/ => v3
         R92 sub.second.com/ => v3
         R93 third.com/ => 404
         R94 second.com/ => 404
         R95 first.com./ => v3",
    );
}

/// A path that matches by regex comes after exact ones and before prefixes, whatever its length.
#[test]
fn regex_between_exact_and_prefix() {
    expect(
        "  - { match: { path_prefix: /api/items/special }, upstream: v1 }
  - { match: { path_regex: \"/api/items/[a-z0-9]+\" }, upstream: v2 }
  - { match: { path_regex: \"/api/.*\" }, upstream: v3 }
  - { match: { path: /api/items/exact }, upstream: v1 }",
        "regex-1 /api/items/special => v2
         regex-2 /api/items/special/more => v3
         regex-3 /api/items/exact => v1
         regex-4 /api/items/UPPER => v3
         regex-5 /x/api/items/a => 404
         regex-6 /api/items/a?x=/ => v2",
    );
}
