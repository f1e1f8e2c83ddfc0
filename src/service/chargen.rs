use std::sync::LazyLock;

use super::{DatagramTurn, Datagrams, NoOptions, OverDatagrams, OverStreams, Peer, Row, Service};
use crate::buf::ReadBuf;
use crate::config::Transport;
use crate::turn::{Fault, Turn};

/// Its row in the table.
pub(super) const ROW: Row = Row {
    name: "chargen",
    summary: "characters without end (RFC 864)",
    usual: Transport::Tcp,
    stream: Some(&OverStreams {
        build: |_: &NoOptions, setting| Box::new(Chargen::new(setting.is_open)),
    }),
    datagrams: Some(&OverDatagrams {
        build: |_: &NoOptions, setting| Box::new(Chargen::new(setting.is_open)),
    }),
};

/// The printing characters of ASCII, from the space to the tilde.
const RING: usize = 95;

/// Characters of a line, without CR LF.
const COLUMNS: usize = 72;

/// After as many lines the pattern begins again.
const CYCLE_BYTES: usize = RING * (COLUMNS + 2);

/// What is sent at a time, 63,270 bytes: whole cycles, so that each one goes on where the last ended
/// and no connection has a state. Less than a socket buffer has room for, so that one slow reader
/// has little of ours; much more than a system call costs.
const BLOCK_BYTES: usize = 9 * CYCLE_BYTES;

static BLOCK: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let line = |first: usize| {
        let characters = (0..COLUMNS).map(move |column| b' ' + ((first + column) % RING) as u8);
        characters.chain(*b"\r\n")
    };
    (0..RING).flat_map(line).cycle().take(BLOCK_BYTES).collect()
});

/// The longest datagram: RFC 864 says 512 characters.
const DATAGRAM_BYTES_MAX: usize = 512;

/// Off loopback a datagram is no longer than this, or than its request: a forged source gains less
/// than the headers of the datagram cost (fault E5).
const DATAGRAM_OPEN_BYTES_MAX: usize = 64;

/// Characters without end (T9, U8; RFC 864): lines of 72, each beginning one character later.
///
/// Over TCP the stream goes on until the client closes, also after a half-close; input is discarded.
/// The next block is written when the one before it has left: a client that reads slowly is sent as
/// much as it reads, and is owed at most one block.
///
/// Over UDP, one datagram for each: the pattern's first 0 to 512 characters, a random number of
/// them as the RFC asks. The numbers are spread evenly and begin anew with each server; nothing
/// depends on them that somebody could want to guess.
#[derive(Debug)]
struct Chargen {
    /// Whether more than this machine may ask.
    is_open: bool,
    /// Of the generator of lengths; never 0.
    random: u64,
}

impl Chargen {
    fn new(is_open: bool) -> Chargen {
        Chargen {
            is_open,
            random: 0x2545_f491_4f6c_dd1d,
        }
    }

    /// A number from 0 to `max`, by Marsaglia's xorshift.
    fn at_most(&mut self, max: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 33) as usize % (max + 1)
    }
}

fn produce(t: &mut Turn<'_>) {
    t.reply(&BLOCK[..]);
    t.tell_when_sent();
}

impl Service for Chargen {
    fn open(&mut self, t: &mut Turn<'_>, _peer: &Peer) {
        produce(t);
    }

    fn input(&mut self, _t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        input.consume(input.len());
        Ok(())
    }

    fn drained(&mut self, t: &mut Turn<'_>) {
        produce(t);
    }

    /// A half-close ends the input that is discarded anyway, and not the stream.
    fn eof(&mut self, _t: &mut Turn<'_>, _rest: &mut ReadBuf) -> Result<(), Fault> {
        Ok(())
    }
}

impl Datagrams for Chargen {
    fn datagram(&mut self, t: &mut DatagramTurn<'_>, bytes: &[u8]) {
        let max = if self.is_open {
            bytes
                .len()
                .clamp(DATAGRAM_OPEN_BYTES_MAX, DATAGRAM_BYTES_MAX)
        } else {
            DATAGRAM_BYTES_MAX
        };
        let length = self.at_most(max);
        t.answer(&BLOCK[..length]);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::service::rehearsal::Stage;
    use crate::turn::Moment;

    fn answer(chargen: &mut Chargen, asked: &[u8]) -> Vec<u8> {
        let mut out = b"left over".to_vec();
        let from = "127.0.0.1:5000".parse().unwrap();
        let mut turn = DatagramTurn::new(Moment::START, std::time::UNIX_EPOCH, from, &mut out);
        chargen.datagram(&mut turn, asked);
        turn.into_answer().expect("each is answered").to_vec()
    }

    #[test]
    fn t9_lines_of_72_that_begin_one_character_later_each() {
        let mut stage = Stage::new(Chargen::new(false));
        let client = stage.enters();
        let heard = [stage.hears(client), stage.hears(client)].concat();
        let lines: Vec<&[u8]> = heard.split_inclusive(|&byte| byte == b'\n').collect();
        assert!(lines.len() > 2 * RING);
        for (n, line) in lines.into_iter().enumerate() {
            let (text, end) = line.split_at(COLUMNS);
            assert_eq!(end, b"\r\n");
            assert_eq!(usize::from(text[0]), 32 + n % 95);
            for pair in text.windows(2) {
                let next = if pair[0] == b'~' { b' ' } else { pair[0] + 1 };
                assert_eq!(pair[1], next, "line {n}");
            }
        }
    }

    #[test]
    fn t9_fault_b11_one_block_at_a_time_however_much_the_client_sends() {
        let mut stage = Stage::new(Chargen::new(false));
        let client = stage.enters();
        for _ in 0..100 {
            stage.says(client, &[b'x'; 1000]);
        }
        assert_eq!(stage.unread(client), b"");
        for _ in 0..3 {
            assert_eq!(stage.hears(client).len(), BLOCK_BYTES);
        }
        assert!(!stage.is_leaving(client));
    }

    #[test]
    fn t9_the_stream_goes_on_after_a_half_close() {
        let mut stage = Stage::new(Chargen::new(false));
        let client = stage.enters();
        stage.ends(client);
        for _ in 0..3 {
            assert_eq!(stage.hears(client).len(), BLOCK_BYTES);
        }
        assert!(!stage.is_leaving(client));
        stage.stops();
        assert!(stage.is_leaving(client));
    }

    #[test]
    fn u8_the_pattern_in_lengths_from_0_to_512() {
        let mut chargen = Chargen::new(false);
        let mut lengths = BTreeSet::new();
        for _ in 0..100_000 {
            let told = answer(&mut chargen, b"");
            assert!(BLOCK.starts_with(&told));
            lengths.insert(told.len());
        }
        assert!(lengths.into_iter().eq(0..=512), "each length comes");
    }

    #[test]
    fn u8_fault_e5_off_loopback_no_longer_than_the_request_or_64_bytes() {
        let mut chargen = Chargen::new(true);
        for (asked, max) in [(0, 64), (64, 64), (100, 100), (512, 512), (65_507, 512)] {
            let asked = vec![b'x'; asked];
            let longest = (0..20_000).map(|_| answer(&mut chargen, &asked).len());
            assert_eq!(longest.max(), Some(max), "{} bytes", asked.len());
        }
    }
}
