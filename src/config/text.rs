//! How durations, sizes and modes are written, in URLs, in files and in what we print.
//!
//! Knows no option and no service. A duration is whole numbers with units (`20ms`, `60s`,
//! `1m30s`); only `0` needs none. A size is bytes, or a number with `K`, `M` or `G` (also `KiB`,
//! `MiB`, `GiB`), always powers of 1024: `64K` is 65536, because every limit of ours is a power
//! of two. `KB` is refused: half of its readers would be wrong about it.

use std::fmt;
use std::time::Duration;

/// Reads `20ms`, `60s`, `1m30s` or a plain `0`; the error says what would be right.
///
/// ```
/// use std::time::Duration;
/// use onepoll::config::parse_duration;
///
/// assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
/// assert!(parse_duration("90").is_err());
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "{} is not a duration such as 20ms, 60s, 1m30s or 0",
            quoted(text)
        )
    };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(wrong());
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (digits, after) = split_where(rest, |c| !c.is_ascii_digit());
        let (unit, after) = split_where(after, |c| c.is_ascii_digit());
        let nanos = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, nanos)| *nanos)
            .ok_or_else(wrong)?;
        total = digits
            .parse::<u64>()
            .ok()
            .and_then(|count| count.checked_mul(nanos))
            .and_then(|nanos| total.checked_add(Duration::from_nanos(nanos)))
            .filter(|total| total.as_nanos() <= u128::from(u64::MAX))
            .ok_or_else(wrong)?;
        rest = after;
    }
    Ok(total)
}

/// Writes a duration with the largest unit that holds it exactly: `90s`, `20ms`, `0`.
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0".into();
    }
    UNITS
        .iter()
        .find(|(_, unit)| nanos.is_multiple_of(u128::from(*unit)))
        .map(|(name, unit)| format!("{}{name}", nanos / u128::from(*unit)))
        .unwrap_or_default()
}

/// Largest first, so that the first that divides is the shortest to read; the last divides all.
const UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Reads `65536`, `64K` or `64KiB`; the error says what would be right.
///
/// ```
/// assert_eq!(onepoll::config::parse_size("64K"), Ok(65536));
/// ```
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "{} is not a size such as 65536, 64K or 1M (powers of 1024)",
            quoted(text)
        )
    };
    let (digits, unit) = split_where(text, |c| !c.is_ascii_digit());
    let shift = match unit {
        "" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        _ => return Err(wrong()),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(1 << shift))
        .ok_or_else(wrong)
}

/// Writes a size with the largest unit that holds it exactly: `64K`, `1M`, `1000`.
pub fn format_size(bytes: u64) -> String {
    [(30, "G"), (20, "M"), (10, "K")]
        .into_iter()
        .find(|(shift, _)| bytes != 0 && bytes.is_multiple_of(1 << shift))
        .map(|(shift, unit)| format!("{}{unit}", bytes >> shift))
        .unwrap_or_else(|| bytes.to_string())
}

/// Reads a file mode as octal digits: `600`, `0660`.
pub(super) fn parse_mode(text: &str) -> Result<u32, String> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| u32::from_str_radix(text, 8).ok())
        .flatten()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| {
            format!(
                "{} is not a file mode in octal such as 0600 or 0660",
                quoted(text)
            )
        })
}

fn split_where(text: &str, at: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(at).unwrap_or(text.len()))
}

/// The known name nearest to what was typed, if it is near enough to be what was meant.
pub(crate) fn nearest<'k>(typed: &str, known: &[&'k str]) -> Option<&'k str> {
    // A name of hundreds of letters is no slip of the finger, and would cost its square.
    if typed.len() > 32 {
        return None;
    }
    known
        .iter()
        .map(|name| (distance(typed, name), *name))
        .min()
        .filter(|(distance, name)| *distance <= 2 && *distance < name.len())
        .map(|(_, name)| name)
}

/// Insertions, deletions, substitutions and swaps of neighbours between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1)
                .min(row[j - 1] + 1)
                .min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// A list of names as a sentence has it: `a, b or c`.
pub(crate) fn one_of(names: &[&str]) -> String {
    match names {
        [] => "nothing".into(),
        [only] => (*only).into(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

/// Text from outside as an error message shows it: on one line, no control characters, bounded.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 300;
    let mut shown = String::from("`");
    for c in text.chars().take(SHOWN_CHARS_MAX) {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown.push('`');
    shown
}

/// Undoes `%41`; what is not two hexadecimal digits after `%`, or not UTF-8, is an error.
pub(crate) fn percent_decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let hex = |b: &u8| {
            char::from(*b)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        match after {
            [high, low, after @ ..] => match (hex(high), hex(low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high * 16 + low);
                    rest = after;
                }
                _ => return Err(bad_percent(text)),
            },
            _ => return Err(bad_percent(text)),
        }
    }
    String::from_utf8(bytes).map_err(|_| format!("{} does not decode to UTF-8", quoted(text)))
}

fn bad_percent(text: &str) -> String {
    format!(
        "{} has a `%` that no two hexadecimal digits follow; write `%25` for the sign itself",
        quoted(text)
    )
}

/// Shows text so that [`percent_decode`] gives it back, and neither a URL nor a shell's word
/// breaks on it.
pub(crate) struct PercentEncoded<'t>(pub(crate) &'t str);

impl fmt::Display for PercentEncoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            let plain = byte.is_ascii_alphanumeric() || b"-._~/:@[],+".contains(&byte);
            if plain {
                write!(f, "{}", char::from(byte))?
            } else {
                write!(f, "%{byte:02X}")?
            }
        }
        Ok(())
    }
}

