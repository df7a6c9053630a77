//! Real files, changed in the ways that editors, scripts and Kubernetes change them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::sync::atomic::AtomicUsize;

use super::*;

mod directory;

/// Enough for the slowest way (polled, then quiet) on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A directory of its own, files in it, and how often a change was announced.
struct Scene {
    directory: PathBuf,
    announced: Arc<AtomicUsize>,
    watch: Option<Watch>,
}

impl Scene {
    fn new(name: &str) -> Scene {
        let unique = format!(
            "tidegate-watch-{name}-{}-{}",
            std::process::id(),
            time::wall_nanos()
        );
        let directory = std::env::temp_dir().join(unique);
        fs::create_dir(&directory).unwrap();
        Scene {
            directory,
            announced: Arc::default(),
            watch: None,
        }
    }

    /// A scene with one watched file.
    fn of_one_file(name: &str) -> (Scene, PathBuf) {
        let scene = Scene::new(name).with("gateway.yaml", "first");
        let path = scene.path("gateway.yaml");
        (scene.watching(&["gateway.yaml"]), path)
    }

    fn with(self, name: &str, content: &str) -> Scene {
        fs::write(self.path(name), content).unwrap();
        self
    }

    fn watching(mut self, names: &[&str]) -> Scene {
        let announced = Arc::clone(&self.announced);
        let notify = move || {
            announced.fetch_add(1, Relaxed);
        };
        self.watch = Some(Watch::start(self.paths(names), notify).unwrap());
        self
    }

    fn watching_without_events(mut self, names: &[&str]) -> Scene {
        let announced = Arc::clone(&self.announced);
        let notify = move || {
            announced.fetch_add(1, Relaxed);
        };
        let directories = Directories::new(None);
        let watch = Watch::start_with(
            self.paths(names),
            notify,
            sync_channel(QUEUE),
            directories,
            Arc::default(),
        );
        self.watch = Some(watch.unwrap());
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn paths(&self, names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(|name| self.path(name)).collect()
    }

    fn announced(&self) -> usize {
        self.announced.load(Relaxed)
    }

    #[track_caller]
    fn wait_for(&self, announced: usize) {
        let begin = time::now();
        until(&format!("announcement {announced}"), || {
            assert!(
                self.announced() <= announced,
                "{} announcements, not {announced}",
                self.announced()
            );
            self.announced() == announced || time::now().since(begin) >= SOON
        });
        assert_eq!(self.announced(), announced);
    }

    #[track_caller]
    fn stays_at_most(&self, announced: usize) {
        let begin = time::now();
        until("the end of the quiet time", || {
            assert!(self.announced() <= announced);
            time::now().since(begin) >= Duration::from_millis(1300)
        });
    }

    /// Nothing more is announced for longer than any delay in the watch.
    #[track_caller]
    fn stays_at(&self, announced: usize) {
        let begin = time::now();
        until("the end of the quiet time", || {
            assert_eq!(self.announced(), announced);
            time::now().since(begin) >= Duration::from_millis(1300)
        });
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.watch = None;
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = time::now();
    while !holds() {
        assert!(
            time::now().since(begin) < 2 * SOON,
            "{what} did not come in time"
        );
        thread::sleep(Duration::from_millis(2));
    }
}

fn pass(duration: Duration) {
    let begin = time::now();
    until("later", || time::now().since(begin) >= duration);
}

fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(&new, path).unwrap();
}

#[test]
fn a_replaced_file_is_announced_once_each_time() {
    let (scene, path) = Scene::of_one_file("replace");
    for round in 1..=3 {
        replace(&path, "another");
        scene.wait_for(round);
    }
    scene.stays_at(3);
}

#[test]
fn reading_and_neighbours_announce_nothing() {
    let (scene, path) = Scene::of_one_file("quiet");
    fs::read(&path).unwrap();
    drop(fs::OpenOptions::new().append(true).open(&path).unwrap());
    fs::write(scene.path("other"), "x").unwrap();
    scene.stays_at(0);
}

#[test]
fn a_file_written_in_place_is_announced_once() {
    let (scene, path) = Scene::of_one_file("in-place");
    fs::write(&path, "second").unwrap();
    scene.wait_for(1);
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b" and third").unwrap();
    drop(file);
    scene.wait_for(2);
    scene.stays_at(2);
}

