//! Proving to a server that we know its secret, before anything is asked: the challenge comes, the
//! proof goes.
//!
//! It does not know time, nor what comes after. Of what the server sends it takes the challenge and
//! not a byte more.

use crate::load::measure::failures::{Failure, FailureKind};
use crate::load::net::dial::{Received, Stream};
use crate::load::net::secured::Session;
use crate::wire::{CHALLENGE_BYTES, Challenge, HmacKey, Proof};

/// How far it is. One challenge is answered, whatever comes later (fault D6).
///
/// ```text
/// Listening -> Proving
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handshake {
    /// So many bytes of the challenge have come.
    Listening(Challenge, usize),
    /// So many bytes of the proof have left.
    Proving(Proof, usize),
}

impl Handshake {
    /// Nothing has come.
    pub(crate) const fn new() -> Self {
        Self::Listening([0; CHALLENGE_BYTES], 0)
    }

    /// Goes on as far as the socket allows; says whether the proof has left.
    pub(crate) fn go_on(
        &mut self,
        stream: &mut Stream,
        cipher: &mut [u8],
        hmac_key: &HmacKey,
    ) -> Result<bool, Failure> {
        loop {
            match self {
                Self::Listening(challenge, have) if *have == challenge.len() => {
                    // What belongs to this session alone is of no use to somebody between (D7).
                    let binding = stream.session().and_then(Session::binding);
                    let proof = match binding {
                        Some(binding) => hmac_key.prove_bound(challenge, &binding),
                        None => hmac_key.prove(challenge),
                    };
                    *self = Self::Proving(proof, 0);
                }
                Self::Listening(challenge, have) => {
                    match stream.read(&mut challenge[*have..], cipher)? {
                        Some(Received { n: 0, .. }) => return Err(FailureKind::ShortAnswer.into()),
                        Some(Received { n, .. }) => *have += n,
                        None => return Ok(false),
                    }
                }
                Self::Proving(proof, sent) if *sent == proof.as_ref().len() => return Ok(true),
                Self::Proving(proof, sent) => match stream.write(&proof.as_ref()[*sent..])? {
                    Some(n) => *sent += n,
                    None => return Ok(false),
                },
            }
        }
    }
}
