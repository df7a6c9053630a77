//! Several files are one configuration, and what to watch is known however the reading ends.

use std::path::{Path, PathBuf};

use super::*;

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let name = format!("tidegate-files-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn read(&self, name: &str) -> Reading {
        read(&self.0.join(name), &no_env)
    }

    /// What to watch, from here on.
    fn sources(&self, reading: &Reading) -> Vec<String> {
        let relative = |path: &PathBuf| path.strip_prefix(&self.0).unwrap().display().to_string();
        reading.sources.iter().map(relative).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn route(path: &str) -> String {
    format!("routes: [{{ name: r{path}, match: {{ path: /{path} }}, respond: {{}} }}]\n")
}

fn names(reading: &Reading) -> Vec<&str> {
    let routes = &reading.result.as_ref().unwrap().config.routes;
    routes.iter().map(|route| route.name.as_str()).collect()
}

#[test]
fn included_routes_follow_in_the_order_of_names() {
    let folder = Folder::new("order");
    let include = "include: [more/*.yaml, one.yaml]\nroute_defaults: { max_body: 1KiB }\n";
    folder.write(
        "gateway.yaml",
        &format!("{LISTENER}{include}{}", route("a")),
    );
    folder.write("more/2.yaml", &format!("x-b: &b {{}}\n{}", route("c")));
    folder.write("more/1.yaml", &route("b"));
    folder.write("more/1.yml", &route("z"));
    folder.write("one.yaml", &route("d"));
    let reading = folder.read("gateway.yaml");
    assert_eq!(names(&reading), ["ra", "rb", "rc", "rd"]);
    let watched = [
        "gateway.yaml",
        "more",
        "more/1.yaml",
        "more/2.yaml",
        "one.yaml",
    ];
    assert_eq!(folder.sources(&reading), watched);
    let loaded = reading.result.unwrap();
    assert_eq!(loaded.sources, reading.sources);
    let third = &loaded.config.routes[2];
    assert!(third.file.ends_with("more/2.yaml"), "{}", third.file);
    assert_eq!(third.line, 2);
    let limits = loaded.config.routes.iter().map(|route| route.max_body);
    assert!(limits.into_iter().all(|limit| limit == Some(1024)));
}

#[test]
fn a_refused_reading_tells_what_to_watch() {
    let folder = Folder::new("refused");
    let secret = folder.0.join("secret").display().to_string();
    let text = format!(
        "{LISTENER}include: [more/*.yaml, none.yaml]\nadmin: {{ token: \"${{file:{secret}}}\" }}\n"
    );
    folder.write("gateway.yaml", &text);
    folder.write("more/1.yaml", "routes: [\n");
    let reading = folder.read("gateway.yaml");
    assert_eq!(reading.result.as_ref().unwrap_err().len(), 3);
    let watched = ["gateway.yaml", "secret", "more", "more/1.yaml", "none.yaml"];
    assert_eq!(folder.sources(&reading), watched);
    let reading = folder.read("no-such.yaml");
    assert_eq!(folder.sources(&reading), ["no-such.yaml"]);
}

#[test]
fn a_directory_is_one_configuration() {
    let folder = Folder::new("directory");
    folder.write("conf/10.yaml", &format!("{LISTENER}{}", route("a")));
    folder.write(
        "conf/20.yaml",
        &format!("include: ../more/*.yaml\nworkers: 2\n{}", route("b")),
    );
    folder.write(
        "conf/30.yaml",
        "upstreams: { app: { endpoints: [\"http://127.0.0.1:1\"] } }\n",
    );
    folder.write(
        "more/x.yaml",
        &format!(
            "{}upstreams: {{ api: {{ endpoints: [\"http://127.0.0.1:2\"] }} }}\n",
            route("c")
        ),
    );
    let reading = folder.read("conf");
    assert_eq!(names(&reading), ["ra", "rb", "rc"]);
    let watched = [
        "conf",
        "conf/10.yaml",
        "conf/20.yaml",
        "conf/30.yaml",
        "conf/../more",
        "conf/../more/x.yaml",
    ];
    assert_eq!(folder.sources(&reading), watched);
    let config = reading.result.unwrap().config;
    assert_eq!(config.workers.map(NonZeroUsize::get), Some(2));
    assert_eq!(config.upstreams.len(), 2);
}

#[test]
fn a_file_is_read_once() {
    let folder = Folder::new("once");
    let include = "include: [\"*.yaml\", a.yaml]\n";
    folder.write("gateway.yaml", &format!("{LISTENER}{include}"));
    folder.write("a.yaml", &route("a"));
    assert_eq!(names(&folder.read("gateway.yaml")), ["ra"]);
}

/// A pipe that nobody writes to would hold up the gateway for ever.
#[test]
fn only_regular_files_are_included() {
    let problems = problems(&format!("{LISTENER}include: [/dev/null, /dev]"));
    assert_eq!(
        problems,
        [
            "2:11 `/dev/null` is not a regular file",
            "2:22 `/dev` is a directory",
        ]
    );
    assert!(!Path::new("/dev/null").is_file());
}
