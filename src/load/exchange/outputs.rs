//! Outputs of commands: where each ends in its frame (C2 to C4).

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::load::measure::failures::FailureKind;
use crate::wire::{CommandFraming, DecimalLength, Decode, DecodeSettled, JsonHeader, Length};

/// The most that one output may have: what a client of ours would take.
const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// What the tutorials' clients answer to a length (C2). Behind an empty output nothing comes that would
/// tell this word from the next request, so there it is a line.
const ACKNOWLEDGEMENT: &[u8] = b"recv_ready";
const ACKNOWLEDGEMENT_OF_NOTHING: &[u8] = b"recv_ready\n";

/// The outputs of commands on one connection.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    part: Part,
    /// Of a header that is not whole.
    carry: Vec<u8>,
    /// What the header said of the output that comes.
    exit: Option<i32>,
    /// How many bytes of it have come, and whether one was not what is expected.
    came: usize,
    is_wrong: bool,
    /// Those that ended in what was fed last.
    ended: Vec<EndedOutput>,
}

/// An output that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndedOutput {
    /// The exit code, where the framing tells it.
    pub(crate) exit: Option<i32>,
    /// Whether it is what is expected, if anything is.
    pub(crate) is_right: bool,
}

/// What comes next.
#[derive(Debug, Default, Clone, Copy)]
enum Part {
    #[default]
    Header,
    /// An output of so many bytes, once it is acknowledged (C2).
    Unacknowledged(usize),
    /// So many bytes more of an output.
    Output(usize),
}

/// The fields of C4's header that matter here; none of them is copied.
#[derive(Debug, Deserialize)]
struct Described {
    data_size: u64,
    #[serde(default)]
    error: Option<IgnoredAny>,
    #[serde(default)]
    exit: Option<i32>,
}

impl Outputs {
    /// How many outputs end in `bytes`; an error when it is no output, or the server turned the
    /// command down.
    pub(crate) fn count(
        &mut self,
        framing: CommandFraming,
        expected: Option<&[u8]>,
        mut bytes: &[u8],
    ) -> Result<usize, FailureKind> {
        self.ended.clear();
        loop {
            match self.part {
                Part::Output(left) if left <= bytes.len() => {
                    self.compare(&bytes[..left], expected);
                    self.end(expected);
                    bytes = &bytes[left..];
                }
                _ if bytes.is_empty() => return Ok(self.ended.len()),
                // A server that sends more than the length did not wait for our acknowledgement.
                Part::Unacknowledged(_) => return Err(FailureKind::WrongAnswer),
                Part::Output(left) => {
                    self.compare(bytes, expected);
                    self.part = Part::Output(left - bytes.len());
                    return Ok(self.ended.len());
                }
                Part::Header => {
                    let had = self.carry.len();
                    self.carry.extend_from_slice(bytes);
                    let Some((len, exit, taken)) = header(framing, &self.carry)? else {
                        return Ok(self.ended.len());
                    };
                    self.exit = exit;
                    bytes = &bytes[taken - had..];
                    self.carry.clear();
                    self.part = match framing {
                        CommandFraming::Decimal => Part::Unacknowledged(len),
                        _ => Part::Output(len),
                    };
                }
            }
        }
    }

    /// The outputs that ended in what was fed last, in order.
    pub(crate) fn ended(&self) -> &[EndedOutput] {
        &self.ended
    }

    fn compare(&mut self, bytes: &[u8], expected: Option<&[u8]>) {
        if let Some(expected) = expected {
            let end = self.came + bytes.len();
            self.is_wrong |= expected.get(self.came..end) != Some(bytes);
            self.came = end;
        }
    }

    fn end(&mut self, expected: Option<&[u8]>) {
        let came = std::mem::take(&mut self.came);
        let is_wrong = std::mem::take(&mut self.is_wrong);
        self.ended.push(EndedOutput {
            exit: self.exit.take(),
            is_right: !is_wrong && expected.is_none_or(|expected| expected.len() == came),
        });
        self.part = Part::Header;
    }

    /// Takes the acknowledgement that is to be sent now, if one is.
    pub(crate) fn acknowledgement(&mut self) -> Option<&'static [u8]> {
        let Part::Unacknowledged(len) = self.part else {
            return None;
        };
        self.part = Part::Output(len);
        Some(match len {
            0 => ACKNOWLEDGEMENT_OF_NOTHING,
            _ => ACKNOWLEDGEMENT,
        })
    }

    pub(crate) fn is_inside(&self) -> bool {
        !matches!(self.part, Part::Header) || !self.carry.is_empty()
    }
}

