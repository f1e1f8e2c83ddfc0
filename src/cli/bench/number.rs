//! Numbers as they are typed: with `k` and `M`, and sizes with units of bytes.

/// A whole number: `200`, `10k`, `1.5M`.
pub(super) fn count<N: TryFrom<u64>>(text: &str) -> Result<N, String> {
    let (digits, exponent) = thousands(text);
    let number = scaled(digits, 10_u64.pow(exponent)).and_then(|number| N::try_from(number).ok());
    number.ok_or_else(|| "write a whole number, such as 200, 10k or 1.5M".to_owned())
}

/// So many a second: `500`, `10k`, `0.5`, `1.5M/s`.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    let (digits, exponent) = thousands(number.trim_end());
    let is_plain = digits.starts_with(|c: char| c.is_ascii_digit());
    // Not multiplied, which would round twice.
    let rate = format!("{digits}e{exponent}").parse();
    rate.ok()
        .filter(|rate: &f64| is_plain && rate.is_finite())
        .ok_or_else(|| "write how many a second, such as 500, 10k or 1.5M".to_owned())
}

/// Bytes, with `K` (or `k`, `KiB`) and `M` (or `MiB`) for 1024 and 1024².
pub(super) fn size(text: &str) -> Result<usize, String> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (digits, unit) = text.split_at(at.unwrap_or(text.len()));
    let unit = match unit {
        "" | "B" => 1,
        "K" | "k" | "KiB" => 1 << 10,
        "M" | "m" | "MiB" => 1 << 20,
        "KB" | "kB" | "MB" => {
            return Err(format!(
                "{unit} is 1000 or 1024 to the one and the other: write KiB or MiB, or bytes without a unit"
            ));
        }
        _ => 0,
    };
    scaled(digits, unit)
        .filter(|_| unit > 0)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| {
            "write a number of bytes, such as 64, 16K or 1.5MiB (powers of 1024)".to_owned()
        })
}

/// The number of a process.
pub(super) fn process(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| "write the number of a process, such as 4711".to_owned())
}

fn thousands(text: &str) -> (&str, u32) {
    let units = [("k", 3), ("K", 3), ("M", 6), ("G", 9)];
    let with = |(unit, exponent)| Some((text.strip_suffix(unit)?, exponent));
    units.into_iter().find_map(with).unwrap_or((text, 0))
}

/// Digits, perhaps with a point, times `unit`; none unless that is a whole number.
fn scaled(digits: &str, unit: u64) -> Option<u64> {
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(part) {
        return None;
    }
    let place = 10_u64.checked_pow(u32::try_from(part.len()).ok()?)?;
    let part = part.parse::<u64>().ok()?.checked_mul(unit)?;
    let whole = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    (part % place == 0).then(|| whole.checked_add(part / place))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_whole_whatever_their_unit() {
        for (text, number) in [
            ("0", 0),
            ("200", 200),
            ("10k", 10_000),
            ("10K", 10_000),
            ("1.5M", 1_500_000),
            ("0.25k", 250),
            ("2G", 2_000_000_000),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(count(text), Ok(number), "{text}");
        }
        for text in [
            "",
            "k",
            "-1",
            "1.5",
            "1.2345k",
            "1e3",
            "1 k",
            "0x10",
            ".5k",
            "5.",
            "1,000",
            "١",
            "18446744073709551616",
            "20000000000G",
        ] {
            let wrong = count::<u64>(text).unwrap_err();
            assert_eq!(
                wrong, "write a whole number, such as 200, 10k or 1.5M",
                "{text}"
            );
        }
        assert!(count::<u32>("5G").is_err());
        assert_eq!(process("4711"), Ok(4711));
        assert!(process("1k").is_err() && process("-1").is_err());
    }

    #[test]
    fn rates_have_fractions_and_a_second_too() {
        for (text, number) in [
            ("500", 500.0),
            ("0.5", 0.5),
            ("10k", 10_000.0),
            ("1.5M/s", 1_500_000.0),
            ("12.3k/s", 12_300.0),
        ] {
            assert_eq!(rate(text), Ok(number), "{text}");
        }
        for text in ["", "k", "-1", "inf", "nan", "1/m", "1kk", "+5", "5e400"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("64", 64),
            ("64B", 64),
            ("16K", 16_384),
            ("16k", 16_384),
            ("64KiB", 65_536),
            ("1m", 1 << 20),
            ("1.5MiB", 3 << 19),
            ("1.5K", 1_536),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "K", "-1", "1G", "1.5", "0.3K", "99999999999999999999"] {
            assert!(
                size(wrong).unwrap_err().contains("such as 64, 16K"),
                "{wrong}"
            );
        }
        let wrong = size("64kB").unwrap_err();
        assert!(wrong.starts_with("kB is 1000 or 1024"), "{wrong}");
    }
}
