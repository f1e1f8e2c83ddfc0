use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::wire::{IPMSG_PORT, IpmsgEncoding, IpmsgEntry};

/// How long after a message it is sent again that nobody acknowledged: as iptux does. The original waits 750 ms.
pub const IPMSG_RETRY_AFTER: Duration = Duration::from_secs(1);

/// How often a message is sent in all: as iptux does. The original sends it six times.
pub const IPMSG_TRIES_MAX: u32 = 4;

/// How long after an exit it is said once more, since nothing acknowledges it.
pub const IPMSG_EXIT_AGAIN: Duration = Duration::from_millis(100);

/// Where what answers a datagram goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IpmsgReplyTo {
    /// To the address and the port that it came from, as the original does.
    #[default]
    Source,
    /// To that address, and to the port that this host has itself, as iptux does.
    Port,
    /// To both, if they are not the same.
    Both,
}

/// What a host is, and how patient.
#[derive(Debug, Clone)]
pub struct IpmsgSettings {
    /// Who it says that it is.
    pub me: IpmsgEntry,
    /// Where answers go.
    pub reply_to: IpmsgReplyTo,
    /// Its own port.
    pub port: u16,
    /// What is written to people that have not shown what they read.
    pub encoding: IpmsgEncoding,
    /// When what was not acknowledged is sent again.
    pub retry_after: Duration,
    /// How often it is sent in all.
    pub tries: u32,
}

impl IpmsgSettings {
    /// A host with these names, and everything else as it goes without saying.
    pub fn new(me: IpmsgEntry) -> IpmsgSettings {
        IpmsgSettings {
            me,
            reply_to: IpmsgReplyTo::default(),
            port: IPMSG_PORT,
            encoding: IpmsgEncoding::Gbk,
            retry_after: IPMSG_RETRY_AFTER,
            tries: IPMSG_TRIES_MAX,
        }
    }
}
