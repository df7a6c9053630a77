//! Scalars with a unit: durations, sizes, rates, percentages. A bare number where a unit belongs is a fault.

use std::time::Duration;

use super::report::{Fault, quote};

/// Longest duration: a year.
const MOST_MILLIS: u64 = 365 * 24 * 3_600_000;

/// `250ms`, `5s`, `2m` or `24h`, at most a year.
pub(super) fn duration(text: &str) -> Result<Duration, Fault> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    let (number, unit) = split(text);
    let Some(number) = whole(number).filter(|_| unit.bytes().all(|b| b.is_ascii_alphabetic()))
    else {
        return Err(Fault::new(
            format!("{} is not a duration", quote(text)),
            DURATION,
        ));
    };
    if unit.is_empty() {
        let help = format!("`{number}s` or `{number}ms`, whichever is meant");
        return Err(Fault::new(format!("{} has no unit", quote(text)), help));
    }
    let Some((_, millis)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(Fault::new(
            format!("{} is not a unit of time", quote(unit)),
            DURATION,
        ));
    };
    match number.checked_mul(*millis) {
        Some(millis) if millis <= MOST_MILLIS => Ok(Duration::from_millis(millis)),
        _ => Err(Fault::new(
            format!("{} is longer than a year", quote(text)),
            "at most `8760h`",
        )),
    }
}

/// `512B`, `16KiB`, `10MiB`, `1GiB`, or in powers of ten `16KB`, `10MB`, `1GB`; bytes.
pub(super) fn size(text: &str) -> Result<u64, Fault> {
    const UNITS: [(&str, u64); 7] = [
        ("B", 1),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
    ];
    let (number, unit) = split(text);
    let Some(number) = whole(number).filter(|_| unit.bytes().all(|b| b.is_ascii_alphabetic()))
    else {
        return Err(Fault::new(format!("{} is not a size", quote(text)), SIZE));
    };
    if unit.is_empty() {
        let help = format!("`{number}B` for bytes, `{number}KiB` or `{number}MiB`");
        return Err(Fault::new(format!("{} has no unit", quote(text)), help));
    }
    if let Some((_, bytes)) = UNITS.iter().find(|(name, _)| *name == unit) {
        let too_large = || Fault::bare(format!("{} is larger than can be counted", quote(text)));
        return number
            .checked_mul(*bytes)
            .filter(|size| *size <= i64::MAX as u64)
            .ok_or_else(too_large);
    }
    let near = UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit) || near_unit(name, unit));
    let help = near.map_or(SIZE.into(), |(name, _)| {
        format!("did you mean `{number}{name}`?")
    });
    Err(Fault::new(
        format!("{} is not a unit of size", quote(unit)),
        help,
    ))
}

/// `10M` is meant as `10MiB`.
fn near_unit(name: &str, unit: &str) -> bool {
    name.len() == 3 && name[..1].eq_ignore_ascii_case(unit)
}

/// `100/s`, `6000/m`, `50/10s`, `1000/h`: how many, and in which time. Never 0.
pub(super) fn rate(text: &str) -> Result<(u64, Duration), Fault> {
    let fault = |what: &str| Fault::new(format!("{} {what}", quote(text)), RATE);
    let Some((count, per)) = text.split_once('/') else {
        return Err(fault(if whole(text).is_some() {
            "has no unit"
        } else {
            "is not a rate"
        }));
    };
    let count = whole(count).ok_or_else(|| fault("is not a rate"))?;
    let per = if per.starts_with(|c: char| c.is_ascii_digit()) {
        duration(per)
    } else {
        duration(&format!("1{per}"))
    };
    let per = per.map_err(|_| fault("is not a rate"))?;
    if count == 0 || per.is_zero() {
        return Err(fault("lets nothing pass"));
    }
    Ok((count, per))
}

