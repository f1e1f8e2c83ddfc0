//! What a supervisor and a process say to each other goes through this: packets that come whole, with descriptors
//! beside them (`SOCK_SEQPACKET` and `SCM_RIGHTS`, unix(7)).
//!
//! Neither end ever waits: what the other has no room for is kept here, within a limit.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::config::descriptors_beside;
use crate::config::limits::{HELPER_BYTES_MAX, PROCESS_MESSAGES_MAX};
use crate::wire::{SOCKETS_PER_MESSAGE_MAX, SUPERVISION_BYTES_MAX, packed};

/// One end.
#[derive(Debug)]
pub(super) struct Channel {
    socket: OwnedFd,
    /// What the other end has no room for yet.
    waiting: VecDeque<Packet>,
    /// Where packets are received.
    room: Vec<u8>,
}

/// A message, and what came beside it.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) bytes: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// What was there to be received.
#[derive(Debug)]
pub(super) enum Received {
    Packet(Packet),
    /// Nothing yet.
    Nothing,
    /// And nothing will be: the other end is gone.
    End,
}

impl Channel {
    /// Both ends: ours, and that of a process that is to be started.
    pub(super) fn pair() -> io::Result<(Channel, OwnedFd)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (ours, its) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Channel::over(ours), its))
    }

    /// This end, which does not block.
    pub(super) fn over(socket: OwnedFd) -> Channel {
        Channel {
            socket,
            waiting: VecDeque::new(),
            room: vec![0; SUPERVISION_BYTES_MAX],
        }
    }

    /// Sends a message, now or when there is room. An end that is gone loses it, as it tells by itself.
    ///
    /// # Errors
    ///
    /// `QuotaExceeded`: the other end has not read for too long.
    pub(super) fn send(
        &mut self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        self.flush()?;
        let bytes = packed(message);
        if self.waiting.is_empty() {
            match send(&self.socket, &bytes, descriptors) {
                Err(Errno::AGAIN) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
                other => return Ok(other?),
            }
        }
        if self.waiting.len() >= PROCESS_MESSAGES_MAX {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let descriptors = descriptors.iter().map(BorrowedFd::try_clone_to_owned);
        self.waiting.push_back(Packet {
            bytes,
            descriptors: descriptors.collect::<io::Result<_>>()?,
        });
        Ok(())
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while let Some(Packet { bytes, descriptors }) = self.waiting.front() {
            let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
            match send(&self.socket, bytes, &descriptors) {
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::PIPE | Errno::CONNRESET) | Ok(()) => {}
                Err(error) => return Err(error.into()),
            }
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Receives the next message.
    pub(super) fn receive(&mut self) -> io::Result<Received> {
        let mut room = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SOCKETS_PER_MESSAGE_MAX))];
        let mut beside = RecvAncillaryBuffer::new(&mut room);
        let received = loop {
            let into = &mut [IoSliceMut::new(&mut self.room)];
            match recvmsg(&self.socket, into, &mut beside, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => break received,
                Err(Errno::AGAIN) => return Ok(Received::Nothing),
                // It ended before it had read everything; what it said before that is still there.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                Err(error) => return Err(error.into()),
            }
        };
        let descriptors = descriptors_beside(&mut beside, received.flags)?;
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(io::Error::other("a message was longer than any is"));
        }
        // None is empty.
        if received.bytes == 0 {
            return Ok(Received::End);
        }
        Ok(Received::Packet(Packet {
            bytes: self.room[..received.bytes].to_vec(),
            descriptors,
        }))
    }

    /// Waits for the next message, however long that takes.
    pub(super) fn wait(&mut self) -> io::Result<Option<Packet>> {
        loop {
            match self.receive()? {
                Received::Packet(packet) => return Ok(Some(packet)),
                Received::End => return Ok(None),
                Received::Nothing => {
                    let mut readable = [PollFd::new(&self.socket, PollFlags::IN)];
                    match poll(&mut readable, None::<&Timespec>) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Packet {
    /// What is in the file that came beside it.
    pub(super) fn content(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        match &self.descriptors[..] {
            [file] => content(file),
            _ => Err(io::Error::other("no file came beside the message")),
        }
    }
}

/// A file in memory with this in it, to be sent beside a message: what is longer than a packet, or secret, leaves no
/// copy in a buffer.
pub(super) fn file_with(content: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("onepoll", MemfdFlags::CLOEXEC)?);
    file.write_all(content)?;
    Ok(file.into())
}

/// What is in it, whoever else has read it.
fn content(file: &OwnedFd) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::from(file.try_clone()?);
    let len = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if len > HELPER_BYTES_MAX {
        return Err(io::Error::other("the file beside a message is too long"));
    }
    let mut content = Zeroizing::new(vec![0; len]);
    file.read_exact_at(&mut content, 0)?;
    Ok(content)
}

fn send(socket: &OwnedFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut room = vec![MaybeUninit::uninit(); cmsg_space!(ScmRights(descriptors.len()))];
    let mut beside = SendAncillaryBuffer::new(&mut room);
    if !descriptors.is_empty() {
        beside.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut beside,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ToProcess, unpacked};

    #[track_caller]
    fn hears(channel: &mut Channel) -> (ToProcess, Vec<OwnedFd>) {
        match channel.receive().unwrap() {
            Received::Packet(packet) => (unpacked(&packet.bytes).unwrap(), packet.descriptors),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn messages_come_whole_and_in_order_with_what_was_sent_beside_them() {
        let (mut ours, its) = Channel::pair().unwrap();
        let mut its = Channel::over(its);
        let secret = file_with(b"what is in the file").unwrap();
        ours.send(&ToProcess::Begin, &[secret.as_fd()]).unwrap();
        ours.send(&ToProcess::Go, &[]).unwrap();
        let Received::Packet(packet) = its.receive().unwrap() else {
            panic!("nothing came");
        };
        // Read by several, and as often as they like.
        for _ in 0..2 {
            assert_eq!(**packet.content().unwrap(), *b"what is in the file");
        }
        assert_eq!(hears(&mut its).0, ToProcess::Go);
        assert!(matches!(its.receive().unwrap(), Received::Nothing));
        drop(ours);
        assert!(matches!(its.receive().unwrap(), Received::End));
        its.send(&ToProcess::Go, &[]).unwrap();
    }

    #[test]
    fn what_there_is_no_room_for_waits_and_a_process_that_never_reads_is_found_out() {
        let (mut ours, its) = Channel::pair().unwrap();
        let mut its = Channel::over(its);
        let mut sent = 0;
        while ours.waiting.is_empty() {
            ours.send(&ToProcess::Figures { to: sent }, &[]).unwrap();
            sent += 1;
        }
        for _ in 1..PROCESS_MESSAGES_MAX {
            ours.send(&ToProcess::Figures { to: sent }, &[]).unwrap();
            sent += 1;
        }
        let full = ours.send(&ToProcess::Figures { to: sent }, &[]);
        assert_eq!(full.unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
        for to in 0..sent {
            assert_eq!(hears(&mut its).0, ToProcess::Figures { to });
            ours.flush().unwrap();
        }
        assert!(ours.waiting.is_empty());
    }

    #[test]
    fn what_a_process_said_is_heard_though_it_ended_before_it_had_read_everything() {
        let (mut ours, its) = Channel::pair().unwrap();
        let mut its = Channel::over(its);
        ours.send(&ToProcess::Begin, &[]).unwrap();
        its.send(&ToProcess::Go, &[]).unwrap();
        drop(its);
        assert_eq!(hears(&mut ours).0, ToProcess::Go);
        assert!(matches!(ours.receive().unwrap(), Received::End));
    }
}
