//! The gate in front of a service: a client proves that it knows a secret of the endpoint, then it is
//! served (A1 to A3).
//!
//! Does not know what is behind it, where secrets are kept, or which side of TLS it is on. The service
//! belongs to the gate, which calls it only for connections that are inside: no code of it runs for one
//! that has proven nothing (fault D12).

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;

use super::{Datagrams, Dialler, Manner, Occasion, Peer, Secrets, Service, Sessions, Terms};
use crate::buf::ReadBuf;
use crate::turn::{
    Broadcast, BroadcastTurn, CHANNEL_BINDING_BYTES, ChildEvent, Closed, ConnId, ErrandEvent,
    Fault, Moment, Turn,
};
use crate::wire::{CHALLENGE_BYTES, Challenge, Family};

/// Where challenges come from: the operating system's random source, but in tests.
pub type ChallengeSource = Box<dyn FnMut() -> io::Result<Challenge>>;

/// A service behind a gate.
pub struct Gate {
    inside: Box<dyn Service>,
    asks: Asks,
    challenges: ChallengeSource,
    /// The last challenge: the same once more would let a recorded proof in.
    last: Challenge,
    /// Whether the random source has failed, which is said once.
    has_failed: bool,
    passages: Sessions<Passage>,
}

/// What a connection has to prove.
#[derive(Debug)]
enum Asks {
    /// One of these secrets, whichever listener it came through.
    Always(Secrets),
    /// What the terms of its listener say: one of these secrets, or nothing.
    ByListener(HashMap<u16, Option<Secrets>>),
}

impl Asks {
    /// Of connections through this listener; none, if it is not known, and so lets nobody in.
    fn at(&self, listener: u16) -> Option<Option<&Secrets>> {
        match self {
            Asks::Always(secrets) => Some(Some(secrets)),
            Asks::ByListener(all) => all.get(&listener).map(Option::as_ref),
        }
    }
}

/// How far a connection is. One without a passage could not be challenged, and is on its way out.
///
/// ```text
/// Asked ──the right proof──> Inside
///   └──────a wrong proof, half a proof and the end──────> closed, with nothing said
/// ```
#[derive(Debug)]
enum Passage {
    /// It was sent a challenge.
    Asked(Box<Asked>),
    /// It has proven that it knows a secret: the service's.
    Inside,
}

/// What is kept of a connection until it has answered.
#[derive(Debug)]
struct Asked {
    challenge: Challenge,
    binding: Option<[u8; CHANNEL_BINDING_BYTES]>,
    peer: Peer,
    listener: u16,
}

impl Gate {
    /// Lets those connections through to `inside` that prove one of `secrets`.
    pub fn new(inside: Box<dyn Service>, secrets: Secrets, challenges: ChallengeSource) -> Gate {
        Gate::asking(inside, Asks::Always(secrets), challenges)
    }

    /// Lets those connections through to `inside` that prove what the [`Terms`] of their listener ask for, which
    /// may be nothing: for a value that several endpoints share.
    pub fn by_listener(inside: Box<dyn Service>, challenges: ChallengeSource) -> Gate {
        Gate::asking(inside, Asks::ByListener(HashMap::new()), challenges)
    }

    fn asking(inside: Box<dyn Service>, asks: Asks, challenges: ChallengeSource) -> Gate {
        Gate {
            inside,
            asks,
            challenges,
            last: [0; CHALLENGE_BYTES],
            has_failed: false,
            passages: Sessions::default(),
        }
    }

    /// A challenge that was not sent before, as far as can be told.
    fn challenge(&mut self) -> io::Result<Challenge> {
        let challenge = (self.challenges)()?;
        // The last is all zero at first, which no source gives either (fault D5).
        if challenge == self.last || challenge == [0; CHALLENGE_BYTES] {
            return Err(io::Error::other("it repeats itself"));
        }
        self.last = challenge;
        Ok(challenge)
    }

