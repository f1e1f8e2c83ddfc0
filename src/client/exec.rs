//! Runs commands on a server, and knows where each one's output ends.

use std::time::Duration;

use super::connection::ClientConnection;
use super::deadline::RequestDeadline;
use super::other_service::{no_command_server, notice};
use super::{ClientError, ServerAddress};
#[cfg(feature = "tls")]
use crate::tls::ClientTls;
use crate::wire::{
    CommandHeader, DecimalLength, Decode, DecodeSettled, HEADER_BYTES_MAX, HmacKey, JsonHeader,
    Length, TIMEOUT_REASON, WireError, md5_hex,
};

/// The most that is collected of one output: 64 times what a server sends unless told otherwise.
pub const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// What the tutorials' clients answer to a length.
const ACKNOWLEDGEMENT: &[u8] = b"recv_ready";

/// After how much silence the digits of a length are all there, unless told otherwise.
const SETTLE: Duration = Duration::from_millis(20);

/// How a server marks the end of an output, of the [framings](crate::wire::CommandFraming) that do; where none
/// does (C1), [`RawExec`](super::RawExec) runs commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum ExecFraming {
    /// C2: its length in digits, and the output when that was acknowledged. The exit code is not told.
    ///
    /// Nothing says where the digits end but that no more of them come: see [`Exec::settle`].
    Decimal,
    /// C3: its length before it. The exit code is not told.
    I32,
    /// C4: a JSON header before it, with length, MD5 and exit code.
    Json,
}

/// What a command wrote, whole and verified as far as the framing allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// What it wrote. With [`ExecFraming::Decimal`] and [`ExecFraming::I32`] a refusal is here, as a line
    /// `onepoll: reason`.
    pub bytes: Vec<u8>,
    /// Its exit code, where the framing tells and the command had one.
    pub exit: Option<i32>,
    /// Why it was not run, or not to its end, where the framing tells.
    pub refusal: Option<String>,
}

impl ExecOutput {
    /// Whether the server ended it because its time had run out.
    pub fn timed_out(&self) -> bool {
        let reason = self.refusal.as_deref();
        reason.is_some_and(|reason| reason.starts_with(TIMEOUT_REASON))
    }
}

/// A connection to a command server. After an error it must not be used again, and refuses to be.
#[derive(Debug)]
pub struct Exec {
    line: Option<ClientConnection>,
    framing: ExecFraming,
    acknowledgement: Vec<u8>,
    settle: Duration,
    /// Nothing was sent on it yet.
    is_new: bool,
}

impl Exec {
    /// Connects within `timeout`.
    pub fn connect(
        address: &ServerAddress,
        framing: ExecFraming,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let line = ClientConnection::connect(address, &RequestDeadline::after(timeout))?;
        Ok(Self {
            is_new: true,
            ..Self::of(line, framing)
        })
    }

    /// With which word a length is acknowledged (C2): what the server expects, if it expects a certain one.
    /// `recv_ready` unless told otherwise, as the tutorials' clients have it.
    #[must_use]
    pub fn acknowledge_with(mut self, word: &str) -> Self {
        self.acknowledgement = word.as_bytes().to_vec();
        self
    }

