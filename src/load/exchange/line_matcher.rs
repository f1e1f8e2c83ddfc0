//! What one member receives: which lines, in which order, and what else.
//!
//! It does not know the other members, nor time. As long as a stream is what it should be, it is
//! compared in one go with what is in flight, and nothing of it is kept, not even half a line: how many
//! bytes of the line that is due have come says it all. Where it differs, it is read line by line until
//! it agrees again.

use crate::load::exchange::lines::{Lines, Meaning};
use crate::load::measure::failures::FailureKind;
use crate::load::plan::limits::LINES_MAX;

/// So many of the missing lines are remembered, the last ones: as many as can be in flight.
const MISSING_MAX: usize = LINES_MAX;

/// What a member received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReceivedLine {
    /// So many lines from this number on, in order; those before the first, if it was not due, are
    /// missing.
    InTurn { from: u64, count: u64 },
    /// A line that was missing: others overtook it.
    Overtaken(u64),
    /// A line that had been received.
    Duplicate,
    /// A line of ours with other bytes.
    Wrong,
    /// A line that is not ours.
    Notice,
}

/// One member's place in the stream.
#[derive(Debug)]
pub(crate) struct LineMatcher {
    /// The line that is due: one more than the highest that was received.
    due: u64,
    /// How many bytes of it have come; 0 while `half` holds something.
    part: usize,
    /// Half a line that is not known to be the one that is due.
    half: Vec<u8>,
    /// Lines below `due` that were not received, in order.
    missing: Vec<u64>,
    has_received: bool,
}

impl LineMatcher {
    /// For a member that joins when line `due` will be sent next. What was sent before the first line that
    /// it receives is not missing.
    pub(crate) fn new(due: u64) -> Self {
        Self {
            due,
            part: 0,
            half: Vec::new(),
            missing: Vec::new(),
            has_received: false,
        }
    }

    /// Whether line `number` was not received, or not yet.
    pub(crate) fn lacks(&self, number: u64) -> bool {
        number >= self.due || self.missing.binary_search(&number).is_ok()
    }

    /// How many of the lines from `first` up to `end` were not received.
    pub(crate) fn lacking(&self, first: u64, end: u64) -> u64 {
        let overtaken = self
            .missing
            .iter()
            .filter(|line| (first..end).contains(line));
        overtaken.count() as u64 + end.saturating_sub(self.due.max(first))
    }

    /// Whether no line was received yet.
    pub(crate) fn is_new(&self) -> bool {
        !self.has_received
    }

