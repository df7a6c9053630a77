//! The rules for the whole file: names, anchors, secrets, line ends, files.

use super::*;

#[test]
fn anchors_and_merge_keys_work() {
    let text = format!(
        "{LISTENER}x-base: &base {{ balance: round_robin, timeouts: &t {{ connect: 1s }} }}
upstreams:
  one: {{ <<: *base, endpoints: [\"http://127.0.0.1:1\"] }}
  two: {{ endpoints: [\"http://127.0.0.1:2\"], balance: least_requests, <<: [*base] }}
  three: {{ endpoints: [\"http://127.0.0.1:3\"], timeouts: {{ <<: *t, body: 2s }} }}"
    );
    let upstreams = meaning(&text).upstreams;
    assert_eq!(upstreams[0].balance, Balance::RoundRobin);
    assert_eq!(upstreams[1].balance, Balance::LeastRequests);
    for upstream in &upstreams {
        assert_eq!(upstream.timeouts.connect, Some(Duration::from_secs(1)));
    }
    assert_eq!(upstreams[2].timeouts.body, Some(Duration::from_secs(2)));
}

fn route_names(routes: &[&str]) -> Vec<String> {
    let list: String = routes
        .iter()
        .map(|one| format!("  - {{ match: {one}, respond: {{}} }}\n"))
        .collect();
    meaning(&format!("{LISTENER}routes:\n{list}"))
        .routes
        .into_iter()
        .map(|route| route.name)
        .collect()
}

#[test]
fn a_route_without_a_name_is_called_by_its_match() {
    let matches = [
        "{ hosts: [api.example.com, b.example], path_prefix: /v1/Users, methods: [GET] }",
        "{ path: / }",
        "[{ path: /a }, { path: /b }]",
    ];
    let names = route_names(&matches);
    // These names are in people's dashboards: they may not change.
    assert_eq!(
        names,
        [
            "api-example-com-v1-users-get-d4e845",
            "any-af1d2d",
            "a-62f25c"
        ]
    );
    let mut moved = route_names(&[matches[2], matches[0], matches[1]]);
    moved.rotate_left(1);
    assert_eq!(moved, names);
    let same = "{ methods: [GET], path_prefix: /v1//Users/, hosts: [b.example, API.example.com] }";
    assert!(route_names(&[same])[0].ends_with("-v1-users-get-d4e845"));
    for name in route_names(&[
        &format!("{{ path: /{} }}", "a.b".repeat(90)),
        "{ path: /%20- }",
    ]) {
        assert_eq!(word::check_name(&name), Ok(()));
    }
}

#[test]
fn a_listener_without_a_name_is_called_by_its_first_bind() {
    let config = meaning(
        "listeners: [{ bind: [\"[::]:8080\", \"0.0.0.0:1\"] }, { bind: \"[2001:DB8::1]:443\" }]",
    );
    let names: Vec<_> = config
        .listeners
        .iter()
        .map(|listener| listener.name.as_str())
        .collect();
    assert_eq!(names, ["8080", "2001-db8-1-443"]);
}

#[test]
fn keys_at_the_top_that_begin_with_x_are_ignored() {
    assert_eq!(
        problems(&format!("{LISTENER}x-any: {{ thing: [1, ${{X}}] }}").replace("${X}", "\"${X}\"")),
        [""; 0]
    );
    assert_eq!(
        problems("listeners: [{ bind: \"127.0.0.1:80\", x-a: 1 }]"),
        ["1:37 unknown key `x-a`"]
    );
}

#[test]
fn a_star_in_a_path_is_doubtful() {
    let text = format!("{LISTENER}routes: [{{ match: {{ path_prefix: /a/* }}, respond: {{}} }}]");
    assert_eq!(
        problems(&text),
        ["2:34 `*` is an ordinary character in a path"]
    );
}

#[test]
fn a_byte_order_mark_and_any_line_end_are_fine() {
    let text = format!("\u{feff}{}", SMALLEST.trim_start().replace('\n', "\r\n"));
    assert_eq!(problems(&text), [""; 0]);
    assert_eq!(
        problems(&format!("{text}nonsense: 1\r\n")),
        ["8:1 unknown key `nonsense`"]
    );
}

#[test]
fn messages_never_hold_what_was_filled_in() {
    let env = |_: &str| Some(String::from("hunter2"));
    let text = "listeners: [{ bind: \"${A}\", protocols: \"${A}\", limits: { headers: \"${A}\" } }]
admin: { token: \"${A} x\" }
routes: [{ upstream: \"${A}\", match: { path: \"${A}\", hosts: [\"${A}:1\"], methods: [\"${A}\"] } }]";
    let problems = parse_text("f", text, &env).unwrap_err();
    assert!(problems.len() >= 8, "{}", render(&problems));
    assert!(
        !render(&problems).contains("hunter2"),
        "{}",
        render(&problems)
    );
}

#[test]
fn files_that_cannot_be_read_are_problems() {
    let folder = std::env::temp_dir().join(format!("tidegate-load-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let read = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        load(&path, &no_env)
    };
    let loaded = read("good", SMALLEST.as_bytes()).unwrap();
    assert_eq!(loaded.sources, [folder.join("good")]);
    let message = |result: Result<Loaded, Vec<Problem>>| result.unwrap_err().remove(0).message;
    assert_eq!(message(read("empty", b"")), "the file is empty");
    assert_eq!(
        message(read("large", &vec![b'#'; (8 << 20) + 1])),
        "is larger than 8 MiB"
    );
    assert_eq!(
        message(load(&folder, &no_env)),
        "cannot be read: it is a directory without `*.yaml`"
    );
    assert!(
        message(load(&folder.join("none"), &no_env)).starts_with("cannot be read: No such file")
    );
    let problem = read("latin1", b"a: 1\nb: \xe9\n").unwrap_err().remove(0);
    assert_eq!(
        (problem.line, problem.column, problem.message.as_str()),
        (2, 4, "this byte is not UTF-8")
    );
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn start_up_says_what_is_not_in_force() {
    let all = not_yet_in_force(&meaning(SMALLEST)).join("\n");
    assert!(all.contains("ping_interval"), "{all}");
    assert_eq!(not_yet_in_force(&meaning(LISTENER)), [""; 0]);
}

#[test]
fn a_proxy_header_that_nobody_may_send_is_doubtful() {
    let text = "listeners: [{ bind: \"127.0.0.1:80\", proxy_protocol: true }]";
    assert_eq!(
        problems(text),
        ["1:53 no peer may send a PROXY protocol header"]
    );
}

#[test]
fn aliases_have_bounds() {
    assert_eq!(
        problems("x-a: &a [*a]"),
        ["1:10 this alias names a value of which it is a part"]
    );
    let nest = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let text = format!("x-a: &a {}\nx-b: {}", nest(20), nest(20).replace('1', "*a"));
    assert_eq!(
        problems(&text),
        ["2:26 nested deeper than 32 levels through this alias"]
    );
    let text = format!(
        "x-a: &a {}\nx-b: {}\n{LISTENER}",
        nest(20),
        nest(5).replace('1', "*a")
    );
    assert_eq!(problems(&text), [""; 0]);
}

#[test]
fn keys_are_texts_and_stand_once() {
    let found = problems(&format!(
        "{LISTENER}? [a]\n: 1\n~: 2\n\"<<\": 3\nworkers: 1\n'workers': 2"
    ));
    let expected = [
        "2:3 a key must be a text, this is a list",
        "4:1 a key must be a text, this is nothing",
        "5:1 unknown key `<<`",
        "7:1 the key `workers` stands here twice",
    ];
    assert_eq!(found, expected);
}
