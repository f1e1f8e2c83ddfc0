//! The control socket's side of a take-over: who may take the sockets over, and until when.
//!
//! No row of the table: it is not served by a URL, but beside every table. It does not know descriptors, nor
//! which endpoint a socket is for: what is asked for properly is handed on to what runs the loop.

use super::{Manner, Peer, Service};
use crate::buf::ReadBuf;
use crate::config::limits::TAKE_OVER_TIMEOUT;
use crate::turn::{Closed, ConnId, Fault, HandOver, Turn};
use crate::wire::{TAKE_OVER_VERSION, TakeOverAnswer, TakeOverMessage, TakeOverRequest};

/// Takes requests of one process at a time that would take the sockets over.
#[derive(Debug, Default)]
pub struct Control {
    /// Whose take-over has begun.
    taker: Option<ConnId>,
}

impl Control {
    /// The process that was to take the server over never will, if it is this one's.
    fn give_up(&mut self, id: ConnId) {
        if self.taker == Some(id) {
            self.taker = None;
            log::warn!("not taken over: the other process was never ready; this server goes on");
        }
    }

    fn request(&mut self, t: &mut Turn<'_>, request: TakeOverRequest) {
        let is_taker = self.taker == Some(t.id);
        let wanted = match request {
            TakeOverRequest::Sockets { version, .. } if version != TAKE_OVER_VERSION => {
                return refuse(
                    t,
                    format!(
                        "this server hands its sockets over by version {TAKE_OVER_VERSION} of the format, and was asked for version {version}; stop it and start the new one"
                    ),
                );
            }
            TakeOverRequest::Sockets { .. } if self.taker.is_some() && !is_taker => {
                return refuse(
                    t,
                    "another process is taking this server over; try again when it is ready",
                );
            }
            TakeOverRequest::Sockets { from, .. } => HandOver::Sockets { from },
            TakeOverRequest::Ready { .. } if !is_taker => {
                return refuse(t, "a process asks for the sockets before it is ready");
            }
            TakeOverRequest::Ready { taken } => HandOver::Ready { taken },
        };
        self.taker = Some(t.id);
        // Until that is answered.
        t.hold();
        t.hand_over(wanted);
    }
}

impl Service for Control {
    fn open(&mut self, t: &mut Turn<'_>, _peer: &Peer) {
        t.wake_at(t.now.after(TAKE_OVER_TIMEOUT));
    }

    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        let mut decoder = TakeOverMessage::<TakeOverRequest>::default();
        while !t.is_held() && !t.is_leaving() {
            match input.next(&mut decoder) {
                Ok(Some(request)) => self.request(t, request),
                Ok(None) => break,
                Err(wrong) => {
                    refuse(t, wrong.to_string());
                    return Err(wrong.into());
                }
            }
        }
        Ok(())
    }

    /// The time is up: whoever is at the other end serves nobody yet, and we go on.
    fn wake(&mut self, t: &mut Turn<'_>) {
        let after = TAKE_OVER_TIMEOUT.as_secs();
        refuse(
            t,
            format!("nothing was ready within {after} s, so this server goes on"),
        );
    }

    /// The other process is gone, so that the next may come at once.
    fn eof(&mut self, t: &mut Turn<'_>, _rest: &mut ReadBuf) -> Result<(), Fault> {
        self.give_up(t.id);
        t.close();
        Ok(())
    }

    fn closed(&mut self, t: &mut Turn<'_>, why: &Closed) {
        if *why == Closed::Done {
            // It was answered with the last word.
            self.taker = self.taker.filter(|taker| *taker != t.id);
        }
        self.give_up(t.id);
    }

    fn stopping(&mut self, t: &mut Turn<'_>) {
        if !t.is_leaving() {
            refuse(t, "the server is stopping");
        }
    }

    fn manner(&self) -> Manner {
        Manner {
            is_private: true,
            ..Manner::ANSWERS
        }
    }
}

