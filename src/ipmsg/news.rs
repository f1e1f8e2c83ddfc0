use std::net::SocketAddr;

use super::people::IpmsgPerson;
use crate::wire::{IpmsgEntry, IpmsgFile};

/// What has happened to a host. None of it is verified.
#[derive(Debug)]
pub enum IpmsgNews {
    /// Somebody says that they are there, or goes by other names now; known by the address.
    Entered(SocketAddr),
    /// Somebody has gone, or was forgotten in favour of others.
    Left(SocketAddr, Box<IpmsgPerson>),
    /// A message came, for the first time.
    Message(Box<IpmsgMessage>),
    /// What was sent with this number has come.
    Acknowledged {
        /// The number of the packet.
        number: u32,
        /// To whom it was sent.
        to: SocketAddr,
    },
    /// What was sent with this number was not acknowledged, and is not sent again.
    Unanswered {
        /// The number of the packet.
        number: u32,
        /// To whom it was sent.
        to: SocketAddr,
        /// How often.
        tries: u32,
    },
    /// What was sent with this number was read.
    WasRead {
        /// The number of the packet.
        number: u32,
        /// Who says so.
        by: SocketAddr,
    },
    /// Files that were offered with this number are not wanted.
    Released {
        /// The number of the packet.
        number: u32,
        /// Who says so.
        by: SocketAddr,
    },
}

/// A message, and who says that they wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpmsgMessage {
    /// Where it came from.
    pub from: SocketAddr,
    /// Its number there.
    pub number: u32,
    /// The names of its sender: as they said in an entry, or else in the message.
    pub sender: IpmsgEntry,
    /// What it says; not made safe for a terminal.
    pub text: String,
    /// Files that are offered with it.
    pub files: Vec<IpmsgFile>,
    /// Whether these are all: a list that cannot be read to its end is read as far as it can be.
    pub are_all_files: bool,
    /// Whether it went to everybody.
    pub is_broadcast: bool,
    /// Whether a program wrote it in answer to something.
    pub is_automatic: bool,
    /// Whether it is encrypted all the same, so that the text says nothing.
    pub is_encrypted: bool,
    /// Whether its sender wants to be [told](super::IpmsgHost::read) that it was read.
    pub wants_reading_told: bool,
}