/// `20%`: from `0%` to `100%`, in hundredths of a percent (`0.25%` is 25).
pub(super) fn percent(text: &str) -> Result<u32, Fault> {
    let fault = |what: &str| Fault::new(format!("{} {what}", quote(text)), PERCENT);
    let Some(number) = text.strip_suffix('%') else {
        return Err(fault(if whole(text).is_some() {
            "has no unit"
        } else {
            "is not a percentage"
        }));
    };
    let (units, cents) = number.split_once('.').unwrap_or((number, "0"));
    let scale = match cents.len() {
        1 => 10,
        2 => 1,
        _ => return Err(fault("is not a percentage")),
    };
    let (Some(units), Some(cents)) = (whole(units), digits(cents)) else {
        return Err(fault("is not a percentage"));
    };
    let hundredths = units.saturating_mul(100).saturating_add(cents * scale);
    u32::try_from(hundredths)
        .ok()
        .filter(|h| *h <= 10_000)
        .ok_or_else(|| fault("is more than everything"))
}

/// A whole decimal number without sign, underscores or leading zeros.
pub(super) fn whole(text: &str) -> Option<u64> {
    // 010 is 8 to some readers of YAML and 10 to others.
    let doubtful = text.len() > 1 && text.starts_with('0');
    if doubtful { None } else { digits(text) }
}

fn digits(text: &str) -> Option<u64> {
    let all = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if all { text.parse().ok() } else { None }
}

fn split(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

const DURATION: &str =
    "a whole number with `ms`, `s`, `m` or `h`, such as `250ms`, `5s`, `2m`, `24h`";
const SIZE: &str =
    "a whole number with `B`, `KiB`, `MiB`, `GiB`, `KB`, `MB` or `GB`, such as `16KiB`";
const RATE: &str = "how many in which time, such as `100/s`, `6000/m`, `50/10s`; never 0";
const PERCENT: &str = "a share from `0%` to `100%`, such as `20%`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for text in [
            "",
            "5",
            "s",
            "1.5s",
            "-1s",
            "5 s",
            "5S",
            "1d",
            "1m30s",
            "99999999999999999999s",
            "8761h",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        let fault = duration("5").unwrap_err();
        assert_eq!(fault.message, "`5` has no unit");
        assert_eq!(fault.help.unwrap(), "`5s` or `5ms`, whichever is meant");
    }

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!(size("512B"), Ok(512));
        assert_eq!(size("16KiB"), Ok(16_384));
        assert_eq!(size("10MiB"), Ok(10 << 20));
        assert_eq!(size("1GB"), Ok(1_000_000_000));
        for text in [
            "",
            "16",
            "KiB",
            "16K",
            "16kib",
            "1.5MiB",
            "18446744073709551615GiB",
            "-1B",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(
            size("10M").unwrap_err().help.unwrap(),
            "did you mean `10MiB`?"
        );
        assert_eq!(
            size("10kb").unwrap_err().help.unwrap(),
            "did you mean `10KB`?"
        );
    }

    #[test]
    fn rates_have_a_count_and_a_time() {
        assert_eq!(rate("100/s"), Ok((100, Duration::from_secs(1))));
        assert_eq!(rate("6000/m"), Ok((6000, Duration::from_secs(60))));
        assert_eq!(rate("50/10s"), Ok((50, Duration::from_secs(10))));
        assert_eq!(rate("1000/h"), Ok((1000, Duration::from_secs(3600))));
        for text in ["", "100", "0/s", "5/0s", "/s", "5/", "5/x", "-5/s"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn percentages_end_at_everything() {
        assert_eq!(percent("20%"), Ok(2000));
        assert_eq!(percent("0.25%"), Ok(25));
        assert_eq!(percent("1.05%"), Ok(105));
        assert_eq!(percent("0.5%"), Ok(50));
        assert_eq!(percent("100%"), Ok(10_000));
        for text in [
            "",
            "20",
            "%",
            "101%",
            "100.01%",
            "1.234%",
            "-1%",
            "99999999999999999999%",
        ] {
            assert!(percent(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_decimal() {
        assert_eq!(whole("0"), Some(0));
        assert_eq!(whole("100"), Some(100));
        for text in ["", "-1", "+1", "1_000", "0x10", "010", "00", "1.0", "1e3"] {
            assert_eq!(whole(text), None, "{text}");
        }
    }
}
