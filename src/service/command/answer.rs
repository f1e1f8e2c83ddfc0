use crate::turn::Turn;
use crate::wire::CommandFraming;
use crate::wire::{CommandHeader, Decimal, Encode, Framed};

/// What a client is told about one command, before it is framed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The output, in the endpoint's encoding.
    pub(super) output: Vec<u8>,
    /// The exit code, or 128 and the signal that killed it; none when it was refused. Only C4
    /// carries it.
    pub(super) exit: Option<i32>,
    /// Why it was refused, if it was. Only C4 carries it.
    pub(super) error: Option<String>,
    /// After how many bytes it was cut, if it was. Only C4 carries it.
    pub(super) cut: Option<usize>,
}

impl Answer {
    /// An answer of one line, `onepoll: reason`.
    pub(super) fn refusal(reason: &str) -> Answer {
        Answer {
            output: notice(reason),
            exit: None,
            error: Some(reason.to_owned()),
            cut: None,
        }
    }

    /// Says what goes at once, and returns what must wait for an acknowledgement (C2).
    pub(super) fn say(self, framing: CommandFraming, t: &mut Turn<'_>) -> Option<Vec<u8>> {
        if framing != CommandFraming::Decimal {
            t.reply(&InFrame(framing, &self));
            return None;
        }
        t.reply(&Decimal(
            u64::try_from(self.output.len()).unwrap_or(u64::MAX),
        ));
        Some(self.output)
    }

    /// Appends a refusal that is not the answer to a command and after which the connection ends.
    ///
    /// Nothing for C2: a length alone would promise an output, and an output that nobody
    /// acknowledged would be read as more digits of the length.
    pub(super) fn last_words(reason: &str, framing: CommandFraming, out: &mut Vec<u8>) {
        if framing != CommandFraming::Decimal {
            InFrame(framing, &Answer::refusal(reason)).encode(out);
        }
    }
}

/// The one line that says what we, not the command, have to say.
pub(super) fn notice(reason: &str) -> Vec<u8> {
    format!("onepoll: {reason}\n").into_bytes()
}

/// An answer in a framing that needs no acknowledgement.
struct InFrame<'a>(CommandFraming, &'a Answer);

impl Encode for InFrame<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        let InFrame(
            framing,
            Answer {
                output,
                exit,
                error,
                cut,
            },
        ) = self;
        match framing {
            CommandFraming::Raw | CommandFraming::Decimal => out.extend_from_slice(output),
            CommandFraming::I32 => Framed::new(output)
                .expect("what is collected stays below the largest i32")
                .encode(out),
            CommandFraming::Json | CommandFraming::Stream => {
                let mut header = CommandHeader::new(output, *exit, error.as_deref());
                header.cut = cut.and_then(|bytes| u64::try_from(bytes).ok());
                header.encode(out);
                out.extend_from_slice(output);
            }
        }
    }
}
