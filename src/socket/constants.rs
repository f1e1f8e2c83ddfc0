//! The names that a socket is made of: families, kinds, levels, options, flags, directions.

#![expect(missing_docs, reason = "each is documented by Python under this name")]

use std::fmt;
use std::ops::BitOr;

use rustix::net::AddressFamily;

/// What kind of addresses a socket has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    Inet,
    Inet6,
    Unix,
}

pub const AF_INET: Family = Family::Inet;
pub const AF_INET6: Family = Family::Inet6;
pub const AF_UNIX: Family = Family::Unix;

impl Family {
    /// Its number, as Python has it.
    pub fn number(self) -> i32 {
        i32::from(self.raw().as_raw())
    }

    pub(super) fn raw(self) -> AddressFamily {
        match self {
            Self::Inet => AddressFamily::INET,
            Self::Inet6 => AddressFamily::INET6,
            Self::Unix => AddressFamily::UNIX,
        }
    }

    pub(super) fn from_raw(raw: AddressFamily) -> Option<Self> {
        match raw {
            AddressFamily::INET => Some(Self::Inet),
            AddressFamily::INET6 => Some(Self::Inet6),
            AddressFamily::UNIX => Some(Self::Unix),
            _ => None,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inet => "AF_INET",
            Self::Inet6 => "AF_INET6",
            Self::Unix => "AF_UNIX",
        })
    }
}

/// How bytes travel: as a stream or in datagrams; with flags, as in `SOCK_STREAM | SOCK_NONBLOCK`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind(u32);

pub const SOCK_STREAM: Kind = Kind(1);
pub const SOCK_DGRAM: Kind = Kind(2);
pub const SOCK_NONBLOCK: Kind = Kind(0o4000);
/// Said of every socket, here as in Python.
pub const SOCK_CLOEXEC: Kind = Kind(0o200_0000);

impl Kind {
    /// From its number.
    pub fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// Its number, as Python has it.
    pub fn number(self) -> u32 {
        self.0
    }

    /// Whether it says `SOCK_NONBLOCK`.
    pub fn is_non_blocking(self) -> bool {
        self.0 & SOCK_NONBLOCK.0 != 0
    }

    /// Without its flags, as `socket.type` tells it.
    pub fn base(self) -> Self {
        Self(self.0 & !SOCK_NONBLOCK.0 & !SOCK_CLOEXEC.0)
    }
}

impl BitOr for Kind {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.base() {
            SOCK_STREAM => f.write_str("SOCK_STREAM"),
            SOCK_DGRAM => f.write_str("SOCK_DGRAM"),
            other => write!(f, "{}", other.0),
        }
    }
}

pub const SHUT_RD: i32 = 0;
pub const SHUT_WR: i32 = 1;
pub const SHUT_RDWR: i32 = 2;

pub const MSG_OOB: u32 = 0x1;
pub const MSG_PEEK: u32 = 0x2;
pub const MSG_DONTROUTE: u32 = 0x4;
pub const MSG_TRUNC: u32 = 0x20;
pub const MSG_DONTWAIT: u32 = 0x40;
pub const MSG_WAITALL: u32 = 0x100;
pub const MSG_NOSIGNAL: u32 = 0x4000;
pub const MSG_MORE: u32 = 0x8000;

pub const SOL_SOCKET: i32 = 1;
pub const IPPROTO_IP: i32 = 0;
pub const IPPROTO_TCP: i32 = 6;
pub const IPPROTO_UDP: i32 = 17;
pub const IPPROTO_IPV6: i32 = 41;

pub const SO_REUSEADDR: i32 = 2;
pub const SO_TYPE: i32 = 3;
pub const SO_ERROR: i32 = 4;
pub const SO_BROADCAST: i32 = 6;
pub const SO_SNDBUF: i32 = 7;
pub const SO_RCVBUF: i32 = 8;
pub const SO_KEEPALIVE: i32 = 9;
pub const SO_OOBINLINE: i32 = 10;
pub const SO_LINGER: i32 = 13;
pub const SO_REUSEPORT: i32 = 15;
pub const SO_PASSCRED: i32 = 16;
pub const SO_RCVTIMEO: i32 = 20;
pub const SO_SNDTIMEO: i32 = 21;
pub const SO_ACCEPTCONN: i32 = 30;
pub const SO_PROTOCOL: i32 = 38;
pub const SO_DOMAIN: i32 = 39;

pub const IP_TOS: i32 = 1;
pub const IP_TTL: i32 = 2;
pub const IP_MULTICAST_TTL: i32 = 33;
pub const IP_MULTICAST_LOOP: i32 = 34;
pub const IPV6_V6ONLY: i32 = 26;

pub const TCP_NODELAY: i32 = 1;
pub const TCP_CORK: i32 = 3;
pub const TCP_KEEPIDLE: i32 = 4;
pub const TCP_KEEPINTVL: i32 = 5;
pub const TCP_KEEPCNT: i32 = 6;
pub const TCP_QUICKACK: i32 = 12;
pub const TCP_USER_TIMEOUT: i32 = 18;

/// The most that the kernel queues for `accept`, whatever `listen` asks for, unless told otherwise.
pub const SOMAXCONN: i32 = 4096;
