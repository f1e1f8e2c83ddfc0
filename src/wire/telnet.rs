//! What Telnet clients send besides text (RFC 854): commands after IAC, and CR NUL for a new line.
//!
//! Knows bytes and one byte of state. Does not know lines or text: it takes commands out of the bytes
//! in place, whatever format is read from them next, so that no command reaches a chat room or a shell.
//! IAC is 0xFF, a byte that neither UTF-8 nor GBK uses.

/// "Interpret as command": what follows is not text.
const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
/// Begins the parameters of an option, which end with IAC SE.
const SB: u8 = 250;
const SE: u8 = 240;

/// Takes Telnet's commands out of a stream, and refuses every option.
///
/// - `WILL x` is answered by `DONT x`, `DO x` by `WONT x` (a client that asks for TIMING-MARK on Ctrl-C
///   prints nothing until it has that answer); every other command is dropped.
/// - `SB … IAC SE` is dropped whole, also where it holds a byte that looks like a new line.
/// - `IAC IAC` is one byte of data, 0xFF. IAC before a byte that is no command (below 0xF0) is left out.
/// - CR NUL becomes CR LF. A NUL that follows anything else stays.
///
/// Keeps its place between calls, so bytes may be cut anywhere.
///
/// ```
/// use onepoll::wire::Telnet;
///
/// let (mut telnet, mut answers) = (Telnet::default(), Vec::new());
/// let mut bytes = *b"he\xff\xfb\x1fllo\r\0";
/// let len = telnet.filter(&mut bytes, &mut answers);
/// assert_eq!(&bytes[..len], b"hello\r\n");
/// assert_eq!(answers, b"\xff\xfe\x1f"); // DONT NAWS
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Telnet(State);

/// Where the next byte stands.
///
/// ```text
/// Text <──> AfterCr
///   │ IAC
///   v
/// Command ── WILL, WONT, DO, DONT ──> Option(verb) ── any ──> Text
///   │ SB                      any other byte: ──> Text
///   v
/// Parameters ──IAC──> ParametersIac ──SE──> Text (any other byte: back to Parameters)
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    AfterCr,
    Command,
    Option(u8),
    Parameters,
    ParametersIac,
}

impl Telnet {
    /// Moves the text among `bytes` to their front and says how much that is; appends what is to be
    /// answered to `answers`, 3 bytes for 3 at most. Every byte of the stream is given once.
    pub fn filter(&mut self, bytes: &mut [u8], answers: &mut Vec<u8>) -> usize {
        let is_text = matches!(self.0, State::Text | State::AfterCr);
        if is_text && memchr::memchr2(IAC, 0, bytes).is_none() {
            if let Some(last) = bytes.last() {
                self.0 = after_text(*last);
            }
            return bytes.len();
        }
        let mut len = 0;
        for at in 0..bytes.len() {
            if let Some(text) = self.step(bytes[at], answers) {
                bytes[len] = text;
                len += 1;
            }
        }
        len
    }

    /// What one byte is, if it is text.
    fn step(&mut self, byte: u8, answers: &mut Vec<u8>) -> Option<u8> {
        let (next, text) = match (self.0, byte) {
            (State::Text | State::AfterCr, IAC) => (State::Command, None),
            (State::AfterCr, 0) => (State::Text, Some(b'\n')),
            (State::Text | State::AfterCr, byte) => (after_text(byte), Some(byte)),
            (State::Command, IAC) => (State::Text, Some(IAC)),
            (State::Command, WILL | WONT | DO | DONT) => (State::Option(byte), None),
            (State::Command, SB) => (State::Parameters, None),
            // Below SE there are no commands.
            (State::Command, SE..) => (State::Text, None),
            (State::Command, byte) => (after_text(byte), Some(byte)),
            (State::Option(verb), option) => {
                match verb {
                    WILL => answers.extend([IAC, DONT, option]),
                    DO => answers.extend([IAC, WONT, option]),
                    // The client gives up an option that it never had here.
                    _ => {}
                }
                (State::Text, None)
            }
            (State::Parameters, IAC) => (State::ParametersIac, None),
            (State::ParametersIac, SE) => (State::Text, None),
            (State::Parameters | State::ParametersIac, _) => (State::Parameters, None),
        };
        self.0 = next;
        text
    }
}

fn after_text(byte: u8) -> State {
    if byte == b'\r' {
        State::AfterCr
    } else {
        State::Text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is text and what is answered, the bytes cut into pieces that end at `cuts`.
    fn filtered(bytes: &[u8], cuts: &[usize]) -> (Vec<u8>, Vec<u8>) {
        let (mut telnet, mut text, mut answers) = (Telnet::default(), Vec::new(), Vec::new());
        let mut from = 0;
        for &cut in cuts.iter().chain([&bytes.len()]) {
            let mut piece = bytes[from..cut].to_vec();
            let len = telnet.filter(&mut piece, &mut answers);
            text.extend_from_slice(&piece[..len]);
            from = cut;
        }
        (text, answers)
    }

    const NAWS_10_COLUMNS: &[u8] = b"\xff\xfa\x1f\0\x50\0\x0a\xff\xf0";

    #[test]
    fn commands_are_taken_out_at_every_cut() {
        let session = [
            b"\xff\xfb\x1f\xff\xfd\x03".as_slice(), // WILL NAWS, DO SUPPRESS-GO-AHEAD
            NAWS_10_COLUMNS,
            b"hello\r\0",
            b"\xff\xf4\xff\xfd\x06", // Ctrl-C: IP, DO TIMING-MARK
            b"a\0b \xff\xff\xffc\r\n",
            b"\xff\xfc\x01\xff\xfe\x01\xff\xf6", // WONT, DONT, AYT
            b"\xff\xfa\x18\0xterm\xff\xff\n\xff\xf0bye\r",
        ]
        .concat();
        let text = b"hello\r\na\0b \xffc\r\nbye\r".to_vec();
        let answers = b"\xff\xfe\x1f\xff\xfc\x03\xff\xfc\x06".to_vec();
        let right = (text, answers);
        assert_eq!(filtered(&session, &[]), right);
        for at in 0..session.len() {
            assert_eq!(filtered(&session, &[at]), right, "cut at {at}");
        }
        let bytewise: Vec<usize> = (0..session.len()).collect();
        assert_eq!(filtered(&session, &bytewise), right);
    }

    #[test]
    fn text_without_commands_is_left_alone() {
        for text in ["", "ls -l\n", "你好\r\n", "a\rb"] {
            assert_eq!(
                filtered(text.as_bytes(), &[]),
                (text.as_bytes().to_vec(), Vec::new())
            );
        }
    }
}
