//! A configuration in several files, of a directory or of `include`: what comes, goes, changes or breaks in one of them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Gateway, PATIENCE, scale, unique_directory, until};

const SOON: Duration = Duration::from_secs(1);

/// A writer that rests longer than this may be taken for one that has finished: that is what the watch promises.
const LONGEST_REST: Duration = Duration::from_millis(700);

const BOOT: &str = "workers: 1\nadmin: { bind: \"127.0.0.1:0\" }\nlogging: { access: off }\nlisteners: [{ name: main, bind: \"127.0.0.1:0\" }]\n";

/// One route `/name` that answers with `body`.
fn route(name: &str, body: &str) -> String {
    format!(
        "routes:\n  - {{ name: {name}, match: {{ path: /{name} }}, respond: {{ body: {body} }} }}\n"
    )
}

/// A gateway, and the directory of the files that come and go.
struct Scene {
    gateway: Gateway,
    parts: PathBuf,
}

impl Scene {
    /// A gateway on the directory `conf` with these files.
    fn of_directory(files: &[(&str, &str)]) -> Scene {
        let directory = unique_directory();
        let parts = directory.join("conf");
        write_all(&parts, files);
        let gateway = Gateway::spawn_in(directory, "conf").ready();
        Scene { gateway, parts }
    }

    /// A gateway on a file that includes `routes.d/*.yaml`.
    fn of_include(files: &[(&str, &str)]) -> Scene {
        let directory = unique_directory();
        let parts = directory.join("routes.d");
        write_all(&parts, files);
        let main = format!("{BOOT}include: routes.d/*.yaml\n{}", route("main", "main"));
        fs::write(directory.join("gateway.yaml"), main).unwrap();
        let gateway = Gateway::start_in(directory, "gateway.yaml");
        Scene { gateway, parts }
    }

    /// Both kinds, with one part `a.yaml` that answers `/a` with `a`.
    fn both() -> [Scene; 2] {
        let a = ("a.yaml", &*route("a", "a"));
        let boot = format!("{BOOT}{}", route("main", "main"));
        [
            Scene::of_directory(&[("00.yaml", &boot), a]),
            Scene::of_include(&[a]),
        ]
    }

    /// Puts a file in place by a rename.
    fn put(&self, name: &str, text: &str) {
        let fresh = self.parts.join(format!("{name}.new"));
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, self.parts.join(name)).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.parts.join(name)).unwrap();
    }

    /// What `/name` is answered with, or the status of a refusal.
    fn says(&self, name: &str) -> String {
        let answer = self.gateway.get(&format!("/{name}"));
        match answer.status {
            200 => answer.text(),
            status => status.to_string(),
        }
    }

    fn await_said(&self, name: &str, wanted: &str) -> Duration {
        let begin = Instant::now();
        until(PATIENCE, &format!("/{name} says {wanted}"), || {
            self.says(name) == wanted
        });
        begin.elapsed()
    }

    fn reloads(&self, result: &str) -> f64 {
        let name = "tidegate_config_reloads_total";
        let count = self.gateway.metric(name, &[("result", result)]);
        count.unwrap_or(0.0)
    }

    /// Does `change` and fails unless the generation is refused, with all of these words, and the old one goes on.
    fn expect_refused(&self, words: &[&str], change: impl FnOnce()) {
        let (refused, before) = (self.reloads("rejected"), self.gateway.stderr_lines().len());
        change();
        until(PATIENCE, &format!("a refusal with {words:?}"), || {
            let said = self.gateway.stderr_lines()[before..].join("\n");
            self.reloads("rejected") > refused && words.iter().all(|word| said.contains(word))
        });
        assert_eq!(
            (self.says("main"), self.says("a")),
            ("main".into(), "a".into())
        );
    }
}

fn write_all(directory: &Path, files: &[(&str, &str)]) {
    fs::create_dir_all(directory).unwrap();
    for (name, text) in files {
        fs::write(directory.join(name), text).unwrap();
    }
}

