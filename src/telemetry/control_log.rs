//! The control log: one human line on stderr for each event of the gateway itself, never for a request.

use std::fmt::{self, Write};
use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;

pub use super::levels::{LevelHandle, Levels};
use super::rfc3339::Stamp;
use crate::time;

/// Sends the events of the whole process, from `level` on, to stderr. The first call wins: a second one changes
/// nothing, and its handle neither.
pub fn init(level: Level) -> LevelHandle {
    let (subscriber, handle) = build(level, io::stderr, io::stderr().is_terminal());
    let _ = tracing::subscriber::set_global_default(subscriber);
    handle
}

fn build<W>(level: Level, writer: W, colour: bool) -> (impl Subscriber, LevelHandle)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let levels = Levels::new(level);
    let (layer, filter) = reload::Layer::new(levels.filter());
    let handle = LevelHandle {
        filter,
        levels: Arc::new(Mutex::new(levels)),
    };
    // A stderr that is gone must not make the gateway panic over telling so.
    let lines = tracing_subscriber::fmt::layer()
        .log_internal_errors(false)
        .with_writer(writer)
        .event_format(Line { colour });
    (
        tracing_subscriber::registry().with(layer).with(lines),
        handle,
    )
}

/// `2026-11-21T01:22:33.123Z INFO message key=value`
struct Line {
    colour: bool,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut moment = Vec::with_capacity(24);
        Stamp::new().write(&mut moment, time::wall_nanos());
        let level = *event.metadata().level();
        let (on, off) = if self.colour {
            (colour(level), "\x1b[0m")
        } else {
            ("", "")
        };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (moment, Fields { message, rest }) = (String::from_utf8_lossy(&moment), fields);
        writeln!(out, "{moment} {on}{level}{off} {message}{rest}")
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

/// An event's parts as text in which nothing can begin a new line or move a cursor.
#[derive(Default)]
struct Fields {
    message: String,
    rest: String,
}

impl Visit for Fields {
    /// Everything but texts: a value brings its own form.
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        if field.name() == "message" {
            push_clean(&mut self.message, &value);
        } else {
            let _ = write!(self.rest, " {}=", field.name());
            push_clean(&mut self.rest, &value);
        }
    }

    /// A text is quoted where its end would not be seen.
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            return push_clean(&mut self.message, value);
        }
        let plain = !value.is_empty()
            && !value.contains(|c: char| c.is_whitespace() || c == '"' || c == '=');
        let _ = if plain {
            write!(self.rest, " {}=", field.name())
        } else {
            write!(self.rest, " {}=\"", field.name())
        };
        if plain {
            push_clean(&mut self.rest, value);
        } else {
            push_clean(&mut self.rest, &value.replace('"', "\\\""));
            self.rest.push('"');
        }
    }
}

fn push_clean(out: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Memory {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn log(colour: bool, say: impl FnOnce(&LevelHandle)) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let (subscriber, handle) = build(Level::INFO, move || writer.clone(), colour);
        tracing::subscriber::with_default(subscriber, || say(&handle));
        memory.text()
    }

    #[test]
    fn an_event_is_one_line_of_time_level_message_and_fields() {
        let text = log(false, |_| {
            let name = "two words";
            tracing::info!(generation = 3, name, path = %"/a", "configuration applied");
        });
        let (time, rest) = text.split_once(' ').unwrap();
        assert_eq!(
            rest,
            "INFO configuration applied generation=3 name=\"two words\" path=/a\n"
        );
        assert_eq!((time.len(), &time[19..20], &time[23..]), (24, ".", "Z"));
    }

    #[test]
    fn nothing_in_an_event_begins_a_new_line_or_a_colour() {
        let text = log(false, |_| {
            let peer = "a\r\n\x1b[31m\u{9b}b\" c";
            tracing::warn!(peer, other = %peer, "bad\nthing");
        });
        assert!(
            text.contains(
                "WARN bad\\nthing peer=\"a\\r\\n\\u{1b}[31m\\u{9b}b\\\" c\" other=a\\r\\n"
            ),
            "{text}"
        );
        assert_eq!(
            text.chars().filter(|c| c.is_control()).collect::<String>(),
            "\n"
        );
    }

    #[test]
    fn the_level_can_be_changed() {
        let text = log(false, |handle| {
            tracing::debug!("one");
            handle.set(Level::DEBUG);
            tracing::debug!("two");
            handle.set(Level::ERROR);
            tracing::warn!("three");
            tracing::error!("four");
        });
        let words: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split(' ').nth(2))
            .collect();
        assert_eq!(words, ["two", "four"]);
    }

    #[test]
    fn a_part_has_a_level_of_its_own() {
        let text = log(false, |handle| {
            assert!(handle.set_target("tidegate::proxy", Level::DEBUG));
            assert!(handle.set_target("tidegate::proxy::forward", Level::ERROR));
            tracing::debug!(target: "tidegate::proxy", "one");
            tracing::debug!(target: "tidegate::proxy::exchange", "two");
            tracing::warn!(target: "tidegate::proxy::forward", "three");
            tracing::debug!(target: "tidegate::server", "four");
            handle.set(Level::WARN);
            tracing::info!(target: "tidegate::server", "five");
            tracing::debug!(target: "tidegate::proxy", "six");
            let levels = handle.levels();
            assert_eq!((levels.usual, levels.targets.len()), (Level::WARN, 2));
        });
        let words: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split(' ').nth(2))
            .collect();
        assert_eq!(words, ["one", "two", "six"]);
    }

    #[test]
    fn packets_of_strangers_leave_no_line_unless_asked_for() {
        let text = log(false, |handle| {
            tracing::error!(target: "hickory_net::udp", "one");
            handle.set(Level::TRACE);
            tracing::error!(target: "hickory_resolver", "two");
            assert!(handle.set_target("hickory_net", Level::WARN));
            tracing::warn!(target: "hickory_net::udp", "three");
        });
        assert!(
            text.ends_with(" WARN three\n") && text.lines().count() == 1,
            "{text}"
        );
    }

    #[test]
    fn libraries_are_heard_when_they_are_asked_for() {
        let text = log(false, |handle| {
            tracing::info!(target: "h2::frame", "one");
            tracing::warn!(target: "h2::frame", "two");
            handle.set(Level::TRACE);
            tracing::debug!(target: "h2::frame", "three");
            tracing::trace!(target: "tidegate::server", "four");
            assert!(handle.set_target("h2", Level::DEBUG));
            tracing::debug!(target: "h2::frame", "five");
            tracing::trace!(target: "h2::frame", "six");
            handle.set(Level::ERROR);
            tracing::warn!(target: "other", "seven");
        });
        let words: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split(' ').nth(2))
            .collect();
        assert_eq!(words, ["four", "five"]);
    }

    #[test]
    fn the_list_of_parts_is_bounded() {
        log(false, |handle| {
            let taken = (0..1000)
                .filter(|n| handle.set_target(&format!("tidegate::{n}"), Level::INFO))
                .count();
            assert_eq!((taken, handle.levels().targets.len()), (64, 64));
            assert!(handle.set_target("tidegate::1", Level::TRACE));
        });
    }

    #[test]
    fn a_terminal_sees_the_level_in_colour() {
        assert!(log(true, |_| tracing::error!("x")).contains(" \x1b[31mERROR\x1b[0m x\n"));
    }
}
