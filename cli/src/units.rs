//! Sizes, rates and durations as people write and read them.
//!
//! Suffixes are those of the GNU tools: `K`, `M`, `G`, `T` and `KiB`, `MiB`, ... are powers of
//! 1024; `KB`, `MB`, ... are powers of 1000. Case does not matter. A bare number is bytes, or
//! seconds. What is shown is always in powers of 1024, and says so (`MiB`).

use std::fmt;
use std::time::Duration;

/// A number of bytes such as `64MiB`, `1.5MB`, `500K`, `16384` or `16384B`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    refuse_negative(text)?;
    let (number, suffix) = split_number(text);
    let unit = match suffix.to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kib" => Some(1 << 10),
        "m" | "mib" => Some(1 << 20),
        "g" | "gib" => Some(1 << 30),
        "t" | "tib" => Some(1 << 40),
        "kb" => Some(1_000),
        "mb" => Some(1_000_000),
        "gb" => Some(1_000_000_000),
        "tb" => Some(1_000_000_000_000),
        _ => None,
    };
    unit.and_then(|unit| scale(number, unit))
        .ok_or_else(|| "write a size such as 16384, 500K, 2MiB or 1.5MB".to_owned())
}

/// Bytes per second, written as a size with or without `/s`.
pub(crate) fn parse_rate(text: &str) -> Result<u64, String> {
    let size = text.strip_suffix("/s").unwrap_or(text);
    refuse_negative(size)?;
    match parse_size(size) {
        Ok(0) => Err("a rate of 0 moves nothing; leave the option out for no limit".to_owned()),
        Ok(rate) => Ok(rate),
        Err(_) => Err("write bytes per second such as 50000, 500K, 2MiB or 1.5MB".to_owned()),
    }
}

/// A length of time such as `90`, `90s`, `1.5h`, `1h30m`, `2d` or `500ms`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    refuse_negative(text)?;
    sum_of_parts(text).ok_or_else(|| "write a duration such as 90, 90s, 10m, 1h30m or 2d".into())
}

/// A number below zero is no typing error in the unit: says so. (U+2212 is what typesetters write.)
pub(crate) fn refuse_negative(text: &str) -> Result<(), String> {
    let rest = text.trim_start().strip_prefix(['-', '\u{2212}']);
    match rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == '.')) {
        true => Err(format!("{text} is less than nothing; write a number from 0 on")),
        false => Ok(()),
    }
}

fn sum_of_parts(text: &str) -> Option<Duration> {
    let mut total_ms: u64 = 0;
    let mut rest = text;
    let mut first = true;
    while !rest.is_empty() || first {
        let (number, tail) = split_number(rest);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (suffix, after) = tail.split_at(letters);
        let unit_ms = match suffix.to_ascii_lowercase().as_str() {
            "" if first && after.is_empty() => 1_000,
            "ms" => 1,
            "s" | "sec" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total_ms = total_ms.checked_add(scale(number, unit_ms)?)?;
        rest = after;
        first = false;
    }
    Some(Duration::from_millis(total_ms))
}

/// The leading number and what follows it.
fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

/// A decimal number times a unit, rounded down; exact for whole numbers.
fn scale(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let bytes = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    let numerator = fraction.parse::<u64>().ok()?;
    let denominator = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = u128::from(numerator) * u128::from(unit) / u128::from(denominator);
    bytes.checked_add(u64::try_from(part).ok()?)
}

/// How many there are, in words: `1 file`, `2 files`, `0 files`.
pub(crate) fn counted<T>(count: T, one: &str, many: &str) -> String
where
    T: fmt::Display + PartialEq + From<u8>,
{
    let noun = if count == T::from(1) { one } else { many };
    format!("{count} {noun}")
}

/// Shows a number of bytes, rounded: `512 B`, `1.5 MiB`, `640 GiB`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        // Past 1023.5 the rounded figure would read 1024 of the smaller unit.
        let mut amount = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while amount >= 1023.5 && unit + 1 < UNITS.len() {
            amount /= 1024.0;
            unit += 1;
        }
        // Likewise past 99.95 of one decimal.
        let decimals = usize::from(amount < 99.95);
        f.pad(&format!("{amount:.decimals$} {}", UNITS[unit]))
    }
}

/// Shows bytes per second: `1.5 MiB/s`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rate(pub(crate) u64);

impl Rate {
    /// The mean rate of this many bytes over this time.
    pub(crate) fn mean(bytes: u64, time: Duration) -> Self {
        Rate((bytes as f64 / time.as_secs_f64().max(0.001)) as u64)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/s", Size(self.0)))
    }
}

