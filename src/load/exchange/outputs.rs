//! Outputs of commands: where each ends in its frame (C2 to C4).

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::load::measure::failures::FailureKind;
use crate::wire::{CommandFraming, DecimalLength, Decode, DecodeSettled, JsonHeader, Length};

/// The most that one output may have: what a client of ours would take.
const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// What the tutorials' clients say to a length (C2). Behind an empty output nothing comes that would
/// tell this word from the next request, so there it is a line.
const ACKNOWLEDGEMENT: &[u8] = b"recv_ready";
const ACKNOWLEDGEMENT_OF_NOTHING: &[u8] = b"recv_ready\n";

/// The outputs of commands on one connection.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    /// Of a header that is not whole.
    carry: Vec<u8>,
    /// Bytes of the current output that are still to come.
    left: usize,
    is_in_output: bool,
    /// Whether a word is to be said before the output can come (C2).
    is_owed_a_word: bool,
}

/// The fields of C4's header that matter here; none of them is copied.
#[derive(Debug, Deserialize)]
struct Described {
    data_size: u64,
    #[serde(default)]
    error: Option<IgnoredAny>,
}

impl Outputs {
    /// How many outputs end in `bytes`; an error when it is no output, or the server turned the
    /// command down.
    pub(crate) fn count(
        &mut self,
        framing: CommandFraming,
        mut bytes: &[u8],
    ) -> Result<usize, FailureKind> {
        let mut count = 0;
        loop {
            if self.is_owed_a_word {
                // A server that sends more than the length did not wait for our acknowledgement.
                return match bytes {
                    [] => Ok(count),
                    _ => Err(FailureKind::WrongAnswer),
                };
            }
            if self.is_in_output {
                let n = self.left.min(bytes.len());
                self.left -= n;
                bytes = &bytes[n..];
                if self.left > 0 {
                    return Ok(count);
                }
                self.is_in_output = false;
                count += 1;
            }
            if bytes.is_empty() {
                return Ok(count);
            }
            let had = self.carry.len();
            self.carry.extend_from_slice(bytes);
            let Some((len, taken)) = header(framing, &self.carry)? else {
                return Ok(count);
            };
            bytes = &bytes[taken - had..];
            self.carry.clear();
            (self.left, self.is_in_output) = (len, true);
            self.is_owed_a_word = framing == CommandFraming::Decimal;
        }
    }

    /// Takes what is to be said now, if anything is.
    pub(crate) fn acknowledgement(&mut self) -> Option<&'static [u8]> {
        let is_owed = std::mem::take(&mut self.is_owed_a_word);
        is_owed.then_some(match self.left {
            0 => ACKNOWLEDGEMENT_OF_NOTHING,
            _ => ACKNOWLEDGEMENT,
        })
    }

    pub(crate) fn is_inside(&self) -> bool {
        self.is_in_output || !self.carry.is_empty()
    }
}

/// The length of the output behind a header, and the header's own.
fn header(framing: CommandFraming, unread: &[u8]) -> Result<Option<(usize, usize)>, FailureKind> {
    let wrong = |_| FailureKind::WrongAnswer;
    match framing {
        CommandFraming::Decimal => {
            let max = OUTPUT_BYTES_MAX as u64;
            let settled = DecimalLength::new(max).settled(unread).map_err(wrong)?;
            Ok(settled.and_then(|(len, taken)| Some((usize::try_from(len).ok()?, taken))))
        }
        // A plan with this framing is refused: it has no end.
        CommandFraming::Raw => Err(FailureKind::WrongAnswer),
        CommandFraming::I32 => Length::new("output", OUTPUT_BYTES_MAX)
            .decode(unread)
            .map_err(wrong),
        CommandFraming::Json => {
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
                Ok(len) if len <= OUTPUT_BYTES_MAX => Ok(Some((len, taken))),
                _ => Err(FailureKind::WrongAnswer),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{CommandHeader, Encode};

    #[test]
    fn outputs_are_counted_however_they_were_cut() {
        let mut json = Vec::new();
        let mut sized = Vec::new();
        for output in [&b"hello\n"[..], b"", b"again"] {
            CommandHeader::new(output, Some(0), None).encode(&mut json);
            json.extend_from_slice(output);
            sized.extend_from_slice(&i32::try_from(output.len()).unwrap().to_le_bytes());
            sized.extend_from_slice(output);
        }
        for (framing, stream) in [(CommandFraming::Json, json), (CommandFraming::I32, sized)] {
            for cut in 1..=stream.len() {
                let mut outputs = Outputs::default();
                let count: usize = stream
                    .chunks(cut)
                    .map(|part| outputs.count(framing, part).unwrap())
                    .sum();
                assert_eq!(
                    (count, outputs.is_inside()),
                    (3, false),
                    "{framing:?} {cut}"
                );
            }
        }
        let mut refusal = Vec::new();
        CommandHeader::new(b"", None, Some("busy")).encode(&mut refusal);
        let refused = Outputs::default().count(CommandFraming::Json, &refusal);
        assert_eq!(refused, Err(FailureKind::TurnedDown));
        let negative = Outputs::default().count(CommandFraming::I32, &(-1_i32).to_le_bytes());
        assert_eq!(negative, Err(FailureKind::WrongAnswer));
    }
}
