use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::frame::{Frames, Piece, STREAM_CHUNK_BYTES_MAX, encode as encode_header, encode_first};
use crate::wire::headed::at_the_end;
use crate::wire::object::{Object, malformed, unknown};
use crate::wire::{Decode, Encode, WireError};

/// How many bytes of standard input a client may send before the server grants any: input that is at hand goes
/// with the request.
pub const STDIN_CREDIT_BYTES: u64 = 64 * 1024;

/// How long a command line, or a program and its arguments, may be: 1 MiB. Linux takes half of that, with the
/// environment, where the stack is limited to 4 MiB, and 2 MiB where it is the usual 8.
pub const STREAM_COMMAND_BYTES_MAX: u64 = 1 << 20;

/// How many arguments a command may have, the program among them.
pub const STREAM_ARGUMENTS_MAX: usize = 65_536;

/// A command that is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunCommand {
    /// What.
    pub command: StreamedCommand,
    /// The directory in which it runs; none: the server's.
    pub directory: Option<String>,
    /// `NAME=VALUE`, beside what commands have anyway.
    pub environment: Vec<String>,
    /// How long it may run, at most as long as the endpoint allows. Milliseconds on the wire.
    pub timeout: Option<Duration>,
    /// Whether its standard input is sent; else it has none.
    pub has_input: bool,
}

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamedCommand {
    /// A line for the shell.
    Line(Vec<u8>),
    /// A program and its arguments, as they are.
    Program(Vec<Vec<u8>>),
}

impl StreamedCommand {
    /// What a person would type to have a shell run this.
    ///
    /// ```
    /// use onepoll::wire::StreamedCommand;
    ///
    /// let words = ["echo", "-n", "it's", "$HOME", ""].map(|word| word.as_bytes().to_vec());
    /// let typed = StreamedCommand::Program(words.into()).typed();
    /// assert_eq!(typed, br"echo -n 'it'\''s' '$HOME' ''");
    /// ```
    pub fn typed(&self) -> Vec<u8> {
        match self {
            StreamedCommand::Line(line) => line.clone(),
            StreamedCommand::Program(words) => {
                let words: Vec<Vec<u8>> = words.iter().map(|word| quoted(word)).collect();
                words.join(&b' ')
            }
        }
    }
}

/// A word, in quotes where a shell would take it for more than it is.
fn quoted(word: &[u8]) -> Vec<u8> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"%+,-./:=@_".contains(byte);
    if !word.is_empty() && word.iter().all(is_plain) {
        return word.to_vec();
    }
    let mut quoted = vec![b'\''];
    for &byte in word {
        match byte {
            // In quotes nothing can stand for one.
            b'\'' => quoted.extend_from_slice(br"'\''"),
            byte => quoted.push(byte),
        }
    }
    quoted.push(b'\'');
    quoted
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandRequest<'b> {
    /// Run this.
    Run(Box<RunCommand>),
    /// The next bytes of its standard input.
    Stdin(&'b [u8]),
    /// Its standard input ends here.
    StdinEnd,
    /// Send this signal to its process group.
    Signal(CommandSignal),
    /// End it.
    Cancel,
    /// Bytes were taken, and say nothing by themselves: of a frame whose rest has not come, or of a chunk of input
    /// without a byte.
    Part,
}

/// The signals that a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandSignal {
    /// SIGINT.
    Int,
    /// SIGTERM.
    Term,
    /// SIGKILL.
    Kill,
    /// SIGHUP.
    Hup,
    /// SIGQUIT.
    Quit,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
}

impl CommandSignal {
    /// All of them.
    pub const ALL: [CommandSignal; 7] = [
        CommandSignal::Int,
        CommandSignal::Term,
        CommandSignal::Kill,
        CommandSignal::Hup,
        CommandSignal::Quit,
        CommandSignal::Usr1,
        CommandSignal::Usr2,
    ];

    /// Its name on the wire, without `SIG`.
    pub fn name(self) -> &'static str {
        match self {
            CommandSignal::Int => "INT",
            CommandSignal::Term => "TERM",
            CommandSignal::Kill => "KILL",
            CommandSignal::Hup => "HUP",
            CommandSignal::Quit => "QUIT",
            CommandSignal::Usr1 => "USR1",
            CommandSignal::Usr2 => "USR2",
        }
    }

    fn named(name: &str) -> Result<CommandSignal, WireError> {
        let known = "one of INT, TERM, KILL, HUP, QUIT, USR1, USR2";
        CommandSignal::ALL
            .into_iter()
            .find(|signal| signal.name() == name)
            .ok_or_else(|| unknown("name", name, known))
    }
}