#[test]
fn a_slow_writing_in_place_is_announced_once_after_its_end() {
    let (scene, path) = Scene::of_one_file("slow");
    let mut file = fs::File::create(&path).unwrap();
    for _ in 0..20 {
        pass(Duration::from_millis(100));
        file.write_all(b"more\n").unwrap();
        assert_eq!(scene.announced(), 0, "announced before the writing ended");
    }
    drop(file);
    scene.wait_for(1);
    scene.stays_at(1);
}

#[test]
fn a_writer_that_never_closes_is_announced_when_it_rests() {
    let (scene, path) = Scene::of_one_file("rests");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(b"all").unwrap();
    scene.wait_for(1);
    scene.stays_at(1);
}

#[test]
fn a_file_truncated_and_then_written_is_announced_whole() {
    let (scene, path) = Scene::of_one_file("truncate");
    let file = fs::File::create(&path).unwrap();
    pass(Duration::from_millis(400));
    assert_eq!(scene.announced(), 0, "announced while empty");
    (&file).write_all(b"second").unwrap();
    drop(file);
    scene.wait_for(1);
    scene.stays_at(1);
}

#[test]
fn a_new_file_written_slowly_in_place_of_the_old_one_is_announced_whole() {
    let (scene, path) = Scene::of_one_file("recreate");
    fs::remove_file(&path).unwrap();
    let mut file = fs::File::create(&path).unwrap();
    for _ in 0..8 {
        file.write_all(b"more\n").unwrap();
        pass(Duration::from_millis(100));
        assert_eq!(scene.announced(), 0, "announced before the writing ended");
    }
    drop(file);
    scene.wait_for(1);
    scene.stays_at(1);
}

#[test]
fn swapped_links_are_announced_each_time() {
    let scene = Scene::new("links");
    for (version, content) in [("..1", "one"), ("..2", "two"), ("..3", "three")] {
        fs::create_dir(scene.path(version)).unwrap();
        fs::write(scene.path(version).join("gateway.yaml"), content).unwrap();
    }
    symlink("..1", scene.path("..data")).unwrap();
    symlink("..data/gateway.yaml", scene.path("gateway.yaml")).unwrap();
    let scene = scene.watching(&["gateway.yaml"]);
    for (round, version) in [(1, "..2"), (2, "..3")] {
        symlink(version, scene.path("..new")).unwrap();
        fs::rename(scene.path("..new"), scene.path("..data")).unwrap();
        fs::remove_dir_all(scene.path(["", "..1", "..2"][round])).unwrap();
        scene.wait_for(round);
    }
    // The directory of what the link now leads to is watched too.
    fs::write(scene.path("..3/gateway.yaml"), "four").unwrap();
    scene.wait_for(3);
    scene.stays_at(3);
}

#[test]
fn a_file_that_is_gone_is_announced_and_so_is_its_return() {
    let (scene, path) = Scene::of_one_file("gone");
    fs::remove_file(&path).unwrap();
    scene.wait_for(1);
    fs::write(&path, "first").unwrap();
    scene.wait_for(2);
    scene.stays_at(2);
}

#[test]
fn a_file_that_is_gone_for_a_moment_is_announced_once() {
    let (scene, path) = Scene::of_one_file("moment");
    let kept = scene.path("kept");
    fs::rename(&path, &kept).unwrap();
    pass(Duration::from_millis(300));
    fs::rename(&kept, &path).unwrap();
    scene.wait_for(1);
    scene.stays_at(1);
}

#[test]
fn many_rapid_edits_are_announced_together_but_not_put_off_for_ever() {
    let (scene, path) = Scene::of_one_file("rapid");
    let begin = time::now();
    // Where the machine held this thread up, edits were not rapid, and the watch may have taken the pause for an end.
    let mut pauses = 0;
    let mut spent = Duration::ZERO;
    while spent < Duration::from_millis(1500) {
        replace(&path, "another");
        pass(Duration::from_millis(5));
        let now = time::now().since(begin);
        pauses += u128::from(now - spent > DEBOUNCE / 2);
        spent = now;
    }
    let during = scene.announced();
    scene.stays_at_most(during + 1);
    assert!(during >= 1, "put off while edits went on for {spent:?}");
    let most = spent.as_millis() / LATEST.as_millis() + pauses;
    assert!(
        during as u128 <= most,
        "{during} announcements in {spent:?}"
    );
}

