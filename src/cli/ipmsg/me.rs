use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use rustix::system::uname;

use super::super::Failure;
use super::target::parse_place;
use crate::client::{IpmsgSocket, ipmsg_broadcast_addresses};
use crate::config::parse_duration;
use crate::ipmsg::{IPMSG_TRIES_MAX, IpmsgReplyTo, IpmsgSettings};
use crate::wire::{IPMSG_PORT, IpmsgEncoding, IpmsgEntry};

/// How long a name may be: then an acknowledgement is shorter than every message.
const NAME_BYTES_MAX: usize = 64;

/// Who we are there, and where.
#[derive(Debug, clap::Args)]
pub(super) struct Me {
    /// Where to receive: an address, or ADDRESS:PORT
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0", value_parser = parse_place)]
    bind: SocketAddr,
    /// The user's name; by default that of this user
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    user: Option<String>,
    /// The machine's name; by default that of this machine
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    host: Option<String>,
    /// The nickname; by default the user's name
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    nick: Option<String>,
    /// The group
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true, value_parser = parse_group)]
    group: String,
    /// What is written to programs that have not shown what they read
    #[arg(long, value_enum, default_value_t)]
    encoding: Encoding,
    /// Where answers go: to the port that something came from, to our own port there, or to both
    #[arg(long, value_enum, value_name = "WHERE", default_value_t)]
    reply_to: ReplyTo,
    /// An address that is told that we are there, instead of everybody on the network; may be repeated
    #[arg(long, value_name = "ADDRESS", value_parser = parse_place)]
    peer: Vec<SocketAddr>,
    /// When a message is sent again that nobody acknowledged
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    retry: Duration,
    /// How often a message is sent in all
    #[arg(long, value_name = "N", default_value_t = IPMSG_TRIES_MAX, value_parser = clap::value_parser!(u32).range(1..=100))]
    tries: u32,
    /// Prints one JSON object a line
    #[arg(long)]
    pub(super) json: bool,
}

/// The two that are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Encoding {
    #[default]
    Gbk,
    #[value(name = "utf-8")]
    Utf8,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum ReplyTo {
    #[default]
    Source,
    Port,
    Both,
}

impl Me {
    /// Binds, and says that we are there: to those that were named here, or else to everybody.
    pub(super) fn enter(&self, also: &[SocketAddr]) -> Result<IpmsgSocket, Failure> {
        if self.retry.is_zero() {
            return Err(Failure::usage(
                "--retry: a message cannot be sent again at once",
            ));
        }
        let mut socket = IpmsgSocket::bind(self.bind, self.settings()).map_err(|error| {
            let hint = if error.kind() == io::ErrorKind::AddrInUse {
                ": another program has that port; another address of this machine may be free, such as --bind 127.0.0.2"
            } else {
                ""
            };
            anyhow::anyhow!("cannot bind udp {}: {error}{hint}", self.bind)
        })?;
        let everybody = if self.peer.is_empty() && also.is_empty() {
            self.everybody()?
        } else {
            Vec::new()
        };
        let to = [&self.peer, also, &everybody].concat();
        socket.host().0.enter(&to);
        Ok(socket)
    }

    /// Where everybody hears it.
    fn everybody(&self) -> Result<Vec<SocketAddr>, Failure> {
        if self.bind.ip().is_loopback() {
            return Ok(Vec::new());
        }
        Ok(ipmsg_broadcast_addresses(self.bind_port()).context("cannot list the interfaces")?)
    }

    /// Whether nobody would hear an entry.
    pub(super) fn is_alone(&self) -> bool {
        self.bind.ip().is_loopback() && self.peer.is_empty()
    }

    fn bind_port(&self) -> u16 {
        match self.bind.port() {
            0 => IPMSG_PORT,
            port => port,
        }
    }

    fn settings(&self) -> IpmsgSettings {
        let user = self.user.clone().unwrap_or_else(user);
        let host = self.host.clone().unwrap_or_else(host);
        let entry = IpmsgEntry {
            nick: self.nick.clone().unwrap_or_else(|| user.clone()),
            group: self.group.clone(),
            encoding: Some(IpmsgEncoding::Utf8),
            user,
            host,
        };
        IpmsgSettings {
            reply_to: match self.reply_to {
                ReplyTo::Source => IpmsgReplyTo::Source,
                ReplyTo::Port => IpmsgReplyTo::Port,
                ReplyTo::Both => IpmsgReplyTo::Both,
            },
            encoding: match self.encoding {
                Encoding::Gbk => IpmsgEncoding::Gbk,
                Encoding::Utf8 => IpmsgEncoding::Utf8,
            },
            retry_after: self.retry,
            tries: self.tries,
            ..IpmsgSettings::new(entry)
        }
    }
}

fn user() -> String {
    let user = std::env::var("USER").ok().filter(|user| !user.is_empty());
    user.unwrap_or_else(|| format!("uid-{}", rustix::process::getuid().as_raw()))
}

fn host() -> String {
    uname().nodename().to_string_lossy().into_owned()
}

fn parse_name(text: &str) -> Result<String, String> {
    let name = parse_group(text)?;
    if name.is_empty() || name.contains(':') {
        return Err("it is empty, or has a colon in it".to_owned());
    }
    Ok(name)
}

fn parse_group(text: &str) -> Result<String, String> {
    if text.len() > NAME_BYTES_MAX {
        return Err(format!("it is longer than {NAME_BYTES_MAX} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err("it has a control character in it".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::ipmsg::IPMSG_RETRY_AFTER;

    #[test]
    fn what_help_says_about_patience_is_what_hosts_do() {
        assert_eq!(IPMSG_RETRY_AFTER, Duration::from_secs(1));
        let anywhere = parse_place("0.0.0.0").unwrap();
        assert_eq!(
            anywhere,
            (IpAddr::from(Ipv4Addr::UNSPECIFIED), IPMSG_PORT).into()
        );
    }
}
