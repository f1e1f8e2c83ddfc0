use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{DatagramTurn, Datagrams};
use crate::wire::{StrftimeError, strftime};

/// How much longer than the question an answer may be off loopback: whoever forges a sender's
/// address gains less than the headers of the datagram cost (faults E5, E6).
pub const TIME_GROWTH_BYTES_MAX: usize = 64;

/// What errors begin with. A datagram that begins so is another server's error, and is not answered:
/// two servers would answer each other for ever (fault E8).
const ERROR: &[u8] = b"onepoll: ";

/// The local time, in the format that was asked for (U2).
///
/// An empty datagram asks for the default format. What cannot be answered is answered with an error
/// of one line, `onepoll: reason`, of at most 64 bytes.
///
/// On loopback an answer has at most [`STRFTIME_BYTES_MAX`](crate::wire::STRFTIME_BYTES_MAX) bytes;
/// off loopback at most [`TIME_GROWTH_BYTES_MAX`] more than the question as well. The largest measured
/// factors: 12 (`%c`, 2 bytes to 24), and 19 bytes for an empty datagram.
#[derive(Debug)]
pub struct Time {
    zone: TimeZone,
    off_loopback: bool,
    /// The answer in the making; kept, so that no datagram allocates.
    text: Vec<u8>,
}

impl Time {
    /// In this zone; `off_loopback` if anybody but this machine may ask.
    pub fn new(zone: TimeZone, off_loopback: bool) -> Time {
        Time {
            zone,
            off_loopback,
            text: Vec::new(),
        }
    }

    /// Puts the answer into `text`, or says why there is none.
    fn format(&mut self, t: &DatagramTurn<'_>, format: &[u8]) -> Result<(), &'static str> {
        let Ok(now) = Timestamp::try_from(t.wall) else {
            return Err("the clock is beyond the year 9999");
        };
        let zoned = now.to_zoned(self.zone.clone());
        match strftime(format, &zoned, &mut self.text) {
            Ok(()) => {}
            Err(StrftimeError::Nul) => return Err("embedded null character"),
            Err(StrftimeError::NotUtf8) => return Err("the format is not UTF-8"),
            Err(StrftimeError::TooLong) => return Err("the answer would be too long"),
        }
        if self.off_loopback && self.text.len() > format.len().saturating_add(TIME_GROWTH_BYTES_MAX)
        {
            return Err("the answer would be too long for the question");
        }
        Ok(())
    }
}

impl Datagrams for Time {
    fn datagram(&mut self, t: &mut DatagramTurn<'_>, bytes: &[u8]) {
        if bytes.starts_with(ERROR) {
            return;
        }
        self.text.clear();
        if let Err(reason) = self.format(t, bytes) {
            self.text.clear();
            self.text.extend_from_slice(ERROR);
            self.text.extend_from_slice(reason.as_bytes());
        }
        t.answer(&self.text[..]);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;
    use crate::turn::Moment;

    /// 2024-02-29 07:05:09 UTC.
    const WALL: Duration = Duration::from_secs(1_709_190_309);

    fn answer_at(wall: SystemTime, time: &mut Time, format: &[u8]) -> Option<Vec<u8>> {
        let mut out = b"left over".to_vec();
        let from = "127.0.0.1:5000".parse().unwrap();
        let mut turn = DatagramTurn::new(Moment::START, wall, from, &mut out);
        time.datagram(&mut turn, format);
        turn.into_answer().map(<[u8]>::to_vec)
    }

    fn answer(time: &mut Time, format: &[u8]) -> Vec<u8> {
        answer_at(UNIX_EPOCH + WALL, time, format).unwrap()
    }

    fn utc(off_loopback: bool) -> Time {
        Time::new(TimeZone::UTC, off_loopback)
    }

    #[test]
    fn u2_a_format_is_answered_in_the_zone() {
        let shanghai = TimeZone::fixed(jiff::tz::offset(8));
        assert_eq!(answer(&mut utc(false), b"%H:%M %Q"), b"07:05 %Q");
        assert_eq!(answer(&mut Time::new(shanghai, false), b"%H:%M"), b"15:05");
        let asked = "现在 %H 点".as_bytes();
        assert_eq!(answer(&mut utc(false), asked), "现在 07 点".as_bytes());
    }

    #[test]
    fn fault_e1_an_empty_datagram_asks_for_the_default_format() {
        for off_loopback in [false, true] {
            assert_eq!(answer(&mut utc(off_loopback), b""), b"2024-02-29 02/29/24");
        }
    }

    #[test]
    fn fault_e6_off_loopback_an_answer_is_hardly_longer_than_its_question() {
        let asked = b"%c".repeat(10);
        assert_eq!(answer(&mut utc(false), &asked).len(), 240);
        let refused = b"onepoll: the answer would be too long for the question";
        assert_eq!(answer(&mut utc(true), &asked), refused);
        assert_eq!(answer(&mut utc(true), b"%c%c").len(), 48);
        assert_eq!(answer(&mut utc(false), b"%1536Y"), b"%1536Y");
    }

    #[test]
    fn fault_e7_what_has_no_answer_has_an_error_of_one_line() {
        let mut time = utc(false);
        assert_eq!(
            answer(&mut time, b"%Y\0"),
            b"onepoll: embedded null character"
        );
        assert_eq!(
            answer(&mut time, b"%Y\xff"),
            b"onepoll: the format is not UTF-8"
        );
        let long = b"%".repeat(65_507);
        assert_eq!(
            answer(&mut time, &long),
            b"onepoll: the answer would be too long"
        );
        for (format, text) in [("%", "%"), ("%E", "%E"), ("%.2f", "%.2f")] {
            assert_eq!(answer(&mut time, format.as_bytes()), text.as_bytes());
        }
    }

    #[test]
    fn fault_e7_a_clock_that_is_far_off_is_an_error_and_no_panic() {
        let mut time = utc(true);
        let late = UNIX_EPOCH
            .checked_add(Duration::from_secs(1 << 40))
            .unwrap();
        let told = answer_at(late, &mut time, b"%Y").unwrap();
        assert_eq!(told, b"onepoll: the clock is beyond the year 9999");
    }

    #[test]
    fn fault_e8_an_error_is_never_answered() {
        let mut time = utc(true);
        for format in [&b"\0"[..], b"\xff", &b"%".repeat(60_000), &b"%c".repeat(20)] {
            let error = answer(&mut time, format);
            assert!(error.starts_with(ERROR) && error.len() <= TIME_GROWTH_BYTES_MAX);
            assert_eq!(answer_at(UNIX_EPOCH + WALL, &mut time, &error), None);
        }
    }

    proptest! {
        #[test]
        fn fault_e6_no_format_amplifies(format in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "(%[-_0^#EO]?[a-zA-Z%+]){0,90}".prop_map(String::into_bytes),
        ]) {
            if let Some(answer) = answer_at(UNIX_EPOCH + WALL, &mut utc(true), &format) {
                prop_assert!(answer.len() <= format.len() + TIME_GROWTH_BYTES_MAX);
            }
            if let Some(answer) = answer_at(UNIX_EPOCH + WALL, &mut utc(false), &format) {
                prop_assert!(answer.len() <= crate::wire::STRFTIME_BYTES_MAX);
            }
        }
    }
}
