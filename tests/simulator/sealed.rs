//! A stand-in for TLS: records of its own, with all that a record layer does to a loop.
//!
//! A handshake of two flights; plaintext that is not there before its record is whole; answers that no
//! service knows of; an end of its own, which a FIN alone is not; and records that were changed on their
//! way. There is no secrecy in it: a mask shows that nothing passes by it, and a sum that nothing passes
//! through it unseen.
//!
//! ```text
//! client ── Hello ──> server        [ kind:1 ][ length:2 ][ body, masked ][ sum:1 ]
//!        <── Answer ──
//!        ── Finished ──>            Data and Bye both ways; Ask, and Told for each
//! ```

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use onepoll::reactor::{Broken, Secure, Session, Taken, Written};

use crate::random::Random;

/// The most plaintext in a record.
const BODY_BYTES_MAX: usize = 1500;

/// Bytes of a record besides its body.
const BESIDES: usize = 4;

const HELLO: u8 = 1;
const ANSWER: u8 = 2;
const FINISHED: u8 = 3;
const DATA: u8 = 4;
const BYE: u8 = 5;
const ALERT: u8 = 6;
const ASK: u8 = 7;
const TOLD: u8 = 8;

/// Makes records, one way.
#[derive(Debug, Default)]
struct Maker {
    number: u8,
}

impl Maker {
    fn make(&mut self, kind: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(body.len()).expect("records are short");
        let mut record = vec![kind];
        record.extend(len.to_le_bytes());
        record.extend(body.iter().map(|byte| byte ^ mask(self.number)));
        record.push(sum(&record, self.number));
        self.number = self.number.wrapping_add(1);
        record
    }
}

/// Opens them.
#[derive(Debug, Default)]
struct Opener {
    number: u8,
    partial: Vec<u8>,
}

impl Opener {
    /// Takes bytes off the front until a record is whole, or none is left.
    fn take(&mut self, bytes: &mut &[u8]) -> Result<Option<(u8, Vec<u8>)>, Broken> {
        loop {
            let len = match self.partial[..] {
                [_, low, high, ..] => BESIDES + usize::from(u16::from_le_bytes([low, high])),
                _ => 3,
            };
            if len > BESIDES + BODY_BYTES_MAX {
                return Err(Broken("a record that is too long".into()));
            }
            if self.partial.len() == len && len >= BESIDES {
                break;
            }
            let n = (len - self.partial.len()).min(bytes.len());
            if n == 0 {
                return Ok(None);
            }
            self.partial.extend_from_slice(&bytes[..n]);
            *bytes = &bytes[n..];
        }
        let record = std::mem::take(&mut self.partial);
        let (last, front) = record.split_last().expect("it has a sum");
        if *last != sum(front, self.number) {
            return Err(Broken("a record that was changed".into()));
        }
        let mask = mask(self.number);
        let body = front[3..].iter().map(|byte| byte ^ mask);
        self.number = self.number.wrapping_add(1);
        Ok(Some((front[0], body.collect())))
    }
}

fn mask(number: u8) -> u8 {
    0xa5 ^ number
}

/// Every bit of the record counts.
fn sum(bytes: &[u8], number: u8) -> u8 {
    let sum = |sum: u8, byte: &u8| sum.rotate_left(1).wrapping_add(*byte);
    bytes.iter().fold(number, sum)
}

/// The server's side, for all connections of a listener.
#[derive(Debug)]
pub(crate) struct StandIn {
    /// Plaintext in a record of ours.
    pub(crate) body: usize,
}

impl Secure for StandIn {
    fn begin(&self) -> io::Result<Box<dyn Session>> {
        Ok(Box::new(StandInSession::new(self.body, HELLO)))
    }

    fn handshake_bytes_max(&self) -> u32 {
        4096
    }
}

/// The client's side, for what a service dials.
#[derive(Debug)]
pub(crate) struct StandInClient {
    /// Plaintext in a record of ours.
    pub(crate) body: usize,
}

impl Secure for StandInClient {
    fn begin(&self) -> io::Result<Box<dyn Session>> {
        let mut session = StandInSession::new(self.body, ANSWER);
        session.push(HELLO, &[9; 200]);
        Ok(Box::new(session))
    }

    fn handshake_bytes_max(&self) -> u32 {
        4096
    }
}

#[derive(Debug)]
struct StandInSession {
    body: usize,
    opener: Opener,
    maker: Maker,
    /// The record that comes next in the handshake; after it, data.
    expects: u8,
    held: VecDeque<u8>,
    records: VecDeque<Vec<u8>>,
    /// How much of the first of them has left.
    sent: usize,
    /// How much of all of them has not: it is asked in every turn, and there may be thousands.
    unwritten: usize,
    has_said_bye: bool,
}

