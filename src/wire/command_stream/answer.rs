use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::frame::{Frames, Piece, STREAM_CHUNK_BYTES_MAX, encode as encode_header};
use crate::wire::headed::at_the_end;
use crate::wire::object::{Object, malformed, unknown};
use crate::wire::{Decode, Encode, WireError};

/// How many bytes of a reason are sent: JSON writes one byte as six at worst, so it fits a header.
const MESSAGE_BYTES_MAX: usize = 4096;

/// What a server says of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandAnswer<'b> {
    /// It runs. Comes before everything else that is said of it.
    Started {
        /// Its number among the commands of this server.
        id: u64,
    },
    /// It wrote this to its standard output.
    Stdout(&'b [u8]),
    /// It wrote this to its standard error.
    Stderr(&'b [u8]),
    /// So many bytes more of its standard input may be sent.
    Credit(u64),
    /// It has closed its standard input: what is sent of it from here on is dropped.
    StdinClosed,
    /// It has ended, and all that it wrote was sent. The last that is said of it.
    End(CommandEnd),
    /// It did not run, and nothing else is said of it; or, where the kind says so, the connection ends.
    Error(CommandError),
    /// Bytes were taken, and say nothing by themselves.
    Part,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CommandEnd {
    /// Its exit code, 0 to 255, if no signal ended it.
    pub exit: Option<i32>,
    /// The number of the signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Why the server ended it, if it did.
    pub why: Option<WhyEnded>,
    /// Whether what a process that outlives it wrote was not waited for.
    pub is_cut: bool,
    /// From its start to its end.
    pub wall: Duration,
    /// CPU time in its own code, and in that of the processes that it waited for; none: not known.
    pub user: Option<Duration>,
    /// The same in the kernel.
    pub system: Option<Duration>,
    /// The most memory that it or a process that it waited for had at once, in bytes. At least as much as the
    /// server had when it started it (getrusage(2) counts from there); none: not known.
    pub peak: Option<u64>,
    /// How much of its standard input it was given.
    pub stdin: u64,
    /// How much of its standard output was sent.
    pub stdout: u64,
    /// How much of its standard error was sent.
    pub stderr: u64,
}

/// Why a server ends a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyEnded {
    /// Its time was over.
    Timeout,
    /// The client asked for it.
    Cancel,
}

impl WhyEnded {
    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            WhyEnded::Timeout => "timeout",
            WhyEnded::Cancel => "cancel",
        }
    }
}

/// Why a command did not run, or why the connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError {
    /// What it is about.
    pub kind: CommandErrorKind,
    /// The number of the system's error, if there is one: 2 is ENOENT (errno(3)).
    pub errno: Option<i32>,
    /// The reason, for people.
    pub message: String,
}

/// What an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandErrorKind {
    /// As many commands run and wait as may.
    Busy,
    /// The server does not do what was asked.
    Refused,
    /// The system could not start it.
    CannotStart,
    /// The client ended it before it began.
    Cancelled,
    /// The server is stopping.
    Stopping,
    /// What came is no request, or does not fit where it came. The connection ends.
    Protocol,
}

impl CommandErrorKind {
    /// All of them.
    pub const ALL: [CommandErrorKind; 6] = [
        CommandErrorKind::Busy,
        CommandErrorKind::Refused,
        CommandErrorKind::CannotStart,
        CommandErrorKind::Cancelled,
        CommandErrorKind::Stopping,
        CommandErrorKind::Protocol,
    ];

    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            CommandErrorKind::Busy => "busy",
            CommandErrorKind::Refused => "refused",
            CommandErrorKind::CannotStart => "cannot-start",
            CommandErrorKind::Cancelled => "cancelled",
            CommandErrorKind::Stopping => "stopping",
            CommandErrorKind::Protocol => "protocol",
        }
    }
}

