//! How long polite clients wait beside a greedy one and a thousand slow ones (faults A6, A7).
//!
//!     cargo bench --bench polite [-- --rounds 5 --seconds 1 --only onepoll]
//!
//! Twenty polite clients each send 64 B on a schedule and are timed from the moment they meant to,
//! so an answer that is late delays no other client's clock. Then the same beside one client that writes as
//! fast as it can and takes every answer, 500 that say a byte a second, and 500 that said 64 KiB
//! and never read. The aim: at most twice as long, also for the slowest in a thousand.
//!
//! Then the same beside a room of 4,000 members who all say a line at once: 16 million deliveries, which
//! are another listener's, and must not stop this one.
//!
//! For comparison, the floor without a budget: what serves each readable connection until nothing is
//! left. All clients are one thread, on a processor of its own, that polls and never sleeps: a
//! client's own wake-up is not the server's lateness. Where other programs want the processors too,
//! the tails are theirs: the figures beside them say how much.

mod common;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use onepoll::load::measure::clock::Stopwatch;
use onepoll::load::measure::histogram::{Latencies, Summary};
use rustix::net::{RecvFlags, recv, sockopt};

use common::figures::Median;
use common::options::Options;
use common::server::{Kind, Server, pin, serve_if_asked};

const SERVERS: [Kind; 2] = [Kind::Ours, Kind::Greedy];
const MEMBERS: usize = 4000;
/// Members who say their line between two looks at the polite clients.
const SPEAKERS_AT_ONCE: usize = 16;
const POLITE: usize = 20;
/// Between two messages of a polite client.
const PERIOD: Duration = Duration::from_millis(2);
const MESSAGE: [u8; 64] = [b'x'; 64];
/// What a client that never reads says at first.
const UNREAD_BYTES: usize = 64 * 1024;
/// What the greedy client writes and takes at a time.
const GULP_BYTES: usize = 32 * 1024;
/// Clients that could not look for so long had no processor: what they saw then is their own.
const GAP: Duration = Duration::from_millis(1);
/// What a server may wait for its processor, if its tails are to be its own.
const QUEUED_PERCENT_MAX: f64 = 1.0;
/// The aim, loaded to unloaded.
const RATIO_MAX: f64 = 2.0;

fn main() -> io::Result<()> {
    if serve_if_asked()? {
        return Ok(());
    }
    let Some(options) = Options::read(3, 1.0).map_err(io::Error::other)? else {
        return Ok(());
    };
    let slow = if options.is_test { 20 } else { 1000 };
    common::raise_descriptor_limit();
    if !pin(1) {
        println!("one processor only: server and clients share it, and the figures say little");
    }
    println!(
        "{POLITE} polite clients, one message every {PERIOD:?} each; loaded: beside 1 greedy and \
         {slow} slow ones; medians of {} rounds of {:?} (least to greatest)",
        options.rounds, options.time
    );
    let kinds = SERVERS
        .into_iter()
        .filter(|kind| options.wants(kind.name()));
    let kinds: Vec<Kind> = kinds.collect();
    let mut rounds: Vec<Vec<[Seen; 2]>> = vec![Vec::new(); kinds.len()];
    for _ in 0..options.rounds {
        for (at, &kind) in kinds.iter().enumerate() {
            let server = Server::start(kind)?;
            let unloaded = ask(&server, Load::none(), options.time)?;
            let loaded = ask(
                &server,
                Load::greedy_and(slow, server.at.stream)?,
                options.time,
            )?;
            rounds[at].push([unloaded, loaded]);
        }
    }
    for (kind, rounds) in kinds.iter().zip(&rounds) {
        let greed = Median::of(rounds.iter().map(|[_, loaded]| loaded.greed));
        println!(
            "{}: the greedy client got {:.2} GB/s",
            kind.name(),
            greed.middle / 1e9
        );
        report(rounds);
    }
    if !options.wants(Kind::EchoAndRoom.name()) {
        return Ok(());
    }
    let members = if options.is_test { 20 } else { MEMBERS };
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        let server = Server::start(Kind::EchoAndRoom)?;
        let unloaded = ask(&server, Load::none(), options.time)?;
        let room = server.at.room.ok_or(io::ErrorKind::InvalidData)?;
        let loaded = ask(&server, Load::room(members, room)?, options.time)?;
        rounds.push([unloaded, loaded]);
    }
    println!("onepoll, beside a room of {members} who all say a line at once");
    report(&rounds);
    Ok(())
}

