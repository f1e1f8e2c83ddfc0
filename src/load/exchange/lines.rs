//! The lines that are sent, and what every member must receive of them, byte by byte.
//!
//! It does not know members. A line begins with its number; the server puts something before it (a
//! name), which is the same for all members and learned from the first line that is received. From then on
//! what is in flight lies in memory as it must arrive, so that a matcher compares it where it lies.

use crate::load::exchange::payload::{Payload, number_of, write_message};
use crate::load::plan::limits::{IN_FLIGHT_BYTES_MAX, LINES_MAX, NUMBER_BYTES};

/// What a server may put before a line: a name, a time and a room fit several times.
const PREFIX_BYTES_MAX: usize = 1024;
/// What a line may have that is not ours: as much as one of our own chat.
const NOTICE_BYTES_MAX: usize = 64 * 1024;
/// Among so many of the lines that are due, a garbled one is looked for.
const GARBLED_MAX: usize = 64;

/// What a received line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The one of this number, every byte of it.
    Line(u64),
    /// One that was sent, with other bytes.
    Wrong,
    /// Something else.
    Notice,
}

/// All lines of a run; what lies in memory are the last ones.
#[derive(Debug)]
pub(crate) struct Lines {
    payload: Payload,
    size: usize,
    /// The first line of the run, and the one that will be sent next.
    first: u64,
    next: u64,
    /// How many lines lie in memory: a power of two.
    slots: u64,
    /// As they leave: text and LF.
    outgoing: Ring,
    /// As they arrive, with what the server puts around a line, once that is known.
    incoming: Option<Ring>,
    any_prefix: bool,
    /// The text of one line.
    text: Box<[u8]>,
}

impl Lines {
    /// Lines of `size` bytes, up to `window` of them in flight, of which the first has the number
    /// `first`; with `any_prefix` what the server puts before a line may change from line to line.
    pub(crate) fn new(size: usize, window: usize, first: u64, any_prefix: bool) -> Self {
        // Twice as many, so that most of what is sent at once lies in one piece.
        let slots = (2 * window).next_power_of_two();
        Self {
            payload: Payload::new(size, 1),
            size,
            first,
            next: first,
            slots: slots as u64,
            outgoing: Ring::new(b"", size, b"\n", slots),
            incoming: None,
            any_prefix,
            text: vec![0; size].into_boxed_slice(),
        }
    }

    /// How many lines of `size` bytes may be in flight in the open model.
    pub(crate) fn window_of(size: usize) -> usize {
        (IN_FLIGHT_BYTES_MAX / (size + PREFIX_BYTES_MAX)).clamp(1, LINES_MAX)
    }

    /// How many lines lie in memory.
    pub(crate) fn slots(&self) -> u64 {
        self.slots
    }

    /// The number of the line that will be sent next.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// One more line, in the place of the oldest; returns its number.
    pub(crate) fn add(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        let slot = self.slot(number);
        write_message(&mut self.text, number, &self.payload);
        self.outgoing.keep(slot, &self.text);
        if let Some(incoming) = &mut self.incoming {
            incoming.keep(slot, &self.text);
        }
        number
    }

    /// What is to be sent from byte `part` of line `number` on, as far as it is one slice.
    pub(crate) fn outgoing(&self, number: u64, part: usize) -> &[u8] {
        self.stretch(&self.outgoing, number, part)
    }

    /// What is to be received from byte `part` of line `number` on, as far as it is one slice; nothing
    /// where that is not known, or was sent too long ago.
    #[inline]
    pub(crate) fn due(&self, number: u64, part: usize) -> &[u8] {
        match &self.incoming {
            Some(incoming) => self.stretch(incoming, number, part),
            None => &[],
        }
    }

    /// Bytes of a line as it is received.
    #[inline]
    pub(crate) fn due_bytes(&self) -> usize {
        self.incoming.as_ref().map_or(1, |incoming| incoming.len)
    }

    /// Bytes of the longest line of a chat, ours or not.
    pub(crate) fn line_bytes_max(&self) -> usize {
        NOTICE_BYTES_MAX.max(self.size + PREFIX_BYTES_MAX)
    }

    /// The first `part` bytes of line `number` as it is received, however long ago it was sent.
    pub(crate) fn recall(&mut self, number: u64, part: usize, out: &mut Vec<u8>) {
        let Some(Ring { prefix, ending, .. }) = &self.incoming else {
            return;
        };
        write_message(&mut self.text, number, &self.payload);
        let line = prefix.iter().chain(&self.text).chain(*ending);
        out.extend(line.take(part));
    }

