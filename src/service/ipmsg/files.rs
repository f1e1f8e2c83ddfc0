use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Ipmsg;
use super::offers::Wanted;
use super::sending::{Sending, Standing};
use crate::buf::ReadBuf;
use crate::service::Peer;
use crate::turn::{Fault, Moment, Turn};
use crate::wire::{Decode, IpmsgFileRequest, IpmsgFileRequests, Line};

/// How long a request may take.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);

/// After how long a silence a request is over that has no end.
const SETTLE: Duration = Duration::from_millis(20);

/// How many directories are sent at once: each is open with those in it that lead to where it is.
const DIRECTORIES_MAX: usize = 16;

/// A connection that asks for a file or a directory.
#[derive(Debug)]
pub(super) struct Session {
    peer: Option<IpAddr>,
    pub(super) phase: Phase,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// The request has not come, by this moment it is to be there.
    Asks {
        until: Moment,
        unread: Vec<u8>,
    },
    Sends(Sending),
    /// It has nothing more to say.
    Over,
    /// It is that of somebody of the network who is in a room, at this address.
    Room(SocketAddr, Line),
}

impl Ipmsg {
    pub(super) fn begin_session(&mut self, t: &mut Turn<'_>, peer: &Peer) {
        let until = t.now.after(REQUEST_WITHIN);
        let session = Session {
            peer: peer.ip(),
            phase: Phase::Asks {
                until,
                unread: Vec::new(),
            },
        };
        self.sessions.insert(t.id, session);
        t.wake_at(until);
    }

    pub(super) fn read_request(
        &mut self,
        t: &mut Turn<'_>,
        input: &mut ReadBuf,
    ) -> Result<(), Fault> {
        let Some(session) = self.sessions.get_mut(t.id) else {
            input.consume(input.len());
            return Ok(());
        };
        if let Phase::Room(..) = session.phase {
            self.hear_room(t, input);
            return Ok(());
        }
        if let Phase::Asks { until, unread } = &mut session.phase {
            unread.extend_from_slice(input.unread());
            input.consume(input.len());
            match IpmsgFileRequests.decode(unread)? {
                Some((request, _)) => self.begin_file(t, request),
                // It may have no end; then silence is one.
                None => {
                    let settled = t.now.after(SETTLE).min(*until);
                    let may_be_whole = IpmsgFileRequests.decode_eof(unread).is_ok();
                    t.wake_at(if may_be_whole { settled } else { *until });
                }
            }
            return Ok(());
        }
        // A NUL behind the request, or what nobody asked for.
        input.consume(input.len());
        Ok(())
    }

    /// Nothing more comes: that is an end, too.
    pub(super) fn end_request(
        &mut self,
        t: &mut Turn<'_>,
        rest: &mut ReadBuf,
    ) -> Result<(), Fault> {
        if let Some(Session {
            phase: Phase::Room(..),
            ..
        }) = self.sessions.get(t.id)
        {
            // The room has closed it, and said why before.
            rest.consume(rest.len());
            t.close();
            return Ok(());
        }
        rest.consume(rest.len());
        self.take_request(t)
    }

    /// What came is all that comes.
    fn take_request(&mut self, t: &mut Turn<'_>) -> Result<(), Fault> {
        let Some(Session {
            phase: Phase::Asks { unread, .. },
            ..
        }) = self.sessions.get_mut(t.id)
        else {
            return Ok(());
        };
        match IpmsgFileRequests.decode_eof(unread)? {
            Some((request, _)) => self.begin_file(t, request),
            None => t.close(),
        }
        Ok(())
    }

    /// Silence has ended a request, or been too long.
    pub(super) fn check_session(&mut self, t: &mut Turn<'_>) {
        let Some(session) = self.sessions.get_mut(t.id) else {
            return;
        };
        match &session.phase {
            Phase::Asks { unread, .. } if IpmsgFileRequests.decode_eof(unread).is_ok() => {
                if self.take_request(t).is_err() {
                    t.close();
                }
            }
            Phase::Over => {}
            Phase::Room(at, _) => {
                let at = *at;
                self.visit_room(t, at);
            }
            // A request that does not come, or what is not taken.
            Phase::Asks { .. } | Phase::Sends(_) => {
                session.phase = Phase::Over;
                t.close();
            }
        }
    }

    fn begin_file(&mut self, t: &mut Turn<'_>, request: IpmsgFileRequest) {
        let sessions = self.sessions.iter();
        let directories = sessions.filter(|one| one.sends_directory()).count();
        let Some(session) = self.sessions.get_mut(t.id) else {
            return;
        };
        let found = match session.peer {
            Some(_) if request.is_directory && directories >= DIRECTORIES_MAX => {
                Err(format!("{directories} directories are being sent"))
            }
            Some(peer) => self.offers.find(peer.to_canonical(), request),
            None => Err("the peer has no address".to_owned()),
        };
        match found {
            Ok(wanted) => {
                session.phase = Phase::Sends(match wanted {
                    Wanted::File(found) => Sending::file(found, request.offset),
                    Wanted::Directory(walk) => Sending::directory(walk),
                });
                self.send_piece(t);
            }
            Err(why) => {
                log::info!(slot = t.id.slot, packet = request.packet, file = request.id; "did not serve a file: {why}");
                session.phase = Phase::Over;
                t.wake_at(Moment::NEVER);
                t.close_lingering();
            }
        }
    }

    /// Sends the next piece, if none is on its way, or ends the connection.
    pub(super) fn send_piece(&mut self, t: &mut Turn<'_>) {
        self.send_on(t, Sending::go_on);
    }

    pub(super) fn piece_sent(&mut self, t: &mut Turn<'_>, bytes: u64, error: Option<io::Error>) {
        self.send_on(t, |sending, t| sending.sent(t, bytes, error));
    }

    fn send_on(
        &mut self,
        t: &mut Turn<'_>,
        go_on: impl FnOnce(&mut Sending, &mut Turn<'_>) -> Standing,
    ) {
        let Some(Session { phase, .. }) = self.sessions.get_mut(t.id) else {
            return;
        };
        let Phase::Sends(sending) = phase else {
            return;
        };
        match go_on(sending, t) {
            Standing::Goes => {}
            Standing::Over => {
                *phase = Phase::Over;
                t.wake_at(Moment::NEVER);
                t.close_lingering();
            }
            Standing::Short => {
                *phase = Phase::Over;
                t.close();
            }
        }
    }
}

impl Session {
    fn sends_directory(&self) -> bool {
        matches!(&self.phase, Phase::Sends(sending) if sending.is_directory())
    }
}