/// Shows a length of time, rounded down: `0.4 s`, `42 s`, `3 min 20 s`, `17 min`, `2 h 5 min`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.0.as_secs();
        let text = match s {
            1..10 if self.0.subsec_millis() == 0 => format!("{s} s"),
            0..10 => format!("{:.1} s", self.0.as_secs_f64()),
            10..60 => format!("{s} s"),
            60..600 => format!("{} min {} s", s / 60, s % 60),
            600..3_600 => format!("{} min", s / 60),
            3_600..36_000 => format!("{} h {} min", s / 3_600, s / 60 % 60),
            36_000..86_400 => format!("{} h", s / 3_600),
            86_400..864_000 => format!("{} d {} h", s / 86_400, s / 3_600 % 24),
            _ => format!("{} d", s / 86_400),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_suffixes_mean_what_the_gnu_tools_say() {
        assert_eq!(parse_size("16384"), Ok(16_384));
        assert_eq!(parse_size("500K"), Ok(512_000));
        assert_eq!(parse_size("500k"), Ok(512_000));
        assert_eq!(parse_size("2MiB"), Ok(2 << 20));
        assert_eq!(parse_size("1.5MB"), Ok(1_500_000));
        assert_eq!(parse_size("0.5g"), Ok(1 << 29));
        assert_eq!(parse_size("1T"), Ok(1 << 40));
        assert_eq!(parse_size("7b"), Ok(7));
        assert_eq!(parse_size("18446744073709551615"), Ok(u64::MAX));
    }

    #[test]
    fn sizes_that_are_none_are_refused() {
        for text in [
            "",
            "K",
            "-1",
            "1.",
            ".5",
            "1.2.3",
            "1 M",
            "1X",
            "1e6",
            "99999999999T",
            "18446744073709551616",
            "1.0000000000",
            "１",
        ] {
            assert!(parse_size(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_below_zero_is_told_so() {
        let messages = [
            parse_size("-1M").unwrap_err(),
            parse_rate("-500K/s").unwrap_err(),
            parse_duration("-5").unwrap_err(),
            parse_duration("\u{2212}1h").unwrap_err(),
        ];
        for message in messages {
            assert!(message.contains("less than nothing"), "{message}");
        }
        assert!(parse_size("-K").unwrap_err().contains("write a size"));
    }

    #[test]
    fn rates_may_say_per_second_and_are_not_zero() {
        assert_eq!(parse_rate("2MiB/s"), Ok(2 << 20));
        assert_eq!(parse_rate("500K"), Ok(512_000));
        assert!(parse_rate("0").unwrap_err().contains("leave the option out"));
        assert!(parse_rate("fast").is_err());
    }

    #[test]
    fn durations_add_up_their_parts() {
        let ms = |text| parse_duration(text).map(|d| d.as_millis());
        assert_eq!(ms("0"), Ok(0));
        assert_eq!(ms("90"), Ok(90_000));
        assert_eq!(ms("90s"), Ok(90_000));
        assert_eq!(ms("1.5h"), Ok(5_400_000));
        assert_eq!(ms("1h30m"), Ok(5_400_000));
        assert_eq!(ms("1h30m15s"), Ok(5_415_000));
        assert_eq!(ms("500ms"), Ok(500));
        assert_eq!(ms("2d"), Ok(172_800_000));
        for text in ["", "m", "1h30", "-5", "1y", "5 s", "99999999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_shown_rounds_to_three_digits_or_so() {
        assert_eq!(Size(0).to_string(), "0 B");
        assert_eq!(Size(1023).to_string(), "1023 B");
        assert_eq!(Size(1024).to_string(), "1.0 KiB");
        assert_eq!(Size((1 << 20) - 1).to_string(), "1.0 MiB");
        assert_eq!(Size(64 << 20).to_string(), "64.0 MiB");
        assert_eq!(Size((100 << 20) - 1).to_string(), "100 MiB");
        assert_eq!(Size(640 << 20).to_string(), "640 MiB");
        assert_eq!(Size((1 << 30) - 1).to_string(), "1.0 GiB");
        assert_eq!(Size(u64::MAX).to_string(), "16.0 EiB");
        assert_eq!(Rate(1536).to_string(), "1.5 KiB/s");
        assert_eq!(Rate::mean(1 << 20, Duration::from_secs(2)), Rate(1 << 19));
    }

    #[test]
    fn spans_have_two_units_where_they_matter() {
        let show = |ms| Span(Duration::from_millis(ms)).to_string();
        assert_eq!(show(420), "0.4 s");
        assert_eq!(show(4_000), "4 s");
        assert_eq!(show(4_200), "4.2 s");
        assert_eq!(show(42_000), "42 s");
        assert_eq!(show(200_000), "3 min 20 s");
        assert_eq!(show(1_023_000), "17 min");
        assert_eq!(show(7_500_000), "2 h 5 min");
        assert_eq!(show(40_000_000), "11 h");
        assert_eq!(show(90_000_000), "1 d 1 h");
        assert_eq!(show(900_000_000), "10 d");
    }
}
