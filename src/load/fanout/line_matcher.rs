//! What one member hears: which lines, in which order, and what else.
//!
//! It does not know the other members, nor time. As long as a stream is what it should be, it is
//! compared in one go with what is in flight, and nothing of it is kept, not even half a line: how many
//! bytes of the line that is due have come says it all. Where it differs, it is read line by line until
//! it agrees again.

use super::lines::{Meaning, Script, WINDOW_MAX};

/// Of the lines that were passed over, so many of the last ones are remembered: as many as can be in
/// flight.
const MISSING_MAX: usize = WINDOW_MAX;

/// What came of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// So many lines from this number on, in order; those before the first, if it was not due, are
    /// missing.
    InTurn { from: u64, count: u64 },
    /// A line that was missing: others overtook it.
    Overtaken(u64),
    /// A line that had been heard.
    Duplicate,
    /// A line of ours with other bytes.
    Wrong,
    /// A line that is not ours.
    Notice,
}

/// A line without an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Endless;

/// One member's place in the stream.
#[derive(Debug)]
pub(super) struct Ear {
    /// The line that is due: one more than the highest that was heard.
    due: u64,
    /// How many bytes of it have come; 0 while `half` holds something.
    part: usize,
    /// Half a line that is not known to be the one that is due.
    half: Vec<u8>,
    /// Lines below `due` that were not heard, in order.
    missing: Vec<u64>,
    has_heard: bool,
}

impl Ear {
    /// Of one that comes when `due` is said next, or before: what it does not hear of the beginning is
    /// not missing.
    pub(super) fn new(due: u64) -> Self {
        Self {
            due,
            part: 0,
            half: Vec::new(),
            missing: Vec::new(),
            has_heard: false,
        }
    }

    /// Whether line `number` was not heard, be it that it is yet to come.
    pub(super) fn lacks(&self, number: u64) -> bool {
        number >= self.due || self.missing.binary_search(&number).is_ok()
    }

    /// Whether no line was heard yet.
    pub(super) fn is_new(&self) -> bool {
        !self.has_heard
    }

    /// Hears some more bytes.
    #[inline]
    pub(super) fn hear(
        &mut self,
        mut bytes: &[u8],
        script: &mut Script,
        tell: &mut impl FnMut(Heard),
    ) -> Result<(), Endless> {
        loop {
            if self.half.is_empty() {
                bytes = self.follow(bytes, script, tell);
            }
            if bytes.is_empty() {
                return Ok(());
            }
            bytes = self.take_line(bytes, script, tell)?;
        }
    }

