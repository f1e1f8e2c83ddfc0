use super::{
    DatagramTurn, Datagrams, Manner, NoOptions, OverDatagrams, OverStreams, Peer, Row, Service,
};
use crate::buf::ReadBuf;
use crate::config::Transport;
use crate::turn::{Fault, Turn};
use crate::wire::Since1900;

/// Its row in the table.
pub(super) const ROW: Row = Row {
    name: "time868",
    summary: "the seconds since 1900, 32 bits (RFC 868)",
    usual: Transport::Tcp,
    stream: Some(&OverStreams {
        build: |_: &NoOptions, _| Box::new(Time868),
    }),
    datagrams: Some(&OverDatagrams {
        build: |_: &NoOptions, _| Box::new(Time868),
    }),
};

/// The time as 4 bytes, whatever the client sends (T8, U6; RFC 868).
///
/// They are the seconds since 1900-01-01 00:00 UTC, big-endian; from 2036-02-07 06:28:16 UTC on they
/// count from 0 again, as [`Since1900`] says. Over TCP they are sent at connect, then the server
/// closes. Input is discarded.
#[derive(Debug)]
struct Time868;

impl Service for Time868 {
    fn open(&mut self, t: &mut Turn<'_>, _peer: &Peer) {
        t.reply(&Since1900::at(t.wall()));
        // What the client sends must not turn our end into a reset that destroys the answer.
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

impl Datagrams for Time868 {
    fn datagram(&mut self, t: &mut DatagramTurn<'_>, _bytes: &[u8]) {
        t.answer(&Since1900::at(t.wall));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::service::rehearsal::Stage;
    use crate::turn::Moment;

    /// 1983-05-01 00:00 UTC, and what RFC 868 has for it.
    const WALL: Duration = Duration::from_secs(420_595_200);
    const ANSWER: [u8; 4] = 2_629_584_000_u32.to_be_bytes();

    #[test]
    fn t8_four_bytes_at_connect_and_the_server_closes() {
        let mut stage = Stage::new(Time868);
        stage.set_wall(UNIX_EPOCH + WALL);
        let client = stage.enters();
        assert_eq!(stage.hears(client), ANSWER);
        assert!(stage.is_leaving(client));
    }

    #[test]
    fn u6_four_bytes_whatever_the_datagram_says() {
        for asked in [&b""[..], b"\0", &[0xff; 65_507]] {
            let mut out = b"left over".to_vec();
            let from = "127.0.0.1:5000".parse().unwrap();
            let wall = UNIX_EPOCH + WALL;
            let mut turn = DatagramTurn::new(Moment::START, wall, from, &mut out);
            Time868.datagram(&mut turn, asked);
            assert_eq!(turn.into_answer(), Some(&ANSWER[..]));
        }
    }
}
