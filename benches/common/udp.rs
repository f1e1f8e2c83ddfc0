//! A window of datagrams in flight, each answered by the next.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use onepoll::load::measure::clock::Stopwatch;
use onepoll::load::measure::cpu::CpuTime;

/// After so long without an answer, the window is taken for lost and filled again.
const LOST: Duration = Duration::from_millis(50);
const BYTES: usize = 64;

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Answers that were what was sent.
    pub(crate) answers: u64,
    /// Answers that were not.
    pub(crate) wrong: u64,
    /// How long it took, in nanoseconds.
    pub(crate) nanos: u64,
    /// The processor time that asking took or waited for.
    pub(crate) busy: u64,
}

/// Keeps `window` datagrams in flight for this long.
pub(crate) fn ask(to: SocketAddr, window: usize, time: Duration) -> io::Result<Seen> {
    let socket = UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(LOST))?;
    let (watch, cpu) = (Stopwatch::start(), CpuTime::now());
    let until = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let mut datagram = [b'x'; BYTES];
    let mut answer = [0; BYTES + 1];
    let (mut number, mut seen) = (
        0u64,
        Seen {
            answers: 0,
            wrong: 0,
            nanos: 0,
            busy: 0,
        },
    );
    let mut send = |socket: &UdpSocket| {
        number += 1;
        datagram[..8].copy_from_slice(&number.to_be_bytes());
        socket.send(&datagram)
    };
    for _ in 0..window {
        send(&socket)?;
    }
    while watch.nanos() < until {
        match socket.recv(&mut answer) {
            Ok(n) if n == BYTES && answer[8..n].iter().all(|&byte| byte == b'x') => {
                seen.answers += 1;
                send(&socket)?;
            }
            Ok(_) => {
                seen.wrong += 1;
                send(&socket)?;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                for _ in 0..window {
                    send(&socket)?;
                }
            }
            Err(error) => return Err(error),
        }
    }
    seen.nanos = watch.nanos();
    let cpu = CpuTime::now().since(cpu);
    seen.busy = cpu.used + cpu.queued;
    Ok(seen)
}
