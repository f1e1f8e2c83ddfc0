//! What is owed on one connection, in both directions: counting and comparing, no sockets, no time.

use crate::load::exchange::http::{Responses, Status};
use crate::load::exchange::judge::Judge;
use crate::load::exchange::outputs::{EndedOutput, Outputs};
use crate::load::exchange::payload::Payload;
use crate::load::exchange::terms::Terms;
use crate::load::measure::failures::FailureKind;
use crate::wire::CommandFraming;

/// The requests in flight on a connection. Their start times are in the slot's ring.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// Requests in flight.
    pub(crate) flight: usize,
    /// Where in the ring the oldest of them is.
    pub(crate) oldest: usize,
    /// On a connection that lives for some: how many follow the one in flight.
    pub(crate) more: usize,
    /// Bytes of them that were not yet written, and where in the payload they begin.
    unsent: usize,
    write_at: usize,
    /// Bytes of them that were not yet read, and where in the payload they begin.
    unread: usize,
    read_at: usize,
    within: Within,
}

/// The state within an answer whose length is not known beforehand; of the kind that the judge takes.
#[derive(Debug, Default)]
enum Within {
    /// Answers have a length, or last until the end.
    #[default]
    Nowhere,
    /// So much of the delimiter came last; and whether an answer has begun.
    Delimited { matched: usize, is_inside: bool },
    /// Outputs of commands.
    Outputs(Outputs),
    /// Responses of HTTP.
    Responses(Responses),
}

impl Within {
    fn new(judge: &Judge) -> Self {
        match judge {
            Judge::Echo | Judge::Exact(..) | Judge::Bytes(_) | Judge::Eof => Self::Nowhere,
            Judge::Until(_) => Self::Delimited {
                matched: 0,
                is_inside: false,
            },
            Judge::Http => Self::Responses(Responses::default()),
            Judge::Framed(_) => Self::Outputs(Outputs::default()),
        }
    }

    fn is_inside(&self) -> bool {
        match self {
            Self::Nowhere => false,
            Self::Delimited { is_inside, .. } => *is_inside,
            Self::Outputs(outputs) => outputs.is_inside(),
            Self::Responses(responses) => responses.is_inside(),
        }
    }

    /// Takes what came; says how many answers end in it.
    fn count(&mut self, terms: &Terms, bytes: &[u8]) -> Result<usize, FailureKind> {
        match (self, &terms.judge) {
            (Self::Delimited { matched, is_inside }, Judge::Until(delimiter)) => {
                let (count, has_rest) = delimiter.count(matched, bytes);
                *is_inside = has_rest;
                Ok(count)
            }
            (Self::Outputs(outputs), Judge::Framed(framing)) => {
                outputs.count(*framing, terms.output.as_deref(), bytes)
            }
            (Self::Responses(responses), Judge::Http) => responses.count(bytes),
            _ => Ok(0),
        }
    }
}

impl Requests {
    /// No request yet, on a connection whose first byte is at `at` in the payload.
    pub(crate) fn new(at: usize, terms: &Terms) -> Self {
        Self {
            write_at: at,
            read_at: match terms.judge {
                Judge::Echo => at,
                _ => 0,
            },
            within: Within::new(&terms.judge),
            ..Self::default()
        }
    }

