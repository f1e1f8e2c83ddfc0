//! Who could reach an endpoint, and whether that is allowed: the threat model as a function.
//!
//! Knows no socket: the caller resolves names and asks inherited descriptors for their address,
//! and brings every result here before anything listens. Loopback is not a trust boundary (any
//! local user reaches it, and any web page its user opens); a wildcard is not loopback.
//!
//! | service | private Unix socket | Unix socket for any user | loopback | elsewhere |
//! | --- | --- | --- | --- | --- |
//! | `command`, with `tail=true` too | free | a secret, or `auth=none` | a secret, or `auth=none` | a secret and TLS |
//! | `file` that stores | free | a secret, or `auth=none` | a secret, or `auth=none` | a secret and TLS |
//! | `chat?operator=true` | free | never | never | never |
//! | `file?access=read` | free | a secret, or `auth=none` | a secret, or `auth=none` | a secret |
//! | `file?access=read&public=true` | free | free | free | a secret, or `open=true` |
//! | `talk?person=true` | free | never | never | never |
//! | every other | free | free | free | a secret, or `open=true` |
//!
//! Commands run as root only when that was asked for. Over a private socket root serves root, who
//! gains nothing. Where others reach the commands, `auth=none` is what asks, and the warning says
//! what it gives away when the server is root.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use thiserror::Error;

use super::{Auth, Endpoint};
use crate::config::quoted;
use crate::config::{Address, Host, HostPort, Transport};
use crate::service::{Class, ProofOf};

/// Where an endpoint turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// At this address: resolved, or asked of an inherited socket.
    Inet(SocketAddr),
    /// At a Unix socket, whatever its path.
    Unix,
}

/// Who can reach an endpoint that may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The same user, by the credentials of the Unix socket's peer.
    SameUser,
    /// Every user of this machine whom the Unix socket's file lets in.
    LocalUsers,
    /// Every user and every browser of this machine.
    Loopback,
    /// Whoever can send a packet here.
    Open,
}

impl Reach {
    /// One word for it, for machines.
    pub fn name(self) -> &'static str {
        match self {
            Self::SameUser => "same-user",
            Self::LocalUsers => "local-users",
            Self::Loopback => "loopback",
            Self::Open => "open",
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SameUser => "this user only",
            Self::LocalUsers => "any user of this machine",
            Self::Loopback => "this machine only",
            Self::Open => "open to the network",
        })
    }
}

/// An endpoint may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exposure {
    /// Who can reach it.
    pub reach: Reach,
    /// What the person who starts the server should hear, if anything.
    pub warning: Option<&'static str>,
}

/// An endpoint may not be served: why, and what would make it possible.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}; {remedy}")]
pub struct Refusal {
    /// Why.
    pub reason: String,
    /// The override, or what does the job instead.
    pub remedy: String,
}

/// Whether this endpoint may listen there, as the threat model has it.
pub fn exposure(endpoint: &Endpoint, at: Reached, is_root: bool) -> Result<Exposure, Refusal> {
    let reach = match at {
        Reached::Unix if endpoint.common.any_user => Reach::LocalUsers,
        Reached::Unix => Reach::SameUser,
        Reached::Inet(at) if is_loopback(at.ip()) => Reach::Loopback,
        Reached::Inet(_) => Reach::Open,
    };
    match (endpoint.class, at) {
        (Class::Operators, _) if reach != Reach::SameUser => Err(Refusal {
            reason: "whoever gets in there says who may be in the rooms, and nobody vouches for who that is".into(),
            remedy: "operators have a private Unix socket, such as `chat+unix:///run/onepoll/chat.sock?operator=true` without `any-user`, which may share its `rooms` with this endpoint".into(),
        }),
        (Class::Commands | Class::Output | Class::Uploads | Class::Downloads, _) => {
            guarded(endpoint, at, reach, is_root)
        }
        (Class::Person, _) if reach != Reach::SameUser => Err(Refusal {
            reason: "whoever connects there would be the person whose server it is".into(),
            remedy: "serve it on a Unix socket without `any-user`".into(),
        }),
        (Class::Plain | Class::Figures, Reached::Inet(at))
            if reach == Reach::Open && !endpoint.common.open && !endpoint.common.is_guarded() =>
        {
            Err(Refusal {
                reason: format!(
                    "{} is not a loopback address, and `{}` there would serve everybody",
                    at.ip(),
                    endpoint.row.name
                ),
                remedy: open_remedy(endpoint),
            })
        }
        _ => Ok(Exposure {
            reach,
            warning: None,
        }),
    }
}

