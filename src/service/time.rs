use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::settling::Settling;
use super::{
    Checked, DatagramTurn, Datagrams, Manner, NoOptions, OverDatagrams, OverStreams, Row, Service,
};
use crate::buf::ReadBuf;
use crate::config::{Settle, Transport};
use crate::turn::{Closed, Fault, Turn};
use crate::wire::{Burst, STRFTIME_BYTES_MAX, StrftimeError, strftime};

/// How much longer than the question an answer may be off loopback: a forger of a sender's
/// address gains less than the headers of the datagram cost (faults E5, E6).
pub const TIME_GROWTH_BYTES_MAX: usize = 64;

/// What errors begin with. A datagram that begins so is another server's error, and is not answered:
/// two servers would answer each other for ever (fault E8).
const ERROR: &[u8] = b"onepoll: ";

/// Its row in the table.
pub(super) const ROW: Row = Row {
    name: "time",
    summary: "formats the local time",
    usual: Transport::Udp,
    stream: Some(&OverStreams {
        build: |options: &Options, setting| {
            Box::new(TimeOnce::new(setting.zone.clone(), options.settle))
        },
    }),
    datagrams: Some(&OverDatagrams {
        build: |_: &NoOptions, setting| Box::new(Time::new(setting.zone.clone(), setting.is_open)),
    }),
};

/// Options of `time` over a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Options {
    /// When a burst is over.
    settle: Settle,
}

impl Checked for Options {}

/// Writes the time in a format, or says why not.
#[derive(Debug)]
struct Clock {
    zone: TimeZone,
    /// The answer in the making; kept, so that no answer allocates.
    text: Vec<u8>,
}

impl Clock {
    fn new(zone: TimeZone) -> Clock {
        Clock {
            zone,
            text: Vec::new(),
        }
    }

    /// The answer to `format`, of at most `max` bytes unless it is an error.
    fn answer(&mut self, wall: SystemTime, format: &[u8], max: usize) -> &[u8] {
        self.text.clear();
        if let Err(reason) = self.format(wall, format, max) {
            self.text.clear();
            self.text.extend_from_slice(ERROR);
            self.text.extend_from_slice(reason.as_bytes());
        }
        &self.text
    }

    fn format(&mut self, wall: SystemTime, format: &[u8], max: usize) -> Result<(), &'static str> {
        let Ok(now) = Timestamp::try_from(wall) else {
            return Err("the clock is beyond the year 9999");
        };
        let zoned = now.to_zoned(self.zone.clone());
        match strftime(format, &zoned, &mut self.text) {
            Ok(()) => {}
            Err(StrftimeError::Nul) => return Err("embedded null character"),
            Err(StrftimeError::NotUtf8) => return Err("the format is not UTF-8"),
            Err(StrftimeError::TooLong) => return Err("the answer would be too long"),
        }
        if self.text.len() > max {
            return Err("the answer would be too long for the question");
        }
        Ok(())
    }
}

/// The local time, in the format that a datagram asks for (U2).
///
/// An empty datagram asks for the default format. What cannot be answered is answered with an error
/// of one line, `onepoll: reason`, of at most 64 bytes.
///
/// On loopback an answer has at most [`STRFTIME_BYTES_MAX`](crate::wire::STRFTIME_BYTES_MAX) bytes;
/// off loopback at most [`TIME_GROWTH_BYTES_MAX`] more than the question as well. The largest measured
/// factors: 12 (`%c`, 2 bytes to 24), and 19 bytes for an empty datagram.
#[derive(Debug)]
pub struct Time {
    clock: Clock,
    off_loopback: bool,
}

impl Time {
    /// In this zone; `off_loopback` if more than this machine may ask.
    pub fn new(zone: TimeZone, off_loopback: bool) -> Time {
        Time {
            clock: Clock::new(zone),
            off_loopback,
        }
    }
}

impl Datagrams for Time {
    fn datagram(&mut self, t: &mut DatagramTurn<'_>, bytes: &[u8]) {
        if bytes.starts_with(ERROR) {
            return;
        }
        let max = if self.off_loopback {
            bytes.len().saturating_add(TIME_GROWTH_BYTES_MAX)
        } else {
            STRFTIME_BYTES_MAX
        };
        t.answer(self.clock.answer(t.wall, bytes, max));
    }
}

/// The local time over a stream: one burst is the format, and the server closes after its answer
/// (T10).
///
/// A newline at the end of the burst, LF or CR LF, only ends it, and the answer ends as it does: an
/// empty line asks for the default format. A client that half-closes without a byte has asked nothing and is answered
/// nothing. An answer has at most [`STRFTIME_BYTES_MAX`] bytes and its newline, off loopback too: the
/// sender's address was proved by the connection.
#[derive(Debug)]
struct TimeOnce {
    clock: Clock,
    settling: Settling,
}

