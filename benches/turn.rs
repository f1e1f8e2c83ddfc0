//! What one turn of the loop costs: some connections of many have something to say, and one turn
//! hears and answers all of them.
//!
//!     cargo bench --bench turn [-- --rounds 9 --seconds 0.2 --only 64]
//!
//! The reactor on the real epoll, with the echo service, beside the floor that does the same; both
//! in this process, with their clients, on TCP of the loopback. Only the turn is timed, never the
//! clients, and the median of many turns stands for a round: one that something else interrupted is
//! not in it. So this is the quietest of the benches, and the first to look at after a change of
//! the loop.
//!
//! Nearly all of a turn is the kernel's: one wait, and a read and a write for each connection. What
//! is ours is the difference to the floor, for each connection that was served.

mod common;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use onepoll::load::measure::clock::Stopwatch;
use onepoll::reactor::{Epoll, Handle, Reactor};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use common::addresses::Addresses;
use common::figures::Median;
use common::floor::{Budget, Floor};
use common::options::Options;
use common::ours;
use common::server::pin;

/// Ready connections, of how many.
const TESTS: [(usize, usize); 4] = [(1, 1), (1, 1000), (64, 64), (64, 1000)];
/// Connections when only asked whether it runs.
const OPEN_IN_TEST: usize = 80;
const MESSAGE: [u8; 64] = [b'x'; 64];
/// So long an answer may be on its way before another turn is thought to be needed.
const ON_ITS_WAY: Duration = Duration::from_millis(20);
/// Turns for one question; more, and something is wrong.
const TURNS_MAX: usize = 100;

fn main() -> io::Result<()> {
    let Some(options) = Options::read(9, 0.2).map_err(io::Error::other)? else {
        return Ok(());
    };
    common::raise_descriptor_limit();
    // The clients share the server's processor: they are never at work at the same time.
    pin(0);
    println!(
        "{} rounds of {:?} each; medians of the rounds' median turns (least to greatest)",
        options.rounds, options.time
    );
    println!(
        "{:<16} {:>10} {:>10}  {:<21} ours for each, beyond the floor",
        "ready", "floor", "ours", "ratio of speeds"
    );
    for (ready, open) in TESTS {
        let name = format!("{ready} of {open}");
        if options.wants(&name) {
            compare(&name, ready, open, &options)?;
        }
    }
    Ok(())
}

fn compare(name: &str, ready: usize, open: usize, options: &Options) -> io::Result<()> {
    let open = if options.is_test {
        open.min(OPEN_IN_TEST)
    } else {
        open
    };
    let mut floor = Room::enter(Bare::open()?, open)?;
    let mut ours = Room::enter(Whole::open()?, open)?;
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        let (mut theirs, mut own) = (Vec::new(), Vec::new());
        let (watch, until) = (Stopwatch::start(), options.time.as_nanos());
        // Turn by turn, not round by round: a processor that runs slower for a while is slow for both.
        while own.is_empty() || u128::from(watch.nanos()) < until {
            theirs.push(floor.time_turn(&watch, ready)? as f64);
            own.push(ours.time_turn(&watch, ready)? as f64);
        }
        rounds.push((Median::of(theirs).middle, Median::of(own).middle));
    }
    let of = |figure: fn(&(f64, f64)) -> f64| Median::of(rounds.iter().map(figure));
    let beyond = of(|(floor, ours)| ours - floor);
    println!(
        "{name:<16} {:>7.2} µs {:>7.2} µs  {:<21} {:.0} ns ({:.0} to {:.0})",
        of(|(floor, _)| *floor).middle / 1e3,
        of(|(_, ours)| *ours).middle / 1e3,
        of(|(floor, ours)| floor / ours).ratio(),
        beyond.middle / ready as f64,
        beyond.low / ready as f64,
        beyond.high / ready as f64
    );
    Ok(())
}

