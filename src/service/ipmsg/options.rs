use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use rustix::system::uname;
use serde::{Deserialize, Serialize};

use crate::config::{Trouble, quoted};
use crate::ipmsg::{IpmsgReplyTo, IpmsgSettings};
use crate::service::{Checked, Class, Encoding, Several};
use crate::wire::{IPMSG_PORT, IpmsgEncoding, IpmsgEntry};

/// How long a name may be.
const NAME_BYTES_MAX: usize = 64;

/// How many addresses may be told that it is there.
const PEERS_MAX: usize = 256;

/// Options of `ipmsg`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// The user's name; absent: `onepoll`.
    pub user: Option<String>,
    /// The machine's name; absent: that of this machine.
    pub host: Option<String>,
    /// The nickname; absent: the user's name.
    pub nick: Option<String>,
    /// The group; absent: none.
    pub group: Option<String>,
    /// Where answers go.
    pub reply_to: IpmsgReplyTo,
    /// What is written to programs that have not shown what they read.
    pub encoding: Encoding,
    /// An address that is told that it is there, instead of everybody on the network; may be repeated.
    pub peer: Vec<String>,
    /// The directory whose files are offered, over TCP from the same port; absent: none are.
    pub root: Option<PathBuf>,
    /// The rooms of the `chat` of this name, of which people who write here become members; absent: none.
    pub bridge: Option<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            user: None,
            host: None,
            nick: None,
            group: None,
            reply_to: IpmsgReplyTo::default(),
            encoding: Encoding::Gbk,
            peer: Vec::new(),
            root: None,
            bridge: None,
        }
    }
}

impl Checked for Options {
    const PORT: Option<u16> = Some(IPMSG_PORT);

    fn several(&self) -> Several {
        Several::No(
            "a host of IPMSG knows who is there and what has come, and each would know a part",
        )
    }

    fn check(&self) -> Result<(), Trouble> {
        let named = [
            ("user", &self.user),
            ("host", &self.host),
            ("nick", &self.nick),
            ("group", &self.group),
        ];
        for (option, name) in named {
            let Some(name) = name else {
                continue;
            };
            let is_in_head = option == "user" || option == "host";
            let problem = if name.len() > NAME_BYTES_MAX {
                format!("it is longer than {NAME_BYTES_MAX} bytes")
            } else if name.chars().any(char::is_control) {
                "it has a control character in it".to_owned()
            } else if name.is_empty() || (is_in_head && name.contains(':')) {
                "it is empty, or has a colon in it".to_owned()
            } else {
                continue;
            };
            return Err(Trouble::with(option, problem));
        }
        if self.bridge.as_ref().is_some_and(String::is_empty) {
            let problem = "it names the `rooms` of a `chat`, and is empty";
            return Err(Trouble::with("bridge", problem));
        }
        if self.peer.len() > PEERS_MAX {
            let problem = format!("{} of them; there may be {PEERS_MAX}", self.peer.len());
            return Err(Trouble::with("peer", problem));
        }
        match self.peer.iter().find(|peer| parse_peer(peer).is_none()) {
            None => Ok(()),
            Some(wrong) => Err(Trouble::with(
                "peer",
                format!(
                    "{} is no address; write one such as 192.168.1.5 or 192.168.1.5:2425",
                    quoted(wrong)
                ),
            )),
        }
    }

    fn class(&self) -> Class {
        Class::Plain
    }

    fn has_both_halves(&self) -> bool {
        self.root.is_some() || self.bridge.is_some()
    }
}

impl Options {
    /// The host of an endpoint with these at this address.
    pub(super) fn settings(&self, at: Option<SocketAddr>) -> IpmsgSettings {
        let user = self.user.clone().unwrap_or_else(|| "onepoll".to_owned());
        let machine = || uname().nodename().to_string_lossy().into_owned();
        let entry = IpmsgEntry {
            nick: self.nick.clone().unwrap_or_else(|| user.clone()),
            host: self.host.clone().unwrap_or_else(machine),
            group: self.group.clone().unwrap_or_default(),
            encoding: Some(IpmsgEncoding::Utf8),
            user,
        };
        IpmsgSettings {
            reply_to: self.reply_to,
            port: at.map_or(IPMSG_PORT, |at| at.port()),
            encoding: match self.encoding {
                Encoding::Gbk => IpmsgEncoding::Gbk,
                Encoding::Utf8 => IpmsgEncoding::Utf8,
            },
            ..IpmsgSettings::new(entry)
        }
    }

    /// Whom it tells that it is there: those who are named, or everybody, if anybody else can hear it.
    pub(super) fn told(&self, at: Option<SocketAddr>, port: u16) -> Vec<SocketAddr> {
        let named: Vec<SocketAddr> = self
            .peer
            .iter()
            .filter_map(|peer| parse_peer(peer))
            .collect();
        let is_heard = at.is_some_and(|at| at.is_ipv4() && !at.ip().is_loopback());
        if named.is_empty() && is_heard {
            return vec![(Ipv4Addr::BROADCAST, port).into()];
        }
        named
    }
}

fn parse_peer(text: &str) -> Option<SocketAddr> {
    let ip = text.parse::<IpAddr>().ok();
    ip.map(|ip| SocketAddr::new(ip, IPMSG_PORT))
        .or_else(|| text.parse().ok())
}
