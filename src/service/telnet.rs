use crate::buf::ReadBuf;
use crate::turn::Turn;
use crate::wire;

/// Keeps a Telnet client's commands out of what a service reads from one connection.
#[derive(Debug, Default)]
pub(super) struct Telnet {
    state: wire::Telnet,
    /// How many of the unread bytes were filtered before.
    filtered: usize,
}

impl Telnet {
    /// Takes commands out of the bytes that have come since, and answers them. Call it before a
    /// decoder sees the input.
    pub(super) fn filter(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) {
        let mut answers = Vec::new();
        input.filter(self.filtered, |fresh| {
            self.state.filter(fresh, &mut answers)
        });
        if !answers.is_empty() {
            t.reply(&answers[..]);
        }
        self.filtered = input.len();
    }

    /// Remembers what is left unread. Call it after every decoder that took bytes.
    pub(super) fn leave(&mut self, input: &ReadBuf) {
        self.filtered = input.len();
    }
}
