//! What a supervisor such as systemd is told: sd_notify(3), sd_watchdog_enabled(3).
//!
//! One datagram a message, to a Unix socket whose address is in `NOTIFY_SOCKET`. Sending never waits: a
//! supervisor that does not read is told nothing.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The process that started us and wants to know how we are; or nobody.
#[derive(Debug, Default)]
pub(super) struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// As the environment has it. What is wrong with it is said, and no reason not to serve.
    pub(super) fn find() -> Supervisor {
        let told = env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty());
        let socket = told.and_then(|path| match reach(&path) {
            Ok(socket) => Some(socket),
            Err(error) => {
                let path = path.display();
                log::warn!(error:%; "cannot reach the supervisor at NOTIFY_SOCKET={path}");
                None
            }
        });
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        // Of another process, which passed its environment on.
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| *usec > 0 && is_ours);
        Supervisor {
            watchdog: watchdog
                .filter(|_| socket.is_some())
                .map(Duration::from_micros),
            socket,
        }
    }

    /// How often it wants to hear that the loop turns: twice in the time after which it would act.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.watchdog.map(|time| time / 2)
    }

    /// The server serves.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// How it serves has changed.
    pub(super) fn status(&self, status: &str) {
        self.tell(&format!("STATUS={status}"));
    }

    /// The server, which took another over, serves, and is the service's main process from here on.
    pub(super) fn ready_instead(&self, status: &str) {
        let pid = std::process::id();
        self.tell(&format!("MAINPID={pid}\nREADY=1\nSTATUS={status}"));
    }

    /// This process, which took the server over, is the service's main one from here on. It is said by the one that
    /// was, since systemd believes no other (`NotifyAccess=main`, systemd.service(5)).
    pub(super) fn main_process(&self, pid: u32) {
        self.tell(&format!("MAINPID={pid}"));
    }

    /// The configuration is read again. The moment is for `Type=notify-reload`.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let usec = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.tell(&format!(
            "RELOADING=1\nMONOTONIC_USEC={usec}\nSTATUS=reading the configuration"
        ));
    }

    /// The server lets its connections finish, and ends.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=letting connections finish");
    }

    /// The loop turns.
    pub(super) fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, message: &str) {
        let Some((socket, to)) = &self.socket else {
            return;
        };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), to) {
            log::warn!(error:%; "could not tell the supervisor {message:?}");
        }
    }
}

/// A socket of ours, and the address that is written so: a path, or `@` and a name in the abstract namespace.
fn reach(written: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let to = match written.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(written)?,
        _ => {
            let what = "it is neither a path nor `@NAME`";
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, to))
}