/// The middle one is soon: a machine that is busy with other tests may hold up some.
fn expect_soon(mut took: Vec<Duration>) {
    took.sort();
    assert!(took[took.len() / 2] < SOON, "{took:?}");
}

#[test]
fn all_yaml_files_of_a_directory_are_one_file() {
    let scene = Scene::of_directory(&[
        ("10-boot.yaml", BOOT),
        ("20-first.yaml", &route("first", "first")),
        (
            "30-tie.yaml",
            "routes:\n  - { match: { path: /tie, headers: { x: { present: true } } }, respond: { body: earlier } }\n",
        ),
        (
            "40-tie.yaml",
            "routes:\n  - { match: { path: /tie, headers: { host: a.test } }, respond: { body: later } }\n",
        ),
        (
            "50-away.yaml",
            "routes:\n  - { match: { path: /away }, upstream: elsewhere }\n",
        ),
        (
            "60-up.yaml",
            "upstreams:\n  elsewhere: { endpoints: [\"http://127.0.0.1:9\"] }\n",
        ),
        ("notes.txt", "routes: [broken"),
        ("70.yaml.bak", "routes: [broken"),
        (".80.yaml", "routes: [broken"),
        ("90.yml", "routes: [broken"),
    ]);
    assert_eq!(scene.says("first"), "first");
    assert_eq!(scene.says("away"), "502", "the upstream of another file");
    let tie = scene
        .gateway
        .client()
        .ask("GET /tie HTTP/1.1\r\nHost: a.test\r\nX: 1\r\n\r\n");
    assert_eq!(
        tie.text(),
        "earlier",
        "files are read in the order of their names"
    );
}

#[test]
fn a_file_that_comes_is_live_and_one_that_goes_is_gone() {
    for scene in Scene::both() {
        let mut took = Vec::new();
        for round in 0..scale(3, 30) {
            let name = format!("new-{round}");
            let file = format!("{name}.yaml");
            if round % 2 == 0 {
                scene.put(&file, &route(&name, "new"));
            } else {
                fs::write(scene.parts.join(&file), route(&name, "new")).unwrap();
            }
            took.push(scene.await_said(&name, "new"));
            fs::write(scene.parts.join(&file), route(&name, "changed")).unwrap();
            took.push(scene.await_said(&name, "changed"));
            fs::rename(scene.parts.join(&file), scene.parts.join("other.yaml")).unwrap();
            scene.put("last.yaml", &route("last", &round.to_string()));
            scene.await_said("last", &round.to_string());
            assert_eq!(scene.says(&name), "changed", "by its other name");
            scene.remove("other.yaml");
            scene.await_said(&name, "404");
            assert_eq!(
                (scene.says("main"), scene.says("a")),
                ("main".into(), "a".into())
            );
        }
        assert_eq!(scene.reloads("rejected"), 0.0);
        expect_soon(took);
    }
}

/// A new file is taken up when its writer has finished, and not before: every beginning of it is a valid file too.
#[test]
fn a_new_file_is_not_read_while_it_is_being_written() {
    for scene in Scene::both() {
        let mut writer = fs::File::create(scene.parts.join("slow.yaml")).unwrap();
        let (mut rests, mut held_up) = (0, false);
        writer.write_all(b"routes:\n").unwrap();
        while rests < 40 {
            let begin = Instant::now();
            thread::park_timeout(Duration::from_millis(60));
            let line =
                format!("  - {{ match: {{ path: /slow-{rests} }}, respond: {{ body: slow }} }}\n");
            writer.write_all(line.as_bytes()).unwrap();
            held_up |= begin.elapsed() > LONGEST_REST;
            rests += 1;
            assert!(
                held_up || scene.says("slow-0") == "404",
                "read after {rests} lines"
            );
        }
        drop(writer);
        expect_soon(vec![scene.await_said("slow-39", "slow")]);
    }
}

