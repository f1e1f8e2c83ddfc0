//! `onepoll bench`: the load generator.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use log::LevelFilter;

use super::html::HtmlFile;
use super::{Failure, Outcome, log_level, print};
use crate::config::parse_duration;
use crate::load::comparison::{Comparison, Contest};
use crate::load::picture::terminal;
use crate::load::{
    self, Amount, Arrivals, Close, Endpoint, Expect, Framing, LoadError, Mode, Model, Plan,
};

/// Asks a server as fast as it answers, checks every byte, and says what it saw
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    mode: ModeArgs,
}

#[derive(Debug, Subcommand)]
enum ModeArgs {
    /// A connection per request: connect, send, await the whole of it back, close
    ///
    /// The latency is that of the whole cycle, the close included. The server must answer with what it was
    /// sent: an echo, or an upper-caser, since capitals are sent.
    Conn {
        #[command(flatten)]
        common: Common,
        /// Who closes, and how: `client-fin` leaves ports in `TIME_WAIT`, `server` needs one that hangs up
        #[arg(long, value_enum, default_value_t = CloseArg::ClientRst)]
        close: CloseArg,
    },
    /// Connections that stay: send, await the whole of it back, send again
    Echo {
        #[command(flatten)]
        common: Common,
        /// How many messages a connection has in flight
        #[arg(long, value_name = "DEPTH", default_value_t = 1)]
        pipeline: usize,
    },
    /// Commands a second: a command line on a connection that stays, its whole output awaited
    Exec {
        #[command(flatten)]
        common: Common,
        /// The command line
        #[arg(long, value_name = "LINE", default_value = "true")]
        command: String,
        /// How the server says where an output ends
        #[arg(long, value_enum, default_value_t = FramingArg::Json)]
        framing: FramingArg,
    },
    /// Datagrams: one out, the same back; what is lost, doubled or overtaken on the way is counted
    ///
    /// A datagram of 8 bytes or more carries its number. One that is not answered within --timeout is lost.
    Udp {
        #[command(flatten)]
        common: Common,
        /// How many datagrams are in flight; with --rate as many as it takes
        #[arg(long, value_name = "COUNT", default_value_t = 64)]
        window: usize,
    },
    /// Connections that say nothing: how many are held, why not more, and (with --pid) what each costs
    Hold {
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CloseArg {
    ClientRst,
    ClientFin,
    Server,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FramingArg {
    I32,
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ArrivalsArg {
    Constant,
    Uniform,
    Poisson,
}

#[derive(Debug, clap::Args)]
struct Common {
    /// tcp://HOST:PORT, HOST:PORT, echo://HOST:PORT, unix:///PATH or echo+unix:///PATH
    endpoint: Endpoint,
    /// Open model: requests a second, whatever the server does; latency counts from when each was
    /// meant to begin
    #[arg(short, long, value_name = "RATE")]
    rate: Option<f64>,
    /// How regularly they come
    #[arg(long, value_enum, default_value_t = ArrivalsArg::Poisson, requires = "rate")]
    arrivals: ArrivalsArg,
    /// How many connections are open at once; with --rate in `conn`, at the most
    #[arg(short, long, value_name = "COUNT", default_value_t = 50)]
    connections: usize,
    /// How long to measure: `500ms`, `10s`, `1m`
    #[arg(short, long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration, conflicts_with = "count")]
    duration: Duration,
    /// How many requests to measure, instead of a duration
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Bytes of a message; `16K` is 16384
    #[arg(short, long, value_name = "BYTES", default_value = "64", value_parser = size)]
    size: usize,
    /// The message itself, instead of a size: text with `\n`, `\r`, `\t`, `\0` and `\\`, or @FILE
    #[arg(long, value_name = "TEXT|@FILE", conflicts_with = "size")]
    payload: Option<String>,
    /// What counts as the answer: `echo`, a number of bytes, `until=DELIMITER`, `eof` or `exact=@FILE`
    #[arg(long, value_name = "ANSWER", default_value = "echo")]
    expect: String,
    /// How long to ask before anything is counted [default: 200ms, none with --count]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    warmup: Option<Duration>,
    /// How long one request may take in all
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    timeout: Duration,
    /// How long to poll before sleeping: faster, at the price of a processor
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    spin: Duration,
    /// Local addresses to connect from, in turn: each has ports of its own
    #[arg(long, value_name = "ADDRESS,…", value_delimiter = ',')]
    source: Vec<IpAddr>,
    /// The server's process: its processor time, memory and sleeps join the result
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Prints the result as JSON
    #[arg(long)]
    json: bool,
    /// Writes the result as pictures, too: one HTML file that opens in any browser, offline
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Common {
    /// Where only the host and the port were given, or a service, datagrams are meant.
    fn over_udp(mut self) -> Self {
        if let Endpoint::Tcp(address) = self.endpoint {
            self.endpoint = Endpoint::Udp(address);
        }
        self
    }

    /// Nothing is asked, so nothing warms up.
    fn without_requests(mut self) -> Result<Self, Failure> {
        if self.rate.is_some() || self.count.is_some() {
            return Err(Failure::Usage(
                "`bench hold` asks nothing: it takes --connections and --duration, no --rate and no --count"
                    .to_owned(),
            ));
        }
        self.warmup = Some(Duration::ZERO);
        Ok(self)
    }
}

/// The warm-up of a run by duration.
const WARMUP: Duration = Duration::from_millis(200);

/// Runs the load and prints the result; 1 when anything failed.
pub fn run(args: Args) -> Outcome {
    let (common, mode, pipeline) = match args.mode {
        ModeArgs::Conn { common, close } => {
            let close = match close {
                CloseArg::ClientRst => Close::ClientRst,
                CloseArg::ClientFin => Close::ClientFin,
                CloseArg::Server => Close::Server,
            };
            (common, Mode::Conn { close }, 1)
        }
        ModeArgs::Echo { common, pipeline } => (common, Mode::Echo, pipeline),
        ModeArgs::Udp { common, window } => (common.over_udp(), Mode::Udp, window),
        ModeArgs::Exec {
            common,
            command,
            framing,
        } => {
            let framing = match framing {
                FramingArg::I32 => Framing::I32,
                FramingArg::Json => Framing::Json,
            };
            return carry_out(common, Mode::Exec, 1, Some((command, framing)));
        }
        ModeArgs::Hold { common } => (common.without_requests()?, Mode::Hold, 1),
    };
    carry_out(common, mode, pipeline, None)
}

fn carry_out(
    common: Common,
    mode: Mode,
    pipeline: usize,
    exec: Option<(String, Framing)>,
) -> Outcome {
    let (text, expect) = match exec {
        Some((command, framing)) => (Some(command_line(&command)?), Expect::Framed(framing)),
        None => (
            common.payload.as_deref().map(bytes_of).transpose()?,
            answer(&common.expect)?,
        ),
    };
    let plan = Plan {
        endpoint: common.endpoint,
        mode,
        model: common.rate.map_or(Model::Closed, |rate| Model::Open {
            rate,
            arrivals: match common.arrivals {
                ArrivalsArg::Constant => Arrivals::Constant,
                ArrivalsArg::Uniform => Arrivals::Uniform,
                ArrivalsArg::Poisson => Arrivals::Poisson,
            },
        }),
        connections: common.connections,
        pipeline,
        size: text.as_ref().map_or(common.size, Vec::len),
        text,
        expect,
        amount: common
            .count
            .map_or(Amount::For(common.duration), Amount::Count),
        warmup: common.warmup.unwrap_or(if common.count.is_some() {
            Duration::ZERO
        } else {
            WARMUP
        }),
        timeout: common.timeout,
        spin: common.spin,
        sources: common
            .source
            .into_iter()
            .map(|ip| SocketAddr::new(ip, 0))
            .collect(),
        pid: common.pid,
    };
    let html = common.html.map(HtmlFile::open).transpose()?;
    let report = load::run(&plan).map_err(|error| match error {
        LoadError::Plan(error) => Failure::Usage(error.to_string()),
        error => Failure::Run(error.into()),
    })?;
    if common.json {
        let json = serde_json::to_string(&report).map_err(anyhow::Error::from)?;
        print(json)?;
    } else {
        print(&report)?;
        let picture = terminal::report(&report, terminal::COLUMNS);
        // `-q` asks for less.
        if !picture.is_empty() && log_level(LevelFilter::Info) >= LevelFilter::Info {
            print(picture.trim_end())?;
        }
    }
    let has_errors = report.has_errors();
    if let Some(html) = html {
        let name = report.endpoint.clone();
        let contest = Contest::of(report.mode, vec![(name, vec![report])]);
        html.write(&Comparison::of(1, vec![contest]))?;
    }
    Ok(if has_errors {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// A request of a command server.
fn command_line(command: &str) -> Result<Vec<u8>, Failure> {
    if command.trim().is_empty() || command.contains(['\n', '\r']) {
        let why = "a command must be one line that is not empty: others are not answered";
        return Err(Failure::Usage(why.to_owned()));
    }
    Ok(format!("{command}\n").into_bytes())
}

/// Text as it is typed, or the contents of a file.
fn bytes_of(text: &str) -> Result<Vec<u8>, Failure> {
    if let Some(path) = text.strip_prefix('@') {
        return std::fs::read(path)
            .map_err(|error| Failure::Usage(format!("{path} cannot be read: {error}")));
    }
    unescaped(text).map_err(Failure::Usage)
}

fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut left = text.bytes();
    while let Some(byte) = left.next() {
        bytes.push(match byte {
            b'\\' => match left.next() {
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'0') => 0,
                Some(b'\\') => b'\\',
                _ => {
                    return Err(format!(
                        r"{text:?}: write \n, \r, \t, \0 or \\ after a backslash"
                    ));
                }
            },
            byte => byte,
        });
    }
    Ok(bytes)
}

fn answer(text: &str) -> Result<Expect, Failure> {
    match text {
        "echo" => return Ok(Expect::Echo),
        "eof" => return Ok(Expect::Eof),
        _ => {}
    }
    if let Some(delimiter) = text.strip_prefix("until=") {
        return Ok(Expect::Until(bytes_of(delimiter)?));
    }
    if let Some(exact) = text.strip_prefix("exact=") {
        return Ok(Expect::Exact(bytes_of(exact)?));
    }
    size(text).map(Expect::Bytes).map_err(|_| {
        Failure::Usage(format!(
            "--expect {text:?}: write echo, a number of bytes, until=DELIMITER, eof or exact=@FILE"
        ))
    })
}

/// Bytes, with `K` and `M` for 1024 and 1024².
fn size(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.strip_suffix(['K', 'k']) {
        Some(digits) => (digits, 1 << 10),
        None => text
            .strip_suffix(['M', 'm'])
            .map_or((text, 1), |digits| (digits, 1 << 20)),
    };
    digits
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| "write a number of bytes, or 16K, or 1M (powers of 1024)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_unescaped() {
        assert_eq!(unescaped(r"a\r\n\0\\b"), Ok(b"a\r\n\0\\b".to_vec()));
        assert!(unescaped(r"\x").is_err());
        assert!(unescaped("\\").is_err());
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(size("64"), Ok(64));
        assert_eq!(size("16K"), Ok(16_384));
        assert_eq!(size("1m"), Ok(1 << 20));
        for wrong in ["", "K", "-1", "1G", "1.5K", "99999999999999999999"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