fn report(rounds: &[[Seen; 2]]) {
    let share = |of: fn(&Seen) -> f64| {
        Median::of(rounds.iter().flatten().map(|seen| of(seen) * 100.0)).middle
    };
    println!(
        "  not its doing: it waited for its processor {:.1} % of the time, and the clients' own \
         gaps voided {:.1} % of the messages",
        share(|seen| seen.queued),
        share(|seen| seen.voided)
    );
    if share(|seen| seen.queued) > QUEUED_PERCENT_MAX {
        println!("  the machine was not quiet: nothing below is established");
    }
    for (at, row) in ["p50", "p99", "p99.9", "max"].into_iter().enumerate() {
        let of = |s: &Summary| [s.p50, s.p99, s.p99_9, s.max][at];
        let [unloaded, loaded] =
            [0, 1].map(|at| Median::of(rounds.iter().map(|round| of(&round[at].latencies))));
        let ratio = Median::of(
            rounds
                .iter()
                .map(|[unloaded, loaded]| of(&loaded.latencies) / of(&unloaded.latencies)),
        );
        println!(
            "  {row:<6} unloaded {:>8.1} µs   loaded {:>9.1} µs   ratio {}{}",
            unloaded.middle,
            loaded.middle,
            ratio.ratio(),
            if ratio.middle <= RATIO_MAX {
                ""
            } else {
                "   above 2"
            }
        );
    }
}

/// What the polite clients saw, and how many bytes a second the greedy one got.
#[derive(Debug, Clone, Copy)]
struct Seen {
    latencies: Summary,
    greed: f64,
    /// Share of the time that the server was ready to run and something else had its processor.
    queued: f64,
    /// Share of the messages that do not count, since the clients themselves were away.
    voided: f64,
}

/// A client with a schedule.
struct Polite {
    stream: TcpStream,
    /// When the message that is due, or on its way, was meant to be sent.
    intended: u64,
    /// Bytes of its answer that are missing; 0: it was not sent yet.
    missing: usize,
    /// Whether the clients had no processor since it was meant to be sent.
    void: bool,
}

/// What the polite clients are beside.
#[derive(Default)]
struct Load {
    slow: Option<Slow>,
    greedy: Option<Greedy>,
    room: Option<Room>,
}

impl Load {
    fn none() -> Load {
        Load::default()
    }

    fn greedy_and(slow: usize, at: SocketAddr) -> io::Result<Load> {
        Ok(Load {
            slow: Some(Slow::connect(at, slow)?),
            greedy: Some(Greedy::connect(at)?),
            room: None,
        })
    }

    fn room(members: usize, at: SocketAddr) -> io::Result<Load> {
        Ok(Load {
            room: Some(Room::connect(at, members)?),
            ..Load::default()
        })
    }

    fn step(&mut self, now: u64) -> io::Result<()> {
        if let Some(slow) = &mut self.slow {
            slow.step(now)?;
        }
        if let Some(room) = &mut self.room {
            room.step()?;
        }
        match &mut self.greedy {
            Some(greedy) => greedy.step(),
            None => Ok(()),
        }
    }
}

fn ask(server: &Server, mut load: Load, time: Duration) -> io::Result<Seen> {
    let at = server.at.stream;
    let watch = Stopwatch::start();
    let until = nanos(time);
    let mut polite = Vec::new();
    for n in 0..POLITE {
        polite.push(Polite {
            stream: connect(at)?,
            // They do not all come at once.
            intended: watch.nanos() + nanos(PERIOD) * n as u64 / POLITE as u64,
            missing: 0,
            void: false,
        });
    }
    let mut latencies = Latencies::new();
    let (began, queued) = (watch.nanos(), server.queued()?);
    let (mut last, mut voided) = (began, 0u64);
    loop {
        let now = watch.nanos();
        if now - began >= until {
            break;
        }
        if now - last >= nanos(GAP) {
            for client in &mut polite {
                voided += u64::from(client.excuse(now));
            }
        }
        last = now;
        for client in &mut polite {
            client.step(&watch, &mut latencies)?;
        }
        load.step(now)?;
    }
    // A client that still waits has waited so long at least: leaving them out would flatter a stall.
    let now = watch.nanos();
    for client in polite
        .iter()
        .filter(|client| client.missing > 0 && !client.void)
    {
        latencies.record(now - client.intended, 1);
    }
    let queued = server.queued()? - queued;
    let got = load.greedy.map_or(0, |greedy| greedy.got);
    let (summary, time) = (latencies.summary(), (now - began) as f64);
    Ok(Seen {
        latencies: summary,
        greed: got as f64 * 1e9 / time,
        queued: queued as f64 / time,
        voided: voided as f64 / (summary.count + voided).max(1) as f64,
    })
}