impl TimeOnce {
    fn new(zone: TimeZone, settle: Settle) -> TimeOnce {
        TimeOnce {
            clock: Clock::new(zone),
            settling: Settling::new(settle),
        }
    }
}

/// Answers a burst and ends the connection.
fn answer(t: &mut Turn<'_>, clock: &mut Clock, burst: &[u8]) {
    let newline = match burst {
        [.., b'\r', b'\n'] => 2,
        [.., b'\n'] => 1,
        _ => 0,
    };
    let (format, newline) = burst.split_at(burst.len() - newline);
    t.reply(clock.answer(t.wall(), format, STRFTIME_BYTES_MAX));
    t.reply(newline);
    // What comes after the burst all the same must not turn our end into a reset that destroys
    // the answer.
    t.close_lingering();
}

impl Service for TimeOnce {
    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        if let Some(burst) = self.settling.next(t, &mut Burst::default(), input)? {
            answer(t, &mut self.clock, burst);
        }
        Ok(())
    }

    fn wake(&mut self, t: &mut Turn<'_>) {
        self.settling.wake(t);
    }

    fn eof(&mut self, t: &mut Turn<'_>, rest: &mut ReadBuf) -> Result<(), Fault> {
        if let Some(burst) = rest.last(&mut Burst::default())? {
            answer(t, &mut self.clock, burst);
        }
        t.close();
        Ok(())
    }

    fn closed(&mut self, t: &mut Turn<'_>, _why: &Closed) {
        self.settling.forget(t.id);
    }

    fn manner(&self) -> Manner {
        Manner {
            tells_time: true,
            ..Manner::ANSWERS
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;
    use crate::service::rehearsal::Stage;
    use crate::turn::Moment;
    use crate::wire::{BURST_BYTES_MAX, WireError};

    const MS: Duration = Duration::from_millis(1);

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

    fn stage(settle: Settle) -> Stage<TimeOnce> {
        let mut stage = Stage::new(TimeOnce::new(TimeZone::UTC, settle));
        stage.set_wall(UNIX_EPOCH + WALL);
        stage
    }

    fn twenty() -> Stage<TimeOnce> {
        stage(Settle::After(20 * MS))
    }

    #[test]
    fn t10_a_newline_ends_the_format_and_the_answer_ends_as_it_does() {
        for (asked, told) in [
            (&b"%H:%M\n"[..], &b"07:05\n"[..]),
            (b"%H:%M\r\n", b"07:05\r\n"),
            (b"%H\n%M\n", b"07\n05\n"),
            (b"\n", b"2024-02-29 02/29/24\n"),
            (b"\r\n", b"2024-02-29 02/29/24\r\n"),
            (b"%Y\xff\n", b"onepoll: the format is not UTF-8\n"),
        ] {
            let mut stage = stage(Settle::Never);
            let client = stage.enters();
            stage.says(client, asked);
            assert_eq!(stage.hears(client), told, "{}", asked.escape_ascii());
            assert!(stage.is_leaving(client));
            assert_eq!(stage.wakes_in(client), None);
        }
    }

    #[test]
    fn t10_silence_ends_the_format() {
        let mut stage = twenty();
        let client = stage.enters();
        for byte in b"%H:%M" {
            stage.says(client, &[*byte]);
            stage.waits(19 * MS);
        }
        assert_eq!(stage.hears(client), b"");
        stage.waits(MS);
        assert_eq!(stage.hears(client), b"07:05");
        assert!(stage.is_leaving(client));
    }

    #[test]
    fn t10_a_half_close_ends_the_format() {
        let mut stage = stage(Settle::Never);
        let client = stage.enters();
        stage.says(client, b"%H:%M");
        stage.waits(1_000_000 * MS);
        assert_eq!(stage.hears(client), b"");
        stage.ends(client);
        assert_eq!(stage.hears(client), b"07:05");
        assert!(stage.is_leaving(client));
    }

    #[test]
    fn fault_a14_a_half_close_with_no_format_ends_the_connection() {
        let mut stage = twenty();
        let client = stage.enters();
        stage.ends(client);
        assert_eq!(stage.hears(client), b"");
        assert!(stage.is_leaving(client));
    }

    #[test]
    fn t10_fault_b9_a_format_at_the_limit_of_bursts_and_one_beyond() {
        for (len, told) in [
            (
                BURST_BYTES_MAX,
                &b"onepoll: the answer would be too long"[..],
            ),
            (BURST_BYTES_MAX + 1, b""),
        ] {
            let mut stage = twenty();
            let client = stage.enters();
            stage.says(client, &b"x".repeat(len));
            stage.waits(20 * MS);
            assert_eq!(stage.hears(client), told);
            let is_too_long = matches!(
                stage.fault(client),
                Some(Fault::Wire(WireError::TooLong { .. }))
            );
            assert_eq!(is_too_long, len > BURST_BYTES_MAX);
            assert!(stage.is_leaving(client));
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
                prop_assert!(answer.len() <= STRFTIME_BYTES_MAX);
            }
        }
    }
}
