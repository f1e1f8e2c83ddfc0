//! Echo, connections per second and fan-out of the reactor, beside the least that is possible,
//! beside what others offer, and beside what is written first, in one run.
//!
//!     cargo bench --bench loop [-- --rounds 5 --seconds 0.5 --only echo50]
//!
//! Each server runs in a process of its own on one processor, the load on another. They take turns,
//! a fresh process each time, and every figure is compared with the floor of its own round: what
//! the machine does meanwhile then hurts all of them. How to believe the ratios, and when not to,
//! is told in `common`.
//!
//! Two ratios: by the clock, which is cut short where the load is the limit (see the last column),
//! and by the server's own processor time, which is not.

mod common;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use onepoll::load::{self, Amount, Close, Mode, Plan};

use common::fanout::Crowd;
use common::figures::{Median, short};
use common::options::Options;
use common::server::{Kind, Server, pin, serve_if_asked};
use common::udp::{self, Seen};

/// The floor first: the others are compared with it.
const STREAMS: &[Kind] = &[
    Kind::Floor,
    Kind::Ours,
    Kind::Mio,
    Kind::Calloop,
    Kind::Threads,
];
const DATAGRAMS: &[Kind] = &[Kind::Floor, Kind::Ours, Kind::Mio, Kind::Threads];
const ROOMS: &[Kind] = &[Kind::Broadcast, Kind::Chat];
const ECHO: Mode = Mode::Echo { depth: 1 };
const CONN: Mode = Mode::Conn {
    close: Close::ClientRst,
    requests: 1,
};
const CONN_FIN: Mode = Mode::Conn {
    close: Close::ClientFin,
    requests: 1,
};

/// One thing that is asked of all servers that offer it.
struct Test {
    name: &'static str,
    what: &'static str,
    ask: Ask,
}

enum Ask {
    Stream {
        mode: Mode,
        connections: usize,
        size: usize,
    },
    Datagrams {
        window: usize,
    },
    Lines {
        members: usize,
        window: usize,
    },
}

impl Ask {
    fn servers(&self) -> &'static [Kind] {
        match self {
            Ask::Stream { .. } => STREAMS,
            Ask::Datagrams { .. } => DATAGRAMS,
            Ask::Lines { .. } => ROOMS,
        }
    }
}

const fn stream(mode: Mode, connections: usize, size: usize) -> Ask {
    Ask::Stream {
        mode,
        connections,
        size,
    }
}

const TESTS: [Test; 10] = [
    Test {
        name: "echo1",
        what: "1 connection, 64 B",
        ask: stream(ECHO, 1, 64),
    },
    Test {
        name: "echo50",
        what: "50 connections, 64 B",
        ask: stream(ECHO, 50, 64),
    },
    Test {
        name: "echo1000",
        what: "1,000 connections, 64 B",
        ask: stream(ECHO, 1000, 64),
    },
    Test {
        name: "pipe16",
        what: "50 connections, 16 × 64 B in flight",
        ask: stream(Mode::Echo { depth: 16 }, 50, 64),
    },
    Test {
        name: "echo16k",
        what: "50 connections, 16 KiB",
        ask: stream(ECHO, 50, 16 * 1024),
    },
    Test {
        name: "conn",
        what: "a connection per request, the client resets",
        ask: stream(CONN, 64, 64),
    },
    Test {
        name: "fin",
        what: "a connection per request, the client closes",
        ask: stream(CONN_FIN, 64, 64),
    },
    Test {
        name: "udp64",
        what: "64 datagrams of 64 B in flight",
        ask: Ask::Datagrams { window: 64 },
    },
    Test {
        name: "fanout1",
        what: "one speaks to 1,000, a line of 64 B at a time; deliveries",
        ask: Ask::Lines {
            members: 1000,
            window: 1,
        },
    },
    Test {
        name: "fanout64",
        what: "one speaks to 1,000, 64 lines of 64 B in flight; deliveries",
        ask: Ask::Lines {
            members: 1000,
            window: 64,
        },
    },
];

/// Connections, datagrams and members at once when only asked whether it runs.
const AT_ONCE_IN_TEST: usize = 8;

/// What one server did in one round.
#[derive(Debug, Clone, Copy)]
struct Figure {
    /// Answers a second.
    rate: f64,
    /// Answers per second of the server's processor time.
    per_cpu: f64,
    /// Share of its time that the load was busy or waited for its processor.
    load: f64,
}

