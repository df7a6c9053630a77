//! A directory that is watched for the files in it.

use super::*;

fn conf(name: &str) -> Scene {
    let scene = Scene::new(name);
    fs::create_dir(scene.path("conf")).unwrap();
    scene.with("conf/a.yaml", "1")
}

#[test]
fn files_come_change_and_go() {
    let scene = conf("entries").watching(&["conf"]);
    scene.stays_at(0);
    fs::write(scene.path("conf/b.yaml"), "1").unwrap();
    scene.wait_for(1);
    replace(&scene.path("conf/a.yaml"), "22");
    scene.wait_for(2);
    fs::write(scene.path("conf/b.yaml"), "333").unwrap();
    scene.wait_for(3);
    fs::remove_file(scene.path("conf/a.yaml")).unwrap();
    scene.wait_for(4);
    scene.stays_at(4);
}

#[test]
fn a_new_file_that_is_still_being_written_is_announced_whole() {
    let scene = conf("entry-slow").watching(&["conf"]);
    let mut file = fs::File::create(scene.path("conf/b.yaml")).unwrap();
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
fn a_file_that_is_moved_in_is_announced_quickly() {
    let scene = conf("entry-moved").watching(&["conf"]);
    let mut round = 0;
    // Polling alone takes more than a second: one quick announcement, on a machine that may be busy, proves that an
    // event told of it.
    until("a quick announcement", || {
        let begin = time::now();
        round += 1;
        fs::write(scene.path("new"), "1").unwrap();
        fs::rename(scene.path("new"), scene.path(&format!("conf/{round}.yaml"))).unwrap();
        scene.wait_for(round);
        time::now().since(begin) < Duration::from_secs(1)
    });
}

#[test]
fn hidden_files_and_old_ones_announce_nothing() {
    let scene = conf("entry-hidden").watching(&["conf"]);
    fs::write(scene.path("conf/.a.yaml.swp"), "x").unwrap();
    fs::write(scene.path("conf/a.yaml~"), "x").unwrap();
    scene.stays_at(0);
}

#[test]
fn what_was_found_stays_known_when_it_is_named() {
    let scene = conf("entry-named").watching(&["conf"]);
    fs::write(scene.path("conf/b.yaml"), "1").unwrap();
    scene.wait_for(1);
    let watch = scene.watch.as_ref().unwrap();
    watch.set_paths(scene.paths(&["conf", "conf/a.yaml", "conf/b.yaml"]));
    scene.stays_at(1);
    replace(&scene.path("conf/b.yaml"), "22");
    scene.wait_for(2);
    fs::write(scene.path("conf/c.yaml"), "1").unwrap();
    scene.wait_for(3);
    watch.set_paths(scene.paths(&["conf/a.yaml"]));
    fs::write(scene.path("conf/c.yaml"), "22").unwrap();
    scene.stays_at(3);
}

#[test]
fn a_file_that_nobody_named_does_not_matter_and_holds_up_nobody() {
    let scene = conf("entry-log").watching(&["conf"]);
    let mut log = fs::File::create(scene.path("conf/access.log")).unwrap();
    drop(fs::File::create(scene.path("conf/access.log")).unwrap());
    scene.wait_for(1);
    let watch = scene.watch.as_ref().unwrap();
    watch.set_paths(scene.paths(&["conf", "conf/a.yaml"]));
    for round in 2..4 {
        // Written all the time, and never closed.
        log.write_all(b"a line\n").unwrap();
        replace(&scene.path("conf/a.yaml"), "another");
        until("the announcement", || {
            log.write_all(b"a line\n").unwrap();
            pass(Duration::from_millis(20));
            scene.announced() == round
        });
    }
    scene.stays_at(3);
}

/// The thread may be slow to take up new names: a busy machine has lost files that came meanwhile.
#[test]
fn a_file_that_comes_while_names_are_on_their_way_is_news() {
    let scene = conf("entry-between").with("conf/other", "1");
    let now = time::now();
    let files = scene.paths(&["conf", "conf/a.yaml"]);
    let naming = Naming::of(files.into_iter().map(|path| File::new(path, now)).collect());
    fs::write(scene.path("conf/b.yaml"), "1").unwrap();
    let mut entries = Entries::of(&[], now);
    entries.renew(&[], naming.beside, now);
    entries.look(&naming.files, now);
    let news: Vec<&Path> = entries
        .iter()
        .filter(|file| file.is_changed())
        .map(|file| file.path.as_path())
        .collect();
    assert_eq!(news, [scene.path("conf/b.yaml")]);
}

#[test]
fn links_into_a_directory_that_is_swapped_are_announced_together() {
    let scene = Scene::new("entry-links");
    for (version, content) in [("..1", "one"), ("..2", "two")] {
        fs::create_dir(scene.path(version)).unwrap();
        for name in ["a.yaml", "b.yaml"] {
            fs::write(scene.path(version).join(name), content).unwrap();
        }
    }
    symlink("..1", scene.path("..data")).unwrap();
    for name in ["a.yaml", "b.yaml"] {
        symlink(format!("..data/{name}"), scene.path(name)).unwrap();
    }
    let scene = scene.watching(&["."]);
    symlink("..2", scene.path("..new")).unwrap();
    fs::rename(scene.path("..new"), scene.path("..data")).unwrap();
    scene.wait_for(1);
    scene.stays_at(1);
}

#[test]
fn a_directory_that_takes_the_place_of_another_is_announced() {
    let scene = conf("entry-swap").watching(&["conf"]);
    fs::create_dir(scene.path("next")).unwrap();
    fs::write(scene.path("next/a.yaml"), "1").unwrap();
    fs::rename(scene.path("conf"), scene.path("old")).unwrap();
    fs::rename(scene.path("next"), scene.path("conf")).unwrap();
    scene.wait_for(1);
    fs::write(scene.path("conf/b.yaml"), "1").unwrap();
    scene.wait_for(2);
    scene.stays_at(2);
}

#[test]
fn without_events_files_are_found_by_polling() {
    let scene = conf("entry-poll").watching_without_events(&["conf"]);
    fs::write(scene.path("conf/b.yaml"), "1").unwrap();
    scene.wait_for(1);
    replace(&scene.path("conf/a.yaml"), "22");
    // The old and the new file stand beside each other for a moment: one announcement, or two.
    until("the change", || scene.announced() > 1);
    scene.stays_at_most(3);
}