#[test]
fn a_replaced_directory_is_watched_again() {
    let scene = Scene::new("directory");
    fs::create_dir(scene.path("conf")).unwrap();
    let scene = scene
        .with("conf/gateway.yaml", "first")
        .watching(&["conf/gateway.yaml"]);
    fs::create_dir(scene.path("next")).unwrap();
    fs::write(scene.path("next/gateway.yaml"), "second").unwrap();
    fs::rename(scene.path("conf"), scene.path("old")).unwrap();
    fs::rename(scene.path("next"), scene.path("conf")).unwrap();
    scene.wait_for(1);
    // Polling alone takes more than a second: it waits for the file to stay the same. So one quick announcement, on a
    // machine that may be busy, proves that events of the new directory arrive.
    let mut round = 1;
    until("a quick announcement", || {
        let begin = time::now();
        replace(&scene.path("conf/gateway.yaml"), "third");
        round += 1;
        scene.wait_for(round);
        time::now().since(begin) < Duration::from_secs(1)
    });

    fs::remove_dir_all(scene.path("conf")).unwrap();
    scene.wait_for(round + 1);
    fs::create_dir(scene.path("conf")).unwrap();
    fs::write(scene.path("conf/gateway.yaml"), "fourth").unwrap();
    scene.wait_for(round + 2);
    fs::write(scene.path("old/gateway.yaml"), "nobody's").unwrap();
    scene.stays_at(round + 2);
}

#[test]
fn other_paths_can_be_watched_instead() {
    let scene = Scene::new("set")
        .with("a", "1")
        .with("b", "1")
        .watching(&["a"]);
    let watch = scene.watch.as_ref().unwrap();
    watch.set_paths(scene.paths(&["a", "b"]));
    fs::write(scene.path("b"), "22").unwrap();
    scene.wait_for(1);
    watch.set_paths(scene.paths(&["b"]));
    fs::write(scene.path("a"), "22").unwrap();
    scene.stays_at(1);
    replace(&scene.path("b"), "333");
    scene.wait_for(2);
}

#[test]
fn one_file_still_being_written_holds_up_the_others() {
    let scene = Scene::new("pair")
        .with("cert", "1")
        .with("key", "1")
        .watching(&["cert", "key"]);
    let mut cert = fs::File::create(scene.path("cert")).unwrap();
    replace(&scene.path("key"), "2");
    for _ in 0..8 {
        cert.write_all(b"more\n").unwrap();
        pass(Duration::from_millis(100));
        assert_eq!(scene.announced(), 0);
    }
    drop(cert);
    scene.wait_for(1);
    scene.stays_at(1);
}

#[test]
fn without_events_changes_are_found_by_polling() {
    let scene = Scene::new("poll")
        .with("gateway.yaml", "first")
        .watching_without_events(&["gateway.yaml"]);
    let path = scene.path("gateway.yaml");
    replace(&path, "second");
    scene.wait_for(1);
    fs::write(&path, "third").unwrap();
    scene.wait_for(2);
    fs::remove_file(&path).unwrap();
    scene.wait_for(3);
    scene.stays_at(3);
}

#[test]
fn the_thread_ends_with_its_owner() {
    let (mut scene, _) = Scene::of_one_file("end");
    let announced = Arc::clone(&scene.announced);
    scene.watch = None;
    // The scene and this test hold it; the thread's `notify` no longer does.
    until("the end of the thread", || {
        Arc::strong_count(&announced) == 2
    });
}

#[test]
fn debounce_waits_for_the_last_event_but_not_for_ever() {
    let ms = |ms: u64| Nanos(ms * 1_000_000);
    let mut debounce = Debounce::default();
    assert_eq!(debounce.due(), None);
    debounce.hint(ms(1000));
    assert_eq!(debounce.due(), Some(ms(1100)));
    debounce.hint(ms(1090));
    assert_eq!(debounce.due(), Some(ms(1190)));
    for at in (1100..2000).step_by(90) {
        debounce.hint(ms(at));
    }
    assert_eq!(debounce.due(), Some(ms(1500)));
}