    /// What `line` is, without its LF, where `due` is the number that should come.
    pub(crate) fn understand(&mut self, line: &[u8], due: u64) -> Meaning {
        let (line, ending) = match line.strip_suffix(b"\r") {
            Some(line) => (line, &b"\r\n"[..]),
            None => (line, &b"\n"[..]),
        };
        let Some(at) = line.len().checked_sub(self.size) else {
            return self.wrong_or_notice(line, due);
        };
        let (prefix, text) = line.split_at(at);
        match self.was_sent(text) {
            Some(number) if self.is_line(number, text) => match &self.incoming {
                None if prefix.len() <= PREFIX_BYTES_MAX => {
                    self.learn(prefix, ending);
                    Meaning::Line(number)
                }
                Some(known) if self.any_prefix || known.prefix == prefix => Meaning::Line(number),
                _ => Meaning::Wrong,
            },
            Some(_) => Meaning::Wrong,
            None => self.wrong_or_notice(line, due),
        }
    }

    /// A line is one of ours that went wrong if it has a number of ours where that belongs, or has
    /// the right length and agrees with one that is due in more than half of its bytes, and of its
    /// number: what another run sent may well have the same bytes behind another number.
    fn wrong_or_notice(&mut self, line: &[u8], due: u64) -> Meaning {
        let Some(Ring { prefix, .. }) = &self.incoming else {
            return Meaning::Notice;
        };
        let Some(text) = line.strip_prefix(&prefix[..]).or_else(|| {
            let is_as_long = line.len() == prefix.len() + self.size;
            is_as_long.then(|| &line[prefix.len()..])
        }) else {
            return Meaning::Notice;
        };
        if self.was_sent(text).is_some() {
            return Meaning::Wrong;
        }
        if text.len() == self.size {
            for number in (due..self.next).take(GARBLED_MAX) {
                write_message(&mut self.text, number, &self.payload);
                let same = |upto: usize| {
                    let pairs = self.text[..upto].iter().zip(text);
                    pairs.filter(|(a, b)| a == b).count()
                };
                if same(self.size) > self.size / 2 && same(NUMBER_BYTES) > NUMBER_BYTES / 2 {
                    return Meaning::Wrong;
                }
            }
        }
        Meaning::Notice
    }

    /// The number at the head of `text`, if a line of that number was sent.
    fn was_sent(&self, text: &[u8]) -> Option<u64> {
        number_of(text).filter(|number| (self.first..self.next).contains(number))
    }

    fn is_line(&mut self, number: u64, text: &[u8]) -> bool {
        write_message(&mut self.text, number, &self.payload);
        *self.text == *text
    }

    fn learn(&mut self, prefix: &[u8], ending: &'static [u8]) {
        let lines = self.outgoing.bytes.chunks_exact(self.outgoing.len);
        let mut incoming = Ring::new(prefix, self.size, ending, lines.len());
        for (slot, line) in lines.enumerate() {
            incoming.keep(slot, &line[..self.size]);
        }
        self.incoming = Some(incoming);
    }

    #[inline]
    fn slot(&self, number: u64) -> usize {
        // Below the number of slots, a power of two which fits.
        (number & (self.slots - 1)) as usize
    }

    /// From a position to the end of what was sent, or to where the ring begins anew. What was overwritten
    /// and what is not sent yet is not there: a slot that is stale would vouch for a line of long ago.
    #[inline]
    fn stretch<'s>(&self, ring: &'s Ring, number: u64, part: usize) -> &'s [u8] {
        let age = self.next.saturating_sub(number);
        if age == 0 || age > self.slots {
            return &[];
        }
        let slot = self.slot(number);
        let count = age.min(self.slots - slot as u64) as usize;
        &ring.bytes[slot * ring.len + part..(slot + count) * ring.len]
    }
}

/// The last lines, one a slot, with what is around each.
#[derive(Debug)]
struct Ring {
    prefix: Vec<u8>,
    ending: &'static [u8],
    bytes: Box<[u8]>,
    /// Bytes of one line.
    len: usize,
}

impl Ring {
    fn new(prefix: &[u8], size: usize, ending: &'static [u8], slots: usize) -> Self {
        let len = prefix.len() + size + ending.len();
        Self {
            prefix: prefix.to_vec(),
            ending,
            bytes: vec![0; slots * len].into_boxed_slice(),
            len,
        }
    }

    fn keep(&mut self, slot: usize, text: &[u8]) {
        let line = &mut self.bytes[slot * self.len..][..self.len];
        let (prefix, rest) = line.split_at_mut(self.prefix.len());
        let (middle, ending) = rest.split_at_mut(text.len());
        prefix.copy_from_slice(&self.prefix);
        middle.copy_from_slice(text);
        ending.copy_from_slice(self.ending);
    }
}
