//! Taking up a changed file: load, compare, compile, publish; or keep what is in force and say why.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Source;
use crate::config::{self, Config, LogPath};
use crate::metrics::{GatewayStats, ReloadResult};
use crate::snapshot::Snapshot;
use crate::snapshot::compile::{Ground, compile};
use crate::snapshot::shared::Shared;
use crate::telemetry::access_log::Writer;
use crate::telemetry::control_log::LevelHandle;
use crate::time;

/// How often retired snapshots are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// The configuration in force, and how it changes. Lives on the control thread.
pub struct Reloader {
    config: Config,
    shared: Arc<Shared>,
    gateway: Arc<GatewayStats>,
    ground: Ground,
    source: Option<Source>,
    level: LevelHandle,
    /// Snapshots that some request may still walk through: freeing ten thousand routes is never a request's work.
    retired: Vec<Arc<Snapshot>>,
}

impl Reloader {
    /// For a gateway that runs on `config`.
    ///
    /// # Errors
    /// Never today; kept for sources that must be opened.
    pub fn new(
        config: Config,
        shared: Arc<Shared>,
        gateway: Arc<GatewayStats>,
        ground: Ground,
        source: Option<Source>,
        level: LevelHandle,
    ) -> io::Result<Reloader> {
        Ok(Reloader {
            config,
            shared,
            gateway,
            ground,
            source,
            level,
            retired: Vec::new(),
        })
    }

    /// What is in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Waits until a file of the configuration may have changed; frees retired snapshots meanwhile, once no request
    /// walks through them any more.
    pub async fn changed(&mut self) {
        loop {
            let waiting = !self.retired.is_empty();
            tokio::select! {
                Some(()) = next_change(&mut self.source) => return,
                () = tokio::time::sleep(LOOK), if waiting => {
                    self.retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
                }
            }
        }
    }

    /// Loads the file again and takes it up, if all of it is right and it says something new.
    pub fn reload(&mut self, log: &Writer) {
        let Some(source) = &mut self.source else {
            return;
        };
        // Only what changed before this moment is about to be read; later changes announce themselves anew.
        while source.changes.try_recv().is_ok() {}
        let result = match config::load(&source.path, &source.env) {
            Err(problems) => self.reject(&config::render(&problems)),
            Ok(loaded) => {
                source.watch.set_paths(loaded.sources.clone());
                source.files = loaded.sources;
                self.take_up(loaded.config, log)
            }
        };
        self.gateway
            .reload(result, self.shared.load().generation, time::wall_nanos());
    }

    fn reject(&self, why: &str) -> ReloadResult {
        tracing::error!(
            generation = self.shared.load().generation,
            "reload rejected; the old configuration stays in force\n{why}"
        );
        ReloadResult::Rejected
    }

    fn take_up(&mut self, config: Config, log: &Writer) -> ReloadResult {
        if config == self.config {
            tracing::info!(
                generation = self.shared.load().generation,
                "reload unchanged"
            );
            return ReloadResult::Unchanged;
        }
        if let Some(why) = needs_restart(&self.config, &config) {
            return self.reject(&why);
        }
        if let Err(error) = redirect_log(&config, &self.config, log) {
            return self.reject(&format!("logging.access.path cannot be opened: {error}"));
        }
        let current = self.shared.load();
        let ground = Ground {
            now: time::now(),
            ..self.ground
        };
        let next = Arc::new(compile(&config, Some(&current), ground));
        tracing::info!(generation = next.generation, changes = %Changes::between(&self.config, &config), "reload applied");
        self.level.set(config.logging.level);
        self.retired.push(self.shared.publish(next));
        self.config = config;
        ReloadResult::Applied
    }
}

async fn next_change(source: &mut Option<Source>) -> Option<()> {
    match source {
        Some(source) => source.changes.recv().await,
        None => std::future::pending().await,
    }
}

fn redirect_log(new: &Config, old: &Config, log: &Writer) -> io::Result<()> {
    match (&new.logging.access, &old.logging.access) {
        (Some(access), Some(before)) if access.path == before.path => Ok(()),
        (Some(access), _) => log.redirect(access.path.clone()),
        (None, Some(_)) => log.redirect(LogPath::Stdout),
        (None, None) => Ok(()),
    }
}

/// The boot section: what cannot change while the process runs, by its name in the file.
fn needs_restart(old: &Config, new: &Config) -> Option<String> {
    let mut changed = Vec::new();
    if old.workers != new.workers {
        changed.push("workers".to_owned());
    }
    if old.admin != new.admin {
        changed.push("admin".to_owned());
    }
    let binds = |config: &Config| -> Vec<_> {
        let mut binds: Vec<_> = config
            .listeners
            .iter()
            .map(|l| (l.name.clone(), l.bind.clone()))
            .collect();
        binds.sort();
        binds
    };
    let (before, after) = (binds(old), binds(new));
    for (name, bind) in &after {
        match before.iter().find(|(other, _)| other == name) {
            None => changed.push(format!("listeners (new: {name})")),
            Some((_, other)) if other != bind => changed.push(format!("listeners[{name}].bind")),
            Some(_) => {}
        }
    }
    changed.extend(
        before
            .iter()
            .filter(|(name, _)| !after.iter().any(|(other, _)| other == name))
            .map(|(name, _)| format!("listeners (gone: {name})")),
    );
    (!changed.is_empty()).then(|| {
        format!("{} cannot change while the gateway runs in this version: restart it, or take the change back", changed.join(", "))
    })
}

/// What a reload did, by name.
struct Changes {
    added: Vec<String>,
    changed: Vec<String>,
    removed: Vec<String>,
}

impl Changes {
    fn between(old: &Config, new: &Config) -> Changes {
        let mut changes = Changes {
            added: Vec::new(),
            changed: Vec::new(),
            removed: Vec::new(),
        };
        changes.compare("listener", &old.listeners, &new.listeners, |l| &l.name);
        changes.compare("upstream", &old.upstreams, &new.upstreams, |u| &u.name);
        // A route names its upstream by index, which moves with the order of the file.
        let plain = |config: &Config| -> Vec<config::Route> {
            config
                .routes
                .iter()
                .map(|r| config::Route {
                    line: 0,
                    ..r.clone()
                })
                .collect()
        };
        changes.compare("route", &plain(old), &plain(new), |r| &r.name);
        changes
    }

    fn compare<T: PartialEq>(
        &mut self,
        kind: &str,
        old: &[T],
        new: &[T],
        name: impl Fn(&T) -> &String,
    ) {
        let before: std::collections::HashMap<&String, &T> =
            old.iter().map(|item| (name(item), item)).collect();
        let after: std::collections::HashSet<&String> = new.iter().map(&name).collect();
        for item in new {
            match before.get(name(item)) {
                None => self.added.push(format!("{kind} {}", name(item))),
                Some(other) if *other != item => {
                    self.changed.push(format!("{kind} {}", name(item)))
                }
                Some(_) => {}
            }
        }
        self.removed.extend(
            old.iter()
                .map(name)
                .filter(|n| !after.contains(n))
                .map(|n| format!("{kind} {n}")),
        );
    }
}

impl std::fmt::Display for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 20;
        for (word, names) in [
            ("added", &self.added),
            ("changed", &self.changed),
            ("removed", &self.removed),
        ] {
            let more = if names.len() > SHOWN {
                format!(" and {} more", names.len() - SHOWN)
            } else {
                String::new()
            };
            let shown = &names[..names.len().min(SHOWN)];
            write!(f, "{word}: [{}{more}] ", shown.join(", "))?;
        }
        Ok(())
    }
}