    /// Takes the bytes that came next, and tells the lines in them; an error when a line is too long to
    /// be one.
    #[inline]
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        lines: &mut Lines,
        tell: &mut impl FnMut(ReceivedLine),
    ) -> Result<(), FailureKind> {
        loop {
            if self.half.is_empty() {
                bytes = self.follow(bytes, lines, tell);
            }
            if bytes.is_empty() {
                return Ok(());
            }
            bytes = self.take_line(bytes, lines, tell)?;
        }
    }

    /// As far as the bytes are those that are due; returns the others.
    #[inline]
    fn follow<'b>(
        &mut self,
        mut bytes: &'b [u8],
        lines: &Lines,
        tell: &mut impl FnMut(ReceivedLine),
    ) -> &'b [u8] {
        loop {
            let due = lines.due(self.due, self.part);
            let len = due.len().min(bytes.len());
            if len == 0 {
                return bytes;
            }
            let (now, later) = bytes.split_at(len);
            if now == &due[..len] {
                self.advance(len, lines, tell);
                bytes = later;
                continue;
            }
            let same = now.iter().zip(due).take_while(|(a, b)| a == b).count();
            self.advance(same, lines, tell);
            return &bytes[same..];
        }
    }

    #[inline]
    fn advance(&mut self, bytes: usize, lines: &Lines, tell: &mut impl FnMut(ReceivedLine)) {
        let (len, all) = (lines.due_bytes(), self.part + bytes);
        let count = (all / len) as u64;
        self.part = all % len;
        if count > 0 {
            tell(ReceivedLine::InTurn {
                from: self.due,
                count,
            });
            self.due += count;
            self.has_received = true;
        }
    }

    /// To the end of one line, and what that is; returns what is behind it.
    #[cold]
    fn take_line<'b>(
        &mut self,
        bytes: &'b [u8],
        lines: &mut Lines,
        tell: &mut impl FnMut(ReceivedLine),
    ) -> Result<&'b [u8], FailureKind> {
        if self.part > 0 {
            lines.recall(self.due, self.part, &mut self.half);
            self.part = 0;
        }
        let (line, rest) = match memchr::memchr(b'\n', bytes) {
            Some(end) => (&bytes[..end], Some(&bytes[end + 1..])),
            None => (bytes, None),
        };
        if self.half.len() + line.len() > lines.line_bytes_max() {
            return Err(FailureKind::WrongAnswer);
        }
        let Some(rest) = rest else {
            self.half.extend_from_slice(line);
            return Ok(&[]);
        };
        let meaning = if self.half.is_empty() {
            lines.understand(line, self.due)
        } else {
            self.half.extend_from_slice(line);
            let meaning = lines.understand(&self.half, self.due);
            self.half.clear();
            meaning
        };
        tell(match meaning {
            Meaning::Line(number) => self.place(number),
            Meaning::Wrong => ReceivedLine::Wrong,
            Meaning::Notice => ReceivedLine::Notice,
        });
        Ok(rest)
    }

    /// Where a line that was not known to be due belongs.
    fn place(&mut self, number: u64) -> ReceivedLine {
        if number >= self.due {
            if self.has_received {
                let remembered = number.saturating_sub(MISSING_MAX as u64);
                self.missing.extend(self.due.max(remembered)..number);
                let forgotten = self.missing.len().saturating_sub(MISSING_MAX);
                self.missing.drain(..forgotten);
            }
            self.has_received = true;
            self.due = number + 1;
            return ReceivedLine::InTurn {
                from: number,
                count: 1,
            };
        }
        match self.missing.binary_search(&number) {
            Ok(at) => {
                self.missing.remove(at);
                ReceivedLine::Overtaken(number)
            }
            Err(_) => ReceivedLine::Duplicate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ReceivedLine::{Duplicate, InTurn, Notice, Overtaken, Wrong};
    use super::*;

    const SIZE: usize = 24;
    const FIRST: u64 = 7_000;

    /// So many lines, sent.
    fn sent(count: u64) -> Lines {
        let mut lines = Lines::new(SIZE, 64, FIRST, false);
        send(&mut lines, count);
        lines
    }

    fn send(lines: &mut Lines, count: u64) {
        (0..count).for_each(|_| _ = lines.add());
    }

    /// Line `number`, counted from the first, as a member receives it.
    fn line(number: u64, ending: &str) -> Vec<u8> {
        let mut lines = Lines::new(SIZE, 64, FIRST + number, false);
        let text = lines.add();
        let text = &lines.outgoing(text, 0)[..SIZE];
        [b"eva: ", text, ending.as_bytes()].concat()
    }

    fn arriving(numbers: impl IntoIterator<Item = u64>, ending: &str) -> Vec<u8> {
        numbers.into_iter().flat_map(|n| line(n, ending)).collect()
    }

    fn run(from: u64, count: u64) -> ReceivedLine {
        let from = FIRST + from;
        InTurn { from, count }
    }

    /// What a new member receives of `pieces`, one after the other: runs in order are put together.
    fn received<'p>(
        lines: &mut Lines,
        pieces: impl IntoIterator<Item = &'p [u8]>,
    ) -> Vec<ReceivedLine> {
        let mut matcher = LineMatcher::new(FIRST);
        let mut told: Vec<ReceivedLine> = Vec::new();
        for piece in pieces {
            let mut tell = |received| {
                if let InTurn {
                    from: next,
                    count: more,
                } = received
                    && let Some(InTurn { from, count }) = told.last_mut()
                    && *from + *count == next
                {
                    *count += more;
                } else {
                    told.push(received);
                }
            };
            assert_eq!(matcher.feed(piece, lines, &mut tell), Ok(()));
        }
        told
    }

    /// Whole, byte by byte, and split at every point, by lines that know nothing and by lines that
    /// have learned what is around a line.
    #[track_caller]
    fn arrives_as(count: u64, stream: &[u8], expected: &[ReceivedLine]) {
        let has_cr = stream.contains(&b'\r');
        let first = line(0, if has_cr { "\r\n" } else { "\n" });
        for known in [&b""[..], &first] {
            let new = || {
                let mut lines = sent(count);
                received(&mut lines, [known]);
                lines
            };
            assert_eq!(received(&mut new(), [stream]), expected, "whole");
            assert_eq!(received(&mut new(), stream.chunks(1)), expected, "bytes");
            for at in 0..=stream.len() {
                let (one, other) = stream.split_at(at);
                assert_eq!(received(&mut new(), [one, other]), expected, "{at}");
            }
        }
    }

    #[test]
    fn lines_in_order_are_received_however_they_are_cut() {
        arrives_as(5, &arriving(0..5, "\n"), &[run(0, 5)]);
        arrives_as(5, &arriving(0..5, "\r\n"), &[run(0, 5)]);
        // Half a line is not received yet.
        let half = &arriving(0..3, "\n")[..2 * line(0, "\n").len() + 20];
        arrives_as(5, half, &[run(0, 2)]);
    }

    #[test]
    fn notices_between_lines_are_told() {
        let stream = [
            b"* you are guest-1\r\n\n",
            &arriving([0], "\n")[..],
            b"* eve joined\neva: hi\nbob: ABABABAB\n",
            &arriving([1, 2], "\n"),
            b"* going\n",
        ];
        let (one, two) = (run(0, 1), run(1, 2));
        let told = [Notice, Notice, one, Notice, Notice, Notice, two, Notice];
        arrives_as(3, &stream.concat(), &told);
    }

    #[test]
    fn what_is_doubled_passed_over_or_overtaken_is_told_apart() {
        let stream = arriving([0, 1, 1, 2, 5, 3, 3, 6, 0], "\n");
        let (third, last) = (Overtaken(FIRST + 3), run(6, 1));
        let told = [
            run(0, 2),
            Duplicate,
            run(2, 1),
            run(5, 1),
            third,
            Duplicate,
            last,
            Duplicate,
        ];
        arrives_as(9, &stream, &told);
        let mut matcher = LineMatcher::new(FIRST);
        let mut lines = sent(9);
        assert!(matcher.is_new() && matcher.lacks(FIRST));
        let fed = matcher.feed(&arriving([2, 5], "\n"), &mut lines, &mut |_| {});
        assert_eq!(fed, Ok(()));
        // What was sent before it joined is not missing.
        let lacks: Vec<_> = (0..9).filter(|n| matcher.lacks(FIRST + n)).collect();
        assert_eq!(lacks, [3, 4, 6, 7, 8]);
    }

    #[test]
    fn every_wrong_byte_of_a_line_is_noticed() {
        let len = line(0, "\n").len();
        for place in 0..len - 1 {
            for other in *b"!AZ" {
                let mut stream = arriving(0..3, "\n");
                if std::mem::replace(&mut stream[len + place], other) == other {
                    continue;
                }
                let told = received(&mut sent(3), [&stream[..]]);
                assert_eq!(told, [run(0, 1), Wrong, run(2, 1)], "{place} {other}");
            }
        }
    }

    #[test]
    fn what_is_cut_short_glued_or_too_long_is_wrong() {
        let stream = |middle: &[u8]| [&line(0, "\n")[..], middle, &line(2, "\n")].concat();
        let mut short = line(1, "\n");
        short.remove(20);
        for wrong in [short, line(1, "!\n")] {
            arrives_as(3, &stream(&wrong), &[run(0, 1), Wrong, run(2, 1)]);
        }
        // Its end is missing, and the next one follows: both are lost.
        arrives_as(3, &stream(&line(1, "")), &[run(0, 1), Wrong]);
    }

    #[test]
    fn a_line_that_was_not_sent_yet_is_not_ours() {
        arrives_as(2, &arriving([0, 1, 2], "\n"), &[run(0, 2), Notice]);
        // Nor does what lies in memory from long ago vouch for a duplicate.
        let mut lines = sent(1);
        let slots = lines.slots();
        assert_eq!(received(&mut lines, [&line(0, "\n")[..]]), [run(0, 1)]);
        send(&mut lines, slots - 1);
        let all = arriving((0..slots).chain([0]), "\n");
        assert_eq!(received(&mut lines, [&all[..]]), [run(0, slots), Duplicate]);
    }

    #[test]
    fn half_a_line_survives_that_its_place_is_taken() {
        let mut lines = sent(1);
        received(&mut lines, [&line(0, "\n")[..]]);
        lines.add();
        let mut matcher = LineMatcher::new(FIRST);
        let mut told = Vec::new();
        let stream = arriving([0, 1], "\n");
        let (one, other) = stream.split_at(stream.len() - 9);
        for piece in [one, other] {
            let fed = matcher.feed(piece, &mut lines, &mut |received| told.push(received));
            assert_eq!(fed, Ok(()));
            let slots = lines.slots();
            send(&mut lines, slots);
        }
        assert_eq!(told, [run(0, 1), run(1, 1)]);
    }

    #[test]
    fn a_changing_prefix_is_wrong_unless_it_may_change() {
        let stream = [&line(0, "\n")[..], b"[2] ", &line(1, "\n")].concat();
        let told = received(&mut sent(2), [&stream[..]]);
        assert_eq!(told, [run(0, 1), Wrong]);
        let mut lenient = Lines::new(SIZE, 64, FIRST, true);
        send(&mut lenient, 2);
        assert_eq!(received(&mut lenient, [&stream[..]]), [run(0, 2)]);
    }

    #[test]
    fn a_line_without_an_end_has_one() {
        let mut lines = sent(1);
        let mut matcher = LineMatcher::new(FIRST);
        let some = vec![b'x'; lines.line_bytes_max() / 4];
        let outcomes = [(); 5].map(|()| matcher.feed(&some, &mut lines, &mut |_| {}));
        let too_long = Err(FailureKind::WrongAnswer);
        assert_eq!(outcomes, [Ok(()), Ok(()), Ok(()), Ok(()), too_long]);
    }
}