impl fmt::Display for CommandSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the first bytes of a request say of its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// A line, or what will be one: C1 to C4.
    Line,
    /// A frame of C5.
    Frame,
    /// Not yet clear, and nothing is lost by waiting: no line is whole but an empty one.
    Unclear,
}

impl Opening {
    /// What these bytes, which begin where a request does, are the beginning of.
    ///
    /// The third and fourth byte of a length below 64 KiB are NUL, which no line may hold.
    ///
    /// ```
    /// use onepoll::wire::Opening;
    ///
    /// assert_eq!(Opening::of(b"\x2c\0\0\0{"), Opening::Frame);
    /// assert_eq!(Opening::of(b"ls -l"), Opening::Line);
    /// assert_eq!(Opening::of(b"ls"), Opening::Unclear);
    /// ```
    pub fn of(bytes: &[u8]) -> Opening {
        match bytes {
            [_, _, 0, 0, ..] => Opening::Frame,
            [_, _, 0] | [_, _] | [_] | [] if !holds_a_line(bytes) => Opening::Unclear,
            _ => Opening::Line,
        }
    }
}

/// Whether a line is whole, and not empty.
fn holds_a_line(bytes: &[u8]) -> bool {
    matches!(bytes, [first, b'\n', ..] if !matches!(first, b'\r' | b'\n'))
}

/// Takes requests off the front; see [`CommandRequest`].
///
/// Input is handed on in the pieces in which it came. A command that comes in the data of its frame is
/// collected here, up to [`STREAM_COMMAND_BYTES_MAX`].
///
/// # Errors
///
/// [`WireError::Negative`] and [`WireError::TooLong`] on the length alone, before any JSON has come.
/// [`WireError::Malformed`] when the header is no request: the detail names the key, what it was and what it must
/// be, and is safe to log. [`WireError::Truncated`] at an end inside of a frame.
///
/// ```
/// use onepoll::wire::{CommandRequest, CommandRequests, CommandSignal, Decode, Encode};
///
/// let mut out = Vec::new();
/// CommandRequest::Signal(CommandSignal::Int).encode(&mut out);
/// assert_eq!(&out[4..], br#"{"type":"signal","name":"INT"}"#);
/// let (request, taken) = CommandRequests::default().decode(&out)?.unwrap();
/// assert_eq!((request, taken), (CommandRequest::Signal(CommandSignal::Int), out.len()));
/// # Ok::<(), onepoll::wire::WireError>(())
/// ```
#[derive(Debug, Clone)]
pub struct CommandRequests {
    frames: Frames,
    /// A command whose data has not all come; none: the data is input.
    begun: Option<Begun>,
}

#[derive(Debug, Clone)]
struct Begun {
    run: Box<RunCommand>,
    form: Form,
    data: Vec<u8>,
}

impl Begun {
    /// How many arguments there are, with this piece.
    fn arguments(&self, piece: &[u8]) -> usize {
        let ends = |bytes: &[u8]| memchr::memchr_iter(0, bytes).count();
        match self.form {
            Form::Line => 0,
            Form::Arguments => ends(&self.data) + ends(piece),
        }
    }
}

/// What the data of a `run` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Line,
    /// Each argument, the program first, ends with a NUL.
    Arguments,
}

impl CommandRequests {
    /// A decoder that has seen nothing.
    pub const fn new() -> CommandRequests {
        CommandRequests {
            frames: Frames::new(),
            begun: None,
        }
    }

    /// Whether the last frame is whole: no more belongs to it.
    pub fn is_whole(&self) -> bool {
        self.frames.is_whole()
    }

    /// The memory of a command that has not all come, in bytes.
    pub fn capacity(&self) -> usize {
        self.begun.as_ref().map_or(0, |begun| begun.data.capacity())
    }

    fn header<'b>(&mut self, mut object: Object) -> Result<CommandRequest<'b>, WireError> {
        let kind = object.kind()?;
        let request = match kind.as_str() {
            "run" => self.run(&mut object)?,
            "stdin" => {
                let size = object.required("data_size", STREAM_CHUNK_BYTES_MAX)?;
                self.frames.expect(size);
                CommandRequest::Part
            }
            "stdin-end" => CommandRequest::StdinEnd,
            "signal" => {
                let name = object.text("name")?;
                let name = name.ok_or_else(|| malformed("`name` is missing"))?;
                CommandRequest::Signal(CommandSignal::named(&name)?)
            }
            "cancel" => CommandRequest::Cancel,
            other => {
                let known = "one of run, stdin, stdin-end, signal, cancel";
                return Err(unknown("type", other, known));
            }
        };
        if let Err(error) = object.ends() {
            self.begun = None;
            return Err(error);
        }
        Ok(request)
    }

