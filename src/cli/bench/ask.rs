//! What is asked of one server: the same words as flags, for all servers of a call, and as options in
//! the URL of one of them.

use clap::{CommandFactory, Parser, ValueEnum};

use super::literal::{answer, bytes_of, command_line, size};
use crate::cli::Failure;
use crate::load::{Close, Expect, Framing, Mode};

/// Everything that may be said of a request, whatever the mode; what is not said has a default.
#[derive(Debug, Clone, Default, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
pub(super) struct Ask {
    #[command(flatten)]
    pub(super) message: Message,
    #[command(flatten)]
    pub(super) conn: Conn,
    #[command(flatten)]
    pub(super) depth: Depth,
    #[command(flatten)]
    pub(super) exec: Exec,
    #[command(flatten)]
    pub(super) udp: Udp,
}

/// In every mode.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub(super) struct Message {
    /// Bytes of a message; `16K` is 16384 [default: 64]
    #[arg(short, long, value_name = "BYTES", value_parser = size)]
    pub(super) size: Option<usize>,
    /// The message itself, instead of a size: text with `\n`, `\r`, `\t`, `\0` and `\\`, or @FILE
    #[arg(long, value_name = "TEXT|@FILE", conflicts_with = "size")]
    pub(super) payload: Option<String>,
    /// What counts as the answer: `echo`, `http`, a number of bytes, `until=DELIMITER`, `eof` or
    /// `exact=@FILE` [default: echo, and http for an http:// URL]
    #[arg(long, value_name = "ANSWER")]
    pub(super) expect: Option<String>,
    /// The server's processes: their processor time, memory and sleeps, and those of their children,
    /// join the result
    #[arg(long, value_name = "PID,…", value_delimiter = ',')]
    pub(super) pid: Vec<u32>,
}

/// In `conn`.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub(super) struct Conn {
    /// Who closes, and how: `client-fin` leaves ports in `TIME_WAIT`, `server` needs one that hangs up
    /// [default: client-rst]
    #[arg(long, value_enum)]
    pub(super) close: Option<CloseArg>,
}

/// In `echo`.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub(super) struct Depth {
    /// How many messages a connection has in flight [default: 1]
    #[arg(long, value_name = "DEPTH")]
    pub(super) pipeline: Option<usize>,
}

/// In `exec`.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub(super) struct Exec {
    /// The command line [default: true]
    #[arg(long, value_name = "LINE")]
    pub(super) command: Option<String>,
    /// How the server says where an output ends [default: json]
    #[arg(long, value_enum)]
    pub(super) framing: Option<FramingArg>,
}

/// In `udp`.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub(super) struct Udp {
    /// How many datagrams are in flight; with --rate as many as it takes [default: 64]
    #[arg(long, value_name = "COUNT")]
    pub(super) window: Option<usize>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum CloseArg {
    ClientRst,
    ClientFin,
    Server,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum FramingArg {
    I32,
    Json,
}

/// A mode by its name, before it is known what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ModeName {
    Conn,
    Echo,
    Udp,
    Hold,
    Exec,
}

impl ModeName {
    /// As it is typed.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Conn => "conn",
            Self::Echo => "echo",
            Self::Udp => "udp",
            Self::Hold => "hold",
            Self::Exec => "exec",
        }
    }
}

/// What is asked in one mode, with the defaults filled in.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) mode: Mode,
    pub(super) pipeline: usize,
    pub(super) size: usize,
    pub(super) text: Option<Vec<u8>>,
    pub(super) expect: Expect,
}

const SIZE: usize = 64;
const WINDOW: usize = 64;

impl Ask {
    /// The names of all options.
    pub(super) fn names() -> Vec<String> {
        let command = Self::command();
        let longs = command.get_arguments().filter_map(clap::Arg::get_long);
        longs.map(str::to_owned).collect()
    }

    /// What `self` says, and `other` where it says nothing.
    pub(super) fn or(self, other: &Self) -> Self {
        let other = other.clone();
        let says_message = self.message.size.is_some() || self.message.payload.is_some();
        let (size, payload) = if says_message {
            (self.message.size, self.message.payload)
        } else {
            (other.message.size, other.message.payload)
        };
        Self {
            message: Message {
                size,
                payload,
                expect: self.message.expect.or(other.message.expect),
                pid: if self.message.pid.is_empty() {
                    other.message.pid
                } else {
                    self.message.pid
                },
            },
            conn: Conn {
                close: self.conn.close.or(other.conn.close),
            },
            depth: Depth {
                pipeline: self.depth.pipeline.or(other.depth.pipeline),
            },
            exec: Exec {
                command: self.exec.command.or(other.exec.command),
                framing: self.exec.framing.or(other.exec.framing),
            },
            udp: Udp {
                window: self.udp.window.or(other.udp.window),
            },
        }
    }

    /// As it is asked in `mode`.
    pub(super) fn in_mode(&self, mode: ModeName) -> Result<Asked, Failure> {
        let text = match mode {
            ModeName::Exec => {
                let command = self.exec.command.as_deref().unwrap_or("true");
                Some(command_line(command)?)
            }
            _ => self.message.payload.as_deref().map(bytes_of).transpose()?,
        };
        let expect = match mode {
            ModeName::Exec => Expect::Framed(match self.exec.framing {
                Some(FramingArg::I32) => Framing::I32,
                Some(FramingArg::Json) | None => Framing::Json,
            }),
            _ => answer(self.message.expect.as_deref().unwrap_or("echo"))?,
        };
        Ok(Asked {
            mode: match mode {
                ModeName::Conn => Mode::Conn {
                    close: match self.conn.close {
                        Some(CloseArg::ClientRst) | None => Close::ClientRst,
                        Some(CloseArg::ClientFin) => Close::ClientFin,
                        Some(CloseArg::Server) => Close::Server,
                    },
                },
                ModeName::Echo => Mode::Echo,
                ModeName::Udp => Mode::Udp,
                ModeName::Hold => Mode::Hold,
                ModeName::Exec => Mode::Exec,
            },
            pipeline: match mode {
                ModeName::Echo => self.depth.pipeline.unwrap_or(1),
                ModeName::Udp => self.udp.window.unwrap_or(WINDOW),
                ModeName::Conn | ModeName::Hold | ModeName::Exec => 1,
            },
            size: match &text {
                Some(text) => text.len(),
                None => self.message.size.unwrap_or(SIZE),
            },
            text,
            expect,
        })
    }
}
