//! What a server sends first: awaited on each connection before anything is asked on it.
//!
//! It does not know time. Behind a greeting nothing may come: nothing was asked.

use crate::load::exchange::delimiter::Delimiter;
use crate::load::measure::failures::{Failure, FailureKind};
use crate::load::net::dial::{Received, Stream};
use crate::load::plan::expect::Expect;
use crate::load::plan::limits::GREETING_BYTES_MAX;

/// So much is read at once: greetings are short.
const CHUNK_BYTES: usize = 512;

/// How a greeting ends.
#[derive(Debug)]
pub(super) enum AwaitedGreeting {
    /// Behind so many bytes.
    Bytes(usize),
    /// Behind these.
    Exact(Vec<u8>),
    /// Behind the first delimiter.
    Until(Delimiter),
}

/// How much of it has come: bytes, and of these so many of a delimiter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Heard {
    bytes: usize,
    matched: usize,
}

impl AwaitedGreeting {
    /// None of what has no end of its own; a plan has none such.
    pub(super) fn of(expect: &Expect) -> Option<Self> {
        match expect {
            Expect::Bytes(count) => Some(Self::Bytes(*count)),
            Expect::Exact(bytes) => Some(Self::Exact(bytes.clone())),
            Expect::Until(delimiter) => Some(Self::Until(Delimiter::new(delimiter))),
            Expect::Echo | Expect::Eof | Expect::Http | Expect::Framed(_) => None,
        }
    }

    /// Goes on as far as the socket allows; says whether it has come.
    pub(super) fn go_on(
        &self,
        heard: &mut Heard,
        stream: &mut Stream,
        cipher: &mut [u8],
    ) -> Result<bool, Failure> {
        let mut chunk = [0; CHUNK_BYTES];
        loop {
            match stream.read(&mut chunk, cipher)? {
                None => return Ok(false),
                Some(Received { n: 0, .. }) => return Err(FailureKind::ShortAnswer.into()),
                Some(Received { n, .. }) => {
                    if self.has_come(heard, &chunk[..n])? {
                        return Ok(true);
                    }
                }
            }
        }
    }

    /// Whether it has come with these bytes.
    fn has_come(&self, heard: &mut Heard, bytes: &[u8]) -> Result<bool, FailureKind> {
        let before = heard.bytes;
        heard.bytes += bytes.len();
        let whole = match self {
            Self::Bytes(count) => *count,
            Self::Exact(all) => {
                if all.get(before..heard.bytes) != Some(bytes) {
                    return Err(FailureKind::WrongAnswer);
                }
                all.len()
            }
            Self::Until(delimiter) => {
                return match delimiter.count(&mut heard.matched, bytes) {
                    (0, _) if heard.bytes <= GREETING_BYTES_MAX => Ok(false),
                    (1, false) => Ok(true),
                    _ => Err(FailureKind::WrongAnswer),
                };
            }
        };
        match heard.bytes {
            less if less < whole => Ok(false),
            same if same == whole => Ok(true),
            _ => Err(FailureKind::WrongAnswer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(expect: &Expect, parts: &[&[u8]]) -> Vec<Result<bool, FailureKind>> {
        let greeting = AwaitedGreeting::of(expect).unwrap();
        let mut heard = Heard::default();
        let has_come = |part: &&[u8]| greeting.has_come(&mut heard, part);
        parts.iter().map(has_come).collect()
    }

    #[test]
    fn a_greeting_ends_where_it_is_said_to_however_it_is_cut() {
        let text = b"220 a\r\n";
        for expect in [
            Expect::Until(b"\r\n".to_vec()),
            Expect::Until(b"\n".to_vec()),
            Expect::Bytes(text.len()),
            Expect::Exact(text.to_vec()),
        ] {
            assert_eq!(fed(&expect, &[text]), [Ok(true)], "{expect:?}");
            for at in 1..text.len() {
                let (one, other) = text.split_at(at);
                assert_eq!(
                    fed(&expect, &[one, other]),
                    [Ok(false), Ok(true)],
                    "{expect:?}"
                );
            }
            let mut each: Vec<&[u8]> = text.chunks(1).collect();
            let all = fed(&expect, &each);
            assert_eq!(all.iter().filter(|one| **one == Ok(true)).count(), 1);
            assert_eq!(all.last(), Some(&Ok(true)));
            // Nothing may follow, and nothing else may come.
            each.push(b"?");
            let both = [text.as_slice(), b"?"].concat();
            let wrong = [Err(FailureKind::WrongAnswer)];
            assert_eq!(fed(&expect, &[&both]), wrong, "{expect:?}");
        }
        let other = fed(&Expect::Exact(text.to_vec()), &[b"221"]);
        assert_eq!(other, [Err(FailureKind::WrongAnswer)]);
        let endless = vec![b'x'; GREETING_BYTES_MAX + 1];
        let endless = fed(&Expect::Until(b"\n".to_vec()), &[&endless]);
        assert_eq!(endless, [Err(FailureKind::WrongAnswer)]);
        assert!(AwaitedGreeting::of(&Expect::Http).is_none());
    }
}
