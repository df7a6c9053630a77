//! How lines look and which of them are kept: made once for each configuration, then only read.

use super::Entry;
use super::field::{LogField, write_all_json};
use crate::telemetry::json;
use crate::telemetry::rfc3339::Stamp;

/// All lines of so many are kept.
const MILLION: u32 = 1_000_000;

/// The form of a line, and the share of lines that is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    form: Form,
    /// Of a million lines.
    kept: u32,
}

#[derive(Clone, Debug, PartialEq)]
enum Form {
    /// JSON with all keys in their order: the usual one, so it has a way of its own.
    AllJson,
    /// JSON with these keys.
    Json(Box<[LogField]>),
    /// These pieces, one after the other.
    Text(Box<[Piece]>),
}

/// A piece of a text line.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Written as it is, but for control characters.
    Literal(String),
    /// The value of this key, `-` where it is unknown.
    Field(LogField),
}

impl Shape {
    /// One JSON object for each line, with `fields` in their order; of a million lines `kept` are written, and those
    /// of failures always.
    #[must_use]
    pub fn json(fields: &[LogField], kept: u32) -> Shape {
        let form = if fields == LogField::ALL {
            Form::AllJson
        } else {
            Form::Json(fields.into())
        };
        Shape { form, kept }
    }

    /// A line of text made of `pieces`; of a million lines `kept` are written, and those of failures always.
    #[must_use]
    pub fn text(pieces: impl IntoIterator<Item = Piece>, kept: u32) -> Shape {
        let mut pieces: Vec<Piece> = pieces.into_iter().collect();
        if let Some(Piece::Literal(last)) = pieces.last_mut() {
            // A YAML block ends in a line break that nobody means.
            last.truncate(last.trim_end_matches(['\r', '\n']).len());
        }
        for piece in &mut pieces {
            if let Piece::Literal(text) = piece {
                *text = one_line(text);
            }
        }
        Shape {
            form: Form::Text(pieces.into()),
            kept,
        }
    }

    /// Is this line written? What failed always is; the rest by its share. Neither lock nor clock: `random` is the
    /// caller's own.
    #[inline]
    pub(super) fn keeps(&self, entry: &Entry<'_>, random: &mut u64) -> bool {
        self.kept >= MILLION
            || entry.reason.is_some()
            || entry.status.is_some_and(|status| status >= 500)
            || draw(random) < self.kept
    }

    /// Appends the line with its end; `wall_nanos` since 1970 are its time.
    #[inline]
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        stamp: &mut Stamp,
        entry: &Entry<'_>,
        wall_nanos: u64,
    ) {
        match &self.form {
            Form::AllJson => {
                out.extend_from_slice(b"{\"time\":\"");
                stamp.write(out, wall_nanos);
                out.push(b'"');
                write_all_json(out, entry);
                out.extend_from_slice(b"}\n");
            }
            Form::Json(fields) => write_json(fields, out, stamp, entry, wall_nanos),
            Form::Text(pieces) => write_text(pieces, out, stamp, entry, wall_nanos),
        }
    }
}

fn write_json(
    fields: &[LogField],
    out: &mut Vec<u8>,
    stamp: &mut Stamp,
    entry: &Entry<'_>,
    wall_nanos: u64,
) {
    let start = out.len();
    for field in fields {
        if *field == LogField::Time {
            out.extend_from_slice(b",\"time\":\"");
            stamp.write(out, wall_nanos);
            out.push(b'"');
        } else {
            field.write_json(out, entry);
        }
    }
    // Every key brings a comma; the first one's becomes the brace.
    match out.get_mut(start) {
        Some(first) => *first = b'{',
        None => out.push(b'{'),
    }
    out.extend_from_slice(b"}\n");
}

fn write_text(
    pieces: &[Piece],
    out: &mut Vec<u8>,
    stamp: &mut Stamp,
    entry: &Entry<'_>,
    wall_nanos: u64,
) {
    for piece in pieces {
        match piece {
            Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Field(LogField::Time) => stamp.write(out, wall_nanos),
            Piece::Field(field) => field.write_text(out, entry),
        }
    }
    out.push(b'\n');
}

