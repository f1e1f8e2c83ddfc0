use crate::ipmsg::IpmsgMessage;
use crate::turn::Moment;
use crate::wire::Escaped;

/// How many messages are logged in a second.
const PER_SECOND_MAX: u32 = 20;

/// How much of a text is logged.
const TEXT_BYTES_MAX: usize = 2048;

/// Messages on their way to the log: a flood does not become one there.
#[derive(Debug, Default)]
pub(super) struct Shown {
    second: u32,
    shown: u32,
    left_out: u64,
}

impl Shown {
    /// Logs a message, as what nobody has verified.
    pub(super) fn message(&mut self, now: Moment, message: &IpmsgMessage) {
        if self.second != now.as_secs() {
            if self.left_out > 0 {
                log::info!(messages = self.left_out; "more messages came than are logged");
            }
            *self = Shown {
                second: now.as_secs(),
                ..Shown::default()
            };
        }
        if self.shown == PER_SECOND_MAX {
            self.left_out += 1;
            return;
        }
        self.shown += 1;
        let text = message.text.as_bytes();
        let text = Escaped(&text[..text.len().min(TEXT_BYTES_MAX)]);
        let nick = Escaped(message.sender.nick.as_bytes());
        let files = message.files.len();
        log::info!(from:% = message.from, nick:%, text:%, files; "a message came (its sender is not verified)");
    }
}