fn main() -> io::Result<()> {
    if serve_if_asked()? {
        return Ok(());
    }
    let Some(options) = Options::read(5, 0.5).map_err(io::Error::other)? else {
        return Ok(());
    };
    common::raise_descriptor_limit();
    if !pin(1) {
        println!("one processor only: server and load share it, and the figures say little");
    }
    println!(
        "{} rounds of {:?} each; medians of ratios to the floor of the same round (least to greatest)",
        options.rounds, options.time
    );
    println!(
        "{:<9} {:<16} {:>9} {:>9}  {:<21} {:<21} load busy",
        "test", "server", "/s", "/cpu s", "ratio by the clock", "ratio by cpu time"
    );
    for test in TESTS.iter().filter(|test| options.wants(test.name)) {
        compare(test, &options)?;
    }
    Ok(())
}

fn compare(test: &Test, options: &Options) -> io::Result<()> {
    println!("{}: {}", test.name, test.what);
    let servers = test.ask.servers();
    let mut rounds: Vec<Vec<Figure>> = Vec::new();
    for _ in 0..options.rounds {
        let round = servers
            .iter()
            .map(|&kind| measure(kind, &test.ask, options));
        rounds.push(round.collect::<io::Result<_>>()?);
    }
    for (at, kind) in servers.iter().enumerate() {
        let of = |figure: fn(&Figure) -> f64| {
            let ratios = rounds
                .iter()
                .map(|round| figure(&round[at]) / figure(&round[0]));
            (
                Median::of(rounds.iter().map(|round| figure(&round[at]))),
                Median::of(ratios),
            )
        };
        let (rate, by_clock) = of(|figure| figure.rate);
        let (per_cpu, by_cpu) = of(|figure| figure.per_cpu);
        let load = Median::of(rounds.iter().map(|round| round[at].load));
        println!(
            "{:<9} {:<16} {:>9} {:>9}  {:<21} {:<21} {:>4.0} %",
            "",
            kind.name(),
            short(rate.middle),
            short(per_cpu.middle),
            by_clock.ratio(),
            by_cpu.ratio(),
            load.middle * 100.0
        );
    }
    Ok(())
}

fn measure(kind: Kind, ask: &Ask, options: &Options) -> io::Result<Figure> {
    let mut server = Server::start(kind)?;
    let mut asker = Asker::new(&server, ask, options)?;
    // What happens once only, such as the first touch of its memory, is not what is compared.
    asker.ask((options.time / 5).min(Duration::from_millis(100)))?;
    let before = server.cpu()?;
    let Seen {
        answers,
        nanos,
        busy,
        ..
    } = asker.ask(options.time)?;
    let used = server.cpu()? - before;
    Ok(Figure {
        rate: answers as f64 * 1e9 / nanos as f64,
        per_cpu: answers as f64 * 1e9 / used as f64,
        load: (busy as f64 / nanos as f64).min(1.0),
    })
}

/// A client, ready to ask more than once.
enum Asker {
    Stream(Box<Plan>),
    Datagrams(SocketAddr, usize),
    Lines(Crowd, usize),
}

impl Asker {
    fn new(server: &Server, ask: &Ask, options: &Options) -> io::Result<Asker> {
        let at_once = |asked: usize| {
            if options.is_test {
                asked.min(AT_ONCE_IN_TEST)
            } else {
                asked
            }
        };
        Ok(match ask {
            Ask::Stream {
                mode,
                connections,
                size,
            } => {
                let endpoint = server.at.stream.to_string().parse();
                let mut plan = Plan::new(endpoint.map_err(io::Error::other)?, mode.clone());
                plan.connections = at_once(*connections);
                plan.size = *size;
                plan.warmup = Duration::ZERO;
                Asker::Stream(Box::new(plan))
            }
            Ask::Datagrams { window } => {
                let to = server.at.datagram.ok_or(io::ErrorKind::Unsupported)?;
                Asker::Datagrams(to, at_once(*window))
            }
            Ask::Lines { members, window } => {
                let crowd = Crowd::enter(server.at.stream, at_once(*members))?;
                Asker::Lines(crowd, *window)
            }
        })
    }

    fn ask(&mut self, time: Duration) -> io::Result<Seen> {
        let seen = match self {
            Asker::Stream(plan) => {
                plan.amount = Amount::For(time);
                let report = load::run(plan).map_err(io::Error::other)?;
                if report.has_errors() {
                    return Err(io::Error::other(report.to_string()));
                }
                let busy = report.generator.busy_share + report.generator.queued_share;
                Seen {
                    answers: report.requests.answered,
                    wrong: 0,
                    nanos: (report.elapsed_s * 1e9) as u64,
                    busy: (busy * report.elapsed_s * 1e9) as u64,
                }
            }
            Asker::Datagrams(to, window) => udp::ask(*to, *window, time)?,
            Asker::Lines(crowd, window) => crowd.speak(*window, time)?,
        };
        match seen.wrong {
            0 => Ok(seen),
            _ => Err(io::Error::other(format!("{seen:?}"))),
        }
    }
}
