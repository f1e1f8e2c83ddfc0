use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::text::{format_duration, parse_duration, quoted, with};

/// The longest time that a rate can be about: a table remembers a source for as long.
const PER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest: the loop looks at its clock once a turn, not more often.
const PER_MIN: Duration = Duration::from_millis(1);

/// The most that a rate can count: each of them is at least a nanosecond from the next.
const COUNT_MAX: u32 = 1_000_000;

/// So many in so much time: `10/s`, `100/m`, `5/10s`.
///
/// It is a token bucket of `count` tokens which fills evenly within `per`: as many may come at once, and
/// the next when its token is there, an even share of the time later.
///
/// ```
/// use std::time::Duration;
/// use onepoll::config::Rate;
///
/// let rate: Rate = "10/s".parse()?;
/// assert_eq!((rate.count(), rate.per()), (10, Duration::from_secs(1)));
/// assert!("10".parse::<Rate>().is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    per: Duration,
}

impl Rate {
    /// How many may come at once, and within [`per`](Rate::per).
    pub fn count(&self) -> u32 {
        self.count
    }

    /// In how much time the bucket fills.
    pub fn per(&self) -> Duration {
        self.per
    }

    /// How long one token takes.
    pub fn interval(&self) -> Duration {
        self.per / self.count
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let wrong = |why: &str| {
            format!(
                "{} is not a rate such as 10/s, 100/m or 5/10s: {why}",
                quoted(text)
            )
        };
        let (count, per) = text
            .split_once('/')
            .ok_or_else(|| wrong("it does not say in how much time"))?;
        let count = Some(count)
            .filter(|count| count.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|count| count.parse().ok())
            .filter(|count| (1..=COUNT_MAX).contains(count))
            .ok_or_else(|| wrong("before the `/` stands a whole number from 1 to 1000000"))?;
        // `s` is `1s`.
        let one = if per.starts_with(|c: char| c.is_ascii_digit()) {
            ""
        } else {
            "1"
        };
        let per = parse_duration(&format!("{one}{per}"))
            .ok()
            .filter(|per| (PER_MIN..=PER_MAX).contains(per))
            .ok_or_else(|| {
                wrong("behind the `/` stands s, m, h or d, or a duration from 1ms to 1d")
            })?;
        Ok(Rate { count, per })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = format_duration(self.per);
        // `1s` is `s`.
        let unit = per
            .strip_prefix('1')
            .filter(|unit| !unit.starts_with(|c: char| c.is_ascii_digit()));
        write!(f, "{}/{}", self.count, unit.unwrap_or(&per))
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Rate, D::Error> {
        with::by_text(d, str::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_it_can_be_read_again() {
        for (text, count, ms, written) in [
            ("10/s", 10, 1000, "10/s"),
            ("10/1s", 10, 1000, "10/s"),
            ("100/m", 100, 60_000, "100/m"),
            ("100/60s", 100, 60_000, "100/m"),
            ("5/10s", 5, 10_000, "5/10s"),
            ("1/1m30s", 1, 90_000, "1/90s"),
            ("3/ms", 3, 1, "3/ms"),
            ("1/d", 1, 86_400_000, "1/d"),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.count, rate.per), (count, Duration::from_millis(ms)));
            assert_eq!(rate.to_string(), written);
            assert_eq!(written.parse(), Ok(rate));
        }
        assert_eq!(
            "4/s".parse::<Rate>().unwrap().interval(),
            Duration::from_millis(250)
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        for (text, why) in [
            ("10", "in how much time"),
            ("", "in how much time"),
            ("0/s", "from 1 to 1000000"),
            ("/s", "from 1 to 1000000"),
            ("-1/s", "from 1 to 1000000"),
            ("1000001/s", "from 1 to 1000000"),
            ("10/", "s, m, h or d"),
            ("10/0", "s, m, h or d"),
            ("10/0s", "s, m, h or d"),
            ("10/us", "from 1ms to 1d"),
            ("10/2d", "from 1ms to 1d"),
            ("10/second", "s, m, h or d"),
            ("10 / s", "from 1 to 1000000"),
        ] {
            let said = text.parse::<Rate>().unwrap_err();
            assert!(said.contains("such as 10/s"), "{said}");
            assert!(said.contains(why), "{said}");
        }
    }
}
