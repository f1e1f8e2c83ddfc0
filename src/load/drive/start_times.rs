//! When the requests in flight began: a ring for each slot.

use crate::load::exchange::requests::Requests;

/// When a request began: its latency counts from when it was meant to, its timeout from when it was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Start {
    /// When it was meant to begin; in the closed model when it did.
    pub(super) meant: u64,
    /// When it was sent, or dialled for.
    pub(super) sent: u64,
}

impl Start {
    /// Of a request that nothing delayed.
    pub(super) fn at(now: u64) -> Self {
        Self {
            meant: now,
            sent: now,
        }
    }
}

/// Start times in nanoseconds of the run; nothing is allocated once they stand.
#[derive(Debug)]
pub(super) struct StartTimes {
    /// A ring of `depth` for each slot.
    rings: Box<[Start]>,
    depth: usize,
    /// Requests in flight on all connections.
    pub(super) outstanding: usize,
}

impl StartTimes {
    /// For `count` slots with up to `depth` requests in flight on each.
    pub(super) fn new(count: usize, depth: usize) -> Self {
        Self {
            rings: vec![Start::default(); count * depth].into_boxed_slice(),
            depth,
            outstanding: 0,
        }
    }

    /// `count` more requests begin, behind those in flight.
    #[inline]
    pub(super) fn begin(&mut self, index: usize, requests: &Requests, count: usize, start: Start) {
        let ring = &mut self.rings[index * self.depth..][..self.depth];
        let mut at = requests.oldest + requests.flight;
        for _ in 0..count {
            if at >= self.depth {
                at -= self.depth;
            }
            ring[at] = start;
            at += 1;
        }
        self.outstanding += count;
    }

    /// The oldest `count` requests are answered: hands out when they began, and how many then.
    #[inline]
    pub(super) fn answered(
        &mut self,
        index: usize,
        requests: &mut Requests,
        count: usize,
        mut began: impl FnMut(Start, usize),
    ) {
        // What was sent in one write and comes back in one read is counted in one go.
        let ring = &self.rings[index * self.depth..][..self.depth];
        let mut left = count;
        while left > 0 {
            let start = ring[requests.oldest];
            let mut run = 0;
            while run < left && ring[requests.oldest] == start {
                run += 1;
                requests.oldest = if requests.oldest + 1 == self.depth {
                    0
                } else {
                    requests.oldest + 1
                };
            }
            left -= run;
            began(start, run);
        }
        self.outstanding -= count;
    }

    /// When those in flight were meant to begin, the oldest first.
    pub(super) fn in_flight(&self, index: usize, requests: &Requests) -> impl Iterator<Item = u64> {
        let ring = &self.rings[index * self.depth..][..self.depth];
        let oldest = requests.oldest;
        (0..requests.flight).map(move |place| ring[(oldest + place) % ring.len()].meant)
    }

    /// When the oldest of them was sent.
    pub(super) fn oldest_sent(&self, index: usize, requests: &Requests) -> Option<u64> {
        (requests.flight > 0).then(|| self.rings[index * self.depth + requests.oldest].sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for `count` more at `now`.
    fn ask(times: &mut StartTimes, requests: &mut Requests, count: usize, now: u64) {
        times.begin(1, requests, count, Start::at(now));
        requests.flight += count;
    }

    /// What is handed out where `count` are answered.
    fn answer(times: &mut StartTimes, requests: &mut Requests, count: usize) -> Vec<(u64, usize)> {
        let mut all = Vec::new();
        times.answered(1, requests, count, |began, run| {
            all.push((began.meant, run))
        });
        requests.flight -= count;
        all
    }

    #[test]
    fn requests_that_began_together_are_handed_out_together_and_others_in_order() {
        let mut times = StartTimes::new(2, 4);
        let mut requests = Requests::default();
        ask(&mut times, &mut requests, 2, 5);
        // At the same time, in another write.
        ask(&mut times, &mut requests, 1, 5);
        ask(&mut times, &mut requests, 1, 6);
        assert_eq!(
            (times.outstanding, times.oldest_sent(1, &requests)),
            (4, Some(5))
        );
        assert_eq!(answer(&mut times, &mut requests, 2), [(5, 2)]);
        // Behind them, where the ring begins again.
        ask(&mut times, &mut requests, 2, 6);
        let in_flight: Vec<u64> = times.in_flight(1, &requests).collect();
        assert_eq!(in_flight, [5, 6, 6, 6]);
        assert_eq!(answer(&mut times, &mut requests, 4), [(5, 1), (6, 3)]);
        assert_eq!(
            (times.outstanding, times.oldest_sent(1, &requests)),
            (0, None)
        );
        assert_eq!(times.in_flight(1, &requests).count(), 0);
    }
}