    /// As far as the bytes are those that are due; returns the others.
    #[inline]
    fn follow<'b>(
        &mut self,
        mut bytes: &'b [u8],
        script: &Script,
        tell: &mut impl FnMut(Heard),
    ) -> &'b [u8] {
        loop {
            let due = script.due(self.due, self.part);
            let len = due.len().min(bytes.len());
            if len == 0 {
                return bytes;
            }
            let (now, later) = bytes.split_at(len);
            if now == &due[..len] {
                self.advance(len, script, tell);
                bytes = later;
                continue;
            }
            let same = now.iter().zip(due).take_while(|(a, b)| a == b).count();
            self.advance(same, script, tell);
            return &bytes[same..];
        }
    }

    #[inline]
    fn advance(&mut self, bytes: usize, script: &Script, tell: &mut impl FnMut(Heard)) {
        let (len, all) = (script.due_bytes(), self.part + bytes);
        let count = (all / len) as u64;
        self.part = all % len;
        if count > 0 {
            tell(Heard::InTurn {
                from: self.due,
                count,
            });
            self.due += count;
            self.has_heard = true;
        }
    }

    /// To the end of one line, and what that is; returns what is behind it.
    #[cold]
    fn take_line<'b>(
        &mut self,
        bytes: &'b [u8],
        script: &mut Script,
        tell: &mut impl FnMut(Heard),
    ) -> Result<&'b [u8], Endless> {
        if self.part > 0 {
            script.recall(self.due, self.part, &mut self.half);
            self.part = 0;
        }
        let (line, rest) = match memchr::memchr(b'\n', bytes) {
            Some(end) => (&bytes[..end], Some(&bytes[end + 1..])),
            None => (bytes, None),
        };
        if self.half.len() + line.len() > script.line_bytes_max() {
            return Err(Endless);
        }
        let Some(rest) = rest else {
            self.half.extend_from_slice(line);
            return Ok(&[]);
        };
        let meaning = if self.half.is_empty() {
            script.understand(line, self.due)
        } else {
            self.half.extend_from_slice(line);
            let meaning = script.understand(&self.half, self.due);
            self.half.clear();
            meaning
        };
        tell(match meaning {
            Meaning::Said(number) => self.place(number),
            Meaning::Wrong => Heard::Wrong,
            Meaning::Notice => Heard::Notice,
        });
        Ok(rest)
    }

    /// Where a line that was not known to be due belongs.
    fn place(&mut self, number: u64) -> Heard {
        if number >= self.due {
            if self.has_heard {
                let remembered = number.saturating_sub(MISSING_MAX as u64);
                self.missing.extend(self.due.max(remembered)..number);
                let forgotten = self.missing.len().saturating_sub(MISSING_MAX);
                self.missing.drain(..forgotten);
            }
            self.has_heard = true;
            self.due = number + 1;
            return Heard::InTurn {
                from: number,
                count: 1,
            };
        }
        match self.missing.binary_search(&number) {
            Ok(at) => {
                self.missing.remove(at);
                Heard::Overtaken(number)
            }
            Err(_) => Heard::Duplicate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 24;
    const FIRST: u64 = 7_000;

    /// A script of which so many lines were said, with a server's words around them.
    fn script(lines: u64) -> Script {
        let mut script = Script::new(SIZE, 64, FIRST, false);
        (0..lines).for_each(|_| {
            script.say();
        });
        script
    }

    fn text(number: u64) -> Vec<u8> {
        let mut script = Script::new(SIZE, 64, number, false);
        script.say();
        script.spoken(number, 0)[..SIZE].to_vec()
    }

    /// Line `number`, counted from the first, as a member hears it.
    fn line(number: u64, ending: &str) -> Vec<u8> {
        [b"eva: ", &text(FIRST + number)[..], ending.as_bytes()].concat()
    }

    fn lines(numbers: impl IntoIterator<Item = u64>, ending: &str) -> Vec<u8> {
        numbers.into_iter().flat_map(|n| line(n, ending)).collect()
    }

    /// What is heard of `pieces`, one after the other: runs in order are put together.
    fn heard<'p>(script: &mut Script, pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<Heard> {
        let mut ear = Ear::new(FIRST);
        let mut told: Vec<Heard> = Vec::new();
        for piece in pieces {
            let outcome = ear.hear(piece, script, &mut |heard| {
                if let (
                    Some(Heard::InTurn { from, count }),
                    Heard::InTurn {
                        from: next,
                        count: more,
                    },
                ) = (told.last_mut(), heard)
                    && *from + *count == next
                {
                    *count += more;
                } else {
                    told.push(heard);
                }
            });
            assert_eq!(outcome, Ok(()));
        }
        told
    }

    fn run(from: u64, count: u64) -> Heard {
        Heard::InTurn {
            from: FIRST + from,
            count,
        }
    }

    /// Whole, byte by byte, and split at every point, as a script that knows nothing and as one that
    /// has learned what is around a line.
    #[track_caller]
    fn is_heard(said: u64, stream: &[u8], expected: &[Heard]) {
        let knows_nothing = || script(said);
        let has_learned = || {
            let mut script = script(said);
            let ending = if stream.contains(&b'\r') {
                "\r\n"
            } else {
                "\n"
            };
            heard(&mut script, [&line(0, ending)[..]]);
            script
        };
        for script in [&knows_nothing as &dyn Fn() -> Script, &has_learned] {
            assert_eq!(heard(&mut script(), [stream]), expected, "whole");
            assert_eq!(heard(&mut script(), stream.chunks(1)), expected, "bytes");
            for at in 0..=stream.len() {
                let (one, other) = stream.split_at(at);
                assert_eq!(heard(&mut script(), [one, other]), expected, "{at}");
            }
        }
    }

    #[test]
    fn lines_in_order_are_heard_however_they_are_cut() {
        is_heard(5, &lines(0..5, "\n"), &[run(0, 5)]);
        is_heard(5, &lines(0..5, "\r\n"), &[run(0, 5)]);
        // Half a line is not heard yet.
        let mut half = lines(0..2, "\n");
        half.extend(&line(2, "\n")[..20]);
        is_heard(5, &half, &[run(0, 2)]);
    }

    #[test]
    fn notices_between_lines_are_told() {
        let stream = [
            b"* you are guest-1\r\n\n",
            &lines([0], "\n")[..],
            b"* eve joined\neva: hi\nbob: ABABABAB\n",
            &lines([1, 2], "\n"),
            b"* going\n",
        ]
        .concat();
        let told = [
            Heard::Notice,
            Heard::Notice,
            run(0, 1),
            Heard::Notice,
            Heard::Notice,
            Heard::Notice,
            run(1, 2),
            Heard::Notice,
        ];
        is_heard(3, &stream, &told);
    }

    #[test]
    fn what_is_doubled_passed_over_or_overtaken_is_told_apart() {
        is_heard(
            9,
            &lines([0, 1, 1, 2, 5, 3, 3, 6, 0], "\n"),
            &[
                run(0, 2),
                Heard::Duplicate,
                run(2, 1),
                run(5, 1),
                Heard::Overtaken(FIRST + 3),
                Heard::Duplicate,
                run(6, 1),
                Heard::Duplicate,
            ],
        );
        let mut ear = Ear::new(FIRST);
        let mut script = script(9);
        assert!(ear.is_new() && ear.lacks(FIRST));
        ear.hear(&lines([2, 5], "\n"), &mut script, &mut |_| {})
            .unwrap();
        // What was said before it came is not missing.
        let lacks: Vec<_> = (0..9).filter(|n| ear.lacks(FIRST + n)).collect();
        assert_eq!(lacks, [3, 4, 6, 7, 8]);
    }

    #[test]
    fn every_wrong_byte_of_a_line_is_noticed() {
        for place in 0..line(1, "\n").len() - 1 {
            for other in [b'!', b'A', b'Z'] {
                let mut stream = lines(0..3, "\n");
                let at = line(0, "\n").len() + place;
                if stream[at] == other {
                    continue;
                }
                stream[at] = other;
                let mut script = script(3);
                let told = heard(&mut script, [&stream[..]]);
                assert_eq!(
                    told,
                    [run(0, 1), Heard::Wrong, run(2, 1)],
                    "{place} {other}"
                );
            }
        }
    }

    #[test]
    fn what_is_cut_short_glued_or_too_long_is_wrong() {
        let stream = |middle: &[u8]| [&line(0, "\n")[..], middle, &line(2, "\n")].concat();
        let mut short = line(1, "\n");
        short.remove(20);
        let mut long = line(1, "!\n");
        is_heard(3, &stream(&short), &[run(0, 1), Heard::Wrong, run(2, 1)]);
        is_heard(3, &stream(&long), &[run(0, 1), Heard::Wrong, run(2, 1)]);
        // Its end is missing, and the next one follows: both are lost.
        long = line(1, "");
        is_heard(3, &stream(&long), &[run(0, 1), Heard::Wrong]);
    }

    #[test]
    fn a_line_that_was_not_said_yet_is_not_ours() {
        is_heard(2, &lines([0, 1, 2], "\n"), &[run(0, 2), Heard::Notice]);
        // Nor does what lies in memory from long ago vouch for a duplicate.
        let mut script = script(1);
        let slots = script.slots();
        let mut told = heard(&mut script, [&line(0, "\n")[..]]);
        assert_eq!(told, [run(0, 1)]);
        (1..slots).for_each(|_| {
            script.say();
        });
        let all = lines((0..slots).chain([0]), "\n");
        told = heard(&mut script, [&all[..]]);
        assert_eq!(told, [run(0, slots), Heard::Duplicate]);
    }

    #[test]
    fn half_a_line_survives_that_its_place_is_taken() {
        let mut script = script(1);
        heard(&mut script, [&line(0, "\n")[..]]);
        script.say();
        let mut ear = Ear::new(FIRST);
        let mut told = Vec::new();
        let stream = lines([0, 1], "\n");
        let (one, other) = stream.split_at(stream.len() - 9);
        ear.hear(one, &mut script, &mut |heard| told.push(heard))
            .unwrap();
        (0..script.slots()).for_each(|_| {
            script.say();
        });
        ear.hear(other, &mut script, &mut |heard| told.push(heard))
            .unwrap();
        assert_eq!(told, [run(0, 1), run(1, 1)]);
    }

    #[test]
    fn a_changing_prefix_is_wrong_unless_it_may_change() {
        let stream = [&line(0, "\n")[..], b"[2] ", &line(1, "\n")].concat();
        let mut strict = script(2);
        assert_eq!(heard(&mut strict, [&stream[..]]), [run(0, 1), Heard::Wrong]);
        let mut lenient = Script::new(SIZE, 64, FIRST, true);
        lenient.say();
        lenient.say();
        assert_eq!(heard(&mut lenient, [&stream[..]]), [run(0, 2)]);
    }

    #[test]
    fn a_line_without_an_end_has_one() {
        let mut script = script(1);
        let mut ear = Ear::new(FIRST);
        let some = vec![b'x'; script.line_bytes_max() / 4];
        for _ in 0..4 {
            assert_eq!(ear.hear(&some, &mut script, &mut |_| {}), Ok(()));
        }
        assert_eq!(ear.hear(&some, &mut script, &mut |_| {}), Err(Endless));
    }
}
