use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::SocketAddr;

use crate::config::limits::DATAGRAM_ANSWERS_PER_SECOND_MAX;
use crate::turn::Moment;

/// How many reply_limiter are told apart: two that fall on one place share its budget.
const PLACES: usize = 1024;

/// How many answers each source of datagrams got in this second, in a table of fixed size.
///
/// Two servers that answer each other never stop on their own, and a datagram with a forged
/// source is enough to set them talking (CVE-2024-2169); so the answers to one source have a
/// rate (fault E8). Loopback is exempt: who can forge there needs no help, and a generator of load
/// is an honest guest.
#[derive(Debug)]
pub(super) struct ReplyLimiter {
    /// Seeded, so that nobody can choose whose budget to use up.
    hasher: RandomState,
    /// By place: the second, and the answers in it.
    places: Box<[(u32, u32)]>,
}

impl ReplyLimiter {
    pub(super) fn new() -> ReplyLimiter {
        ReplyLimiter {
            hasher: RandomState::new(),
            places: vec![(0, 0); PLACES].into(),
        }
    }

    /// Whether one more answer to this source is within its rate; counts it.
    pub(super) fn may_answer(&mut self, now: Moment, from: SocketAddr) -> bool {
        if from.ip().to_canonical().is_loopback() {
            return true;
        }
        let hash = self.hasher.hash_one(from);
        let (second, answers) = &mut self.places[hash as usize % PLACES];
        if *second != now.as_secs() {
            (*second, *answers) = (now.as_secs(), 0);
        }
        *answers = answers.saturating_add(1);
        *answers <= DATAGRAM_ANSWERS_PER_SECOND_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn fault_e8_two_servers_do_not_talk_for_ever() {
        let mut reply_limiter = ReplyLimiter::new();
        let other: SocketAddr = "192.0.2.1:9000".parse().unwrap();
        let now = Moment::START.after(Duration::from_secs(5));
        let answered = |reply_limiter: &mut ReplyLimiter, now| {
            (0..5000)
                .filter(|_| reply_limiter.may_answer(now, other))
                .count()
        };
        let max = DATAGRAM_ANSWERS_PER_SECOND_MAX as usize;
        assert_eq!(answered(&mut reply_limiter, now), max);
        assert_eq!(answered(&mut reply_limiter, now), 0);
        assert_eq!(
            answered(&mut reply_limiter, now.after(Duration::from_secs(1))),
            max
        );
        let local: SocketAddr = "127.0.0.1:9000".parse().unwrap();
        assert!((0..5000).all(|_| reply_limiter.may_answer(now, local)));
    }
}
