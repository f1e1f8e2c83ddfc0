//! The time as a number of 32 bits (T8, U6; RFC 868).
//!
//! Knows the seconds since 1900, which NTP counts too. Does not know what time it is.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Encode;

/// Seconds from 1900-01-01 to 1970-01-01, both at 00:00 UTC.
const SECONDS_1900_TO_1970: u32 = 2_208_988_800;

/// Seconds since 1900-01-01 00:00 UTC, modulo 2³²; on the wire 4 bytes, big-endian.
///
/// The number is full on 2036-02-07 at 06:28:16 UTC. RFC 868 does not say what comes then. It goes
/// on from 0, as the seconds of NTP do in their next era (RFC 5905, section 6): a client that takes
/// the date nearest to its own reads it right before and after.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use onepoll::wire::{Encode, Since1900};
///
/// let mut out = Vec::new();
/// // The example of RFC 868: 1976-01-01 00:00 UTC.
/// Since1900::at(UNIX_EPOCH + Duration::from_secs(189_302_400)).encode(&mut out);
/// assert_eq!(out, 2_398_291_200_u32.to_be_bytes());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since1900(pub u32);

impl Since1900 {
    /// The second that has begun at `wall`.
    pub fn at(wall: SystemTime) -> Since1900 {
        Since1900::with_nanos(wall).0
    }

    /// The second that has begun at `wall`, and the nanoseconds of it that have passed.
    pub(super) fn with_nanos(wall: SystemTime) -> (Since1900, u32) {
        // Of the 64 bits of seconds the low 32 are the number modulo 2³², before 1970 as well.
        let (low, nanos) = match wall.duration_since(UNIX_EPOCH) {
            Ok(since) => (low_bits(since.as_secs()), since.subsec_nanos()),
            Err(before) => {
                let until = before.duration();
                match until.subsec_nanos() {
                    0 => (low_bits(until.as_secs()).wrapping_neg(), 0),
                    // The second has begun that ends `as_secs` before 1970.
                    nanos => (!low_bits(until.as_secs()), 1_000_000_000 - nanos),
                }
            }
        };
        (Since1900(low.wrapping_add(SECONDS_1900_TO_1970)), nanos)
    }
}

fn low_bits(seconds: u64) -> u32 {
    (seconds & u64::from(u32::MAX)) as u32
}

impl Encode for Since1900 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(unix_seconds: i64, nanos: u32) -> (u32, u32) {
        let whole = Duration::from_secs(unix_seconds.unsigned_abs());
        let wall = if unix_seconds < 0 {
            UNIX_EPOCH - whole
        } else {
            UNIX_EPOCH + whole
        };
        let (seconds, nanos) = Since1900::with_nanos(wall + Duration::from_nanos(nanos.into()));
        (seconds.0, nanos)
    }

    #[test]
    fn t8_u6_the_dates_that_rfc_868_gives() {
        // 1900, 1970, 1976, 1980 and 1983-05-01, each at 00:00 UTC; -1,297,728,000 is 1858-11-17.
        for (unix, number) in [
            (-2_208_988_800, 0),
            (-2_208_988_799, 1),
            (0, 2_208_988_800),
            (189_302_400, 2_398_291_200),
            (315_532_800, 2_524_521_600),
            (420_595_200, 2_629_584_000),
            (
                -2_208_988_800 - 1_297_728_000,
                1_297_728_000_u32.wrapping_neg(),
            ),
        ] {
            assert_eq!(at(unix, 0), (number, 0), "{unix}");
        }
    }

    #[test]
    fn t8_u6_after_2036_the_number_goes_on_from_0() {
        // 2036-02-07 06:28:15 UTC is the last second of the first era.
        assert_eq!(at(2_085_978_495, 999_999_999), (u32::MAX, 999_999_999));
        assert_eq!(at(2_085_978_496, 0), (0, 0));
        assert_eq!(at(2_085_978_496 + 86_400, 0), (86_400, 0));
        // And the era after it, from 2172 on.
        assert_eq!(at(2_085_978_496 + (1 << 32) + 7, 0), (7, 0));
    }

    #[test]
    fn a_fraction_belongs_to_the_second_that_has_begun_before_1970_too() {
        assert_eq!(at(0, 1), (2_208_988_800, 1));
        assert_eq!(at(-1, 1), (2_208_988_799, 1));
        assert_eq!(at(-1, 999_999_999), (2_208_988_799, 999_999_999));
        assert_eq!(at(-2_208_988_801, 5), (u32::MAX, 5));
    }

    #[test]
    fn encode_appends_four_bytes_big_endian() {
        let mut out = b"before".to_vec();
        Since1900(0x8123_4567).encode(&mut out);
        assert_eq!(out, b"before\x81\x23\x45\x67");
    }
}