#[test]
fn a_broken_part_refuses_the_whole_by_its_own_name_and_line() {
    for scene in Scene::both() {
        let a = |text: &str| format!("{}{text}", route("a", "changed"));
        for (text, words) in [
            (a("  - { name: b, respnd: {} }\n"), ["a.yaml:3:", "respnd"]),
            (
                a("  - { name: b, upstream: nobody }\n"),
                ["a.yaml:3:", "nobody"],
            ),
            (a("  - [unclosed\n"), ["a.yaml:", "not YAML"]),
            (
                a("  - { name: main, match: { path: /z }, respond: {} }\n"),
                ["a.yaml:3:", "main"],
            ),
            (
                String::from("routes:\n- name: a\n  respond: { status: \u{1}"),
                ["a.yaml:", "not YAML"],
            ),
        ] {
            scene.expect_refused(&words, || scene.put("a.yaml", &text));
        }
        // A new file that is broken from its beginning, beside others that are not.
        scene.put("a.yaml", &route("a", "a"));
        until(PATIENCE, "the good file is taken", || {
            scene
                .gateway
                .metric("tidegate_config_last_reload_success", &[])
                == Some(1.0)
        });
        scene.expect_refused(&["z.yaml:1:", "rutes"], || {
            scene.put("b.yaml", &route("b", "b"));
            scene.put("z.yaml", "rutes: []\n");
        });
        assert_eq!(
            scene.says("b"),
            "404",
            "nothing of the refused generation serves"
        );
        scene.put("z.yaml", &route("z", "z"));
        scene.await_said("z", "z");
        assert_eq!(scene.says("b"), "b");
    }
}

#[test]
fn what_two_parts_say_both_is_refused_at_the_second() {
    for scene in Scene::both() {
        scene.expect_refused(&["b.yaml:2:", "`a`"], || {
            scene.put(
                "b.yaml",
                "routes:\n  - { name: a, match: { path: /b }, respond: { body: b } }\n",
            );
        });
    }
    let scene = Scene::of_directory(&[("a.yaml", &format!("{BOOT}{}", route("a", "a")))]);
    let refused = scene.reloads("rejected");
    scene.put("b.yaml", "workers: 1\n");
    until(PATIENCE, "a second `workers` is refused", || {
        scene.reloads("rejected") > refused && scene.gateway.count_stderr("b.yaml:1:") > 0
    });
    assert_eq!(scene.says("a"), "a");
}

#[test]
fn an_included_file_adds_and_does_not_decide() {
    let scene = Scene::of_include(&[("a.yaml", &route("a", "a"))]);
    for key in [
        "workers: 1",
        "admin: off",
        "drain: { delay: 1s }",
        "include: x.yaml",
    ] {
        let name = key.split(':').next().unwrap();
        scene.expect_refused(&["b.yaml:1:", name], || {
            scene.put("b.yaml", &format!("{key}\n"))
        });
    }
    scene.put(
        "b.yaml",
        "upstreams:\n  nobody: { endpoints: [\"http://127.0.0.1:9\"] }\nroutes:\n  - { match: { path: /b }, upstream: nobody }\n",
    );
    scene.await_said("b", "502");
}

#[test]
fn a_start_on_a_broken_part_is_refused() {
    for config in ["conf", "gateway.yaml"] {
        let directory = unique_directory();
        write_all(
            &directory.join("conf"),
            &[("00.yaml", BOOT), ("b.yaml", "routes:\n  - {}\n")],
        );
        fs::remove_file(directory.join("gateway.yaml")).unwrap_or_default();
        let main = format!("{BOOT}include: conf/b*.yaml\n");
        fs::write(directory.join("gateway.yaml"), main).unwrap();
        let mut gateway = Gateway::spawn_in(directory, config);
        let status = gateway.wait_exit(PATIENCE);
        assert_eq!(status.code(), Some(1));
        assert!(
            gateway.count_stderr("b.yaml:2:") > 0,
            "{:?}",
            gateway.stderr_lines()
        );
    }
}