/// What serde's `with` wants for each way of writing: one module a way.
pub(crate) mod with {
    use super::{Duration, fmt};
    use super::{format_duration, format_size, parse_duration, parse_mode, parse_size, quoted};
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    /// Reads text by `parse`, and bare integers (only a TOML file has them) as their digits.
    struct Written<T>(fn(&str) -> Result<T, String>);

    impl<T> Visitor<'_> for Written<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("text")
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            (self.0)(text).map_err(E::custom)
        }
        fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
            self.visit_str(&number.to_string())
        }
    }

    /// Deserializes by what `parse` makes of the text.
    pub(crate) fn by_text<'de, T, D: Deserializer<'de>>(
        d: D,
        parse: fn(&str) -> Result<T, String>,
    ) -> Result<T, D::Error> {
        d.deserialize_any(Written(parse))
    }

    macro_rules! written {
        ($($(#[$doc:meta])* $name:ident: $type:ty, $parse:expr, $format:expr;)*) => {$(
            $(#[$doc])*
            pub(crate) mod $name {
                use super::*;
                pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<$type, D::Error> {
                    by_text(d, $parse)
                }
                pub(crate) fn serialize<S: Serializer>(value: &$type, s: S) -> Result<S::Ok, S::Error> {
                    let format: fn(&$type) -> Option<String> = $format;
                    match format(value) {
                        Some(text) => s.serialize_str(&text),
                        None => s.serialize_none(),
                    }
                }
            }
        )*};
    }

    fn above_zero(text: &str) -> Result<Duration, String> {
        match parse_duration(text)? {
            Duration::ZERO => Err(format!("{} leaves no time at all", quoted(text))),
            duration => Ok(duration),
        }
    }

    written! {
        /// A duration; 0 is one.
        duration: Duration, parse_duration, |d| Some(format_duration(*d));
        /// A duration above 0.
        some_time: Duration, above_zero, |d| Some(format_duration(*d));
        /// A duration above 0, or absent.
        some_time_or_absent: Option<Duration>, |text| above_zero(text).map(Some),
            |d| d.map(format_duration);
        /// A duration above 0, or `off`.
        some_time_or_off: Option<Duration>,
            |text| if text == "off" { Ok(None) } else { above_zero(text)
                .map(Some).map_err(|wrong| format!("{wrong}; `off` for none")) },
            |d| Some(d.map_or("off".into(), format_duration));
        /// A size in bytes.
        size: usize, |text| super::super::to_usize(parse_size(text)?),
            |bytes| Some(format_size(*bytes as u64));
        /// A size in bytes, or absent.
        size_or_absent: Option<usize>, |text| super::super::to_usize(parse_size(text)?).map(Some),
            |bytes| bytes.map(|bytes| format_size(bytes as u64));
    }

    /// An octal file mode, or absent. Never a bare number: in TOML `660` and `0o660` differ, and
    /// here they would arrive as the same kind of thing.
    pub(crate) mod mode_or_absent {
        use super::*;
        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            d: D,
        ) -> Result<Option<u32>, D::Error> {
            let text: String = serde::Deserialize::deserialize(d)?;
            parse_mode(&text).map(Some).map_err(Error::custom)
        }
        pub(crate) fn serialize<S: Serializer>(
            mode: &Option<u32>,
            s: S,
        ) -> Result<S::Ok, S::Error> {
            match mode {
                Some(mode) => s.serialize_str(&format!("{mode:04o}")),
                None => s.serialize_none(),
            }
        }
    }

    /// A switch that is written `on` and `off`; reading takes every spelling of a truth value.
    pub(crate) mod on_off {
        use super::*;
        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
            serde::Deserialize::deserialize(d)
        }
        #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
        pub(crate) fn serialize<S: Serializer>(on: &bool, s: S) -> Result<S::Ok, S::Error> {
            s.serialize_str(if *on { "on" } else { "off" })
        }
    }
}

fn to_usize(bytes: u64) -> Result<usize, String> {
    usize::try_from(bytes)
        .map_err(|_| format!("{bytes} bytes are more than this machine addresses"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [
            ("0", 0),
            ("20ms", 20),
            ("60s", 60_000),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in [
            "",
            "20",
            "ms",
            "1.5s",
            "-1s",
            "1 s",
            "1sec",
            "s1",
            "1s2",
            "999999999999d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65536),
            ("64K", 65536),
            ("64KiB", 65536),
            ("1M", 1 << 20),
            ("4GiB", 4 << 30),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "K", "64KB", "64k", "-1", "1.5M", "99999999999G"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_slip_of_the_finger_has_a_nearest_name() {
        let known = ["echo", "discard", "upper"];
        assert_eq!(nearest("ehco", &known), Some("echo"));
        assert_eq!(nearest("uper", &known), Some("upper"));
        assert_eq!(nearest("gopher", &known), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), &known), None);
    }

    #[test]
    fn a_lone_percent_sign_is_an_error() {
        assert_eq!(percent_decode("a%20b%e4%bd%a0"), Ok("a b你".into()));
        for text in ["%", "%4", "%zz", "100%", "%ff", "%+1"] {
            assert!(percent_decode(text).is_err(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_written_is_read_back(nanos: u64, bytes: u64, text in ".*") {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
            prop_assert_eq!(percent_decode(&PercentEncoded(&text).to_string()), Ok(text));
        }
    }
}