    fn run<'b>(&mut self, object: &mut Object) -> Result<CommandRequest<'b>, WireError> {
        let line = object.text("line")?;
        let arguments = object.texts("args")?;
        let data = object.text("data")?;
        let size = object.number("data_size", STREAM_COMMAND_BYTES_MAX)?;
        let form = match data.as_deref() {
            None => None,
            Some("line") => Some(Form::Line),
            Some("args") => Some(Form::Arguments),
            Some(other) => return Err(unknown("data", other, "line or args")),
        };
        let (command, form) = match (line, arguments, form) {
            (Some(line), None, None) => (StreamedCommand::Line(line.into_bytes()), None),
            (None, Some(arguments), None) => {
                let arguments = arguments.into_iter().map(String::into_bytes);
                (StreamedCommand::Program(arguments.collect()), None)
            }
            (None, None, Some(form)) => (StreamedCommand::Line(Vec::new()), Some(form)),
            _ => return Err(malformed("a run has one of `line`, `args` and `data`")),
        };
        match (form, size) {
            (None, Some(1..)) => {
                return Err(malformed(
                    "`data_size` without `data`, which says what it is",
                ));
            }
            (Some(_), None | Some(0)) => return Err(malformed("`data` without `data_size`")),
            _ => {}
        }
        let timeout = object.number("timeout_ms", u64::MAX)?;
        if timeout == Some(0) {
            return Err(malformed("`timeout_ms` is 0, which leaves no time at all"));
        }
        let run = Box::new(RunCommand {
            command,
            directory: object.text("cwd")?,
            environment: object.texts("env")?.unwrap_or_default(),
            timeout: timeout.map(Duration::from_millis),
            has_input: object.flag("stdin")?,
        });
        let Some(form) = form else {
            return Ok(CommandRequest::Run(run));
        };
        self.frames.expect(size.unwrap_or(0));
        self.begun = Some(Begun {
            run,
            form,
            data: Vec::new(),
        });
        Ok(CommandRequest::Part)
    }

    /// More of a command's data.
    fn collect<'b>(&mut self, piece: &[u8]) -> Result<CommandRequest<'b>, WireError> {
        let is_whole = self.frames.is_whole();
        let Some(mut begun) = self.begun.take() else {
            return Ok(CommandRequest::Part);
        };
        if is_whole && begun.form == Form::Arguments && piece.last() != Some(&0) {
            self.begun = Some(begun);
            return Err(malformed("in the data each argument ends with a NUL"));
        }
        let arguments = if is_whole { begun.arguments(piece) } else { 0 };
        if arguments > STREAM_ARGUMENTS_MAX {
            self.begun = Some(begun);
            return Err(too_many(arguments));
        }
        begun.data.extend_from_slice(piece);
        if !is_whole {
            self.begun = Some(begun);
            return Ok(CommandRequest::Part);
        }
        let Begun { mut run, data, .. } = begun;
        run.command = match begun.form {
            Form::Line => StreamedCommand::Line(data),
            Form::Arguments => {
                let arguments = data[..data.len() - 1].split(|&byte| byte == 0);
                StreamedCommand::Program(arguments.map(<[u8]>::to_vec).collect())
            }
        };
        Ok(CommandRequest::Run(run))
    }
}

impl Default for CommandRequests {
    fn default() -> CommandRequests {
        CommandRequests::new()
    }
}

impl Decode for CommandRequests {
    type Frame<'b> = CommandRequest<'b>;

    fn decode<'b>(
        &mut self,
        unread: &'b [u8],
    ) -> Result<Option<(CommandRequest<'b>, usize)>, WireError> {
        // What comes of an error comes again: nothing is remembered of it.
        let before = self.frames.clone();
        let Some((piece, taken)) = self.frames.next(unread)? else {
            return Ok(None);
        };
        let request = match piece {
            Piece::Data(piece) if self.begun.is_none() => Ok(CommandRequest::Stdin(piece)),
            Piece::Data(piece) => self.collect(piece),
            Piece::Header(object) => self.header(object),
        };
        match request {
            Ok(request) => Ok(Some((request, taken))),
            Err(error) => {
                self.frames = before;
                Err(error)
            }
        }
    }

    fn decode_eof<'b>(
        &mut self,
        unread: &'b [u8],
    ) -> Result<Option<(CommandRequest<'b>, usize)>, WireError> {
        let answer = self.decode(unread)?;
        at_the_end(answer, unread, self.is_whole())
    }
}