impl fmt::Display for CommandErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Takes answers off the front; see [`CommandAnswer`]. Output is handed on in the pieces in which it came.
///
/// Keys that it does not know are ignored: a later server may say more.
///
/// # Errors
///
/// As [`CommandRequests`](super::CommandRequests).
///
/// ```
/// use onepoll::wire::{CommandAnswer, CommandAnswers, Decode, Encode};
///
/// let mut out = Vec::new();
/// CommandAnswer::Stdout(b"hello\n").encode(&mut out);
/// assert_eq!(&out[4..], b"{\"type\":\"stdout\",\"data_size\":6}hello\n");
/// let mut answers = CommandAnswers::default();
/// let (_, taken) = answers.decode(&out)?.unwrap();
/// assert_eq!(answers.decode(&out[taken..])?, Some((CommandAnswer::Stdout(b"hello\n"), 6)));
/// # Ok::<(), onepoll::wire::WireError>(())
/// ```
#[derive(Debug, Clone)]
pub struct CommandAnswers {
    frames: Frames,
    /// Whether the data is standard error.
    is_error: bool,
}

impl CommandAnswers {
    /// A decoder that has seen nothing.
    pub const fn new() -> CommandAnswers {
        CommandAnswers {
            frames: Frames::new(),
            is_error: false,
        }
    }

    /// Whether the last frame is whole: no more belongs to it.
    pub fn is_whole(&self) -> bool {
        self.frames.is_whole()
    }

    fn header<'b>(&mut self, mut object: Object) -> Result<CommandAnswer<'b>, WireError> {
        let kind = object.kind()?;
        Ok(match kind.as_str() {
            "started" => CommandAnswer::Started {
                id: object.required("id", u64::MAX)?,
            },
            "stdout" | "stderr" => {
                let size = object.required("data_size", STREAM_CHUNK_BYTES_MAX)?;
                self.is_error = kind == "stderr";
                self.frames.expect(size);
                CommandAnswer::Part
            }
            "credit" => CommandAnswer::Credit(object.required("bytes", u64::MAX)?),
            "stdin-closed" => CommandAnswer::StdinClosed,
            "end" => CommandAnswer::End(end(&mut object)?),
            "error" => CommandAnswer::Error(error(&mut object)?),
            other => {
                let known = "one of started, stdout, stderr, credit, stdin-closed, end, error";
                return Err(unknown("type", other, known));
            }
        })
    }
}

fn end(object: &mut Object) -> Result<CommandEnd, WireError> {
    let code = |number: Option<u64>| number.and_then(|number| i32::try_from(number).ok());
    let (exit, signal) = (object.number("exit", 255)?, object.number("signal", 255)?);
    if exit.is_some() == signal.is_some() {
        return Err(malformed("an end has one of `exit` and `signal`"));
    }
    let why = match object.text("why")?.as_deref() {
        None => None,
        Some("timeout") => Some(WhyEnded::Timeout),
        Some("cancel") => Some(WhyEnded::Cancel),
        Some(other) => return Err(unknown("why", other, "timeout or cancel")),
    };
    let mut time = |key| -> Result<Option<Duration>, WireError> {
        Ok(object.number(key, u64::MAX)?.map(Duration::from_micros))
    };
    let (wall, user, system) = (time("wall_us")?, time("user_us")?, time("system_us")?);
    Ok(CommandEnd {
        exit: code(exit),
        signal: code(signal),
        why,
        is_cut: object.flag("cut")?,
        wall: wall.ok_or_else(|| malformed("`wall_us` is missing"))?,
        user,
        system,
        peak: object.number("peak_bytes", u64::MAX)?,
        stdin: object.required("stdin_bytes", u64::MAX)?,
        stdout: object.required("stdout_bytes", u64::MAX)?,
        stderr: object.required("stderr_bytes", u64::MAX)?,
    })
}

fn error(object: &mut Object) -> Result<CommandError, WireError> {
    let kind = object.text("kind")?.unwrap_or_default();
    let named = CommandErrorKind::ALL.into_iter().find(|k| k.name() == kind);
    let known = "one of busy, refused, cannot-start, cancelled, stopping, protocol";
    Ok(CommandError {
        kind: named.ok_or_else(|| unknown("kind", &kind, known))?,
        errno: object
            .number("errno", i32::MAX as u64)?
            .and_then(|number| i32::try_from(number).ok()),
        message: object
            .text("message")?
            .ok_or_else(|| malformed("`message` is missing"))?,
    })
}

