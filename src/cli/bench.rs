//! `onepoll bench`: the load generator.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};

use super::secret::read_secret;
use super::{Failure, Outcome, print};
use crate::config::parse_duration;
use crate::load::{
    self, Amount, Arrivals, Close, Endpoint, Expect, Framing, LoadError, Mode, Model, Plan,
    SourceRange,
};
use crate::wire::{Digest, Seal};

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
        /// How often a connection asks, one after the other, before it is closed. What is counted and
        /// timed stays the connection: --count, --rate and --timeout are for all its requests together
        #[arg(long, value_name = "COUNT", default_value_t = 1)]
        requests: usize,
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
        /// How the server says where an output ends; `raw` says nothing, so --expect must
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
    Raw,
    Decimal,
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
    /// [default: echo]
    #[arg(long, value_name = "ANSWER")]
    expect: Option<String>,
    #[command(flatten)]
    seal: SealArgs,
    /// How long to ask before anything is counted [default: 200ms, none with --count]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    warmup: Option<Duration>,
    /// How long one request may take in all
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    timeout: Duration,
    /// How long to poll before sleeping: faster, at the price of a processor
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    spin: Duration,
    /// Local addresses to connect from, in turn, each with ports of its own: a list of addresses and
    /// ranges, such as 127.0.0.2-127.0.0.20,127.0.0.40
    #[arg(long, value_name = "ADDRESS[-LAST],…", value_delimiter = ',')]
    source: Vec<SourceRange>,
    /// The server's process: its processor time, memory and sleeps join the result
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Prints the result as JSON
    #[arg(long)]
    json: bool,
}

/// How to prove who asks.
#[derive(Debug, clap::Args)]
struct SealArgs {
    /// The secret of a server that challenges whoever connects (HMAC): the file's content, less one
    /// newline at its end. Nobody else may be able to read it. The handshake counts into `connect`
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// With which digest
    #[arg(long, value_enum, default_value_t = DigestArg::Sha256, requires = "secret_file")]
    digest: DigestArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DigestArg {
    Sha256,
    Md5,
}

impl SealArgs {
    fn seal(&self) -> Result<Option<Seal>, Failure> {
        let Some(path) = &self.secret_file else {
            return Ok(None);
        };
        let digest = match self.digest {
            DigestArg::Sha256 => Digest::Sha256,
            DigestArg::Md5 => Digest::Md5,
        };
        Ok(Some(Seal::new(&read_secret(path)?, digest)))
    }
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
    let (common, mode, pipeline, requests) = match args.mode {
        ModeArgs::Conn {
            common,
            close,
            requests,
        } => {
            let close = match close {
                CloseArg::ClientRst => Close::ClientRst,
                CloseArg::ClientFin => Close::ClientFin,
                CloseArg::Server => Close::Server,
            };
            (common, Mode::Conn { close }, 1, requests)
        }
        ModeArgs::Echo { common, pipeline } => (common, Mode::Echo, pipeline, 1),
        ModeArgs::Udp { common, window } => (common.over_udp(), Mode::Udp, window, 1),
        ModeArgs::Exec {
            common,
            command,
            framing,
        } => {
            return carry_out(common, Mode::Exec, 1, 1, Some((command, framing)));
        }
        ModeArgs::Hold { common } => (common.without_requests()?, Mode::Hold, 1, 1),
    };
    carry_out(common, mode, pipeline, requests, None)
}

fn carry_out(
    common: Common,
    mode: Mode,
    pipeline: usize,
    requests_per_connection: usize,
    exec: Option<(String, FramingArg)>,
) -> Outcome {
    let (text, expect) = match exec {
        Some((command, framing)) => (
            Some(command_line(&command)?),
            output(framing, common.expect.as_deref())?,
        ),
        None => (
            common.payload.as_deref().map(bytes_of).transpose()?,
            answer(common.expect.as_deref().unwrap_or("echo"))?,
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
        requests_per_connection,
        size: text.as_ref().map_or(common.size, Vec::len),
        text,
        expect,
        seal: common.seal.seal()?,
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
        sources: SourceRange::all(&common.source)
            .map_err(|error| Failure::Usage(error.to_string()))?,
        pid: common.pid,
    };
    let report = load::run(&plan).map_err(|error| match error {
        LoadError::Plan(error) => Failure::Usage(error.to_string()),
        error => Failure::Run(error.into()),
    })?;
    if common.json {
        let json = serde_json::to_string(&report).map_err(anyhow::Error::from)?;
        print(json)?;
    } else {
        print(&report)?;
    }
    Ok(if report.has_errors() {
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

/// What counts as the output of a command.
fn output(framing: FramingArg, expect: Option<&str>) -> Result<Expect, Failure> {
    let framing = match (framing, expect) {
        (FramingArg::Raw, expect) => {
            return match expect.map(answer).transpose()? {
                None | Some(Expect::Echo | Expect::Eof) => Err(Failure::Usage(
                    "--framing raw: an output has no end of its own there, so say what it is: --expect until=DELIMITER, a number of bytes or exact=@FILE"
                        .to_owned(),
                )),
                Some(expect) => Ok(expect),
            };
        }
        (_, Some(_)) => {
            return Err(Failure::Usage(
                "--expect goes with --framing raw: the other framings say where an output ends"
                    .to_owned(),
            ));
        }
        (FramingArg::Decimal, None) => Framing::Decimal,
        (FramingArg::I32, None) => Framing::I32,
        (FramingArg::Json, None) => Framing::Json,
    };
    Ok(Expect::Framed(framing))
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