impl Polite {
    /// The clients were away until `now`: what is on its way does not count, and what was due
    /// meanwhile is due now. Says whether a message is lost to the count.
    fn excuse(&mut self, now: u64) -> bool {
        if self.missing == 0 {
            self.intended = self.intended.max(now);
            return false;
        }
        !std::mem::replace(&mut self.void, true)
    }

    fn step(&mut self, watch: &Stopwatch, latencies: &mut Latencies) -> io::Result<()> {
        if self.missing == 0 {
            if watch.nanos() >= self.intended {
                // 64 bytes always fit where nothing is on its way.
                self.stream.write_all(&MESSAGE)?;
                self.missing = MESSAGE.len();
            }
            return Ok(());
        }
        let mut answer = [0; MESSAGE.len()];
        match self.stream.read(&mut answer[..self.missing]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => self.missing -= n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        if self.missing == 0 {
            let now = watch.nanos();
            self.intended += nanos(PERIOD);
            if std::mem::take(&mut self.void) {
                self.intended = self.intended.max(now);
            } else {
                latencies.record(now.saturating_sub(self.intended - nanos(PERIOD)), 1);
            }
        }
        Ok(())
    }
}

/// Clients that say little or never listen; each says a byte a second.
struct Slow {
    streams: Vec<TcpStream>,
    next: u64,
    turn: usize,
}

impl Slow {
    fn connect(at: SocketAddr, count: usize) -> io::Result<Slow> {
        let mut streams = Vec::new();
        for n in 0..count {
            let mut stream = connect(at)?;
            if is_deaf(n) {
                sockopt::set_socket_recv_buffer_size(&stream, 4096)?;
                would_block(stream.write(&[b'x'; UNREAD_BYTES]))?;
            }
            streams.push(stream);
        }
        Ok(Slow {
            streams,
            next: 0,
            turn: 0,
        })
    }

    fn step(&mut self, now: u64) -> io::Result<()> {
        if now < self.next || self.streams.is_empty() {
            return Ok(());
        }
        self.next = now + 1_000_000_000 / self.streams.len() as u64;
        self.turn = (self.turn + 1) % self.streams.len();
        let stream = &mut self.streams[self.turn];
        would_block(stream.write(b"x"))?;
        if !is_deaf(self.turn) {
            would_block(stream.read(&mut [0; 16]))?;
        }
        Ok(())
    }
}

/// Every other one never reads.
fn is_deaf(n: usize) -> bool {
    n % 2 == 1
}

/// Writes at full speed and takes every answer.
struct Greedy {
    stream: TcpStream,
    message: Vec<u8>,
    got: u64,
}

impl Greedy {
    fn connect(at: SocketAddr) -> io::Result<Greedy> {
        Ok(Greedy {
            stream: connect(at)?,
            message: vec![b'x'; GULP_BYTES],
            got: 0,
        })
    }

    fn step(&mut self) -> io::Result<()> {
        would_block(self.stream.write(&self.message))?;
        // `TRUNC` takes bytes without copying them: one processor must keep a server busy.
        match recv(&self.stream, &mut self.message[..], RecvFlags::TRUNC) {
            Ok((_, n)) => self.got += n as u64,
            Err(error) => {
                would_block(Err(error.into()))?;
            }
        }
        Ok(())
    }
}

/// Members of a chat. Each says one line; what it is sent stays in the kernel.
struct Room {
    members: Vec<TcpStream>,
    spoke: usize,
}

impl Room {
    fn connect(at: SocketAddr, count: usize) -> io::Result<Room> {
        let mut members = Vec::new();
        for _ in 0..count {
            let member = connect(at)?;
            // Room for every line, so that nobody is behind.
            sockopt::set_socket_recv_buffer_size(&member, 1 << 20)?;
            members.push(member);
        }
        Ok(Room { members, spoke: 0 })
    }

    fn step(&mut self) -> io::Result<()> {
        let rest = &mut self.members[self.spoke..];
        for member in rest.iter_mut().take(SPEAKERS_AT_ONCE) {
            would_block(member.write(b"hi\n"))?;
            self.spoke += 1;
        }
        Ok(())
    }
}

/// A connection that does not block, and resets when it is closed.
fn connect(at: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(at)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
    Ok(stream)
}

fn would_block(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