    /// After how much silence the digits of a length are taken to be all there (C2): 20 ms unless told otherwise.
    /// Where a network cuts them in two and is slower, a length is misread.
    #[must_use]
    pub fn settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }

    /// Answers the challenge of a server that asks for a secret, within `timeout`: once, before anything is
    /// run. Whether it was the right one shows when something is: to a wrong proof a server says nothing.
    pub fn prove(&mut self, key: &HmacKey, timeout: Duration) -> Result<(), ClientError> {
        let Some(line) = self.line.as_mut().filter(|_| self.is_new) else {
            // Who got a second answer could use it elsewhere (fault D6).
            return Err(ClientError::Request(
                "a challenge is answered once, when a connection begins",
            ));
        };
        self.is_new = false;
        line.prove(key, &RequestDeadline::after(timeout))
    }

    /// The same over TLS, with a server that is trusted so.
    #[cfg(feature = "tls")]
    pub fn connect_tls(
        address: &ServerAddress,
        tls: &ClientTls,
        framing: ExecFraming,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let deadline = RequestDeadline::after(timeout);
        let mut line = ClientConnection::connect(address, &deadline)?;
        line.secure(address, tls, &deadline)?;
        Ok(Self {
            is_new: true,
            ..Self::of(line, framing)
        })
    }

    /// The connection on which nothing was asked yet.
    pub(super) fn into_line(self) -> Option<ClientConnection> {
        self.line
    }

    /// Goes on with a connection that owes nothing.
    pub(super) fn of(line: ClientConnection, framing: ExecFraming) -> Self {
        Self {
            line: Some(line),
            framing,
            acknowledgement: ACKNOWLEDGEMENT.to_vec(),
            settle: SETTLE,
            is_new: false,
        }
    }

    /// Runs one command line and returns its output, all within `timeout`.
    pub fn run(&mut self, command: &str, timeout: Duration) -> Result<ExecOutput, ClientError> {
        let request = request_of(command)?;
        let Some(mut line) = self.line.take() else {
            return Err(ClientError::Request(
                "the connection was given up in the middle of an answer",
            ));
        };
        self.is_new = false;
        let deadline = RequestDeadline::after(timeout);
        let asked = line.check_silent();
        let asked = asked.and_then(|()| line.send(request.as_bytes(), &deadline));
        asked.map_err(|error| said_why(&mut line, self.framing, error))?;
        let output = match self.framing {
            ExecFraming::Decimal => self.receive_acknowledged(&mut line, &deadline),
            ExecFraming::I32 => receive_sized(&mut line, &deadline),
            ExecFraming::Json => receive_described(&mut line, &deadline),
        };
        let output = output.map_err(|error| match error {
            // Digits are what a length is here, also one that is too large.
            ClientError::Wire {
                cause: WireError::TooLong { .. },
                ..
            } if self.framing == ExecFraming::Decimal => error,
            error => no_command_server(&line, request.as_bytes(), error),
        })?;
        // Only a whole answer gives the connection back.
        self.line = Some(line);
        Ok(output)
    }

    /// C2.
    fn receive_acknowledged(
        &self,
        line: &mut ClientConnection,
        deadline: &RequestDeadline,
    ) -> Result<ExecOutput, ClientError> {
        let progress = |have| format!("{have} digits of the length came");
        while line.unread().is_empty() {
            if !line.fill(deadline, progress)? {
                return Err(hung_up(line, progress(0)));
            }
        }
        let len = loop {
            let length = DecimalLength::new(OUTPUT_BYTES_MAX as u64).settled(line.unread());
            let length = length.map_err(|cause| invalid(line, cause))?;
            if let Some((len, digits)) = length
                && line.is_silent_for(self.settle)
            {
                line.consume(digits);
                break usize::try_from(len).unwrap_or(OUTPUT_BYTES_MAX);
            }
        };
        let mut word = self.acknowledgement.clone();
        if len == 0 {
            // No output follows that would tell the word from the next request.
            word.push(b'\n');
        }
        line.send(&word, deadline)?;
        Ok(ExecOutput {
            bytes: body(line, len, deadline)?,
            exit: None,
            refusal: None,
        })
    }
}

/// The request that a command line is; a server would take it for another, or for none, unless it is one line.
pub(super) fn request_of(command: &str) -> Result<String, ClientError> {
    if command.contains(['\n', '\r']) {
        return Err(ClientError::Request(
            "a command must be one line: each line is a request of its own",
        ));
    }
    if command.trim().is_empty() {
        return Err(ClientError::Request(
            "an empty command is ignored by the server and never answered",
        ));
    }
    Ok(format!("{command}\n"))
}

/// Why the server turned the connection down, if it said so before it was asked: it is full, it is
/// stopping, the client was silent for too long.
fn said_why(line: &mut ClientConnection, framing: ExecFraming, error: ClientError) -> ClientError {
    line.gather();
    let unread = line.unread();
    let reason = match framing {
        ExecFraming::Json => match JsonHeader::<CommandHeader>::new().decode(unread) {
            Ok(Some((header, _))) => header.error,
            _ => None,
        },
        ExecFraming::I32 => match Length::new("output", OUTPUT_BYTES_MAX).decode(unread) {
            Ok(Some((len, taken))) => unread[taken..].get(..len).and_then(notice),
            _ => None,
        },
        // It says nothing then, since it would be read as digits.
        ExecFraming::Decimal => None,
    };
    match reason {
        Some(reason) => ClientError::Refused {
            address: line.address().to_owned(),
            reason,
        },
        None => error,
    }
}

