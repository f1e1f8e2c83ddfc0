use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{
    set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl,
    set_tcp_user_timeout,
};

use crate::config::limits::{KEEPALIVE, KEEPALIVE_PROBES};

/// How a TCP connection notices that its peer is gone without a word: no FIN and no reset, since
/// the machine lost its power, its network or its place behind a NAT (tcp(7), fault B18).
///
/// After `idle` without a segment from the peer the kernel sends a probe, and two more at intervals
/// of a third of `idle`. Without an answer the connection ends with `ETIMEDOUT`, after twice `idle`.
/// The kernel of a living peer answers, however little its program reads.
///
/// While bytes are unacknowledged there are no probes: the kernel sends the bytes again, 15 times,
/// which takes a quarter of an hour (`net.ipv4.tcp_retries2`). `user_timeout` bounds that too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe; `None`: no probes. In whole seconds, rounded up.
    pub idle: Option<Duration>,
    /// How long bytes or probes may stay unacknowledged (RFC 5482), however many probes that are;
    /// `None`: as the kernel has it. In milliseconds, rounded up. It also resets the connection of
    /// a living peer that reads nothing for so long while there is more to send, so it is off
    /// unless asked for.
    pub user_timeout: Option<Duration>,
}

impl Default for Keepalive {
    fn default() -> Keepalive {
        Keepalive {
            idle: Some(KEEPALIVE),
            user_timeout: None,
        }
    }
}

impl Keepalive {
    /// Sets it on a listening socket, or one that will listen; what is accepted there inherits it,
    /// which saves five system calls a connection. Connections that waited there before (socket
    /// activation) keep what the socket had.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if it is no TCP socket, `EINVAL` above the kernel's limits (32,767 s, and
    /// 2³¹ − 1 ms).
    pub fn set(&self, listener: &OwnedFd) -> io::Result<()> {
        let user_timeout = self.user_timeout.unwrap_or_default();
        let milliseconds = user_timeout.as_nanos().div_ceil(1_000_000);
        let milliseconds = u32::try_from(milliseconds).map_err(|_| Errno::INVAL)?;
        // All of it, also what is off: an inherited socket may have been given other times.
        set_tcp_user_timeout(listener, milliseconds)?;
        set_socket_keepalive(listener, self.idle.is_some())?;
        if let Some(idle) = self.idle {
            set_tcp_keepidle(listener, idle)?;
            // Rounded up as well, but not from nothing, which a third of a nanosecond is here.
            let interval = (idle / KEEPALIVE_PROBES).max(Duration::from_nanos(1));
            set_tcp_keepintvl(listener, interval)?;
            set_tcp_keepcnt(listener, KEEPALIVE_PROBES)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixListener;

    use rustix::net::sockopt::{
        socket_keepalive, tcp_keepcnt, tcp_keepidle, tcp_keepintvl, tcp_user_timeout,
    };

    use super::*;

    /// What an accepted socket has: on or off, the three times, and the user timeout.
    fn accepted(keepalive: Keepalive) -> (bool, Duration, Duration, u32, u32) {
        let listener = OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        // As it may have been left by the process that opened it.
        set_socket_keepalive(&listener, true).unwrap();
        set_tcp_user_timeout(&listener, 77).unwrap();
        keepalive.set(&listener).unwrap();
        let listener = TcpListener::from(listener);
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        (
            socket_keepalive(&socket).unwrap(),
            tcp_keepidle(&socket).unwrap(),
            tcp_keepintvl(&socket).unwrap(),
            tcp_keepcnt(&socket).unwrap(),
            tcp_user_timeout(&socket).unwrap(),
        )
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_accepted_inherits_it() {
        assert_eq!(
            accepted(Keepalive::default()),
            (true, seconds(120), seconds(40), 3, 0)
        );
        for idle in [Duration::from_millis(1), Duration::from_nanos(1)] {
            let hasty = Keepalive {
                idle: Some(idle),
                user_timeout: Some(Duration::from_micros(1500)),
            };
            assert_eq!(accepted(hasty), (true, seconds(1), seconds(1), 3, 2));
        }
        let off = Keepalive {
            idle: None,
            ..Keepalive::default()
        };
        let (is_on, .., user_timeout) = accepted(off);
        assert_eq!((is_on, user_timeout), (false, 0));
    }

    #[test]
    fn only_tcp_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let unix = UnixListener::bind(directory.path().join("s")).unwrap();
        let wrong = Keepalive::default().set(&unix.into()).unwrap_err();
        assert_eq!(Errno::from_io_error(&wrong), Some(Errno::OPNOTSUPP));
    }
}