    /// Of a connection that is inside, its service.
    fn inside(&mut self, t: &Turn<'_>) -> Option<&mut dyn Service> {
        match self.passages.get(t.id)? {
            Passage::Asked(_) => None,
            Passage::Inside => Some(&mut *self.inside),
        }
    }
}

impl Service for Gate {
    fn open(&mut self, t: &mut Turn<'_>, peer: &Peer) {
        match self.asks.at(t.listener()) {
            Some(Some(_)) => {}
            Some(None) => {
                self.passages.insert(t.id, Passage::Inside);
                return self.inside.open(t, peer);
            }
            None => return t.refuse(),
        }
        let challenge = match self.challenge() {
            Ok(challenge) => challenge,
            Err(error) => {
                if !std::mem::replace(&mut self.has_failed, true) {
                    log::error!(error:%; "there are no random bytes: connections that need a challenge are closed");
                }
                return t.refuse();
            }
        };
        t.reply(&challenge[..]);
        let asked = Asked {
            challenge,
            binding: t.channel_binding().copied(),
            peer: *peer,
            listener: t.listener(),
        };
        self.passages.insert(t.id, Passage::Asked(Box::new(asked)));
    }

    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        match self.passages.get_mut(t.id) {
            Some(Passage::Inside) => self.inside.input(t, input),
            Some(passage @ Passage::Asked(_)) => {
                let Passage::Asked(asked) = &*passage else {
                    unreachable!("it is matched to be so")
                };
                // A listener that asks for nothing any more has nothing that a proof could be right by.
                let Some(Some(secrets)) = self.asks.at(asked.listener) else {
                    input.consume(input.len());
                    return Err(Fault::WrongProof);
                };
                let len = secrets.digest.bytes();
                let Some(proof) = input.unread().get(..len) else {
                    return Ok(());
                };
                if !secrets.are_proven(&asked.challenge, asked.binding.as_ref(), proof) {
                    input.consume(input.len());
                    return Err(Fault::WrongProof);
                }
                input.consume(len);
                let (peer, listener) = (asked.peer, asked.listener);
                *passage = Passage::Inside;
                t.admit();
                t.set_listener(listener);
                self.inside.open(t, &peer);
                // What came behind the proof is the service's, if it takes input.
                if input.is_empty() || t.is_held() || t.is_leaving() {
                    return Ok(());
                }
                self.inside.input(t, input)
            }
            None => {
                input.consume(input.len());
                Ok(())
            }
        }
    }

    fn eof(&mut self, t: &mut Turn<'_>, rest: &mut ReadBuf) -> Result<(), Fault> {
        if let Some(inside) = self.inside(t) {
            return inside.eof(t, rest);
        }
        if rest.is_empty() {
            t.close();
            return Ok(());
        }
        Err(Fault::WrongProof)
    }

    fn drained(&mut self, t: &mut Turn<'_>) {
        if let Some(inside) = self.inside(t) {
            inside.drained(t);
        }
    }

    fn wake(&mut self, t: &mut Turn<'_>) {
        if let Some(inside) = self.inside(t) {
            inside.wake(t);
        }
    }

    fn child(&mut self, t: &mut Turn<'_>, event: ChildEvent<'_>) {
        if let Some(inside) = self.inside(t) {
            inside.child(t, event);
        }
    }

    fn broadcast(&self) -> Option<Broadcast> {
        self.inside.broadcast()
    }

    fn transcript(&self) -> Option<&Path> {
        self.inside.transcript()
    }

    fn write_transcript_to(&mut self, out: Box<dyn io::Write>) {
        self.inside.write_transcript_to(out);
    }

    fn reopen_transcript(&mut self) {
        self.inside.reopen_transcript();
    }

    /// What the service says reaches connections that it knows, which are inside.
    fn heard(&mut self, t: &mut BroadcastTurn<'_>, event: ChildEvent<'_>) {
        self.inside.heard(t, event);
    }

    /// As of [`heard`](Service::heard).
    fn errand(&mut self, t: &mut BroadcastTurn<'_>, number: u64, event: ErrandEvent<'_>) {
        self.inside.errand(t, number, event);
    }

    fn due(&self) -> Option<Moment> {
        self.inside.due()
    }

    fn comes_due(&mut self, t: &mut Turn<'_>) {
        self.inside.comes_due(t);
    }

    fn add_figures(&self, figures: &mut Vec<Family>) {
        self.inside.add_figures(figures);
    }

    fn file_sent(&mut self, t: &mut Turn<'_>, bytes: u64, error: Option<io::Error>) {
        if let Some(inside) = self.inside(t) {
            inside.file_sent(t, bytes, error);
        }
    }

    fn prepare(&mut self, occasion: Occasion) -> Result<(), String> {
        self.inside.prepare(occasion)
    }

    fn figures(&mut self, t: &mut Turn<'_>, page: &[u8]) {
        if let Some(inside) = self.inside(t) {
            inside.figures(t, page);
        }
    }

    fn stopping(&mut self, t: &mut Turn<'_>) {
        match self.inside(t) {
            Some(inside) => inside.stopping(t),
            None => t.close_lingering(),
        }
    }

    fn closed(&mut self, t: &mut Turn<'_>, why: &Closed) {
        if let Some(Passage::Inside) = self.passages.remove(t.id) {
            self.inside.closed(t, why);
        }
    }

    fn dropped(&mut self, id: ConnId, lines: u64, out: &mut Vec<u8>) {
        if let Some(Passage::Inside) = self.passages.get(id) {
            self.inside.dropped(id, lines, out);
        }
    }

    fn stands_for(&self, line: &[u8]) -> Option<u64> {
        self.inside.stands_for(line)
    }

    fn listens(&mut self, listener: u16, terms: &Terms) {
        if let Asks::ByListener(all) = &mut self.asks {
            all.insert(listener, terms.secrets.clone());
        }
        self.inside.listens(listener, terms);
    }

    fn listens_no_more(&mut self, listener: u16) {
        if let Asks::ByListener(all) = &mut self.asks {
            all.remove(&listener);
        }
        self.inside.listens_no_more(listener);
    }

    /// Nothing where it asks for a proof: a client would take it for the challenge.
    fn refusal(&self, reason: &str, out: &mut Vec<u8>) {
        if let Asks::ByListener(_) = self.asks {
            // The loop knows which listeners ask.
            self.inside.refusal(reason, out);
        }
    }

    fn replace_secrets(&mut self, secrets: &Secrets) -> bool {
        let is_one = matches!(self.asks, Asks::Always(_));
        if is_one {
            self.asks = Asks::Always(secrets.clone());
        }
        is_one
    }

    fn shared_bytes(&self) -> usize {
        self.inside.shared_bytes()
    }

    fn datagrams(&mut self) -> Option<&mut dyn Datagrams> {
        self.inside.datagrams()
    }

    /// Whom the service dials has nothing to prove here.
    fn dialler(&mut self) -> Option<&mut dyn Dialler> {
        self.inside.dialler()
    }

    fn give_back(&mut self) {
        self.inside.give_back();
    }

    fn manner(&self) -> Manner {
        Manner {
            is_private: true,
            is_gated: true,
            ..self.inside.manner()
        }
    }

    fn manner_at(&self, listener: u16) -> Manner {
        match self.asks.at(listener) {
            Some(None) => self.inside.manner_at(listener),
            Some(Some(_)) | None => self.manner(),
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("inside", &self.inside)
            .field("asks", &self.asks)
            .field("passages", &self.passages.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::service::rehearsal::Stage;
    use crate::service::{Chat, Echo, ProofOf, chat};
    use crate::wire::{Digest, HmacKey, Secret};

    const OURS: &[u8] = b"a secret of sixteen or more";
    const OTHER: &[u8] = b"another secret, as long";
    const BINDING: [u8; CHANNEL_BINDING_BYTES] = [0xb1; CHANNEL_BINDING_BYTES];

    fn secret(text: &[u8]) -> Secret {
        Secret::new(text.to_vec()).unwrap()
    }

    fn key(text: &[u8], digest: Digest) -> HmacKey {
        HmacKey::new(&secret(text), digest)
    }

    fn secrets(texts: &[&[u8]], digest: Digest, proof: ProofOf) -> Secrets {
        let all: Vec<Secret> = texts.iter().map(|text| secret(text)).collect();
        Secrets::new(&all, digest, proof).unwrap()
    }

    /// Challenges that differ from each other.
    fn counted() -> ChallengeSource {
        let mut n = 0;
        Box::new(move || {
            n += 1;
            Ok([n; CHALLENGE_BYTES])
        })
    }

    fn before(inside: impl Service + 'static, digest: Digest) -> Stage<Gate> {
        let accepted = secrets(&[OURS], digest, ProofOf::Challenge);
        Stage::new(Gate::new(Box::new(inside), accepted, counted()))
    }

    fn room() -> Chat {
        Chat::new(&chat::Options::default(), 1024)
    }

    fn challenged(stage: &mut Stage<Gate>) -> (ConnId, Challenge) {
        let client = stage.enters();
        let heard = stage.hears(client);
        (
            client,
            heard.try_into().expect("a challenge, and nothing else"),
        )
    }

    fn proven(challenge: &Challenge, digest: Digest) -> Vec<u8> {
        key(OURS, digest).prove(challenge).as_ref().to_vec()
    }

    /// Writes down what it is told, and answers with what it is sent.
    #[derive(Debug, Default, Clone)]
    struct Log(Rc<RefCell<Vec<String>>>);

    impl Log {
        fn take(&self) -> Vec<String> {
            self.0.take()
        }

        fn add(&self, what: impl Into<String>) {
            self.0.borrow_mut().push(what.into());
        }
    }

    impl Service for Log {
        fn open(&mut self, _t: &mut Turn<'_>, peer: &Peer) {
            self.add(format!(
                "open {}",
                peer.to_string().split(':').next().unwrap()
            ));
        }
        fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
            self.add(format!("input {}", String::from_utf8_lossy(input.unread())));
            t.reply_all(input);
            Ok(())
        }
        fn eof(&mut self, t: &mut Turn<'_>, rest: &mut ReadBuf) -> Result<(), Fault> {
            self.add(format!("eof {}", rest.len()));
            t.close();
            Ok(())
        }
        fn drained(&mut self, _t: &mut Turn<'_>) {
            self.add("drained");
        }
        fn wake(&mut self, _t: &mut Turn<'_>) {
            self.add("wake");
        }
        fn child(&mut self, _t: &mut Turn<'_>, _event: ChildEvent<'_>) {
            self.add("child");
        }
        fn stopping(&mut self, t: &mut Turn<'_>) {
            self.add("stopping");
            t.close();
        }
        fn closed(&mut self, _t: &mut Turn<'_>, why: &Closed) {
            self.add(format!("closed {why:?}"));
        }
    }

    #[test]
    fn a_right_proof_opens_the_service_also_when_the_request_is_glued_to_it() {
        for digest in [Digest::Sha256, Digest::Md5] {
            for request in ["", "hello", "hello\nand more"] {
                let log = Log::default();
                let mut stage = before(log.clone(), digest);
                let (client, challenge) = challenged(&mut stage);
                assert!(!stage.has_logged_in(client));
                let said = [&proven(&challenge, digest), request.as_bytes()].concat();
                stage.says(client, &said);
                assert!(stage.has_logged_in(client));
                assert_eq!(stage.hears(client), request.as_bytes());
                let told = log.take();
                assert_eq!(told[0], "open 127.0.0.1");
                let given = (!request.is_empty()).then(|| format!("input {request}"));
                assert_eq!(told[1..], given.into_iter().collect::<Vec<_>>()[..]);
                stage.says(client, b"later");
                assert_eq!(stage.hears(client), b"later");
                stage.ends(client);
                stage.leaves(client);
                let told = log.take();
                assert_eq!(told[..2], ["input later", "eof 0"]);
                assert!(told[2].starts_with("closed Gone"), "{told:?}");
            }
        }
    }

    #[test]
    fn fault_d2_a_proof_may_come_in_pieces() {
        for digest in [Digest::Sha256, Digest::Md5] {
            let len = digest.bytes();
            for cut in 0..=len {
                let log = Log::default();
                let mut stage = before(log.clone(), digest);
                let (client, challenge) = challenged(&mut stage);
                let proof = proven(&challenge, digest);
                stage.says(client, &proof[..cut]);
                assert_eq!(log.take().len(), usize::from(cut == len));
                assert_eq!(stage.unread(client), &proof[..cut % len]);
                stage.says(client, &[&proof[cut..], b"x"].concat());
                assert_eq!(stage.hears(client), b"x");
                assert_eq!(stage.fault(client), None);
            }
        }
    }

    #[test]
    fn fault_d1_a_wrong_proof_hears_nothing_and_its_request_is_not_parsed() {
        for digest in [Digest::Sha256, Digest::Md5] {
            for wrong in 0..digest.bytes() {
                let log = Log::default();
                let mut stage = before(log.clone(), digest);
                let (client, challenge) = challenged(&mut stage);
                let mut proof = proven(&challenge, digest);
                proof[wrong] ^= 1;
                proof.extend_from_slice(b"a request");
                stage.says(client, &proof);
                assert_eq!(stage.fault(client), Some(Fault::WrongProof));
                assert!(stage.is_leaving(client) && !stage.has_logged_in(client));
                assert_eq!(stage.hears(client), b"");
                assert_eq!(stage.unread(client), b"");
                stage.leaves(client);
                assert_eq!(log.take(), Vec::<String>::new());
            }
        }
    }

    #[test]
    fn fault_d4_a_proof_is_good_once() {
        let mut stage = before(Echo, Digest::Sha256);
        let (first, challenge) = challenged(&mut stage);
        let proof = proven(&challenge, Digest::Sha256);
        stage.says(first, &proof);
        assert!(stage.has_logged_in(first));
        let (second, _) = challenged(&mut stage);
        stage.says(second, &proof);
        assert_eq!(stage.fault(second), Some(Fault::WrongProof));
    }

    #[test]
    fn fault_d5_without_random_bytes_a_connection_is_closed_with_nothing_said() {
        type Fails = fn(u8) -> io::Result<Challenge>;
        let sources: [Fails; 3] = [
            |_| Err(io::ErrorKind::Unsupported.into()),
            |_| Ok([0; CHALLENGE_BYTES]),
            // The second is the first again.
            |_| Ok([7; CHALLENGE_BYTES]),
        ];
        for (nth, source) in sources.into_iter().enumerate() {
            let log = Log::default();
            let accepted = secrets(&[OURS], Digest::Sha256, ProofOf::Challenge);
            let gate = Gate::new(Box::new(log.clone()), accepted, Box::new(move || source(0)));
            let mut stage = Stage::new(gate);
            if nth == 2 {
                challenged(&mut stage);
            }
            let client = stage.enters();
            assert_eq!(stage.hears(client), b"");
            assert!(stage.is_leaving(client));
            stage.leaves(client);
            assert_eq!(log.take(), Vec::<String>::new());
        }
    }

    #[test]
    fn fault_d13_what_only_a_server_says_proves_nothing() {
        let mut stage = before(Echo, Digest::Sha256);
        // The challenge, sent back: a reflection.
        let (client, challenge) = challenged(&mut stage);
        stage.says(client, &challenge);
        assert_eq!(stage.fault(client), Some(Fault::WrongProof));
        // A challenge of the client's own: it is not answered.
        let (client, _) = challenged(&mut stage);
        stage.says(client, &[5; CHALLENGE_BYTES]);
        assert_eq!(stage.fault(client), Some(Fault::WrongProof));
        assert_eq!(stage.hears(client), b"");
    }

    #[test]
    fn fault_d17_a_proof_of_the_other_digest_is_none() {
        // Sixteen bytes of MD5 where 32 are asked for: half a proof, and then a wrong one.
        let mut stage = before(Echo, Digest::Sha256);
        let (client, challenge) = challenged(&mut stage);
        let proof = proven(&challenge, Digest::Md5);
        stage.says(client, &proof);
        assert_eq!(
            (stage.fault(client), stage.is_leaving(client)),
            (None, false)
        );
        stage.says(client, &[0; 16]);
        assert_eq!(stage.fault(client), Some(Fault::WrongProof));
        // And the reverse: the first 16 of 32 bytes are judged, and are wrong.
        let mut stage = before(Echo, Digest::Md5);
        let (client, challenge) = challenged(&mut stage);
        stage.says(client, &proven(&challenge, Digest::Sha256));
        assert_eq!(stage.fault(client), Some(Fault::WrongProof));
    }

    #[test]
    fn fault_d18_each_of_several_secrets_is_accepted_until_it_is_replaced() {
        let log = Log::default();
        let accepted = secrets(&[OURS, OTHER], Digest::Sha256, ProofOf::Challenge);
        let mut stage = Stage::new(Gate::new(Box::new(log), accepted, counted()));
        let enters_with = |stage: &mut Stage<Gate>, text: &[u8]| {
            let (client, challenge) = challenged(stage);
            stage.says(client, key(text, Digest::Sha256).prove(&challenge).as_ref());
            (client, stage.has_logged_in(client))
        };
        let (ours, is_in) = enters_with(&mut stage, OURS);
        assert!(is_in);
        let (other, is_in) = enters_with(&mut stage, OTHER);
        assert!(is_in, "the second counts as much as the first");
        assert!(!enters_with(&mut stage, b"a third, unknown one").1);
        // One that was asked before the change is judged by the secrets after it.
        let (waits, challenge) = challenged(&mut stage);
        let replaced = secrets(&[OTHER], Digest::Sha256, ProofOf::Challenge);
        assert!(stage.service.replace_secrets(&replaced));
        assert!(!enters_with(&mut stage, OURS).1);
        assert!(enters_with(&mut stage, OTHER).1);
        stage.says(waits, key(OURS, Digest::Sha256).prove(&challenge).as_ref());
        assert_eq!(stage.fault(waits), Some(Fault::WrongProof));
        for client in [ours, other] {
            stage.says(client, b"still here");
            assert_eq!(stage.hears(client), b"still here");
        }
        assert!(!Echo.replace_secrets(&replaced), "it has none");
    }

    #[test]
    fn over_tls_the_proof_may_cover_the_exporter_and_with_proof_exporter_it_must() {
        // What somebody in between has with the server, on a connection of its own.
        const THEIRS: [u8; CHANNEL_BINDING_BYTES] = [0x77; CHANNEL_BINDING_BYTES];
        for (proof_of, binding, covers, right) in [
            (ProofOf::Challenge, None, None, true),
            (ProofOf::Challenge, None, Some(BINDING), false),
            (ProofOf::Challenge, Some(BINDING), None, true),
            (ProofOf::Challenge, Some(BINDING), Some(BINDING), true),
            (ProofOf::Challenge, Some(BINDING), Some(THEIRS), false),
            (ProofOf::Exporter, Some(BINDING), Some(BINDING), true),
            (ProofOf::Exporter, Some(BINDING), None, false),
            (ProofOf::Exporter, Some(BINDING), Some(THEIRS), false),
            (ProofOf::Exporter, None, None, false),
            (ProofOf::Exporter, None, Some(BINDING), false),
        ] {
            let accepted = secrets(&[OTHER, OURS], Digest::Sha256, proof_of);
            let mut stage = Stage::new(Gate::new(Box::new(Echo), accepted, counted()));
            let client = stage.enters_bound(binding);
            let challenge = stage.hears(client).try_into().unwrap();
            let key = key(OURS, Digest::Sha256);
            let proof = match &covers {
                None => key.prove(&challenge),
                Some(binding) => key.prove_bound(&challenge, binding),
            };
            stage.says(client, proof.as_ref());
            assert_eq!(
                stage.has_logged_in(client),
                right,
                "{proof_of:?} {binding:?} {covers:?}"
            );
        }
    }

    #[test]
    fn fault_d12_nothing_but_a_right_proof_runs_the_service() {
        type Happens = fn(&mut Stage<Gate>, ConnId);
        let happens: [Happens; 7] = [
            |stage, client| stage.says(client, b"half a proof"),
            |stage, client| stage.ends(client),
            |stage, client| {
                stage.says(client, b"half");
                stage.ends(client);
            },
            |stage, _| stage.stops(),
            |stage, client| stage.cannot(client, ChildEvent::Busy),
            |stage, client| stage.loses(client, Closed::LoginTimeout),
            |stage, client| stage.says(client, &[1; 5000]),
        ];
        for (nth, happens) in happens.into_iter().enumerate() {
            let log = Log::default();
            let mut stage = before(log.clone(), Digest::Sha256);
            let (client, _) = challenged(&mut stage);
            happens(&mut stage, client);
            if nth != 5 {
                assert_eq!(stage.hears(client), b"", "{nth}");
                stage.leaves(client);
            }
            assert_eq!(log.take(), Vec::<String>::new(), "{nth}");
        }
    }

    #[test]
    fn half_a_proof_and_the_end_is_a_wrong_one_and_the_end_alone_is_none() {
        let mut stage = before(Echo, Digest::Sha256);
        let (client, challenge) = challenged(&mut stage);
        stage.says(client, &proven(&challenge, Digest::Sha256)[..31]);
        stage.ends(client);
        assert_eq!(stage.fault(client), Some(Fault::WrongProof));
        let (client, _) = challenged(&mut stage);
        stage.ends(client);
        assert_eq!(
            (stage.fault(client), stage.is_leaving(client)),
            (None, true)
        );
        // A whole one and the end: it is served, and ends as without a gate.
        let (client, challenge) = challenged(&mut stage);
        let said = [&proven(&challenge, Digest::Sha256)[..], b"last words"].concat();
        stage.says(client, &said);
        stage.ends(client);
        assert_eq!(stage.hears(client), b"last words");
        assert_eq!(
            (stage.fault(client), stage.is_leaving(client)),
            (None, true)
        );
    }

    #[test]
    fn a_gate_has_its_services_manner_and_says_that_it_asks() {
        let stage = before(room(), Digest::Sha256);
        let manner = stage.service.manner();
        assert!(manner.is_gated && manner.is_private);
        assert_eq!(manner.backlog, room().manner().backlog);
        let mut words = Vec::new();
        stage.service.refusal("full", &mut words);
        assert_eq!(words, b"", "a client would take it for the challenge");
        room().refusal("full", &mut words);
        assert_ne!(words, b"");
        let shown = format!("{:?}", stage.service);
        assert!(!shown.contains("sixteen"), "{shown}");
    }

    #[test]
    fn a_gate_stands_before_every_method_of_a_service() {
        let (_, methods) = include_str!("mod.rs")
            .split_once("pub trait Service: Debug {")
            .unwrap();
        let (methods, _) = methods.split_once("\n}\n").unwrap();
        let (_, ours) = include_str!("gate.rs")
            .split_once("impl Service for Gate {")
            .unwrap();
        let (ours, _) = ours.split_once("\n}\n").unwrap();
        let names: Vec<&str> = methods
            .lines()
            .filter_map(|line| line.strip_prefix("    fn ")?.split('(').next())
            .collect();
        assert!(names.len() > 10, "{names:?}");
        for name in names {
            assert!(ours.contains(&format!("    fn {name}(")), "{name}");
        }
    }

    #[test]
    fn there_is_no_gate_without_a_secret() {
        assert!(Secrets::new(&[], Digest::Sha256, ProofOf::Challenge).is_none());
    }

    fn terms(secrets: Option<Secrets>) -> Terms {
        Terms {
            secrets,
            ..Terms::default()
        }
    }

    #[test]
    fn a_shared_value_asks_for_what_the_terms_of_a_listener_say() {
        let mut stage = Stage::new(Gate::by_listener(Box::new(room()), counted()));
        let ours = secrets(&[OURS], Digest::Sha256, ProofOf::Challenge);
        let others = secrets(&[OTHER], Digest::Sha256, ProofOf::Challenge);
        stage.service.listens(0, &terms(None));
        stage.service.listens(1, &terms(Some(ours)));
        let is_gated = |stage: &Stage<Gate>, n| stage.service.manner_at(n).is_gated;
        let gated = [0, 1, 2].map(|n| is_gated(&stage, n));
        assert_eq!(gated, [false, true, true], "unknown: nobody comes in");
        let ann = stage.enters();
        assert!(stage.hears(ann).starts_with(b"* you are guest-1 in lobby"));
        stage.set_listener(1);
        let (bob, challenge) = challenged(&mut stage);
        assert_eq!(stage.hears(ann), b"", "who has proven nothing is not there");
        let (eve, for_eve) = challenged(&mut stage);
        stage.set_listener(7);
        stage.says(bob, &proven(&challenge, Digest::Sha256));
        assert!(
            stage
                .hears(bob)
                .starts_with(b"* you are guest-2 in lobby (2 here)")
        );
        assert_eq!(stage.hears(ann), b"* guest-2 joined\n");
        stage.says(bob, b"hello\n");
        assert_eq!(stage.hears(ann), b"guest-2: hello\n");
        // Other secrets are for those who have not proven theirs.
        stage.service.listens(1, &terms(Some(others)));
        stage.says(eve, &proven(&for_eve, Digest::Sha256));
        assert_eq!(stage.fault(eve), Some(Fault::WrongProof));
        stage.says(bob, b"still here\n");
        assert_eq!(stage.hears(ann), b"guest-2: still here\n");
        let nobody = stage.enters();
        assert!(stage.is_leaving(nobody) && stage.hears(nobody).is_empty());
        stage.service.listens_no_more(0);
        stage.set_listener(0);
        let late = stage.enters();
        assert!(stage.is_leaving(late));
        stage.says(ann, b"and I\n");
        assert_eq!(stage.hears(bob), b"guest-1: and I\n");
    }

    #[test]
    fn a_listener_that_asks_for_nothing_any_more_lets_nobody_in_who_was_asked() {
        let mut stage = Stage::new(Gate::by_listener(Box::new(room()), counted()));
        let ours = secrets(&[OURS], Digest::Sha256, ProofOf::Challenge);
        stage.service.listens(0, &terms(Some(ours)));
        let (asked, challenge) = challenged(&mut stage);
        stage.service.listens(0, &terms(None));
        stage.says(asked, &proven(&challenge, Digest::Sha256));
        assert_eq!(stage.fault(asked), Some(Fault::WrongProof));
        let free = stage.enters();
        assert!(stage.hears(free).starts_with(b"* you are guest-1"));
    }

    #[test]
    fn fault_d20_who_logs_in_to_a_shared_room_and_is_reset_at_once_has_come_and_gone() {
        let mut stage = Stage::new(Gate::by_listener(Box::new(room()), counted()));
        let ours = secrets(&[OURS], Digest::Sha256, ProofOf::Challenge);
        stage.service.listens(0, &terms(None));
        stage.service.listens(1, &terms(Some(ours)));
        let ann = stage.enters();
        stage.hears(ann);
        stage.set_listener(1);
        for n in 2..10 {
            let (asked, challenge) = challenged(&mut stage);
            if n % 2 == 0 {
                stage.says(asked, &proven(&challenge, Digest::Sha256));
            }
            stage.leaves(asked);
            let heard = String::from_utf8(stage.hears(ann)).unwrap();
            // Who has proven nothing has not come, so nobody is told of the going.
            let told = match n % 2 {
                0 => format!("* guest-{0} joined\n* guest-{0} left\n", 1 + n / 2),
                _ => String::new(),
            };
            assert_eq!(heard, told);
        }
        stage.says(ann, b"/who\n");
        assert_eq!(stage.hears(ann), b"* in lobby: guest-1\n");
    }
}