impl Default for CommandAnswers {
    fn default() -> CommandAnswers {
        CommandAnswers::new()
    }
}

impl Decode for CommandAnswers {
    type Frame<'b> = CommandAnswer<'b>;

    fn decode<'b>(
        &mut self,
        unread: &'b [u8],
    ) -> Result<Option<(CommandAnswer<'b>, usize)>, WireError> {
        let Some((piece, taken)) = self.frames.next(unread)? else {
            return Ok(None);
        };
        let answer = match piece {
            Piece::Data(piece) if self.is_error => CommandAnswer::Stderr(piece),
            Piece::Data(piece) => CommandAnswer::Stdout(piece),
            Piece::Header(object) => self.header(object)?,
        };
        Ok(Some((answer, taken)))
    }

    fn decode_eof<'b>(
        &mut self,
        unread: &'b [u8],
    ) -> Result<Option<(CommandAnswer<'b>, usize)>, WireError> {
        let answer = self.decode(unread)?;
        at_the_end(answer, unread, self.is_whole())
    }
}

/// A header as it is written.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Header<'a> {
    Started { id: u64 },
    Stdout { data_size: usize },
    Stderr { data_size: usize },
    Credit { bytes: u64 },
    StdinClosed,
    End(EndHeader),
    Error(ErrorHeader<'a>),
}

#[derive(Serialize)]
struct EndHeader {
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
    wall_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_bytes: Option<u64>,
    stdin_bytes: u64,
    stdout_bytes: u64,
    stderr_bytes: u64,
}

#[derive(Serialize)]
struct ErrorHeader<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
    message: &'a str,
}

impl Encode for CommandAnswer<'_> {
    /// A whole frame; nothing for a [part](CommandAnswer::Part).
    ///
    /// # Panics
    ///
    /// If it is more output than a frame may carry.
    fn encode(&self, out: &mut Vec<u8>) {
        let header = match *self {
            CommandAnswer::Started { id } => Header::Started { id },
            CommandAnswer::Stdout(bytes) => {
                return OutputChunk {
                    is_error: false,
                    bytes,
                }
                .encode(out);
            }
            CommandAnswer::Stderr(bytes) => {
                return OutputChunk {
                    is_error: true,
                    bytes,
                }
                .encode(out);
            }
            CommandAnswer::Credit(bytes) => Header::Credit { bytes },
            CommandAnswer::StdinClosed => Header::StdinClosed,
            CommandAnswer::End(ref end) => Header::End(end.header()),
            CommandAnswer::Error(ref error) => Header::Error(error.header()),
            CommandAnswer::Part => return,
        };
        encode_header(&header, out);
    }
}

impl CommandEnd {
    fn header(&self) -> EndHeader {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        EndHeader {
            exit: self.exit,
            signal: self.signal,
            why: self.why.map(WhyEnded::name),
            cut: self.is_cut,
            wall_us: micros(self.wall),
            user_us: self.user.map(micros),
            system_us: self.system.map(micros),
            peak_bytes: self.peak,
            stdin_bytes: self.stdin,
            stdout_bytes: self.stdout,
            stderr_bytes: self.stderr,
        }
    }
}

impl CommandError {
    fn header(&self) -> ErrorHeader<'_> {
        let end = self.message.floor_char_boundary(MESSAGE_BYTES_MAX);
        ErrorHeader {
            kind: self.kind.name(),
            errno: self.errno,
            message: &self.message[..end],
        }
    }
}

/// Output, as one frame; at most [`STREAM_CHUNK_BYTES_MAX`] bytes.
#[derive(Debug, Clone, Copy)]
pub struct OutputChunk<'b> {
    /// Whether it is standard error.
    pub is_error: bool,
    /// What was written.
    pub bytes: &'b [u8],
}

impl Encode for OutputChunk<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        let data_size = self.bytes.len();
        assert!(
            data_size as u64 <= STREAM_CHUNK_BYTES_MAX,
            "more than a frame may carry"
        );
        let header = if self.is_error {
            Header::Stderr { data_size }
        } else {
            Header::Stdout { data_size }
        };
        encode_header(&header, out);
        out.extend_from_slice(self.bytes);
    }
}