/// A header as it is written.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Header<'a> {
    Run(&'a RunHeader<'a>),
    Stdin { data_size: usize },
    StdinEnd,
    Signal { name: &'static str },
    Cancel,
}

#[derive(Default, Serialize)]
struct RunHeader<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cwd: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    env: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stdin: bool,
}

impl RunCommand {
    /// A command without anything besides.
    pub fn new(command: StreamedCommand) -> RunCommand {
        RunCommand {
            command,
            directory: None,
            environment: Vec::new(),
            timeout: None,
            has_input: false,
        }
    }

    /// Appends the request. What is UTF-8 and fits goes in the header, the rest in the data.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`] when the header would be longer than it may be (directory and environment are in
    /// it) or the command longer than [`STREAM_COMMAND_BYTES_MAX`]. [`WireError::Malformed`] when an argument
    /// that must go in the data has a NUL in it, there are more than [`STREAM_ARGUMENTS_MAX`], or no program. Nothing is appended then.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        let mut header = RunHeader {
            cwd: self.directory.as_deref(),
            env: &self.environment,
            timeout_ms: self.timeout.map(milliseconds),
            stdin: self.has_input,
            ..RunHeader::default()
        };
        match &self.command {
            StreamedCommand::Line(line) => header.line = std::str::from_utf8(line).ok(),
            StreamedCommand::Program(arguments) => {
                let texts = arguments
                    .iter()
                    .map(|bytes| std::str::from_utf8(bytes).ok());
                header.args = texts.collect();
            }
        }
        let is_text = header.line.is_some() || header.args.is_some();
        if is_text && encode_first(&Header::Run(&header), out).is_ok() {
            return Ok(());
        }
        (header.line, header.args) = (None, None);
        let (form, data) = match &self.command {
            StreamedCommand::Line(line) => ("line", line.clone()),
            StreamedCommand::Program(arguments) => ("args", joined(arguments)?),
        };
        if data.len() as u64 > STREAM_COMMAND_BYTES_MAX {
            return Err(WireError::TooLong {
                what: "command",
                len: data.len() as u64,
                max: STREAM_COMMAND_BYTES_MAX,
            });
        }
        (header.data, header.data_size) = (Some(form), Some(data.len()));
        encode_first(&Header::Run(&header), out)?;
        out.extend_from_slice(&data);
        Ok(())
    }
}

/// The data that arguments go in.
fn joined(arguments: &[Vec<u8>]) -> Result<Vec<u8>, WireError> {
    if arguments.is_empty() {
        return Err(malformed("a program without a name"));
    }
    if arguments.len() > STREAM_ARGUMENTS_MAX {
        return Err(too_many(arguments.len()));
    }
    if arguments.iter().any(|argument| argument.contains(&0)) {
        return Err(malformed("an argument contains a NUL byte"));
    }
    let mut data = Vec::new();
    for argument in arguments {
        data.extend_from_slice(argument);
        data.push(0);
    }
    Ok(data)
}

fn too_many(arguments: usize) -> WireError {
    WireError::Malformed {
        what: "command",
        detail: format!("{arguments} arguments are more than the limit of {STREAM_ARGUMENTS_MAX}"),
    }
}

/// Rounded up, so that a short time is not none.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

impl Encode for CommandRequest<'_> {
    /// A whole frame; nothing for a [part](CommandRequest::Part).
    ///
    /// # Panics
    ///
    /// If it is a command that [cannot be sent](RunCommand::encode), or more input than a frame may carry.
    fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            CommandRequest::Run(ref run) => run.encode(out).expect("a command that can be sent"),
            CommandRequest::Stdin(bytes) => StdinChunk(bytes).encode(out),
            CommandRequest::StdinEnd => encode_header(&Header::StdinEnd, out),
            CommandRequest::Signal(signal) => {
                let name = signal.name();
                encode_header(&Header::Signal { name }, out);
            }
            CommandRequest::Cancel => encode_header(&Header::Cancel, out),
            CommandRequest::Part => {}
        }
    }
}

/// Standard input, as one frame; at most [`STREAM_CHUNK_BYTES_MAX`] bytes.
#[derive(Debug, Clone, Copy)]
pub struct StdinChunk<'b>(pub &'b [u8]);

impl Encode for StdinChunk<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        let data_size = self.0.len();
        assert!(
            data_size as u64 <= STREAM_CHUNK_BYTES_MAX,
            "more than a frame may carry"
        );
        encode_header(&Header::Stdin { data_size }, out);
        out.extend_from_slice(self.0);
    }
}
