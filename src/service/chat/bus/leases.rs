//! Names that members of this server have on the bus, as keys of a bucket that expire, and claims to such.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use serde_json::json;

use super::event::{Claimed, Event};
use super::link::Link;
use super::subjects::Inbox;
use crate::config::format_duration;
use crate::service::chat::name::Name;
use crate::turn::{ConnId, Moment, Turn};
use crate::wire::{JetStreamAnswer, JetStreamError, NatsMessage};

/// How long the bus has to answer a claim; a renewal, a third of the lease at most.
const ANSWER: Duration = Duration::from_secs(5);

/// For so long an answer may still come to a claim that nobody waits for any more.
const LATE: Duration = Duration::from_secs(60);

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
    /// Nobody waits for the answer any more.
    is_given_up: bool,
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
    /// Nothing: the key is read, after a renewal was refused.
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

    /// A lease is as long as the bucket keeps a key, which another server may have set to another time than this one wishes.
    pub(super) fn last(&mut self, bus: &str, (wished, found): (Duration, Option<Duration>)) {
        let lease = found.unwrap_or(wished);
        if found != Some(wished) && lease != self.lease {
            let lease = found.map_or_else(|| "ever".to_owned(), format_duration);
            let wished = format_duration(wished);
            log::warn!(bus; "the bus keeps a name for {lease}, as the first server set it, not for {wished}");
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
    pub(super) fn release(&mut self, link: &Link, t: &mut Turn<'_>, of: (Name, ConnId)) {
        if let Some(sequence) = self.let_go(of) {
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
        match self.answered(number, Answer::of(message, &link.subjects.me)) {
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
        self.claims
            .retain(|_, claim| !claim.is_given_up || claim.asked.after(LATE) > now);
        let third = ANSWER.min(self.lease / 3);
        let patience = |why| match why {
            Why::New | Why::Own => ANSWER,
            Why::Renewal | Why::Again | Why::Look => third,
        };
        self.give_up(|claim| claim.asked.after(patience(claim.why)) <= now)
    }

    /// The bus is away: no claim will be answered.
    pub(super) fn give_all_up(&mut self) -> Vec<Event> {
        self.give_up(|_| true)
    }

    fn give_up(&mut self, which: impl Fn(&Claim) -> bool) -> Vec<Event> {
        let mut late = Vec::new();
        for claim in self.claims.values_mut() {
            if !claim.is_given_up && which(claim) {
                claim.is_given_up = true;
                late.push(*claim);
            }
        }
        let outcomes = late
            .into_iter()
            .map(|claim| self.decided(claim, Answer::Unknown));
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
            is_given_up: false,
        };
        self.claims.insert(self.count, claim);
        self.count
    }

    fn answered(&mut self, number: u64, answer: Answer) -> Outcome {
        match self.claims.remove(&number) {
            Some(claim) if claim.is_given_up => self.unawaited(claim, answer),
            Some(claim) => self.decided(claim, answer),
            None => Outcome::Nothing,
        }
    }

    /// Nobody waits for this answer any more. What was written is deleted, unless a member of this server has the name by
    /// now, at the newest place.
    fn unawaited(&mut self, claim: Claim, answer: Answer) -> Outcome {
        let (Answer::Taken(sequence), true) = (answer, claim.why != Why::Look) else {
            return Outcome::Nothing;
        };
        match self.held.get_mut(&claim.name.key()) {
            Some(held) => {
                held.sequence = held.sequence.max(sequence);
                Outcome::Nothing
            }
            None => Outcome::Unwanted(sequence),
        }
    }

    fn decided(&mut self, claim: Claim, answer: Answer) -> Outcome {
        let (name, holder) = (claim.name, claim.holder);
        let lease = |sequence| Lease {
            holder,
            sequence,
            // The bucket counts from when it was written, which was later.
            since: claim.asked,
            is_asked: false,
        };
        if let Some(held) = self.held.get_mut(&name.key()) {
            held.is_asked = false;
        }
        if matches!(claim.why, Why::New | Why::Own) {
            if let Answer::Taken(sequence) = answer {
                self.held.insert(name.key(), lease(sequence));
            }
            return Outcome::Decided(claim, answer);
        }
        let held = self.held.get_mut(&name.key());
        let Some(held) = held.filter(|held| held.holder == holder) else {
            return self.unawaited(claim, answer);
        };
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
    fn let_go(&mut self, (name, holder): (Name, ConnId)) -> Option<u64> {
        match self.held.entry(name.key()) {
            // Somebody else here may have it by now.
            Entry::Occupied(lease) if lease.get().holder == holder => Some(lease.remove().sequence),
            _ => None,
        }
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
    /// The answer to a request that writes `me` under a name's key, or reads the key.
    fn of(message: &NatsMessage<'_>, me: &str) -> Answer {
        match JetStreamAnswer::of(message) {
            Ok(answer) if answer.seq > 0 => Answer::Taken(answer.seq),
            Ok(answer) => match answer.message {
                Some(found) if found.data() == me.as_bytes() => Answer::Taken(found.seq),
                Some(_) => Answer::Refused,
                None => Answer::Unknown,
            },
            Err(error) if error.is_wrong_last_sequence() => Answer::Refused,
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
        let decided = leases.answered(claim, Answer::Taken(7));
        assert!(matches!(
            decided,
            Outcome::Decided(Claim { holder: EVA, .. }, Answer::Taken(7))
        ));
        assert_eq!(leases.answered(claim, Answer::Taken(7)), Outcome::Nothing);
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
        assert_eq!(leases.answered(renewal, Answer::Taken(9)), Outcome::Nothing);
        assert_eq!(leases.expected(name("eva"), Why::Renewal), Some(9));
        let renewal = leases.begin(name("eva"), EVA, Why::Renewal, later);
        let looks = leases.answered(renewal, Answer::Refused);
        assert_eq!(looks, Outcome::Ask(name("eva"), EVA, Why::Look));
        let look = leases.begin(name("eva"), EVA, Why::Look, later);
        assert_eq!(
            leases.answered(look, Answer::Refused),
            Outcome::Lost(name("eva"), EVA)
        );
        assert_eq!(leases.let_go((name("eva"), EVA)), None);
    }

    #[test]
    fn who_has_a_name_whose_renewal_was_refused_is_asked_before_it_is_lost() {
        let (mut leases, now) = (leases(), Moment::START);
        let eva = name("eva");
        let says = |leases: &mut Leases, why, answer| {
            let number = leases.begin(eva, EVA, why, now);
            leases.answered(number, answer)
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
        leases.let_go((eva, EVA));
        assert_eq!(leases.answered(number, Answer::Taken(9)), Outcome::Nothing);
        // Nor what somebody else here has by now.
        says(&mut leases, Why::New, Answer::Taken(10));
        let number = leases.begin(eva, BOB, Why::Look, now);
        assert_eq!(leases.answered(number, Answer::Refused), Outcome::Nothing);
        assert_eq!(leases.let_go((eva, EVA)), Some(10));
    }

    #[test]
    fn a_lease_lasts_as_long_as_the_bucket_keeps_it() {
        let (mut leases, now) = (leases(), Moment::START);
        let claim = leases.begin(name("eva"), EVA, Why::New, now);
        leases.answered(claim, Answer::Taken(7));
        assert_eq!(leases.due(now.after(LEASE / 9)), []);
        leases.last("bus", (LEASE, Some(LEASE / 3)));
        assert_eq!(leases.due(now.after(LEASE / 9)), [(name("eva"), EVA)]);
        // A bucket that keeps names for ever.
        leases.last("bus", (LEASE, None));
        assert_eq!(leases.due(now.after(LEASE / 9)), []);
        assert_eq!(leases.due(now.after(LEASE / 3)), [(name("eva"), EVA)]);
    }

    #[test]
    fn what_is_written_for_a_claim_that_was_given_up_is_deleted_or_whoever_has_the_name_has_it_there()
     {
        let (mut leases, now) = (leases(), Moment::START);
        let eva = name("eva");
        let late = leases.begin(eva, EVA, Why::New, now);
        assert_eq!(leases.give_all_up().len(), 1);
        assert!(leases.give_all_up().is_empty(), "it is given up once");
        assert_eq!(
            leases.answered(late, Answer::Taken(7)),
            Outcome::Unwanted(7)
        );
        assert_eq!(leases.answered(late, Answer::Taken(7)), Outcome::Nothing);
        // The name is somebody's here.
        let late = leases.begin(eva, BOB, Why::Own, now);
        leases.give_all_up();
        let claim = leases.begin(eva, EVA, Why::New, now);
        leases.answered(claim, Answer::Taken(8));
        assert_eq!(leases.answered(late, Answer::Taken(9)), Outcome::Nothing);
        assert_eq!(leases.expected(eva, Why::Renewal), Some(9));
        // A refusal says nothing, and neither does who had it.
        for why in [Why::New, Why::Look] {
            let late = leases.begin(eva, EVA, why, now);
            leases.give_all_up();
            let answer = match why {
                Why::Look => Answer::Taken(3),
                _ => Answer::Refused,
            };
            assert_eq!(leases.answered(late, answer), Outcome::Nothing);
        }
        assert_eq!(leases.expected(eva, Why::Renewal), Some(9));
        // It is not waited for without end.
        leases.begin(eva, EVA, Why::Renewal, now);
        leases.give_all_up();
        assert!(leases.expire(now.after(LATE)).is_empty());
        assert!(leases.claims.is_empty());
    }

    #[test]
    fn a_lease_belongs_to_one_member_and_is_asked_for_again_whatever_became_of_a_claim() {
        let (mut leases, now) = (leases(), Moment::START);
        let eva = name("eva");
        for holder in [EVA, BOB] {
            let claim = leases.begin(eva, holder, Why::Own, now);
            leases.answered(claim, Answer::Taken(7));
        }
        assert_eq!(
            leases.let_go((eva, EVA)),
            None,
            "it is another one's by now"
        );
        let due = now.after(LEASE / 3);
        leases.begin(eva, BOB, Why::Own, due);
        assert_eq!(leases.due(due), []);
        leases.expire(due.after(ANSWER));
        assert_eq!(leases.due(due.after(ANSWER)), [(eva, BOB)]);
        // A lease counts from when it was asked for, and an answer is waited for a third of it at most.
        leases.last("bus", (LEASE, Some(LEASE / 5)));
        leases.begin(eva, BOB, Why::Renewal, due);
        leases.expire(due.after(LEASE / 15));
        assert_eq!(leases.due(due.after(LEASE / 15)), [(eva, BOB)]);
        let renewal = leases.begin(eva, BOB, Why::Renewal, due);
        leases.answered(renewal, Answer::Taken(8));
        assert_eq!(leases.due(due.after(LEASE / 15)), [(eva, BOB)]);
        assert_eq!(leases.let_go((eva, BOB)), Some(8));
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
            (r#"{"error":{"err_code":10164}}"#, Answer::Refused),
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
        leases.answered(claim, Answer::Taken(1));
        leases.begin(name("eva"), EVA, Why::Renewal, now.after(LEASE));
        assert!(leases.give_all_up().is_empty());
        assert_eq!(leases.due(now.after(LEASE)).len(), 1);
        // A renewal of a name that was given back meanwhile is written once more, and deleted.
        let renewal = leases.begin(name("eva"), EVA, Why::Renewal, now.after(LEASE));
        assert_eq!(leases.let_go((name("Eva"), EVA)), Some(1));
        assert_eq!(
            leases.answered(renewal, Answer::Taken(2)),
            Outcome::Unwanted(2)
        );
        assert_eq!(leases.let_go((name("eva"), EVA)), None);
    }
}
