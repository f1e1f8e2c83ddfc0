//! Names that members of this server have on the bus, as keys of a bucket that expire, and claims to such.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;

use super::event::{Claimed, Event};
use super::link::Link;
use super::subjects::Inbox;
use crate::config::format_duration;
use crate::service::chat::name::Name;
use crate::turn::{ConnId, Moment, Turn};
use crate::wire::{JetStreamAnswer, JetStreamError, NatsMessage};

/// How long the bus has to answer a claim.
const ANSWER: Duration = Duration::from_secs(5);

/// Names that members of this server have on the bus, and claims that are not answered.
#[derive(Debug, Default)]
pub(super) struct Leases {
    /// How long the bucket keeps a name behind its last renewal.
    lease: Duration,
    held: HashMap<Name, Lease>,
    claims: HashMap<u64, Claim>,
    count: u64,
}

#[derive(Debug)]
struct Lease {
    holder: ConnId,
    /// Its place in the bucket: whoever has another place has the name.
    sequence: u64,
    /// When it was last confirmed.
    since: Moment,
    /// It is being renewed.
    is_asked: bool,
}

/// A claim to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Claim {
    name: Name,
    holder: ConnId,
    why: Why,
    asked: Moment,
}

/// What a claim is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The name is to be free.
    New,
    /// The name belongs to the holder, whoever has it.
    Own,
    /// The lease is to go on.
    Renewal,
    /// The lease is over, and nobody may have taken the name since.
    Again,
    /// Who has it, as the lease was refused: nothing is written.
    Look,
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// The name is the holder's.
    Taken(u64),
    /// It is somebody else's.
    Refused,
    /// It is nobody's.
    Free,
    /// Nobody can tell.
    Unknown,
}

/// What follows from it.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Nothing,
    /// A member may be called so, or not.
    Decided(Claim, Answer),
    /// A member has lost the name.
    Lost(Name, ConnId),
    /// This is to be asked next.
    Ask(Name, ConnId, Why),
    /// A name that was given back meanwhile has been written again, at this place.
    Unwanted(u64),
}

impl Leases {
    /// Claims a name for a member: one that is free, or one that belongs to the member. Whether an answer will come.
    pub(super) fn claim(
        &mut self,
        link: &Link,
        t: &mut Turn<'_>,
        (name, holder): (Name, ConnId),
        is_owner: bool,
    ) -> bool {
        let why = if is_owner { Why::Own } else { Why::New };
        let is_ready = link.is_ready();
        if is_ready {
            self.ask(link, t, (name, holder), why);
        }
        is_ready
    }

    /// Leases last as long as the bucket says: whoever made it may have wished for another time than this server does.
    pub(super) fn last(&mut self, bus: &str, (wished, found): (Duration, Option<Duration>)) {
        let lease = found.unwrap_or(wished);
        if lease != wished && lease != self.lease {
            let (lease, wished) = (format_duration(lease), format_duration(wished));
            log::warn!(bus; "the bus keeps a name for {lease}, as whoever came to it first has said, and not for {wished}");
        }
        self.lease = lease;
    }

    /// Renews those of which a third is over.
    pub(super) fn renew(&mut self, link: &Link, t: &mut Turn<'_>) {
        for held in self.due(t.now) {
            self.ask(link, t, held, Why::Renewal);
        }
    }

    /// A member is called so no more.
    pub(super) fn release(&mut self, link: &Link, t: &mut Turn<'_>, name: Name) {
        if let Some(sequence) = self.let_go(name) {
            delete(link, t, sequence);
        }
    }

    /// A claim is answered.
    pub(super) fn take(
        &mut self,
        link: &Link,
        t: &mut Turn<'_>,
        number: u64,
        message: &NatsMessage<'_>,
    ) -> Option<Event> {
        match self.answered(number, Answer::of(message, &link.subjects.me), t.now) {
            Outcome::Ask(name, holder, why) => {
                self.ask(link, t, (name, holder), why);
                None
            }
            Outcome::Unwanted(sequence) => {
                delete(link, t, sequence);
                None
            }
            outcome => outcome.event(),
        }
    }

    /// Claims that have waited too long.
    pub(super) fn expire(&mut self, now: Moment) -> Vec<Event> {
        self.give_up(|claim| claim.asked.after(ANSWER) <= now, now)
    }

    /// The bus is away: no claim will be answered.
    pub(super) fn give_all_up(&mut self, now: Moment) -> Vec<Event> {
        self.give_up(|_| true, now)
    }

