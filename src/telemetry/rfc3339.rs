//! Moments as RFC 3339 text in UTC with milliseconds, such as `2026-11-21T01:22:33.123Z`.

/// The moment `wall_nanos` after 1970.
#[must_use]
pub fn text(wall_nanos: u64) -> String {
    let mut out = Vec::with_capacity(24);
    Stamp::new().write(&mut out, wall_nanos);
    String::from_utf8_lossy(&out).into_owned()
}

/// Writes moments; remembers the last second's text, since most lines share it with the one before.
#[derive(Debug)]
pub(super) struct Stamp {
    /// Seconds since 1970.
    second: u64,
    /// Its text up to and including the point.
    text: [u8; 20],
}

impl Stamp {
    pub(super) fn new() -> Stamp {
        Stamp {
            second: 0,
            text: format_second(0),
        }
    }

    /// Appends the moment `wall_nanos` after 1970.
    #[inline]
    pub(super) fn write(&mut self, out: &mut Vec<u8>, wall_nanos: u64) {
        let second = wall_nanos / 1_000_000_000;
        if second != self.second {
            self.second = second;
            self.text = format_second(second);
        }
        let millis = wall_nanos / 1_000_000 % 1000;
        out.extend_from_slice(&self.text);
        out.extend_from_slice(&[digit(millis / 100), digit(millis / 10), digit(millis), b'Z']);
    }
}

fn format_second(second: u64) -> [u8; 20] {
    let (year, month, day) = date(second / 86_400);
    let (hour, minute, second) = (second / 3600 % 24, second / 60 % 60, second % 60);
    let [y, c, d] = [year / 100, year % 100, day].map(two);
    let [m, h, i, s] = [month, hour, minute, second].map(two);
    [
        y[0], y[1], c[0], c[1], b'-', m[0], m[1], b'-', d[0], d[1], b'T', h[0], h[1], b':', i[0],
        i[1], b':', s[0], s[1], b'.',
    ]
}

/// Year, month and day (from 1) of a day counted from 1970. Counts years one by one: it runs once a second.
fn date(mut day: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    loop {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = if leap { 366 } else { 365 };
        if day < days {
            let february = if leap { 29 } else { 28 };
            let mut month = 1;
            for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
                if day < length {
                    break;
                }
                day -= length;
                month += 1;
            }
            return (year, month, day + 1);
        }
        day -= days;
        year += 1;
    }
}

fn two(number: u64) -> [u8; 2] {
    [digit(number / 10), digit(number)]
}

fn digit(number: u64) -> u8 {
    b'0' + (number % 10) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(wall_nanos: u64) -> String {
        let mut out = Vec::new();
        Stamp::new().write(&mut out, wall_nanos);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_moments() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_868_799, "2000-02-29T23:59:59.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(text(seconds * 1_000_000_000), expected);
        }
        assert_eq!(text(1_795_224_153_123_999_999), "2026-11-21T01:22:33.123Z");
    }

    #[test]
    fn days_follow_each_other_through_four_centuries() {
        let mut last = date(0);
        for day in 1..=146_097 {
            let now = date(day);
            let next_day = now == (last.0, last.1, last.2 + 1);
            let next_month = now == (last.0, last.1 + 1, 1) && last.2 >= 28;
            let next_year = now == (last.0 + 1, 1, 1) && (last.1, last.2) == (12, 31);
            assert!(next_day || next_month || next_year, "{last:?} then {now:?}");
            last = now;
        }
        assert_eq!(last, (2370, 1, 1));
    }

    #[test]
    fn the_remembered_second_is_left_when_time_moves_either_way() {
        let mut stamp = Stamp::new();
        let mut out = Vec::new();
        for nanos in [5_000_000_000, 5_999_000_000, 6_000_000_000, 5_001_000_000] {
            stamp.write(&mut out, nanos);
            out.push(b' ');
        }
        let expected = "1970-01-01T00:00:05.000Z 1970-01-01T00:00:05.999Z 1970-01-01T00:00:06.000Z 1970-01-01T00:00:05.001Z ";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
