//! Numbers as they are printed: grouped, rounded, with their unit.

use std::fmt;

/// A latency in microseconds, with its unit and three or four digits; `never` for what has no end, and a dash for what is
/// not known.
#[derive(Debug, Clone, Copy)]
pub struct Micros(pub f64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            us if us.is_nan() => "–".to_owned(),
            us if us.is_infinite() => "never".to_owned(),
            us if us < 1_000.0 => format!("{us:.1} µs"),
            us if us < 1_000_000.0 => format!("{:.2} ms", us / 1_000.0),
            us => format!("{:.3} s", us / 1_000_000.0),
        };
        f.pad(&text)
    }
}

/// `1234567` as `1,234,567`.
#[derive(Debug, Clone, Copy)]
pub struct Grouped(pub u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() + digits.len() / 3);
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

/// The nearest whole number; what is below zero is zero.
pub(crate) fn whole(number: f64) -> u64 {
    // A float-to-int `as` saturates.
    number.round() as u64
}

/// Rounded to so many decimals.
pub(crate) fn round(number: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (number * scale).round() / scale
}

/// `part` divided by `of`.
pub(crate) fn ratio(part: u64, of: u64) -> f64 {
    part as f64 / of as f64
}

/// A figure that JSON has as `null` where it is not known, or has no end.
pub(crate) mod or_null {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(figure: &f64, to: S) -> Result<S::Ok, S::Error> {
        figure.serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_have_units() {
        assert_eq!(Grouped(0).to_string(), "0");
        assert_eq!(Grouped(999).to_string(), "999");
        assert_eq!(format!("{:>10}", Grouped(1_234_567)), " 1,234,567");
        assert_eq!(Micros(22.04).to_string(), "22.0 µs");
        assert_eq!(Micros(1_500.0).to_string(), "1.50 ms");
        assert_eq!(Micros(2_000_000.0).to_string(), "2.000 s");
        assert_eq!(Micros(f64::INFINITY).to_string(), "never");
        assert_eq!(Micros(f64::NAN).to_string(), "–");
    }
}
