//! The lines that are sent, and what every member must receive of them, byte by byte.
//!
//! It does not know members. A line begins with its number; the server puts something before it (a
//! name), which is the same for all members and learned from the first line that is received. From then on
//! what is in flight lies in memory as it must arrive, so that a matcher compares it where it lies.

use crate::load::exchange::payload::{Payload, number_of, write_message};
use crate::load::plan::limits::{IN_FLIGHT_BYTES_MAX, LINES_MAX, NUMBER_BYTES};

/// A name, a time and a room fit several times.
const PREFIX_BYTES_MAX: usize = 1024;
/// As long as a line of our own chat may be.
const NOTICE_BYTES_MAX: usize = 64 * 1024;
/// Among so many of the lines that are due, a garbled one is looked for.
const GARBLED_MAX: usize = 64;

/// What a line is, of those that a member hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The one of this number, every byte of it.
    Line(u64),
    /// One of ours once, with other bytes now.
    Wrong,
    /// Something else.
    Notice,
}

/// All lines of a run; what lies in memory are the last ones.
#[derive(Debug)]
pub(crate) struct Lines {
    payload: Payload,
    size: usize,
    /// The first line of the run, and the one that will be said next.
    first: u64,
    next: u64,
    /// How many lines lie in memory: a power of two.
    slots: u64,
    /// As they leave: text and LF.
    outgoing: Box<[u8]>,
    frame: Option<Frame>,
    any_prefix: bool,
    scratch: Box<[u8]>,
}

/// What the server puts around a line.
#[derive(Debug)]
struct Frame {
    prefix: Vec<u8>,
    ending: &'static [u8],
    /// As lines arrive.
    incoming: Box<[u8]>,
    /// Bytes of one.
    len: usize,
}