    fn give_up(&mut self, which: impl Fn(&Claim) -> bool, now: Moment) -> Vec<Event> {
        let late = self.claims.extract_if(|_, claim| which(claim));
        let late: Vec<Claim> = late.map(|(_, claim)| claim).collect();
        let outcomes = late
            .into_iter()
            .map(|claim| self.decided(claim, Answer::Unknown, now));
        outcomes.filter_map(Outcome::event).collect()
    }

    fn ask(&mut self, link: &Link, t: &mut Turn<'_>, (name, holder): (Name, ConnId), why: Why) {
        let inbox = (Inbox::Claim, self.begin(name, holder, why, t.now));
        let (key, me) = (link.subjects.key(name), link.subjects.me.as_bytes());
        if why == Why::Look {
            let subject = format!("$JS.API.STREAM.MSG.GET.{}", link.subjects.bucket());
            let body = json!({ "last_by_subj": key }).to_string();
            return link.request(t, &subject, inbox, &[], body.as_bytes());
        }
        let expected = self.expected(name, why).map(|place| place.to_string());
        let header = expected
            .as_deref()
            .map(|place| ("Nats-Expected-Last-Subject-Sequence", place));
        link.request(t, &key, inbox, header.as_slice(), me);
    }

    /// The place that the bucket must have for the name, if it has to have one.
    fn expected(&self, name: Name, why: Why) -> Option<u64> {
        match why {
            Why::New | Why::Again => Some(0),
            Why::Own | Why::Look => None,
            Why::Renewal => Some(self.held.get(&name.key()).map_or(0, |lease| lease.sequence)),
        }
    }

    /// A claim begins. Says its number.
    fn begin(&mut self, name: Name, holder: ConnId, why: Why, now: Moment) -> u64 {
        self.count += 1;
        if let Some(lease) = self.held.get_mut(&name.key()) {
            lease.is_asked = true;
        }
        let claim = Claim {
            name,
            holder,
            why,
            asked: now,
        };
        self.claims.insert(self.count, claim);
        self.count
    }

    fn answered(&mut self, number: u64, answer: Answer, now: Moment) -> Outcome {
        match self.claims.remove(&number) {
            Some(claim) => self.decided(claim, answer, now),
            None => Outcome::Nothing,
        }
    }

    fn decided(&mut self, claim: Claim, answer: Answer, now: Moment) -> Outcome {
        let (name, holder) = (claim.name, claim.holder);
        let lease = |sequence| Lease {
            holder,
            sequence,
            since: now,
            is_asked: false,
        };
        if matches!(claim.why, Why::New | Why::Own) {
            if let Answer::Taken(sequence) = answer {
                self.held.insert(name.key(), lease(sequence));
            }
            return Outcome::Decided(claim, answer);
        }
        let held = self.held.get_mut(&name.key());
        let Some(held) = held.filter(|held| held.holder == holder) else {
            return match (claim.why, answer) {
                (Why::Renewal | Why::Again, Answer::Taken(sequence)) => Outcome::Unwanted(sequence),
                _ => Outcome::Nothing,
            };
        };
        held.is_asked = false;
        match (claim.why, answer) {
            // Written by this server, which was not told so: to be renewed there, at once.
            (Why::Look, Answer::Taken(sequence)) => {
                held.sequence = sequence;
                Outcome::Ask(name, holder, Why::Renewal)
            }
            (Why::Look, Answer::Free) => Outcome::Ask(name, holder, Why::Again),
            (Why::Look, Answer::Refused) => {
                self.held.remove(&name.key());
                Outcome::Lost(name, holder)
            }
            (_, Answer::Taken(sequence)) => {
                *held = lease(sequence);
                Outcome::Nothing
            }
            // The answer to the one before may have been lost.
            (_, Answer::Refused) => Outcome::Ask(name, holder, Why::Look),
            (_, Answer::Free | Answer::Unknown) => Outcome::Nothing,
        }
    }

    /// A name is its holder's no more. Says its place.
    fn let_go(&mut self, name: Name) -> Option<u64> {
        self.held.remove(&name.key()).map(|lease| lease.sequence)
    }

    /// Those whose third is over, which are to be renewed.
    fn due(&self, now: Moment) -> Vec<(Name, ConnId)> {
        let third = self.lease / 3;
        let is_due = |held: &Lease| !held.is_asked && held.since.after(third) <= now;
        let due = self.held.iter().filter(|(_, held)| is_due(held));
        due.map(|(&name, held)| (name, held.holder)).collect()
    }
}

/// Deletes what is at this place of the bucket.
fn delete(link: &Link, t: &mut Turn<'_>, sequence: u64) {
    let subject = format!("$JS.API.STREAM.MSG.DELETE.{}", link.subjects.bucket());
    let body = json!({ "seq": sequence, "no_erase": true }).to_string();
    link.request(t, &subject, (Inbox::Nothing, 0), &[], body.as_bytes());
}