impl StandInSession {
    fn new(body: usize, expects: u8) -> StandInSession {
        StandInSession {
            body: body.clamp(1, BODY_BYTES_MAX),
            opener: Opener::default(),
            maker: Maker::default(),
            expects,
            held: VecDeque::new(),
            records: VecDeque::new(),
            sent: 0,
            unwritten: 0,
            has_said_bye: false,
        }
    }

    fn push(&mut self, kind: u8, body: &[u8]) {
        let record = self.maker.make(kind, body);
        self.unwritten += record.len();
        self.records.push_back(record);
    }

    fn open(&mut self, kind: u8, body: Vec<u8>) -> Result<bool, Broken> {
        match (self.expects, kind) {
            (HELLO, HELLO) => {
                self.push(ANSWER, &[7; 300]);
                self.expects = FINISHED;
            }
            (ANSWER, ANSWER) => {
                self.push(FINISHED, b"done");
                self.expects = DATA;
            }
            (FINISHED, FINISHED) => self.expects = DATA,
            (DATA, DATA) => self.held.extend(body),
            (DATA, ASK) => self.push(TOLD, b""),
            (DATA, BYE) => return Ok(true),
            (_, kind) => return Err(Broken(format!("a record of kind {kind}"))),
        }
        Ok(false)
    }
}

impl Session for StandInSession {
    fn take(&mut self, cipher: &mut &[u8], records: &mut u32) -> Result<Taken, Broken> {
        assert!(self.held.is_empty(), "what was opened was not given");
        let opened = self.opener.take(cipher).and_then(|record| match record {
            Some((kind, body)) => self.open(kind, body),
            None => Ok(false),
        });
        *records = records.saturating_sub(1);
        match opened {
            Ok(has_ended) => Ok(Taken {
                is_open: self.expects == DATA,
                has_ended,
            }),
            Err(broken) => {
                self.push(ALERT, b"");
                Err(broken)
            }
        }
    }

    fn give(&mut self, into: &mut [u8]) -> usize {
        let n = into.len().min(self.held.len());
        for (to, from) in into.iter_mut().zip(self.held.drain(..n)) {
            *to = from;
        }
        n
    }

    fn holds(&self) -> usize {
        self.held.len()
    }

    fn unopened(&self) -> usize {
        self.opener.partial.len()
    }

    fn unwritten(&self) -> usize {
        self.unwritten
    }

    fn seal(&mut self, plain: &[u8]) -> usize {
        assert_eq!(self.expects, DATA, "sealed before the handshake has ended");
        assert!(!self.has_said_bye, "sealed after the end");
        for body in plain.chunks(self.body) {
            self.push(DATA, body);
        }
        plain.len()
    }

    fn write(
        &mut self,
        write: &mut dyn FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<Written> {
        let mut from = self.sent;
        let slices: Vec<IoSlice<'_>> = self
            .records
            .iter()
            .take(8)
            .map(|record| IoSlice::new(&record[std::mem::take(&mut from)..]))
            .collect();
        let offered = slices.iter().map(|slice| slice.len()).sum();
        let taken = write(&slices)?;
        self.sent += taken;
        self.unwritten -= taken;
        while let Some(first) = self
            .records
            .front()
            .filter(|first| first.len() <= self.sent)
        {
            self.sent -= first.len();
            self.records.pop_front();
        }
        Ok(Written { taken, offered })
    }

    fn wants_write(&self) -> bool {
        !self.records.is_empty()
    }

    fn bye(&mut self) {
        assert!(!self.has_said_bye, "said goodbye twice");
        self.has_said_bye = true;
        self.push(BYE, b"");
    }

    fn binding(&self) -> Option<[u8; 32]> {
        Some([self.opener.number; 32])
    }

    fn shrink(&mut self) {
        self.held.shrink_to(0);
        self.records.shrink_to(0);
    }
}

/// What a client does to the records that it sends.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mischief {
    /// A bit of this byte of all that it sends is turned on its way.
    pub(crate) changes: Option<u64>,
    /// It ends without saying so: a FIN alone.
    pub(crate) is_cut: bool,
    /// How often, in 256ths, it asks for an answer that no service knows of.
    pub(crate) asks: u8,
    /// It sends its FIN with its last record, not when it has heard the other side's.
    pub(crate) shuts: bool,
}

impl Mischief {
    /// Of a client that will say so much.
    pub(crate) fn of(random: &mut Random, says: usize) -> Mischief {
        let all = says as u64 + 1000;
        Mischief {
            changes: random.once_in(6).then(|| 300 + random.below(all)),
            is_cut: random.once_in(8),
            asks: random.pick(&[0, 0, 32, 255]),
            shuts: random.once_in(2),
        }
    }
}

/// The client's side.
#[derive(Debug)]
pub(crate) struct Tunnel {
    opener: Opener,
    maker: Maker,
    pub(crate) mischief: Mischief,
    random: Random,
    pub(crate) is_open: bool,
    /// Records that did not fit yet.
    out: VecDeque<u8>,
    passed: u64,
    held: VecDeque<u8>,
    /// It asked, and was not told.
    pub(crate) waits: bool,
    /// It has nothing more to say.
    pub(crate) has_ended: bool,
    /// The server has said something, so its side of the handshake is over.
    pub(crate) heard_data: bool,
    /// The server has said that it has nothing more to say.
    pub(crate) heard_bye: bool,
    /// The server broke it off.
    pub(crate) heard_alert: bool,
}