/// What would let an endpoint be served there that does no harm.
fn open_remedy(endpoint: &Endpoint) -> String {
    let loopback = "bind 127.0.0.1 or [::1]";
    if endpoint.address.transport() == Transport::Udp || endpoint.row.stream.is_none() {
        return format!("allow it with `open=true`, or {loopback}");
    }
    let ask = match endpoint.class {
        // A program that collects them cannot answer a challenge.
        Class::Figures => {
            "ask for a client's certificate with `tls=true&cert=FILE&key=FILE&client-ca=FILE`"
        }
        _ => "ask for a secret with `secret-file=FILE`",
    };
    format!("{ask}, allow it with `open=true`, or {loopback}")
}

/// What a stranger must not reach, also on this machine.
fn guarded(
    endpoint: &Endpoint,
    at: Reached,
    reach: Reach,
    is_root: bool,
) -> Result<Exposure, Refusal> {
    let told = endpoint.common.auth == Some(Auth::None);
    let is_read_only = endpoint.class == Class::Downloads;
    let what = match endpoint.class {
        Class::Uploads => "store files",
        Class::Downloads => "read all files",
        Class::Output => "read what its command writes",
        _ => "run commands",
    };
    let warning = match (reach, at) {
        (Reach::Open, Reached::Inet(at)) if !endpoint.common.is_guarded() && is_read_only => {
            return Err(Refusal {
                reason: format!(
                    "{} is not a loopback address, and whoever can send a packet there would read all files",
                    at.ip()
                ),
                remedy: "ask for a secret with `secret-file=FILE`, or say `public=true&open=true` if everybody may read them, or bind 127.0.0.1 or [::1]".into(),
            });
        }
        (Reach::Open, Reached::Inet(at))
            if !(endpoint.common.is_guarded() && (endpoint.common.tls || is_read_only)) =>
        {
            return Err(guarded_off_loopback(endpoint, at));
        }
        (Reach::SameUser, _) => None,
        _ if endpoint.common.is_guarded() => None,
        _ if !told => {
            return Err(Refusal {
                reason: format!(
                    "any user of this machine{} could {what} there",
                    // What a page sends ends its connection, and nothing of the output reaches it.
                    if reach == Reach::Loopback && endpoint.class != Class::Output {
                        ", and any web page one opens,"
                    } else {
                        ""
                    }
                ),
                remedy: format!(
                    "ask for a secret with `secret-file=FILE` (`onepoll secret FILE` makes one), serve a Unix socket without `any-user`, {}or say `auth=none`",
                    if is_read_only {
                        "say `public=true` if everybody may read them, "
                    } else {
                        ""
                    }
                ),
            });
        }
        _ => Some(match (endpoint.class, is_root) {
            (Class::Uploads, _) => "any user of this machine can store files here",
            (Class::Downloads, _) => "any user of this machine can read the files here",
            (Class::Output, _) => "any user of this machine can read what its command writes",
            (_, true) => "any user of this machine can run commands as root here",
            (_, false) => "any user of this machine can run commands as this user here",
        }),
    };
    Ok(Exposure { reach, warning })
}

/// No single option allows this one. The remedy is what is missing, or a tunnel.
fn guarded_off_loopback(endpoint: &Endpoint, at: SocketAddr) -> Refusal {
    let port = match at.port() {
        // The system would choose; a tunnel's end cannot.
        0 => 8080,
        port => port,
    };
    let host = match at.ip() {
        ip if ip.is_unspecified() => "HOST".into(),
        ip => ip.to_canonical().to_string(),
    };
    let mut here = endpoint.clone();
    here.address = Address::Tcp(HostPort {
        host: Host::Ip(Ipv4Addr::LOCALHOST.into()),
        port,
    });
    let mut missing = Vec::new();
    if !here.common.is_guarded() {
        missing.push("secret-file=FILE");
    }
    if !here.common.tls {
        missing.push("tls=true&cert=FILE&key=FILE");
    }
    // At the tunnel's end the rules of loopback hold.
    (here.common.tls, here.common.tls_min) = (false, None);
    (here.common.cert, here.common.key, here.common.client_ca) = (None, None, None);
    here.common.proof = ProofOf::default();
    if !here.common.asks_for_secret() {
        here.common.auth = Some(Auth::None);
    }
    here.common.open = false;
    Refusal {
        reason: format!(
            "{} is not a loopback address, and {} from the network need a secret and TLS; no option overrides this",
            at.ip(),
            match endpoint.class {
                Class::Uploads => "uploads",
                Class::Output => "readers of a command",
                _ => "commands",
            }
        ),
        remedy: format!(
            "add `{}` (`onepoll secret FILE` and `onepoll certificate DIR` make the files), or serve {} here, and on the client's machine run `ssh -N -L {port}:127.0.0.1:{port} {host}` and use 127.0.0.1:{port}",
            missing.join("&"),
            quoted(&here.to_string())
        ),
    }
}

