//! The request to a server: the same names are flags, for all servers of a call, and options in the URL
//! of one of them.

use std::path::PathBuf;

use clap::{CommandFactory, Parser};

use super::literal::{answer, bytes_of, command_line, greeting};
use super::number::{count, process, size};
use crate::cli::Failure;
use crate::cli::proof::{key, named_by_environment};
#[cfg(feature = "tls")]
use crate::cli::trust::TlsArgs;
use crate::load::{Close, Endpoint, Expect, Mode, ModeName, Plan};
use crate::wire::{CommandFraming, Digest, HmacKey};

/// Every option of a request, in all modes; those that are not given have defaults.
#[derive(Debug, Clone, Default, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
pub(super) struct RequestArgs {
    #[command(flatten)]
    pub(super) message: MessageArgs,
    #[cfg(feature = "tls")]
    #[command(flatten)]
    pub(super) tls: TlsArgs,
    #[command(flatten)]
    pub(super) conn: ConnArgs,
    #[command(flatten)]
    pub(super) depth: DepthArgs,
    #[command(flatten)]
    pub(super) exec: ExecArgs,
    #[command(flatten)]
    pub(super) udp: UdpArgs,
    #[command(flatten)]
    pub(super) fanout: FanoutArgs,
}

/// In every mode.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub(super) struct MessageArgs {
    /// Size of a message in bytes: `64`, `16K`, `1.5MiB` (powers of 1024) [default: 64, and 1 in `hold`]
    #[arg(short, long, value_name = "BYTES", value_parser = size, allow_negative_numbers = true)]
    pub(super) size: Option<usize>,
    /// The message, instead of its size: text with `\n`, `\r`, `\t`, `\0` and `\\`, or @FILE
    #[arg(long, value_name = "TEXT|@FILE", conflicts_with = "size")]
    pub(super) payload: Option<String>,
    /// What counts as the answer: `echo`, `http`, a number of bytes, `until=DELIMITER`, `eof` or
    /// `exact=@FILE` [default: echo, and http for an http:// URL]
    #[arg(long, value_name = "ANSWER")]
    pub(super) expect: Option<String>,
    /// What the server sends on each connection before it is asked, as one of SMTP does: `until=DELIMITER`, a number of bytes or
    /// `exact=TEXT`. It is awaited, and then asked; that is part of `connect`
    #[arg(long, value_name = "GREETING")]
    pub(super) await_greeting: Option<String>,
    /// Processes of the server: the result reports their processor time, memory and sleeps, and those of
    /// their children
    #[arg(long, value_name = "PID,…", value_delimiter = ',', value_parser = process)]
    pub(super) pid: Vec<u32>,
    /// A file with the secret of a server that sends each client 32 random bytes and expects their HMAC. The
    /// secret is the file's content without a newline at its end: 16 bytes or more, which only you may be
    /// able to read. The handshake is part of `connect` [default: $ONEPOLL_SECRET_FILE]
    #[arg(long, value_name = "FILE")]
    pub(super) secret_file: Option<PathBuf>,
    /// With which digest the challenge is answered [default: sha256]
    #[arg(long, value_enum)]
    pub(super) digest: Option<Digest>,
}

/// In `conn`.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub(super) struct ConnArgs {
    /// Which side closes, and how: `client-rst` resets the connection, `client-fin` leaves its port in
    /// `TIME_WAIT`, `server` waits for the server to close [default: client-rst]
    #[arg(long, value_enum)]
    pub(super) close: Option<Close>,
    /// Requests on a connection, one after the other, before it is closed [default: 1]. Counts and latencies
    /// are still those of connections: --count, --rate and --timeout are for all its requests together
    #[arg(long, value_name = "COUNT", value_parser = count::<usize>)]
    pub(super) requests: Option<usize>,
}

/// In `echo` and `fanout`.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub(super) struct DepthArgs {
    /// Messages in flight on each connection; in `fanout` lines in flight, without a limit with --rate
    /// [default: 1]
    #[arg(long, value_name = "DEPTH", value_parser = count::<usize>)]
    pub(super) pipeline: Option<usize>,
}

/// In `exec`.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub(super) struct ExecArgs {
    /// The command line [default: true]
    #[arg(long, value_name = "LINE")]
    pub(super) command: Option<String>,
    /// How the server marks the end of an output; `raw` does not, so --expect must say it [default: json]
    #[arg(long, value_enum)]
    pub(super) framing: Option<CommandFraming>,
    /// The exit code that every command must end with, where the framing tells it, as `json` does [default: 0]
    #[arg(long, value_name = "CODE", allow_negative_numbers = true)]
    pub(super) exit: Option<i32>,
}

/// In `udp`.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub(super) struct UdpArgs {
    /// Datagrams in flight, without a limit with --rate [default: 64]
    #[arg(long, value_name = "COUNT", value_parser = count::<usize>)]
    pub(super) window: Option<usize>,
}

/// In `fanout`.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub(super) struct FanoutArgs {
    /// What each connection sends first, such as a name: text with `\n`, `\r`, `\t`, `\0` and `\\`, or @FILE
    #[arg(long, value_name = "TEXT|@FILE")]
    pub(super) hello: Option<String>,
    /// Accepts any text before a line; else it must be the same for all lines (set this for times)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false")]
    pub(super) any_prefix: Option<bool>,
}

