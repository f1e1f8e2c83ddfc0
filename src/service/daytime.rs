use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{
    DatagramTurn, Datagrams, Manner, NoOptions, OverDatagrams, OverStreams, Peer, Row, Service,
};
use crate::buf::ReadBuf;
use crate::config::Transport;
use crate::turn::{Fault, Turn};
use crate::wire::strftime;

/// Its row in the table.
pub(super) const ROW: Row = Row {
    name: "daytime",
    summary: "the local time as one line (RFC 867)",
    usual: Transport::Tcp,
    stream: Some(&OverStreams {
        build: |_: &NoOptions, setting| Box::new(Daytime::new(setting.zone.clone())),
    }),
    datagrams: Some(&OverDatagrams {
        build: |_: &NoOptions, setting| Box::new(Daytime::new(setting.zone.clone())),
    }),
};

/// The form that RFC 867 shows, `Tuesday, February 22, 1982 17:37:43-PST`, with the offset for the
/// name of the zone: three letters mean several zones, and some zones have no letters.
const FORMAT: &[u8] = b"%A, %B %-d, %Y %H:%M:%S%z\r\n";

/// The local time as one line for people, whatever the client sends (T7, U5; RFC 867).
///
/// Over TCP it is sent at connect, then the server closes. Input is discarded. An answer has at most
/// 45 bytes, so a datagram with a forged source gains nothing (fault E5). While the clock is beyond
/// the year 9999 there is no answer.
#[derive(Debug)]
struct Daytime {
    zone: TimeZone,
    /// The answer in the making; kept, so that no answer allocates.
    line: Vec<u8>,
}

impl Daytime {
    fn new(zone: TimeZone) -> Daytime {
        Daytime {
            zone,
            line: Vec::new(),
        }
    }

    fn line(&mut self, wall: SystemTime) -> Option<&[u8]> {
        let zoned = Timestamp::try_from(wall).ok()?.to_zoned(self.zone.clone());
        self.line.clear();
        strftime(FORMAT, &zoned, &mut self.line).ok()?;
        Some(&self.line)
    }
}

impl Service for Daytime {
    fn open(&mut self, t: &mut Turn<'_>, _peer: &Peer) {
        if let Some(line) = self.line(t.wall()) {
            t.reply(line);
        }
        // What the client sends must not turn our end into a reset that destroys the line.
        t.close_lingering();
    }

    fn input(&mut self, _t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        input.consume(input.len());
        Ok(())
    }

    fn manner(&self) -> Manner {
        Manner {
            tells_time: true,
            ..Manner::ANSWERS
        }
    }
}

impl Datagrams for Daytime {
    fn datagram(&mut self, t: &mut DatagramTurn<'_>, _bytes: &[u8]) {
        if let Some(line) = self.line(t.wall) {
            t.answer(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::service::rehearsal::Stage;
    use crate::turn::Moment;

    /// 2024-02-29 07:05:09 UTC.
    const WALL: Duration = Duration::from_secs(1_709_190_309);

    fn half_past_nowhere() -> Daytime {
        Daytime::new(TimeZone::fixed(
            jiff::tz::Offset::from_seconds(-12_600).unwrap(),
        ))
    }

    fn answer(daytime: &mut Daytime, wall: SystemTime, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out = b"left over".to_vec();
        let from = "127.0.0.1:5000".parse().unwrap();
        let mut turn = DatagramTurn::new(Moment::START, wall, from, &mut out);
        daytime.datagram(&mut turn, bytes);
        turn.into_answer().map(<[u8]>::to_vec)
    }

    #[test]
    fn t7_one_line_at_connect_and_the_server_closes() {
        let mut stage = Stage::new(half_past_nowhere());
        stage.set_wall(UNIX_EPOCH + WALL);
        let client = stage.enters();
        let line = b"Thursday, February 29, 2024 03:35:09-0330\r\n";
        assert_eq!(stage.hears(client), line);
        assert!(stage.is_leaving(client));
    }

    #[test]
    fn u5_one_line_whatever_the_datagram_says() {
        for asked in [&b""[..], b"\0", &[0xff; 65_507]] {
            let told = answer(&mut half_past_nowhere(), UNIX_EPOCH + WALL, asked);
            assert_eq!(
                told.unwrap(),
                b"Thursday, February 29, 2024 03:35:09-0330\r\n"
            );
        }
    }

    #[test]
    fn fault_e5_the_longest_line_has_45_bytes() {
        let mut utc = Daytime::new(TimeZone::UTC);
        // Wednesday, 30 September 9998, has the longest weekday, month, day and year.
        let longest = UNIX_EPOCH + Duration::from_secs(253_362_815_999);
        let line = answer(&mut utc, longest, b"").unwrap();
        assert_eq!(line, b"Wednesday, September 30, 9998 23:59:59+0000\r\n");
        assert_eq!(line.len(), 45);
    }

    #[test]
    fn a_clock_that_is_far_off_has_no_line_and_the_server_closes() {
        let late = UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert_eq!(answer(&mut half_past_nowhere(), late, b""), None);
        let mut stage = Stage::new(half_past_nowhere());
        stage.set_wall(late);
        let client = stage.enters();
        assert_eq!(stage.hears(client), b"");
        assert!(stage.is_leaving(client));
    }
}