impl Lines {
    /// Lines of `size` bytes, up to `window` of them in flight, of which the first has the number
    /// `first`; with `any_prefix` what the server puts before a line may change from line to line.
    pub(crate) fn new(size: usize, window: usize, first: u64, any_prefix: bool) -> Self {
        // Twice as many, so that most of what is said at once lies in one piece.
        let slots = (2 * window).next_power_of_two();
        Self {
            payload: Payload::new(size, 1),
            size,
            first,
            next: first,
            slots: slots as u64,
            outgoing: vec![0; slots * (size + 1)].into_boxed_slice(),
            frame: None,
            any_prefix,
            scratch: vec![0; size].into_boxed_slice(),
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

    /// The number of the line that will be said next.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// One more line, in the place of the oldest; returns its number.
    pub(crate) fn add(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        let slot = slot(number, self.slots);
        let outgoing = &mut self.outgoing[slot * (self.size + 1)..][..=self.size];
        let (text, end) = outgoing.split_at_mut(self.size);
        write_message(text, number, &self.payload);
        end.copy_from_slice(b"\n");
        if let Some(frame) = &mut self.frame {
            frame.keep(slot, text);
        }
        number
    }

    /// What is to be sent from byte `part` of line `number` on, as far as it is one slice.
    pub(crate) fn outgoing(&self, number: u64, part: usize) -> &[u8] {
        stretch(&self.outgoing, self.size + 1, (number, part), self)
    }

    /// What is to be received from byte `part` of line `number` on, as far as it is one slice; nothing
    /// where that is not known, or was said too long ago.
    #[inline]
    pub(crate) fn due(&self, number: u64, part: usize) -> &[u8] {
        match &self.frame {
            Some(frame) => stretch(&frame.incoming, frame.len, (number, part), self),
            None => &[],
        }
    }

    /// Bytes of a line as it is received.
    #[inline]
    pub(crate) fn due_bytes(&self) -> usize {
        self.frame.as_ref().map_or(1, |frame| frame.len)
    }

    /// What is longer is no line of a chat, ours or not.
    pub(crate) fn line_bytes_max(&self) -> usize {
        NOTICE_BYTES_MAX.max(self.size + PREFIX_BYTES_MAX)
    }

    /// The first `part` bytes of line `number` as it is received, however long ago it was said.
    pub(crate) fn recall(&mut self, number: u64, part: usize, out: &mut Vec<u8>) {
        let Some(frame) = &self.frame else { return };
        write_message(&mut self.scratch, number, &self.payload);
        let line = frame.prefix.iter().chain(&self.scratch).chain(frame.ending);
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
            Some(number) if self.is_line(number, text) => match &self.frame {
                None if prefix.len() <= PREFIX_BYTES_MAX => {
                    self.learn(prefix, ending);
                    Meaning::Line(number)
                }
                Some(frame) if self.any_prefix || frame.prefix == prefix => Meaning::Line(number),
                _ => Meaning::Wrong,
            },
            Some(_) => Meaning::Wrong,
            None => self.wrong_or_notice(line, due),
        }
    }

    /// A line is one of ours that went wrong if it has a number of ours where that belongs, or has
    /// the right length and agrees with one that is due in more than half of its bytes, and of its
    /// number: what another run said may well have the same bytes behind another number.
    fn wrong_or_notice(&mut self, line: &[u8], due: u64) -> Meaning {
        let Some(frame) = &self.frame else {
            return Meaning::Notice;
        };
        let Some(text) = line.strip_prefix(&frame.prefix[..]).or_else(|| {
            let is_as_long = line.len() == frame.prefix.len() + self.size;
            is_as_long.then(|| &line[frame.prefix.len()..])
        }) else {
            return Meaning::Notice;
        };
        if self.was_sent(text).is_some() {
            return Meaning::Wrong;
        }
        if text.len() == self.size {
            for number in (due..self.next).take(GARBLED_MAX) {
                write_message(&mut self.scratch, number, &self.payload);
                let same = |upto: usize| {
                    let pairs = self.scratch[..upto].iter().zip(text);
                    pairs.filter(|(a, b)| a == b).count()
                };
                if same(self.size) > self.size / 2 && same(NUMBER_BYTES) > NUMBER_BYTES / 2 {
                    return Meaning::Wrong;
                }
            }
        }
        Meaning::Notice
    }

    /// The number at the head of `text`, if a line of that number was said.
    fn was_sent(&self, text: &[u8]) -> Option<u64> {
        number_of(text).filter(|number| (self.first..self.next).contains(number))
    }

    fn is_line(&mut self, number: u64, text: &[u8]) -> bool {
        write_message(&mut self.scratch, number, &self.payload);
        *self.scratch == *text
    }

    fn learn(&mut self, prefix: &[u8], ending: &'static [u8]) {
        let len = prefix.len() + self.size + ending.len();
        let slots = self.outgoing.len() / (self.size + 1);
        let mut frame = Frame {
            prefix: prefix.to_vec(),
            ending,
            incoming: vec![0; slots * len].into_boxed_slice(),
            len,
        };
        for (slot, outgoing) in self.outgoing.chunks_exact(self.size + 1).enumerate() {
            frame.keep(slot, &outgoing[..self.size]);
        }
        self.frame = Some(frame);
    }
}

impl Frame {
    fn keep(&mut self, slot: usize, text: &[u8]) {
        let line = &mut self.incoming[slot * self.len..][..self.len];
        let (prefix, rest) = line.split_at_mut(self.prefix.len());
        let (middle, ending) = rest.split_at_mut(text.len());
        prefix.copy_from_slice(&self.prefix);
        middle.copy_from_slice(text);
        ending.copy_from_slice(self.ending);
    }
}

/// The slot of a line among a power of two.
#[inline]
fn slot(number: u64, slots: u64) -> usize {
    // Below the number of slots, which fits.
    (number & (slots - 1)) as usize
}

/// From a position to the end of what was said, or to where the ring begins anew. What was overwritten
/// and what is not said yet is not there: a slot that is stale would vouch for a line of long ago.
#[inline]
fn stretch<'s>(
    ring: &'s [u8],
    len: usize,
    (number, part): (u64, usize),
    lines: &Lines,
) -> &'s [u8] {
    let age = lines.next.saturating_sub(number);
    if age == 0 || age > lines.slots {
        return &[];
    }
    let slot = slot(number, lines.slots);
    let count = (age as usize).min(ring.len() / len - slot);
    &ring[slot * len + part..(slot + count) * len]
}