/// All of 127/8 and `::1`, also as an IPv4 address dressed up as IPv6.
fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(url: &str, at: Reached, is_root: bool) -> Result<Exposure, String> {
        let endpoint: Endpoint = url.parse().unwrap_or_else(|wrong| panic!("{wrong}"));
        exposure(&endpoint, at, is_root).map_err(|refusal| refusal.to_string())
    }

    fn inet(at: &str) -> Reached {
        Reached::Inet(at.parse().unwrap())
    }

    const FREE_ON_LOOPBACK: [&str; 8] = [
        "echo://h:1",
        "echo+udp://h:1",
        "discard://h:1",
        "upper+udp://h:1",
        "greeting://h:1?reply=hi",
        "chat://h:1",
        "time://h:1",
        "metrics://h:1",
    ];
    const LOOPBACK: [&str; 4] = [
        "127.0.0.1:1",
        "127.255.255.254:1",
        "[::1]:1",
        "[::ffff:127.0.0.1]:1",
    ];
    const ELSEWHERE: [&str; 8] = [
        "0.0.0.0:1",
        "[::]:1",
        "[::ffff:0.0.0.0]:1",
        "192.0.2.1:1",
        "[2001:db8::1]:1",
        "[::ffff:192.0.2.1]:1",
        "[fe80::1%2]:1",
        "128.0.0.1:1",
    ];

    #[test]
    fn loopback_is_free_for_all_but_command() {
        for url in FREE_ON_LOOPBACK {
            for at in LOOPBACK {
                let free = Exposure {
                    reach: Reach::Loopback,
                    warning: None,
                };
                assert_eq!(judge(url, inet(at), true), Ok(free), "{url} at {at}");
            }
        }
    }

    #[test]
    fn off_loopback_needs_to_be_told_so() {
        for url in FREE_ON_LOOPBACK {
            for at in ELSEWHERE {
                let said = judge(url, inet(at), false).unwrap_err();
                assert!(said.contains("`open=true`"), "{url} at {at}: {said}");
                let sign = if url.contains('?') { '&' } else { '?' };
                let told = format!("{url}{sign}open=true");
                let open = Exposure {
                    reach: Reach::Open,
                    warning: None,
                };
                assert_eq!(judge(&told, inet(at), false), Ok(open), "{told} at {at}");
            }
        }
    }

    const TLS: &str = "?tls=true&cert=c&key=k";

    #[test]
    fn commands_leave_the_machine_by_no_single_option() {
        for options in [
            "",
            "?auth=none",
            "?open=true",
            "?open=true&auth=none",
            "?secret-file=s&open=true",
            TLS,
            "?tls=true&cert=c&key=k&auth=none&open=true",
        ] {
            if options.contains("tls") && !cfg!(feature = "tls") {
                continue;
            }
            for at in ELSEWHERE {
                let said = judge(&format!("command://h:1{options}"), inet(at), false).unwrap_err();
                assert!(said.contains("no option overrides"), "{said}");
                assert!(said.contains("`ssh -N -L 1:127.0.0.1:1 "), "{said}");
                let secret = options.contains("secret-file");
                let there = if secret {
                    "secret-file=s`"
                } else {
                    "auth=none`"
                };
                let there = format!("serve `command://127.0.0.1:1?{there} here");
                assert!(said.contains(&there), "{said}");
                let add = match (secret, options.contains("tls")) {
                    (true, _) => "add `tls=true&cert=FILE&key=FILE`",
                    (_, true) => "add `secret-file=FILE`",
                    _ => "add `secret-file=FILE&tls=true&cert=FILE&key=FILE`",
                };
                assert!(said.contains(add), "{options}: {said}");
            }
        }
        let said = judge("command://h:0", inet("192.0.2.7:0"), false).unwrap_err();
        assert!(said.contains("-L 8080:127.0.0.1:8080 192.0.2.7`"), "{said}");
    }

    #[test]
    #[cfg(feature = "tls")]
    fn a_secret_or_a_certificate_and_tls_take_commands_to_the_network() {
        for options in [
            "&secret-file=s",
            "&client-ca=a",
            "&secret-file=s&proof=exporter",
        ] {
            for at in ELSEWHERE {
                let url = format!("command://h:1{TLS}{options}");
                let served = judge(&url, inet(at), true).unwrap();
                assert_eq!((served.reach, served.warning), (Reach::Open, None));
            }
        }
    }

    #[test]
    fn a_secret_takes_all_but_commands_to_the_network() {
        for url in FREE_ON_LOOPBACK
            .iter()
            .filter(|url| !url.contains("udp") && !url.contains("time"))
        {
            let sign = if url.contains('?') { '&' } else { '?' };
            let url = format!("{url}{sign}secret-file=s");
            for at in ELSEWHERE {
                let served = judge(&url, inet(at), false).unwrap();
                assert_eq!((served.reach, served.warning), (Reach::Open, None), "{url}");
            }
        }
    }

    #[test]
    fn commands_on_loopback_need_a_secret_or_auth_none() {
        for at in LOOPBACK {
            let said = judge("command://h:1?open=true", inet(at), false).unwrap_err();
            assert!(said.contains("`auth=none`"), "{said}");
            assert!(said.contains("`secret-file=FILE`"), "{said}");
            let asks = judge("command://h:1?secret-file=s", inet(at), true).unwrap();
            assert_eq!((asks.reach, asks.warning), (Reach::Loopback, None));
            let told = judge("command://h:1?auth=none", inet(at), false).unwrap();
            assert_eq!(told.reach, Reach::Loopback);
            assert!(told.warning.unwrap().contains("as this user"));
        }
    }

    #[test]
    fn a_private_unix_socket_is_free_also_for_root() {
        for is_root in [false, true] {
            let free = Exposure {
                reach: Reach::SameUser,
                warning: None,
            };
            assert_eq!(judge("command+unix:///a", Reached::Unix, is_root), Ok(free));
            assert_eq!(judge("chat+unix:///a", Reached::Unix, is_root), Ok(free));
            let private = "chat+unix:///a?operator=true";
            assert_eq!(judge(private, Reached::Unix, is_root), Ok(free));
            for (url, at) in [
                ("chat+unix:///a?operator=true&any-user=true", Reached::Unix),
                ("chat://h:1?operator=true", inet("127.0.0.1:1")),
                (
                    "chat://h:1?operator=true&secret-file=/s",
                    inet("127.0.0.1:1"),
                ),
                ("chat://h:1?operator=true&open=true", inet("192.0.2.1:1")),
                ("chat+fd://3?operator=true", inet("127.0.0.1:1")),
            ] {
                let refused = judge(url, at, is_root).unwrap_err();
                assert!(
                    refused
                        .to_string()
                        .contains("operators have a private Unix socket"),
                    "{url}"
                );
            }
        }
    }

    #[test]
    fn a_unix_socket_for_any_user_is_like_loopback_for_commands() {
        let said = judge("command+unix:///a?any-user=true", Reached::Unix, false).unwrap_err();
        assert!(
            said.contains("`auth=none`") && !said.contains("web page"),
            "{said}"
        );
        let asks = "command+unix:///a?any-user=true&secret-file=s";
        assert_eq!(judge(asks, Reached::Unix, true).unwrap().warning, None);
        let told = judge(
            "command+unix:///a?any-user=true&auth=none",
            Reached::Unix,
            true,
        )
        .unwrap();
        assert_eq!(told.reach, Reach::LocalUsers);
        assert!(told.warning.unwrap().contains("as root"));
        let echo = judge("echo+unix:///a?any-user=true", Reached::Unix, false).unwrap();
        assert_eq!(
            echo,
            Exposure {
                reach: Reach::LocalUsers,
                warning: None
            }
        );
    }

    /// Its readers run nothing: they are kept out as those who would, and told something else.
    #[test]
    fn a_command_with_readers_is_guarded_as_commands_and_its_warning_is_of_reading() {
        let tail = "command://127.0.0.1:1?run=date&tail=true";
        let local = Reached::Inet("127.0.0.1:1".parse().unwrap());
        let said = judge(tail, local, true).unwrap_err();
        assert!(
            said.contains("any user of this machine could read what its command writes there"),
            "{said}"
        );
        let told = judge(&format!("{tail}&auth=none"), local, true).unwrap();
        assert_eq!(
            told.warning,
            Some("any user of this machine can read what its command writes")
        );
        let open = Reached::Inet("192.0.2.1:1".parse().unwrap());
        let said = judge(&format!("{tail}&secret-file=s"), open, true).unwrap_err();
        assert!(
            said.contains("readers of a command from the network need a secret and TLS"),
            "{said}"
        );
    }

    #[test]
    fn an_inherited_descriptor_is_judged_by_its_own_address() {
        assert!(judge("chat+fd://3", inet("0.0.0.0:1"), false).is_err());
        assert!(judge("chat+fd://3?open=true", inet("0.0.0.0:1"), false).is_ok());
        assert!(judge("command+fd://3", inet("127.0.0.1:1"), false).is_err());
        assert!(judge("command+fd://3", Reached::Unix, false).is_ok());
        assert!(judge("command+fd://3?auth=none", inet("[::]:1"), false).is_err());
    }
}