/// C3.
fn receive_sized(
    line: &mut ClientConnection,
    deadline: &RequestDeadline,
) -> Result<ExecOutput, ClientError> {
    let len = decode(line, &mut Length::new("output", OUTPUT_BYTES_MAX), deadline)?;
    let bytes = body(line, len, deadline)?;
    Ok(ExecOutput {
        bytes,
        exit: None,
        refusal: None,
    })
}

/// C4.
fn receive_described(
    line: &mut ClientConnection,
    deadline: &RequestDeadline,
) -> Result<ExecOutput, ClientError> {
    let header = decode(line, &mut EarlyHeader(JsonHeader::new()), deadline)?;
    let len = match usize::try_from(header.data_size) {
        Ok(len) if len <= OUTPUT_BYTES_MAX => len,
        _ => {
            let max = u64::try_from(OUTPUT_BYTES_MAX).unwrap_or(u64::MAX);
            let cause = WireError::TooLong {
                what: "output",
                len: header.data_size,
                max,
            };
            return Err(invalid(line, cause));
        }
    };
    let mut bytes = body(line, len, deadline)?;
    let damaged = |detail| ClientError::Damaged {
        address: line.address().to_owned(),
        detail,
    };
    if header.total_size != 0 && header.total_size != header.data_size {
        return Err(damaged(format!(
            "data_size is {} and total_size {}",
            header.data_size, header.total_size
        )));
    }
    let md5 = md5_hex(&bytes);
    if !header.md5.is_empty() && !header.md5.eq_ignore_ascii_case(&md5) {
        return Err(damaged(format!(
            "the MD5 of its {len} bytes is {md5}, not the one announced"
        )));
    }
    let cut = header.cut.map(|max| format!("output cut at {max} bytes"));
    let refusal = header.error.or(cut);
    if let Some(reason) = &refusal {
        // What the server has to say is told apart from what the command said.
        let last = format!("onepoll: {reason}\n");
        let len = bytes.strip_suffix(last.as_bytes()).map_or(len, <[u8]>::len);
        bytes.truncate(len);
    }
    Ok(ExecOutput {
        bytes,
        exit: header.exit,
        refusal,
    })
}

/// C4's header, refused as soon as three of the four bytes of its length say that it is too long. An echo
/// server answers `ls` with three bytes and no fourth: without this, it would be found out at the deadline.
struct EarlyHeader(JsonHeader<CommandHeader>);

impl Decode for EarlyHeader {
    type Frame<'b> = CommandHeader;

    fn decode(&mut self, unread: &[u8]) -> Result<Option<(CommandHeader, usize)>, WireError> {
        let max = HEADER_BYTES_MAX as u64;
        match *unread {
            [first, second, third] if u64::from(third) << 16 > max => Err(WireError::TooLong {
                what: "header",
                len: u32::from_le_bytes([first, second, third, 0]).into(),
                max,
            }),
            _ => self.0.decode(unread),
        }
    }
}

/// Reads until `decoder` has a frame that owns what it says.
fn decode<D, F>(
    line: &mut ClientConnection,
    decoder: &mut D,
    deadline: &RequestDeadline,
) -> Result<F, ClientError>
where
    D: for<'b> Decode<Frame<'b> = F>,
{
    loop {
        let step = decoder.decode(line.unread());
        if let Some((frame, taken)) = step.map_err(|cause| invalid(line, cause))? {
            line.take(taken);
            return Ok(frame);
        }
        let progress = |have| format!("{have} bytes of the header came");
        if !line.fill(deadline, progress)? {
            return Err(hung_up(line, progress(line.unread().len())));
        }
    }
}

/// Reads until `len` bytes are there.
fn body(
    line: &mut ClientConnection,
    len: usize,
    deadline: &RequestDeadline,
) -> Result<Vec<u8>, ClientError> {
    let progress = |have| format!("{have} of {len} bytes of output came");
    while line.unread().len() < len {
        if !line.fill(deadline, progress)? {
            return Err(hung_up(line, progress(line.unread().len())));
        }
    }
    Ok(line.take(len))
}

fn invalid(line: &ClientConnection, cause: WireError) -> ClientError {
    ClientError::Wire {
        address: line.address().to_owned(),
        cause,
    }
}

fn hung_up(line: &ClientConnection, progress: String) -> ClientError {
    ClientError::HungUp {
        address: line.address().to_owned(),
        progress,
    }
}
