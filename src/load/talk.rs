//! What is owed on one connection, in both directions: counting and comparing, no sockets, no time.

use super::book::Kind;
use super::payload::Payload;

/// The requests in flight on a connection. Their start times are in the seat's ring.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Talk {
    /// Requests in flight.
    pub(super) flight: usize,
    /// Where in the ring the oldest of them is.
    pub(super) oldest: usize,
    /// Bytes of them that were not yet written, and where in the payload they begin.
    unsent: usize,
    write_at: usize,
    /// Bytes of them that were not yet read, and where in the payload they begin.
    unread: usize,
    read_at: usize,
}

impl Talk {
    /// Silence so far, on a connection whose first byte is at `at` in the payload.
    pub(super) fn new(at: usize) -> Self {
        Self {
            write_at: at,
            read_at: at,
            ..Self::default()
        }
    }

    /// The first message, before it is in flight.
    pub(super) fn first<'p>(&self, payload: &'p Payload, size: usize) -> &'p [u8] {
        payload.stretch(self.write_at, size)
    }

    /// Puts `count` more requests of `size` bytes in flight.
    #[inline]
    pub(super) fn ask(&mut self, count: usize, size: usize) {
        self.flight += count;
        self.unsent += count * size;
        self.unread += count * size;
    }

    /// What is to be written now.
    #[inline]
    pub(super) fn unsent<'p>(&self, payload: &'p Payload) -> &'p [u8] {
        payload.stretch(self.write_at, self.unsent)
    }

    /// Whether part of an answer has come.
    #[inline]
    pub(super) fn is_inside(&self, size: usize) -> bool {
        !self.unread.is_multiple_of(size)
    }

    /// `n` bytes of it were.
    #[inline]
    pub(super) fn sent(&mut self, n: usize, payload: &Payload) {
        self.unsent -= n;
        self.write_at = payload.advance(self.write_at, n);
    }

    /// Takes what came; says how many requests are answered by it.
    #[inline]
    pub(super) fn hear(
        &mut self,
        bytes: &[u8],
        payload: &Payload,
        size: usize,
    ) -> Result<usize, Kind> {
        let n = bytes.len();
        // Unread counts what is unsent too: an answer that overtakes its request is no echo.
        if n > self.unread - self.unsent || *bytes != *payload.stretch(self.read_at, n) {
            return Err(Kind::WrongAnswer);
        }
        let owed = self.flight;
        self.read_at = payload.advance(self.read_at, n);
        self.unread -= n;
        self.flight = self.unread.div_ceil(size);
        Ok(owed - self.flight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_however_they_were_cut() {
        let payload = Payload::new(10, 3);
        for cut in 1..=30 {
            let mut talk = Talk::new(8185);
            talk.ask(3, 10);
            let all = talk.unsent(&payload).to_vec();
            talk.sent(30, &payload);
            let answered: usize = all
                .chunks(cut)
                .map(|part| talk.hear(part, &payload, 10).unwrap())
                .sum();
            assert_eq!((answered, talk.flight), (3, 0), "{cut}");
            assert!(talk.hear(&all[..1], &payload, 10).is_err());
        }
    }

    #[test]
    fn an_answer_that_overtakes_its_request_is_wrong() {
        let payload = Payload::new(10, 1);
        let mut talk = Talk::new(0);
        talk.ask(1, 10);
        let all = talk.unsent(&payload).to_vec();
        talk.sent(4, &payload);
        assert_eq!(talk.hear(&all[..5], &payload, 10), Err(Kind::WrongAnswer));
    }
}