/// A directory without a `*.yaml`, or whose last one goes, is no configuration; when one comes, it is.
#[test]
fn an_empty_directory_keeps_what_was_in_force() {
    let scene = Scene::of_directory(&[("a.yaml", &format!("{BOOT}{}", route("a", "a")))]);
    let refused = scene.reloads("rejected");
    scene.remove("a.yaml");
    until(PATIENCE, "the absence is noticed", || {
        scene.reloads("rejected") > refused
    });
    assert_eq!(scene.says("a"), "a");
    scene.put("other.yaml", &format!("{BOOT}{}", route("a", "again")));
    scene.await_said("a", "again");
}

/// A file that no good configuration ever had is watched too: the edit that mends the whole may be made there.
#[test]
fn what_is_mended_in_a_new_file_is_noticed() {
    let scene = Scene::of_include(&[("a.yaml", &route("a", "a"))]);
    let main = |more: &str| {
        let main = route("main", "main");
        format!("{BOOT}include: [routes.d/*.yaml{more}]\n{main}")
    };
    for round in 0..3 {
        let name = format!("other-{round}.yaml");
        let other = scene.gateway.directory().join(&name);
        scene.expect_refused(&[&format!("{name}:1:"), "rutes"], || {
            fs::write(&other, "rutes: []\n").unwrap();
            scene.gateway.write_config(&main(&format!(", {name}")));
        });
        fs::write(&other, route("b", &round.to_string())).unwrap();
        scene.await_said("b", &round.to_string());
        scene.expect_refused(&["gateway.yaml:", &format!("missing-{round}.yaml")], || {
            let missing = main(&format!(", missing-{round}.yaml"));
            scene.gateway.write_config(&missing);
        });
        fs::write(
            scene
                .gateway
                .directory()
                .join(format!("missing-{round}.yaml")),
            route("c", &round.to_string()),
        )
        .unwrap();
        scene.await_said("c", &round.to_string());
    }
}

/// As Kubernetes mounts a ConfigMap of several files: they change together, and no mixture is ever read.
#[test]
fn files_behind_one_link_change_together() {
    let directory = unique_directory();
    let conf = directory.join("conf");
    // The route of one file needs the upstream of the other: a mixture would be refused.
    let write_version = |round: usize| {
        let version = conf.join(format!("..{round}"));
        let routes = format!(
            "{BOOT}routes:\n  - {{ match: {{ path: /u }}, upstream: u-{round} }}\n{}",
            route("word", &round.to_string()).replace("routes:\n", "")
        );
        let upstreams =
            format!("upstreams:\n  u-{round}: {{ endpoints: [\"http://127.0.0.1:9\"] }}\n");
        write_all(&version, &[("a.yaml", &routes), ("b.yaml", &upstreams)]);
        symlink(format!("..{round}"), conf.join("..data_tmp")).unwrap();
        fs::rename(conf.join("..data_tmp"), conf.join("..data")).unwrap();
    };
    fs::create_dir(&conf).unwrap();
    write_version(0);
    for name in ["a.yaml", "b.yaml"] {
        symlink(format!("..data/{name}"), conf.join(name)).unwrap();
    }
    let gateway = Gateway::spawn_in(directory.clone(), "conf").ready();
    let scene = Scene {
        gateway,
        parts: conf.clone(),
    };
    let took = (1..=scale(20, 200))
        .map(|round| {
            write_version(round);
            fs::remove_dir_all(conf.join(format!("..{}", round - 1))).unwrap();
            scene.await_said("word", &round.to_string())
        })
        .collect();
    assert_eq!(scene.reloads("rejected"), 0.0);
    expect_soon(took);
}