/// The text without anything that would end a line or move a cursor, but for tabs: some columns are parted by them.
fn one_line(text: &str) -> String {
    let is_odd = |c: char| (c.is_control() && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}');
    let mut out = Vec::with_capacity(text.len());
    for part in text.split_inclusive(is_odd) {
        let plain = part.trim_end_matches(is_odd);
        out.extend_from_slice(plain.as_bytes());
        json::escape(&mut out, &part.as_bytes()[plain.len()..]);
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A number below a million (xorshift64*); the state is never 0.
fn draw(state: &mut u64) -> u32 {
    let mut x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    let high = x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
    ((high * u64::from(MILLION)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WALL: u64 = 1_795_224_153_123_000_000;

    fn line(shape: &Shape, entry: &Entry<'_>) -> String {
        let mut out = b"before".to_vec();
        shape.write(&mut out, &mut Stamp::new(), entry, WALL);
        let text = String::from_utf8(out).unwrap();
        text.strip_prefix("before").unwrap().to_owned()
    }

    fn text(pieces: &[Piece]) -> Shape {
        Shape::text(pieces.to_vec(), MILLION)
    }

    fn literal(text: &str) -> Piece {
        Piece::Literal(text.into())
    }

    #[test]
    fn chosen_keys_come_in_the_chosen_order() {
        let entry = Entry {
            method: Some("GET"),
            status: Some(200),
            duration: Some(std::time::Duration::from_micros(1500)),
            ..Entry::default()
        };
        let fields = [
            LogField::Status,
            LogField::Route,
            LogField::Time,
            LogField::TraceId,
            LogField::Duration,
            LogField::Method,
        ];
        assert_eq!(
            line(&Shape::json(&fields, MILLION), &entry),
            "{\"status\":200,\"time\":\"2026-11-21T01:22:33.123Z\",\"duration_ms\":1.500,\"method\":\"GET\"}\n"
        );
        let unknown = Shape::json(&[LogField::Route, LogField::Identity], MILLION);
        assert_eq!(line(&unknown, &entry), "{}\n");
    }

    #[test]
    fn all_keys_are_the_same_line_by_either_way() {
        let entry = Entry {
            client: Some(b"192.0.2.1"),
            listener: Some("web"),
            attempts: Some(2),
            connect: Some(std::time::Duration::from_millis(7)),
            referer: Some(b"\"x\""),
            ..Entry::default()
        };
        let slow = Shape {
            form: Form::Json(LogField::ALL.into()),
            kept: MILLION,
        };
        let fast = Shape::json(LogField::ALL, MILLION);
        assert_eq!(fast.form, Form::AllJson);
        assert_eq!(line(&fast, &entry), line(&slow, &entry));
    }

    #[test]
    fn a_text_has_a_dash_for_what_is_unknown_or_empty() {
        let shape = text(&[
            Piece::Field(LogField::Client),
            literal(" \""),
            Piece::Field(LogField::Host),
            literal("\"\t"),
            Piece::Field(LogField::Status),
            literal(" "),
            Piece::Field(LogField::Wait),
            literal(" "),
            Piece::Field(LogField::Identity),
            literal(" "),
            Piece::Field(LogField::Time),
            literal("\n"),
        ]);
        let entry = Entry {
            client: Some(b"192.0.2.1"),
            host: Some(b""),
            status: Some(404),
            ..Entry::default()
        };
        assert_eq!(
            line(&shape, &entry),
            "192.0.2.1 \"-\"\t404 - - 2026-11-21T01:22:33.123Z\n"
        );
    }

    proptest! {
        #[test]
        fn a_text_is_one_line_whatever_a_client_sends_and_the_file_says(
            said in any::<String>(), agent in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let shape = text(&[literal(&said), Piece::Field(LogField::UserAgent), literal(&said)]);
            let entry = Entry { user_agent: Some(&agent), ..Entry::default() };
            let line = line(&shape, &entry);
            let inside = line.strip_suffix('\n').unwrap();
            let is_odd = |c: char| (c.is_control() && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}');
            prop_assert!(!inside.contains(is_odd), "{:?}", inside);
        }
    }

    #[test]
    fn a_sample_keeps_its_share_and_every_failure() {
        let fine = Entry {
            status: Some(404),
            ..Entry::default()
        };
        let failed = Entry {
            status: Some(500),
            ..Entry::default()
        };
        let refused = Entry {
            status: Some(404),
            reason: Some("route_not_found"),
            ..Entry::default()
        };
        for (kept, least, most) in [
            (0, 0, 0),
            (10_000, 800, 1200),
            (500_000, 49_000, 51_000),
            (MILLION, 100_000, 100_000),
        ] {
            let shape = Shape::json(LogField::ALL, kept);
            let mut random = 1;
            let lines = (0..100_000)
                .filter(|_| shape.keeps(&fine, &mut random))
                .count();
            assert!((least..=most).contains(&lines), "{lines} of {kept}");
            assert!((0..100).all(|_| shape.keeps(&failed, &mut random)));
            assert!((0..100).all(|_| shape.keeps(&refused, &mut random)));
        }
    }
}