impl Tunnel {
    pub(crate) fn new(mischief: Mischief, mut random: Random) -> Tunnel {
        let mut maker = Maker::default();
        let hello = maker.make(HELLO, &vec![9; random.size(600)]);
        Tunnel {
            opener: Opener::default(),
            maker,
            mischief,
            random,
            is_open: false,
            out: hello.into(),
            passed: 0,
            held: VecDeque::new(),
            waits: false,
            has_ended: false,
            heard_data: false,
            heard_bye: false,
            heard_alert: false,
        }
    }

    fn push(&mut self, kind: u8, body: &[u8]) {
        let record = self.maker.make(kind, body);
        self.out.extend(record);
    }

    /// Whether the server may wait for the rest of a record that is not as long as it seems by now.
    fn was_changed(&self) -> bool {
        self.mischief.changes.is_some_and(|at| at < self.passed)
    }

    /// Says some of it, unless it waits for something; says how much.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> usize {
        let waits = self.waits && !self.was_changed();
        let is_ready = self.is_open && !waits && !self.has_ended;
        if !is_ready || self.out.len() > BODY_BYTES_MAX {
            return 0;
        }
        let body = self.random.some(BODY_BYTES_MAX).min(bytes.len());
        self.push(DATA, &bytes[..body]);
        if self.random.chance(self.mischief.asks) {
            self.push(ASK, b"");
            self.waits = true;
        }
        body
    }

    /// Says that nothing more follows, when the handshake is over. One that is cut off says nothing.
    pub(crate) fn end(&mut self) {
        if self.mischief.is_cut {
            self.out.clear();
        } else if self.is_open && !self.has_ended {
            self.push(BYE, b"");
        }
        self.has_ended = true;
    }

    /// A bit of the body of the next record is turned on its way.
    pub(crate) fn change_next(&mut self) {
        self.mischief.changes = Some(self.passed + self.out.len() as u64 + 3);
    }

    /// Whether it ends without a word.
    pub(crate) fn is_cut(&self) -> bool {
        self.mischief.is_cut
    }

    /// Whether it is time for a FIN.
    pub(crate) fn shuts(&self) -> bool {
        let has_said_all = self.has_ended && self.is_open && self.out.is_empty();
        has_said_all && (self.mischief.shuts || self.heard_bye || self.was_changed())
    }

    /// The next bytes on the wire, as they are when they arrive; whether they were changed.
    pub(crate) fn pass(&mut self, n: usize) -> (Vec<u8>, bool) {
        let n = n.min(self.out.len());
        let mut bytes: Vec<u8> = self.out.drain(..n).collect();
        let before = self.passed;
        self.passed += n as u64;
        let at = self
            .mischief
            .changes
            .filter(|at| (before..self.passed).contains(at));
        if let Some(at) = at {
            bytes[(at - before) as usize] ^= 1 << self.random.below(8);
        }
        (bytes, at.is_some())
    }

    /// Bytes have come.
    pub(crate) fn hear(&mut self, mut bytes: &[u8]) {
        loop {
            let record = self.opener.take(&mut bytes);
            let Some((kind, body)) = record.expect("the server's records are whole") else {
                return;
            };
            assert!(!self.heard_bye, "a record of kind {kind} after the end");
            match kind {
                ANSWER => {
                    self.push(FINISHED, b"done");
                    self.is_open = true;
                    if self.has_ended {
                        self.push(BYE, b"");
                    }
                }
                DATA => {
                    self.heard_data = true;
                    self.held.extend(body);
                }
                TOLD => self.waits = false,
                BYE => self.heard_bye = true,
                ALERT => self.heard_alert = true,
                kind => panic!("a record of kind {kind}"),
            }
        }
    }

    /// What was opened.
    pub(crate) fn take(&mut self, most: usize) -> Vec<u8> {
        let n = most.min(self.held.len());
        self.held.drain(..n).collect()
    }

    /// Whether there is something to take.
    pub(crate) fn holds(&self) -> bool {
        !self.held.is_empty()
    }
}

#[test]
fn a_record_that_was_changed_in_any_bit_is_not_taken_for_one() {
    let body: Vec<u8> = (0..40).collect();
    let record = Maker::default().make(DATA, &body);
    let opened = Opener::default().take(&mut &record[..]);
    assert_eq!(opened, Ok(Some((DATA, body))));
    for at in 0..record.len() * 8 {
        let mut changed = record.clone();
        changed[at / 8] ^= 1 << (at % 8);
        let opened = Opener::default().take(&mut &changed[..]);
        assert!(!matches!(opened, Ok(Some(_))), "bit {at}");
    }
}
