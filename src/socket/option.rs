//! `getsockopt` and `setsockopt`, by the numbers that Python uses, through typed functions.

use std::borrow::Cow;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;

use super::constants::*;

/// What `setsockopt` takes: a number, or bytes as `struct.pack` makes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionValue<'a> {
    /// A number.
    Int(i32),
    /// A structure in native byte order.
    Bytes(Cow<'a, [u8]>),
}

impl From<i32> for OptionValue<'_> {
    fn from(value: i32) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for OptionValue<'_> {
    fn from(value: bool) -> Self {
        Self::Int(value.into())
    }
}

impl<'a> From<&'a [u8]> for OptionValue<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(value.into())
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for OptionValue<'a> {
    fn from(value: &'a [u8; N]) -> Self {
        Self::Bytes(value.as_slice().into())
    }
}

impl From<Vec<u8>> for OptionValue<'_> {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value.into())
    }
}

/// The options that are known here, by name.
const NAMES: &[(&str, i32, i32)] = &[
    ("SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR),
    ("SO_REUSEPORT", SOL_SOCKET, SO_REUSEPORT),
    ("SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE),
    ("SO_BROADCAST", SOL_SOCKET, SO_BROADCAST),
    ("SO_OOBINLINE", SOL_SOCKET, SO_OOBINLINE),
    ("SO_PASSCRED", SOL_SOCKET, SO_PASSCRED),
    ("SO_SNDBUF", SOL_SOCKET, SO_SNDBUF),
    ("SO_RCVBUF", SOL_SOCKET, SO_RCVBUF),
    ("SO_LINGER", SOL_SOCKET, SO_LINGER),
    ("SO_RCVTIMEO", SOL_SOCKET, SO_RCVTIMEO),
    ("SO_SNDTIMEO", SOL_SOCKET, SO_SNDTIMEO),
    ("SO_TYPE", SOL_SOCKET, SO_TYPE),
    ("SO_ERROR", SOL_SOCKET, SO_ERROR),
    ("SO_ACCEPTCONN", SOL_SOCKET, SO_ACCEPTCONN),
    ("SO_PROTOCOL", SOL_SOCKET, SO_PROTOCOL),
    ("SO_DOMAIN", SOL_SOCKET, SO_DOMAIN),
    ("IP_TOS", IPPROTO_IP, IP_TOS),
    ("IP_TTL", IPPROTO_IP, IP_TTL),
    ("IP_MULTICAST_TTL", IPPROTO_IP, IP_MULTICAST_TTL),
    ("IP_MULTICAST_LOOP", IPPROTO_IP, IP_MULTICAST_LOOP),
    ("IPV6_V6ONLY", IPPROTO_IPV6, IPV6_V6ONLY),
    ("TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY),
    ("TCP_CORK", IPPROTO_TCP, TCP_CORK),
    ("TCP_KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE),
    ("TCP_KEEPINTVL", IPPROTO_TCP, TCP_KEEPINTVL),
    ("TCP_KEEPCNT", IPPROTO_TCP, TCP_KEEPCNT),
    ("TCP_QUICKACK", IPPROTO_TCP, TCP_QUICKACK),
    ("TCP_USER_TIMEOUT", IPPROTO_TCP, TCP_USER_TIMEOUT),
];

/// The level and number of an option.
///
/// ```
/// use onepoll::socket::{SO_REUSEADDR, SOL_SOCKET, option_by_name};
///
/// assert_eq!(option_by_name("SO_REUSEADDR"), Some((SOL_SOCKET, SO_REUSEADDR)));
/// assert_eq!(option_by_name("SO_MARVELLOUS"), None);
/// ```
pub fn option_by_name(name: &str) -> Option<(i32, i32)> {
    NAMES
        .iter()
        .find(|(known, ..)| *known == name)
        .map(|(_, level, option)| (*level, *option))
}

/// An option's value as the kernel lays it out.
pub(super) fn get(fd: &OwnedFd, level: i32, option: i32) -> Result<Vec<u8>, Errno> {
    let int: i32 = match (level, option) {
        (SOL_SOCKET, SO_LINGER) => {
            let linger = sockopt::socket_linger(fd)?;
            let seconds = linger.map_or(0, |linger| linger.as_secs());
            let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
            return Ok([i32::from(linger.is_some()), seconds]
                .map(i32::to_ne_bytes)
                .concat());
        }
        (SOL_SOCKET, SO_RCVTIMEO) => {
            return Ok(timeval(sockopt::socket_timeout(
                fd,
                sockopt::Timeout::Recv,
            )?));
        }
        (SOL_SOCKET, SO_SNDTIMEO) => {
            return Ok(timeval(sockopt::socket_timeout(
                fd,
                sockopt::Timeout::Send,
            )?));
        }
        (SOL_SOCKET, SO_REUSEADDR) => sockopt::socket_reuseaddr(fd)?.into(),
        (SOL_SOCKET, SO_REUSEPORT) => sockopt::socket_reuseport(fd)?.into(),
        (SOL_SOCKET, SO_KEEPALIVE) => sockopt::socket_keepalive(fd)?.into(),
        (SOL_SOCKET, SO_BROADCAST) => sockopt::socket_broadcast(fd)?.into(),
        (SOL_SOCKET, SO_OOBINLINE) => sockopt::socket_oobinline(fd)?.into(),
        (SOL_SOCKET, SO_PASSCRED) => sockopt::socket_passcred(fd)?.into(),
        (SOL_SOCKET, SO_ACCEPTCONN) => sockopt::socket_acceptconn(fd)?.into(),
        (SOL_SOCKET, SO_SNDBUF) => int(sockopt::socket_send_buffer_size(fd)?),
        (SOL_SOCKET, SO_RCVBUF) => int(sockopt::socket_recv_buffer_size(fd)?),
        (SOL_SOCKET, SO_TYPE) => int(sockopt::socket_type(fd)?.as_raw()),
        (SOL_SOCKET, SO_DOMAIN) => sockopt::socket_domain(fd)?.as_raw().into(),
        (SOL_SOCKET, SO_PROTOCOL) => {
            int(sockopt::socket_protocol(fd)?.map_or(0, |protocol| protocol.as_raw().get()))
        }
        (SOL_SOCKET, SO_ERROR) => match sockopt::socket_error(fd)? {
            Ok(()) => 0,
            Err(errno) => errno.raw_os_error(),
        },
        (IPPROTO_IP, IP_TOS) => sockopt::ip_tos(fd)?.into(),
        (IPPROTO_IP, IP_TTL) => int(sockopt::ip_ttl(fd)?),
        (IPPROTO_IP, IP_MULTICAST_TTL) => int(sockopt::ip_multicast_ttl(fd)?),
        (IPPROTO_IP, IP_MULTICAST_LOOP) => sockopt::ip_multicast_loop(fd)?.into(),
        (IPPROTO_IPV6, IPV6_V6ONLY) => sockopt::ipv6_v6only(fd)?.into(),
        (IPPROTO_TCP, TCP_NODELAY) => sockopt::tcp_nodelay(fd)?.into(),
        (IPPROTO_TCP, TCP_CORK) => sockopt::tcp_cork(fd)?.into(),
        (IPPROTO_TCP, TCP_QUICKACK) => sockopt::tcp_quickack(fd)?.into(),
        (IPPROTO_TCP, TCP_KEEPIDLE) => int(sockopt::tcp_keepidle(fd)?.as_secs()),
        (IPPROTO_TCP, TCP_KEEPINTVL) => int(sockopt::tcp_keepintvl(fd)?.as_secs()),
        (IPPROTO_TCP, TCP_KEEPCNT) => int(sockopt::tcp_keepcnt(fd)?),
        (IPPROTO_TCP, TCP_USER_TIMEOUT) => int(sockopt::tcp_user_timeout(fd)?),
        _ => return Err(Errno::NOPROTOOPT),
    };
    Ok(int.to_ne_bytes().to_vec())
}

/// Sets an option as the kernel would from this value.
pub(super) fn set(
    fd: &OwnedFd,
    level: i32,
    option: i32,
    value: &OptionValue<'_>,
) -> Result<(), Errno> {
    if level == SOL_SOCKET {
        match option {
            SO_LINGER => {
                let words = words(value);
                let [on, seconds, ..] = words[..] else {
                    return Err(Errno::INVAL);
                };
                let seconds = u64::try_from(seconds).unwrap_or(0);
                let linger = (on != 0).then(|| Duration::from_secs(seconds));
                return sockopt::set_socket_linger(fd, linger);
            }
            SO_RCVTIMEO => {
                return sockopt::set_socket_timeout(fd, sockopt::Timeout::Recv, duration(value)?);
            }
            SO_SNDTIMEO => {
                return sockopt::set_socket_timeout(fd, sockopt::Timeout::Send, duration(value)?);
            }
            _ => {}
        }
    }
    let Some(&int) = words(value).first() else {
        return Err(Errno::INVAL);
    };
    let on = int != 0;
    let unsigned = int.cast_unsigned();
    let size = usize::try_from(unsigned).unwrap_or(usize::MAX);
    let seconds = Duration::from_secs(unsigned.into());
    match (level, option) {
        (SOL_SOCKET, SO_REUSEADDR) => sockopt::set_socket_reuseaddr(fd, on),
        (SOL_SOCKET, SO_REUSEPORT) => sockopt::set_socket_reuseport(fd, on),
        (SOL_SOCKET, SO_KEEPALIVE) => sockopt::set_socket_keepalive(fd, on),
        (SOL_SOCKET, SO_BROADCAST) => sockopt::set_socket_broadcast(fd, on),
        (SOL_SOCKET, SO_OOBINLINE) => sockopt::set_socket_oobinline(fd, on),
        (SOL_SOCKET, SO_PASSCRED) => sockopt::set_socket_passcred(fd, on),
        (SOL_SOCKET, SO_SNDBUF) => sockopt::set_socket_send_buffer_size(fd, size),
        (SOL_SOCKET, SO_RCVBUF) => sockopt::set_socket_recv_buffer_size(fd, size),
        (IPPROTO_IP, IP_TOS) => {
            let tos = u8::try_from(unsigned & 0xff).map_err(|_| Errno::INVAL)?;
            sockopt::set_ip_tos(fd, tos)
        }
        (IPPROTO_IP, IP_TTL) => sockopt::set_ip_ttl(fd, unsigned),
        (IPPROTO_IP, IP_MULTICAST_TTL) => sockopt::set_ip_multicast_ttl(fd, unsigned),
        (IPPROTO_IP, IP_MULTICAST_LOOP) => sockopt::set_ip_multicast_loop(fd, on),
        (IPPROTO_IPV6, IPV6_V6ONLY) => sockopt::set_ipv6_v6only(fd, on),
        (IPPROTO_TCP, TCP_NODELAY) => sockopt::set_tcp_nodelay(fd, on),
        (IPPROTO_TCP, TCP_CORK) => sockopt::set_tcp_cork(fd, on),
        (IPPROTO_TCP, TCP_QUICKACK) => sockopt::set_tcp_quickack(fd, on),
        (IPPROTO_TCP, TCP_KEEPIDLE) => sockopt::set_tcp_keepidle(fd, seconds),
        (IPPROTO_TCP, TCP_KEEPINTVL) => sockopt::set_tcp_keepintvl(fd, seconds),
        (IPPROTO_TCP, TCP_KEEPCNT) => sockopt::set_tcp_keepcnt(fd, unsigned),
        (IPPROTO_TCP, TCP_USER_TIMEOUT) => sockopt::set_tcp_user_timeout(fd, unsigned),
        // SO_TYPE, SO_ERROR and their like can only be asked; the rest is not known here.
        _ => Err(Errno::NOPROTOOPT),
    }
}

fn int(value: impl TryInto<i32>) -> i32 {
    value.try_into().unwrap_or(i32::MAX)
}

/// The whole native words of a value.
fn words(value: &OptionValue<'_>) -> Vec<i32> {
    match value {
        OptionValue::Int(int) => vec![*int],
        OptionValue::Bytes(bytes) => bytes
            .as_chunks()
            .0
            .iter()
            .map(|word| i32::from_ne_bytes(*word))
            .collect(),
    }
}

/// A `struct timeval`.
fn timeval(duration: Option<Duration>) -> Vec<u8> {
    let duration = duration.unwrap_or_default();
    [duration.as_secs(), duration.subsec_micros().into()]
        .map(u64::to_ne_bytes)
        .concat()
}

/// From a `struct timeval`; none is for ever.
fn duration(value: &OptionValue<'_>) -> Result<Option<Duration>, Errno> {
    let OptionValue::Bytes(bytes) = value else {
        return Err(Errno::INVAL);
    };
    let [seconds, micros] = bytes.as_chunks().0 else {
        return Err(Errno::INVAL);
    };
    let seconds = u64::try_from(i64::from_ne_bytes(*seconds)).map_err(|_| Errno::DOM)?;
    let micros = u64::try_from(i64::from_ne_bytes(*micros)).map_err(|_| Errno::DOM)?;
    if micros >= 1_000_000 {
        return Err(Errno::DOM);
    }
    let duration = Duration::from_secs(seconds) + Duration::from_micros(micros);
    Ok((!duration.is_zero()).then_some(duration))
}