impl MessageArgs {
    /// Whether it says what is to be asked or answered.
    pub(super) fn asks(&self) -> bool {
        self.size.is_some() || self.payload.is_some() || self.expect.is_some()
    }
}

/// Datagrams in flight, where nothing else was said.
const WINDOW: usize = 64;

impl RequestArgs {
    /// The names of all options.
    pub(super) fn names() -> Vec<String> {
        let command = Self::command();
        let longs = command.get_arguments().filter_map(clap::Arg::get_long);
        longs.map(str::to_owned).collect()
    }

    /// What these options of a URL say, and `self` where they say nothing.
    pub(super) fn with(&self, options: &[String]) -> Result<Self, String> {
        let mut both = self.clone();
        // The size and the text of a message are one thing.
        let is_message =
            |option: &String| option.starts_with("--size=") || option.starts_with("--payload=");
        if options.iter().any(is_message) {
            (both.message.size, both.message.payload) = (None, None);
        }
        both.try_update_from(options).map_err(|wrong| {
            let text = wrong.to_string();
            let first = text.lines().next().unwrap_or_default();
            first.strip_prefix("error: ").unwrap_or(first).to_owned()
        })?;
        Ok(both)
    }

    /// A run that asks `endpoint` for this in `mode`, under the usual conditions.
    pub(super) fn plan(&self, endpoint: Endpoint, mode: ModeName) -> Result<Plan, Failure> {
        let message = &self.message;
        let expect = message.expect.as_deref();
        let (text, (expect, output)) = match mode {
            ModeName::Exec => {
                let command = self.exec.command.as_deref().unwrap_or("true");
                let framing = self.exec.framing.unwrap_or(CommandFraming::Json);
                if self.exec.exit.is_some() && framing != CommandFraming::Json {
                    return Err(Failure::usage(
                        "--exit goes with --framing json: the other framings tell no exit code",
                    ));
                }
                (Some(command_line(command)?), output(framing, expect)?)
            }
            _ => (
                message.payload.as_deref().map(bytes_of).transpose()?,
                (answer(expect.unwrap_or("echo"))?, None),
            ),
        };
        let mut plan = Plan::new(endpoint, self.mode(mode)?);
        if mode == ModeName::Hold {
            // Enough to see that somebody answers.
            plan.size = 1;
        }
        if let Some(size) = message.size {
            plan.size = size;
        }
        plan.text = text;
        plan.expect = expect;
        plan.output = output;
        plan.exit = self.exec.exit.unwrap_or(0);
        plan.await_greeting = message
            .await_greeting
            .as_deref()
            .map(greeting)
            .transpose()?;
        plan.hmac_key = self.hmac_key(mode)?;
        plan.pids.clone_from(&message.pid);
        Ok(plan)
    }

    fn mode(&self, name: ModeName) -> Result<Mode, Failure> {
        let depth = self.depth.pipeline.unwrap_or(1);
        Ok(match name {
            ModeName::Conn => Mode::Conn {
                close: self.conn.close.unwrap_or(Close::ClientRst),
                requests: self.conn.requests.unwrap_or(1),
            },
            ModeName::Echo => Mode::Echo { depth },
            ModeName::Exec => Mode::Exec,
            ModeName::Hold => Mode::Hold,
            ModeName::Udp => Mode::Udp {
                window: self.udp.window.unwrap_or(WINDOW),
            },
            ModeName::Fanout => Mode::Fanout {
                depth,
                hello: bytes_of(self.fanout.hello.as_deref().unwrap_or_default())?,
                any_prefix: self.fanout.any_prefix.unwrap_or(false),
            },
        })
    }

    /// The key that answers the challenge of a server.
    fn hmac_key(&self, mode: ModeName) -> Result<Option<HmacKey>, Failure> {
        let MessageArgs {
            secret_file,
            digest,
            ..
        } = &self.message;
        // The environment's is for whatever has connections.
        let of_environment = || match mode {
            ModeName::Udp => None,
            _ => named_by_environment(),
        };
        let named = secret_file.clone().or_else(of_environment);
        key(named.as_deref(), *digest)
    }
}

/// What counts as the output of a command, and which bytes it must be, where its frame says where it ends.
fn output(
    framing: CommandFraming,
    expect: Option<&str>,
) -> Result<(Expect, Option<Vec<u8>>), Failure> {
    let expect = expect.map(answer).transpose()?;
    match (framing, expect) {
        (CommandFraming::Raw, None | Some(Expect::Echo | Expect::Eof | Expect::Http)) => {
            Err(Failure::usage(
                "--framing raw: an output has no end of its own there, so say what it is: --expect until=DELIMITER, a number of bytes or exact=@FILE",
            ))
        }
        (CommandFraming::Raw, Some(expect)) => Ok((expect, None)),
        (framing, Some(Expect::Exact(output))) => Ok((Expect::Framed(framing), Some(output))),
        (framing, Some(_)) => Err(Failure::Usage(format!(
            "--framing {framing} says where an output ends, so --expect can only be its text: exact=TEXT or exact=@FILE",
        ))),
        (framing, None) => Ok((Expect::Framed(framing), None)),
    }
}