/// The length of the output behind a header, the exit code if it says one, and the header's own length.
type Header = (usize, Option<i32>, usize);

fn header(framing: CommandFraming, unread: &[u8]) -> Result<Option<Header>, FailureKind> {
    let without_exit = |(len, taken)| (len, None, taken);
    let wrong = |_| FailureKind::WrongAnswer;
    match framing {
        CommandFraming::Decimal => {
            let max = OUTPUT_BYTES_MAX as u64;
            let settled = DecimalLength::new(max).settled(unread).map_err(wrong)?;
            Ok(settled.and_then(|(len, taken)| Some((usize::try_from(len).ok()?, None, taken))))
        }
        // A plan with this framing is refused: it has no end.
        CommandFraming::Raw => Err(FailureKind::WrongAnswer),
        CommandFraming::I32 => Length::new("output", OUTPUT_BYTES_MAX)
            .decode(unread)
            .map(|decoded| decoded.map(without_exit))
            .map_err(wrong),
        CommandFraming::Json | CommandFraming::Stream => {
            let decoded = JsonHeader::<Described>::new()
                .decode(unread)
                .map_err(wrong)?;
            let Some((header, taken)) = decoded else {
                return Ok(None);
            };
            if header.error.is_some() {
                return Err(FailureKind::TurnedDown);
            }
            match usize::try_from(header.data_size) {
                Ok(len) if len <= OUTPUT_BYTES_MAX => Ok(Some((len, header.exit, taken))),
                _ => Err(FailureKind::WrongAnswer),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{CommandHeader, Encode, Framed};

    #[test]
    fn outputs_are_counted_however_they_were_cut() {
        let (mut json, mut sized) = (Vec::new(), Vec::new());
        for output in [&b"hello\n"[..], b"", b"again"] {
            CommandHeader::new(output, Some(0), None).encode(&mut json);
            output.encode(&mut json);
            Framed::new(output).unwrap().encode(&mut sized);
        }
        for (framing, stream) in [(CommandFraming::Json, json), (CommandFraming::I32, sized)] {
            for cut in 1..=stream.len() {
                let mut outputs = Outputs::default();
                let parts = stream.chunks(cut);
                let counts = parts.map(|part| outputs.count(framing, None, part).unwrap());
                assert_eq!(counts.sum::<usize>(), 3, "{framing:?} {cut}");
                assert!(!outputs.is_inside(), "{framing:?} {cut}");
            }
        }
        let mut refusal = Vec::new();
        CommandHeader::new(b"", None, Some("busy")).encode(&mut refusal);
        let refused = Outputs::default().count(CommandFraming::Json, None, &refusal);
        assert_eq!(refused, Err(FailureKind::TurnedDown));
        let negative = Outputs::default().count(CommandFraming::I32, None, &(-1_i32).to_le_bytes());
        assert_eq!(negative, Err(FailureKind::WrongAnswer));
    }

    #[test]
    fn an_output_has_an_exit_code_and_is_the_expected_one_or_not() {
        let mut stream = Vec::new();
        let outputs = [
            (&b"hello\n"[..], Some(0), true),
            (b"hellO\n", Some(1), false),
            (b"hello", None, false),
            (b"hello\n!", Some(137), false),
            (b"", Some(-1), false),
            (b"hello\n", Some(0), true),
        ];
        for (output, exit, _) in outputs {
            CommandHeader::new(output, exit, None).encode(&mut stream);
            output.encode(&mut stream);
        }
        for cut in 1..=stream.len() {
            for expected in [Some(&b"hello\n"[..]), None] {
                let (mut seen, mut counter) = (Vec::new(), Outputs::default());
                for part in stream.chunks(cut) {
                    let count = counter.count(CommandFraming::Json, expected, part).unwrap();
                    assert_eq!(count, counter.ended().len());
                    seen.extend_from_slice(counter.ended());
                }
                let right = outputs.map(|(_, exit, is_right)| EndedOutput {
                    exit,
                    is_right: is_right || expected.is_none(),
                });
                assert_eq!(seen, right, "{cut}");
            }
        }
    }
}
