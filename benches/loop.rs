//! Echo and connections per second of the reactor, beside the least that is possible and beside
//! what is written first, in one run.
//!
//!     cargo bench --bench loop [-- --rounds 5 --seconds 0.5 --only echo50]
//!
//! Each server runs in a process of its own on one processor, the load on another. They take turns,
//! a fresh process each time, and every figure is compared with the floor of its own round: what
//! the machine does meanwhile then hurts all of them. Differences below 4 % mean nothing unless
//! many rounds agree.
//!
//! Two ratios: by the clock, which is cut short where the load is the limit (see the last column),
//! and by the server's own processor time, which is not.

mod yard;

use std::io;
use std::time::Duration;

use onepoll::load::{self, Amount, Close, Mode, Plan};

use yard::figures::{Median, short};
use yard::options::Options;
use yard::server::{Kind, Server, pin, serve_if_asked};
use yard::udp;

const SERVERS: [Kind; 3] = [Kind::Floor, Kind::Ours, Kind::Threads];
const CONN: Mode = Mode::Conn {
    close: Close::ClientRst,
};
const CONN_FIN: Mode = Mode::Conn {
    close: Close::ClientFin,
};

/// One thing that is asked of all servers.
struct Test {
    name: &'static str,
    what: &'static str,
    ask: Ask,
}

enum Ask {
    Stream {
        mode: Mode,
        connections: usize,
        pipeline: usize,
        size: usize,
    },
    Datagrams {
        window: usize,
    },
}

const fn stream(mode: Mode, connections: usize, pipeline: usize, size: usize) -> Ask {
    Ask::Stream {
        mode,
        connections,
        pipeline,
        size,
    }
}

const TESTS: [Test; 8] = [
    Test {
        name: "echo1",
        what: "1 connection, 64 B",
        ask: stream(Mode::Echo, 1, 1, 64),
    },
    Test {
        name: "echo50",
        what: "50 connections, 64 B",
        ask: stream(Mode::Echo, 50, 1, 64),
    },
    Test {
        name: "echo1000",
        what: "1,000 connections, 64 B",
        ask: stream(Mode::Echo, 1000, 1, 64),
    },
    Test {
        name: "pipe16",
        what: "50 connections, 16 × 64 B in flight",
        ask: stream(Mode::Echo, 50, 16, 64),
    },
    Test {
        name: "echo16k",
        what: "50 connections, 16 KiB",
        ask: stream(Mode::Echo, 50, 1, 16 * 1024),
    },
    Test {
        name: "conn",
        what: "a connection per request, the client resets",
        ask: stream(CONN, 64, 1, 64),
    },
    Test {
        name: "fin",
        what: "a connection per request, the client closes",
        ask: stream(CONN_FIN, 64, 1, 64),
    },
    Test {
        name: "udp64",
        what: "64 datagrams of 64 B in flight",
        ask: Ask::Datagrams { window: 64 },
    },
];

/// Connections and datagrams at once when only asked whether it runs.
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
    yard::raise_descriptor_limit();
    if !pin(1) {
        println!("one processor only: server and load share it, and the figures say little");
    }
    println!(
        "{} rounds of {:?} each; medians of ratios to the floor of the same round (least to greatest)",
        options.rounds, options.time
    );
    println!(
        "{:<9} {:<8} {:>9} {:>9}  {:<21} {:<21} load busy",
        "test", "server", "/s", "/cpu s", "ratio by the clock", "ratio by cpu time"
    );
    for test in TESTS.iter().filter(|test| options.wants(test.name)) {
        compare(test, &options)?;
    }
    Ok(())
}

fn compare(test: &Test, options: &Options) -> io::Result<()> {
    println!("{}: {}", test.name, test.what);
    let mut rounds: Vec<[Figure; SERVERS.len()]> = Vec::new();
    for _ in 0..options.rounds {
        let mut round = [Figure {
            rate: 0.0,
            per_cpu: 0.0,
            load: 0.0,
        }; SERVERS.len()];
        for (figure, kind) in round.iter_mut().zip(SERVERS) {
            *figure = measure(kind, &test.ask, options)?;
        }
        rounds.push(round);
    }
    for (at, kind) in SERVERS.into_iter().enumerate() {
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
            "{:<9} {:<8} {:>9} {:>9}  {:<21} {:<21} {:>4.0} %",
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
    // What happens once only, such as the first touch of its memory, is not what is compared.
    let warmup = (options.time / 5).min(Duration::from_millis(100));
    put(&server, ask, warmup, options)?;
    let before = server.cpu()?;
    let (answers, nanos, load) = put(&server, ask, options.time, options)?;
    let used = server.cpu()? - before;
    Ok(Figure {
        rate: answers as f64 * 1e9 / nanos as f64,
        per_cpu: answers as f64 * 1e9 / used as f64,
        load,
    })
}

/// Asks for this long; returns answers, nanoseconds, and how busy the load was.
fn put(
    server: &Server,
    ask: &Ask,
    time: Duration,
    options: &Options,
) -> io::Result<(u64, u64, f64)> {
    let at_once = |asked: usize| match options.is_test {
        true => asked.min(AT_ONCE_IN_TEST),
        false => asked,
    };
    match *ask {
        Ask::Stream {
            mode,
            connections,
            pipeline,
            size,
        } => {
            let endpoint = server.at.stream.to_string().parse();
            let mut plan = Plan::new(endpoint.map_err(io::Error::other)?, mode);
            plan.connections = at_once(connections);
            plan.pipeline = pipeline;
            plan.size = size;
            plan.amount = Amount::For(time);
            plan.warmup = Duration::ZERO;
            let report = load::run(&plan).map_err(io::Error::other)?;
            if report.has_errors() {
                return Err(io::Error::other(report.to_string()));
            }
            let generator = report.generator;
            Ok((
                report.requests.answered,
                (report.elapsed_s * 1e9) as u64,
                (generator.busy_share + generator.queued_share).min(1.0),
            ))
        }
        Ask::Datagrams { window } => {
            let seen = udp::ask(server.at.datagram, at_once(window), time)?;
            if seen.wrong > 0 {
                return Err(io::Error::other(format!("{seen:?}")));
            }
            let busy = seen.busy as f64 / seen.nanos as f64;
            Ok((seen.answers, seen.nanos, busy.min(1.0)))
        }
    }
}