impl Answer {
    /// The answer to whoever writes `me` for a name, or asks who did.
    fn of(message: &NatsMessage<'_>, me: &str) -> Answer {
        match JetStreamAnswer::of(message) {
            Ok(answer) if answer.seq > 0 => Answer::Taken(answer.seq),
            Ok(answer) => match answer.message {
                Some(found) if found.data() == me.as_bytes() => Answer::Taken(found.seq),
                Some(_) => Answer::Refused,
                None => Answer::Unknown,
            },
            Err(error) if error.err_code == JetStreamError::WRONG_LAST_SEQUENCE => Answer::Refused,
            Err(error) if error.err_code == JetStreamError::NO_MESSAGE_FOUND => Answer::Free,
            Err(_) => Answer::Unknown,
        }
    }
}

impl Outcome {
    /// What the chat is told of it.
    fn event(self) -> Option<Event> {
        match self {
            Outcome::Nothing | Outcome::Ask(..) | Outcome::Unwanted(_) => None,
            Outcome::Lost(name, holder) => Some(Event::NameLost(holder, name)),
            Outcome::Decided(claim, answer) => {
                let claimed = match answer {
                    Answer::Taken(_) => Claimed::Taken {
                        is_owner: claim.why == Why::Own,
                    },
                    Answer::Refused => Claimed::Refused,
                    Answer::Free | Answer::Unknown => Claimed::Unknown,
                };
                Some(Event::Claimed(claim.holder, claim.name, claimed))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    fn leases() -> Leases {
        let mut leases = Leases::default();
        leases.last("bus", (LEASE, Some(LEASE)));
        leases
    }

    const EVA: ConnId = ConnId {
        slot: 1,
        generation: 1,
    };

    const BOB: ConnId = ConnId {
        slot: 2,
        generation: 1,
    };

    #[test]
    fn a_name_is_claimed_renewed_and_lost() {
        let (mut leases, now) = (leases(), Moment::START);
        let claim = leases.begin(name("Eva"), EVA, Why::New, now);
        assert_eq!(leases.expected(name("eva"), Why::New), Some(0));
        let decided = leases.answered(claim, Answer::Taken(7), now);
        assert!(matches!(
            decided,
            Outcome::Decided(Claim { holder: EVA, .. }, Answer::Taken(7))
        ));
        assert_eq!(
            leases.answered(claim, Answer::Taken(7), now),
            Outcome::Nothing
        );
        assert_eq!(
            leases.due(now.after(LEASE / 3 - Duration::from_millis(1))),
            []
        );
        let later = now.after(LEASE / 3);
        let due = leases.due(later);
        assert_eq!(due, [(name("eva"), EVA)]);
        assert_eq!(leases.expected(name("EVA"), Why::Renewal), Some(7));
        let renewal = leases.begin(due[0].0, EVA, Why::Renewal, later);
        assert_eq!(leases.due(later), [], "it is asked for once");
        assert_eq!(
            leases.answered(renewal, Answer::Taken(9), later),
            Outcome::Nothing
        );
        assert_eq!(leases.expected(name("eva"), Why::Renewal), Some(9));
        let renewal = leases.begin(name("eva"), EVA, Why::Renewal, later);
        let looks = leases.answered(renewal, Answer::Refused, later);
        assert_eq!(looks, Outcome::Ask(name("eva"), EVA, Why::Look));
        let look = leases.begin(name("eva"), EVA, Why::Look, later);
        assert_eq!(
            leases.answered(look, Answer::Refused, later),
            Outcome::Lost(name("eva"), EVA)
        );
        assert_eq!(leases.let_go(name("eva")), None);
    }

    #[test]
    fn who_has_a_name_whose_renewal_was_refused_is_asked_before_it_is_lost() {
        let (mut leases, now) = (leases(), Moment::START);
        let eva = name("eva");
        let says = |leases: &mut Leases, why, answer| {
            let number = leases.begin(eva, EVA, why, now);
            leases.answered(number, answer, now)
        };
        says(&mut leases, Why::New, Answer::Taken(7));
        // The answer to a renewal was lost, and the name is ours.
        assert_eq!(
            says(&mut leases, Why::Renewal, Answer::Unknown),
            Outcome::Nothing
        );
        let look = Outcome::Ask(eva, EVA, Why::Look);
        assert_eq!(says(&mut leases, Why::Renewal, Answer::Refused), look);
        assert_eq!(
            says(&mut leases, Why::Look, Answer::Taken(9)),
            Outcome::Ask(eva, EVA, Why::Renewal)
        );
        assert_eq!(leases.expected(eva, Why::Renewal), Some(9));
        // Nobody has it: the lease was over. The answer to a claim is lost in its turn.
        assert_eq!(says(&mut leases, Why::Renewal, Answer::Refused), look);
        let again = Outcome::Ask(eva, EVA, Why::Again);
        assert_eq!(says(&mut leases, Why::Look, Answer::Free), again);
        assert_eq!(leases.expected(eva, Why::Again), Some(0));
        assert_eq!(says(&mut leases, Why::Again, Answer::Refused), look);
        // Nobody can tell: it is asked again, from the beginning.
        assert_eq!(
            says(&mut leases, Why::Look, Answer::Unknown),
            Outcome::Nothing
        );
        assert_eq!(leases.due(now.after(LEASE)), [(eva, EVA)]);
        // What nobody has any more is not asked for, and nothing was written that is to be deleted.
        let number = leases.begin(eva, EVA, Why::Look, now);
        leases.let_go(eva);
        assert_eq!(
            leases.answered(number, Answer::Taken(9), now),
            Outcome::Nothing
        );
        // Nor what somebody else here has by now.
        says(&mut leases, Why::New, Answer::Taken(10));
        let number = leases.begin(eva, BOB, Why::Look, now);
        assert_eq!(
            leases.answered(number, Answer::Refused, now),
            Outcome::Nothing
        );
        assert_eq!(leases.let_go(eva), Some(10));
    }

    #[test]
    fn a_lease_lasts_as_long_as_the_bucket_keeps_it() {
        let (mut leases, now) = (leases(), Moment::START);
        let claim = leases.begin(name("eva"), EVA, Why::New, now);
        leases.answered(claim, Answer::Taken(7), now);
        assert_eq!(leases.due(now.after(LEASE / 9)), []);
        leases.last("bus", (LEASE, Some(LEASE / 3)));
        assert_eq!(leases.due(now.after(LEASE / 9)), [(name("eva"), EVA)]);
        // A bucket that keeps names for ever.
        leases.last("bus", (LEASE, None));
        assert_eq!(leases.due(now.after(LEASE / 9)), []);
        assert_eq!(leases.due(now.after(LEASE / 3)), [(name("eva"), EVA)]);
    }

    #[test]
    fn an_answer_says_who_has_a_name() {
        let of = |payload: &str| {
            let message = NatsMessage {
                payload: payload.as_bytes(),
                ..NatsMessage::default()
            };
            Answer::of(&message, "me")
        };
        for (payload, answer) in [
            (r#"{"stream":"S","seq":7}"#, Answer::Taken(7)),
            (r#"{"message":{"seq":9,"data":"bWU="}}"#, Answer::Taken(9)),
            (r#"{"message":{"seq":9,"data":"eW91"}}"#, Answer::Refused),
            (r#"{"message":{"seq":9}}"#, Answer::Refused),
            (r#"{"error":{"err_code":10071}}"#, Answer::Refused),
            (r#"{"error":{"err_code":10037}}"#, Answer::Free),
            (r#"{"error":{"err_code":10023}}"#, Answer::Unknown),
            ("{}", Answer::Unknown),
            ("", Answer::Unknown),
        ] {
            assert_eq!(of(payload), answer, "{payload}");
        }
    }

    #[test]
    fn what_is_not_answered_is_given_up_and_asked_again() {
        let (mut leases, now) = (leases(), Moment::START);
        leases.begin(name("eva"), EVA, Why::New, now);
        assert!(leases.expire(now).is_empty());
        let given_up = leases.expire(now.after(ANSWER));
        assert!(matches!(
            given_up[..],
            [Event::Claimed(EVA, _, Claimed::Unknown)]
        ));
        let claim = leases.begin(name("eva"), EVA, Why::Own, now);
        assert_eq!(leases.expected(name("eva"), Why::Own), None);
        leases.answered(claim, Answer::Taken(1), now);
        leases.begin(name("eva"), EVA, Why::Renewal, now.after(LEASE));
        assert!(leases.give_all_up(now.after(LEASE)).is_empty());
        assert_eq!(leases.due(now.after(LEASE)).len(), 1);
        // A renewal of a name that was given back meanwhile is written once more, and deleted.
        let renewal = leases.begin(name("eva"), EVA, Why::Renewal, now.after(LEASE));
        assert_eq!(leases.let_go(name("Eva")), Some(1));
        assert_eq!(
            leases.answered(renewal, Answer::Taken(2), now),
            Outcome::Unwanted(2)
        );
        assert_eq!(leases.let_go(name("eva")), None);
    }
}