/// Says why nothing changes, and ends the connection.
fn refuse(t: &mut Turn<'_>, reason: impl Into<String>) {
    let reason = reason.into();
    t.reply(&TakeOverAnswer::Refused { reason });
    t.close_lingering();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::service::rehearsal::Stage;
    use crate::wire::{Decode, Encode};

    fn asks(from: u32) -> Vec<u8> {
        let version = TAKE_OVER_VERSION;
        encoded(&TakeOverRequest::Sockets { version, from })
    }

    fn is_ready(taken: &[u32]) -> Vec<u8> {
        let taken = taken.to_vec();
        encoded(&TakeOverRequest::Ready { taken })
    }

    fn encoded(message: &impl Encode) -> Vec<u8> {
        let mut out = Vec::new();
        message.encode(&mut out);
        out
    }

    #[track_caller]
    fn is_refused(stage: &mut Stage<Control>, client: ConnId, why: &str) {
        let heard = stage.hears(client);
        match TakeOverMessage::default().decode(&heard) {
            Ok(Some((TakeOverAnswer::Refused { reason }, n))) if n == heard.len() => {
                assert!(reason.contains(why), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        assert!(stage.is_leaving(client));
    }

    #[test]
    fn one_request_at_a_time_is_handed_on_however_it_was_cut() {
        let mut stage = Stage::new(Control::default());
        let new = stage.enters();
        let mut bytes = asks(0);
        bytes.extend(asks(253));
        for byte in bytes {
            stage.says(new, &[byte]);
        }
        let sockets = |from| Some(HandOver::Sockets { from });
        assert_eq!(stage.wanted(new), sockets(0));
        assert_eq!(stage.wanted(new), None);
        stage.resumes(new);
        assert_eq!(stage.wanted(new), sockets(253));
        stage.resumes(new);
        stage.says(new, &is_ready(&[0, 7]));
        let taken = vec![0, 7];
        assert_eq!(stage.wanted(new), Some(HandOver::Ready { taken }));
        assert_eq!(stage.hears(new), b"");
    }

    #[test]
    fn a_second_take_over_at_once_is_refused_and_one_after_it_is_not() {
        let mut stage = Stage::new(Control::default());
        let first = stage.enters();
        stage.says(first, &asks(0));
        let second = stage.enters();
        stage.says(second, &asks(0));
        is_refused(&mut stage, second, "another process is taking");
        assert_eq!(stage.wanted(second), None);
        // It cannot say that it is ready for the first, either.
        let third = stage.enters();
        stage.says(third, &is_ready(&[0]));
        is_refused(&mut stage, third, "asks for the sockets before");
        stage.leaves(second);
        let fourth = stage.enters();
        stage.says(fourth, &asks(0));
        is_refused(&mut stage, fourth, "another process is taking");
        // The first dies, and so does the next, whose connection is not closed yet.
        stage.leaves(first);
        for _ in 0..2 {
            let next = stage.enters();
            stage.says(next, &asks(0));
            assert_eq!(stage.wanted(next), Some(HandOver::Sockets { from: 0 }));
            stage.resumes(next);
            stage.ends(next);
        }
    }

    #[test]
    fn fault_h5_what_is_not_ready_in_time_is_given_up() {
        let mut stage = Stage::new(Control::default());
        let silent = stage.enters();
        let slow = stage.enters();
        stage.says(slow, &asks(0));
        assert_eq!(stage.wanted(slow), Some(HandOver::Sockets { from: 0 }));
        stage.resumes(slow);
        stage.waits(TAKE_OVER_TIMEOUT - Duration::from_millis(1));
        assert_eq!(stage.hears(slow), b"");
        stage.waits(Duration::from_millis(1));
        is_refused(&mut stage, slow, "within 10 s");
        is_refused(&mut stage, silent, "within 10 s");
        // What it says then comes too late.
        stage.says(slow, &is_ready(&[0]));
        assert_eq!(stage.wanted(slow), None);
    }

    #[test]
    fn another_version_and_nonsense_are_refused_with_a_reason() {
        let mut stage = Stage::new(Control::default());
        let newer = stage.enters();
        let (version, from) = (TAKE_OVER_VERSION + 1, 0);
        let request = TakeOverRequest::Sockets { version, from };
        stage.says(newer, &encoded(&request));
        is_refused(&mut stage, newer, "version 2");
        for nonsense in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"\x02\0\0\0{}",
            b"\xff\xff\xff\xff",
        ] {
            let stranger = stage.enters();
            stage.says(stranger, nonsense);
            is_refused(&mut stage, stranger, "message");
        }
        let client = stage.enters();
        stage.stops();
        is_refused(&mut stage, client, "stopping");
    }
}