    /// The first message, before it is in flight.
    pub(crate) fn first<'t>(&self, terms: &'t Terms) -> &'t [u8] {
        terms.payload.stretch(self.write_at, terms.size)
    }

    /// Puts `count` more requests in flight.
    #[inline]
    pub(crate) fn ask(&mut self, count: usize, terms: &Terms) {
        self.flight += count;
        self.unsent += count * terms.size;
        self.unread += count * terms.answer_bytes().unwrap_or(0);
    }

    /// What is to be written now.
    #[inline]
    pub(crate) fn unsent<'t>(&self, terms: &'t Terms) -> &'t [u8] {
        terms.payload.stretch(self.write_at, self.unsent)
    }

    /// Whether part of an answer has come.
    #[inline]
    pub(crate) fn is_inside(&self, terms: &Terms) -> bool {
        match terms.answer_bytes() {
            Some(size) => !self.unread.is_multiple_of(size),
            None => self.within.is_inside(),
        }
    }

    /// Whether part of what was asked has not left.
    pub(crate) fn is_sending(&self) -> bool {
        self.unsent > 0
    }

    /// How many bytes of the oldest answer have come, and how many it has; none where its length is not known beforehand.
    pub(crate) fn come(&self, terms: &Terms) -> Option<(usize, usize)> {
        let size = terms.answer_bytes()?;
        let left = self.unread.checked_rem(size)?;
        Some((if left == 0 { 0 } else { size - left }, size))
    }

    /// What came, from where it is wrong on, and what was to come there; none where that cannot be told.
    pub(crate) fn difference<'b>(
        &self,
        bytes: &'b [u8],
        terms: &'b Terms,
    ) -> Option<(&'b [u8], &'b [u8])> {
        let payload = match &terms.judge {
            Judge::Echo => &terms.payload,
            Judge::Exact(expected, _) => expected,
            _ => return None,
        };
        let expected = payload.stretch(self.read_at, bytes.len().min(self.unread));
        let place = bytes.iter().zip(expected).position(|(a, b)| a != b)?;
        Some((&bytes[place..], &expected[place..]))
    }

    /// `n` bytes of it were.
    #[inline]
    pub(crate) fn sent(&mut self, n: usize, terms: &Terms) {
        self.unsent -= n;
        self.write_at = terms.payload.advance(self.write_at, n);
    }

    /// Takes what came; says how many requests are answered by it.
    #[inline]
    pub(crate) fn feed(&mut self, bytes: &[u8], terms: &Terms) -> Result<usize, FailureKind> {
        let n = bytes.len();
        let answered = match &terms.judge {
            // Unread counts what is unsent too: an answer that overtakes its request is no echo.
            Judge::Echo if n <= self.unread - self.unsent => {
                self.compare(bytes, &terms.payload)?;
                self.whole(n, terms.size)
            }
            Judge::Exact(expected, size) if n <= self.unread => {
                self.compare(bytes, expected)?;
                self.whole(n, *size)
            }
            Judge::Bytes(size) if n <= self.unread => self.whole(n, *size),
            Judge::Echo | Judge::Exact(..) | Judge::Bytes(_) => {
                return Err(FailureKind::WrongAnswer);
            }
            // An acknowledgement would land inside the request.
            Judge::Framed(CommandFraming::Decimal) if self.unsent > 0 => {
                return Err(FailureKind::WrongAnswer);
            }
            Judge::Until(_) | Judge::Framed(_) | Judge::Http => self.within.count(terms, bytes)?,
            Judge::Eof => 0,
        };
        let is_unasked = self.flight == answered && self.is_inside(terms);
        match self.flight.checked_sub(answered) {
            Some(left) if !is_unasked => {
                self.flight = left;
                Ok(answered)
            }
            _ => Err(FailureKind::WrongAnswer),
        }
    }

    /// The statuses of the answers that ended in what was fed last, where answers have one.
    pub(crate) fn statuses(&self) -> &[Status] {
        match &self.within {
            Within::Responses(responses) => responses.ended(),
            _ => &[],
        }
    }

    /// The outputs of commands that ended in what was fed last.
    pub(crate) fn outputs(&self) -> &[EndedOutput] {
        match &self.within {
            Within::Outputs(outputs) => outputs.ended(),
            _ => &[],
        }
    }

    /// Whether the server has said that it answers nothing more on this connection.
    #[inline]
    pub(crate) fn is_last(&self) -> bool {
        matches!(&self.within, Within::Responses(responses) if responses.is_last())
    }

    /// The connection has ended, and with it the oldest answer, which [may](Self::may_end) end so.
    pub(crate) fn ended_with_the_connection(&mut self) {
        self.flight -= 1;
        if let Within::Responses(responses) = &mut self.within {
            responses.ended_with_the_connection();
        }
    }

    /// Takes over the requests in flight on a connection that has ended: they are to be sent again.
    pub(crate) fn carry_on(&mut self, other: &Self, terms: &Terms) {
        self.oldest = other.oldest;
        self.ask(other.flight, terms);
    }

    /// Whether the end of the connection is the end of an answer, once part of it has come.
    pub(crate) fn may_end(&self, terms: &Terms) -> bool {
        match &self.within {
            Within::Responses(responses) => responses.last_until_the_end(),
            _ => matches!(terms.judge, Judge::Eof),
        }
    }

    /// What is to be said before the output can come (C2).
    pub(crate) fn acknowledgement(&mut self) -> Option<&'static [u8]> {
        match &mut self.within {
            Within::Outputs(outputs) => outputs.acknowledgement(),
            _ => None,
        }
    }

    /// That was said. Says how many requests are answered by it: an empty output is whole then.
    pub(crate) fn acknowledged(&mut self, terms: &Terms) -> Result<usize, FailureKind> {
        let answered = self.within.count(terms, b"")?;
        self.flight -= answered;
        Ok(answered)
    }

    #[inline]
    fn compare(&mut self, bytes: &[u8], expected: &Payload) -> Result<(), FailureKind> {
        if *bytes != *expected.stretch(self.read_at, bytes.len()) {
            return Err(FailureKind::WrongAnswer);
        }
        self.read_at = expected.advance(self.read_at, bytes.len());
        Ok(())
    }

    /// `n` bytes of answers of `size` each: how many of these are whole by it.
    #[inline]
    fn whole(&mut self, n: usize, size: usize) -> usize {
        self.unread -= n;
        self.flight - self.unread.div_ceil(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of ten bytes, which come back.
    fn echo() -> Terms {
        Terms {
            payload: Payload::new(10, 3),
            size: 10,
            judge: Judge::Echo,
            output: None,
            exit: 0,
        }
    }

    #[test]
    fn answers_count_however_they_were_cut() {
        let terms = echo();
        for cut in 1..=30 {
            let mut requests = Requests::new(8185, &terms);
            requests.ask(3, &terms);
            let all = requests.unsent(&terms).to_vec();
            requests.sent(30, &terms);
            let answered: usize = all
                .chunks(cut)
                .map(|part| requests.feed(part, &terms).unwrap())
                .sum();
            assert_eq!((answered, requests.flight), (3, 0), "{cut}");
            assert!(requests.feed(&all[..1], &terms).is_err());
        }
    }

    #[test]
    fn an_answer_that_overtakes_its_request_is_wrong() {
        let terms = echo();
        let mut requests = Requests::new(0, &terms);
        requests.ask(1, &terms);
        let all = requests.unsent(&terms).to_vec();
        requests.sent(4, &terms);
        assert_eq!(
            requests.feed(&all[..5], &terms),
            Err(FailureKind::WrongAnswer)
        );
    }
}