/// A loop that turns when it is told to.
trait Loop {
    /// One turn; it sleeps until there is something to do.
    fn turn(&mut self) -> io::Result<()>;
    /// Gives it something to do, so that the next turn does not sleep.
    fn nudge(&mut self) -> io::Result<()>;
    /// Where it listens.
    fn at(&self) -> SocketAddr;
}

struct Bare(Floor, Addresses);

impl Bare {
    fn open() -> io::Result<Bare> {
        Floor::open(Budget::Short).map(|(floor, at)| Bare(floor, at))
    }
}

impl Loop for Bare {
    fn turn(&mut self) -> io::Result<()> {
        self.0.turn()
    }

    /// It answers datagrams, too: this one goes back to a socket that is closed.
    fn nudge(&mut self) -> io::Result<()> {
        let to = self.1.datagram.ok_or(io::ErrorKind::Unsupported)?;
        std::net::UdpSocket::bind("127.0.0.1:0")?.send_to(b"!", to)?;
        Ok(())
    }

    fn at(&self) -> SocketAddr {
        self.1.stream
    }
}

struct Whole(Reactor<Epoll>, Handle, Addresses);

impl Whole {
    fn open() -> io::Result<Whole> {
        let epoll = Epoll::new()?;
        let handle = epoll.handle();
        let (reactor, at) = ours::open(epoll)?;
        Ok(Whole(reactor, handle, at))
    }
}

impl Loop for Whole {
    fn turn(&mut self) -> io::Result<()> {
        self.0.turn()
    }

    fn nudge(&mut self) -> io::Result<()> {
        self.1.report()
    }

    fn at(&self) -> SocketAddr {
        self.2.stream
    }
}

/// A loop and its clients.
struct Room<L> {
    server: L,
    clients: Vec<TcpStream>,
    /// The client whose turn it is to speak.
    next: usize,
}

impl<L: Loop> Room<L> {
    fn enter(server: L, clients: usize) -> io::Result<Room<L>> {
        let mut room = Room {
            server,
            clients: Vec::new(),
            next: 0,
        };
        for at in 0..clients {
            let mut client = TcpStream::connect(room.server.at())?;
            client.set_nodelay(true)?;
            client.set_nonblocking(true)?;
            client.write_all(&MESSAGE)?;
            room.clients.push(client);
            // The first turn lets it in; some loops hear it only in the next.
            room.server.turn()?;
            room.server.nudge()?;
            room.server.turn()?;
            room.hear(at)?;
        }
        Ok(room)
    }

    /// Some speak, and are answered: how long that turn took, in nanoseconds.
    fn time_turn(&mut self, watch: &Stopwatch, ready: usize) -> io::Result<u64> {
        let (first, open) = (self.next, self.clients.len());
        let speakers = (0..ready).map(move |n| (first + n) % open);
        self.next = (first + ready) % open;
        for at in speakers.clone() {
            self.clients[at].write_all(&MESSAGE)?;
        }
        let begins = watch.nanos();
        self.server.turn()?;
        let took = watch.nanos() - begins;
        for at in speakers {
            self.hear(at)?;
        }
        Ok(took)
    }

    /// The whole answer, with more turns if one was not enough; they are in no figure.
    fn hear(&mut self, at: usize) -> io::Result<()> {
        let (mut answer, mut had) = ([0; MESSAGE.len()], 0);
        for _ in 0..TURNS_MAX {
            match self.clients[at].read(&mut answer[had..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => had += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.go_on(at)?,
                Err(error) => return Err(error),
            }
            if had == answer.len() {
                assert_eq!(answer, MESSAGE, "it is an echo");
                return Ok(());
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Waits for an answer that may be on its way; turns the loop, if there is none.
    fn go_on(&mut self, at: usize) -> io::Result<()> {
        let patience = Timespec::try_from(ON_ITS_WAY).map_err(io::Error::other)?;
        let mut wanted = [PollFd::new(&self.clients[at], PollFlags::IN)];
        if poll(&mut wanted, Some(&patience))? == 0 {
            self.server.nudge()?;
            self.server.turn()?;
        }
        Ok(())
    }
}
