//! What came of an answer that failed, in words: enough to know what the server said, and nothing that a terminal acts on.

use std::fmt;

use crate::load::measure::failures::FailureKind;

/// So many bytes of it are shown.
const SHOWN: usize = 32;

/// An answer of which something came.
#[derive(Debug, Clone, Copy)]
pub struct FailedAnswer<'b> {
    /// Why it failed.
    pub kind: FailureKind,
    /// Its status, where it has one.
    pub status: Option<u16>,
    /// How many bytes of it came, and how many were to; none where its length is not known beforehand.
    pub came: Option<(usize, usize)>,
    /// How it begins.
    pub bytes: &'b [u8],
    /// Where it is wrong: what came there, and what was to come.
    pub difference: Option<(&'b [u8], &'b [u8])>,
}

impl fmt::Display for FailedAnswer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            FailureKind::WrongAnswer => "wrong",
            FailureKind::TurnedDown => "turned down",
            FailureKind::Timeout => "not whole in time",
            FailureKind::Reset => "reset before it was whole",
            _ => "ended before it was whole",
        })?;
        if let Some(status) = self.status {
            write!(f, ", status {status}")?;
        }
        if let Some((came, expected)) = self.difference {
            return write!(
                f,
                ", {} came where {} was to",
                Quoted(came),
                Quoted(expected)
            );
        }
        if let Some((came, all)) = self.came {
            write!(f, ", {came} of {all} bytes came")?;
        }
        match self.bytes {
            [] => Ok(()),
            bytes => write!(f, ", it begins {}", Quoted(bytes)),
        }
    }
}

/// The first of these bytes, in ASCII: what is not printed, or no ASCII, is escaped.
#[derive(Debug, Clone, Copy)]
struct Quoted<'b>(&'b [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(SHOWN)];
        let more = if shown.len() < self.0.len() {
            "…"
        } else {
            ""
        };
        write!(f, "\"{}{more}\"", shown.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_said_and_nothing_of_it_acts_on_a_terminal() {
        let short = FailedAnswer {
            kind: FailureKind::ShortAnswer,
            status: None,
            came: Some((7, 8)),
            bytes: b"\x1b[31m\xe4\n",
            difference: None,
        };
        let said = r#"ended before it was whole, 7 of 8 bytes came, it begins "\x1b[31m\xe4\n""#;
        assert_eq!(short.to_string(), said);
        let wrong = FailedAnswer {
            kind: FailureKind::WrongAnswer,
            difference: Some((b"x", &[b'a'; 100])),
            ..short
        };
        let said = format!("wrong, \"x\" came where \"{}…\" was to", "a".repeat(32));
        assert_eq!(wrong.to_string(), said);
        let refused = FailedAnswer {
            kind: FailureKind::TurnedDown,
            status: Some(503),
            came: None,
            bytes: b"",
            ..short
        };
        assert_eq!(refused.to_string(), "turned down, status 503");
    }
}
