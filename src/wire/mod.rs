//! Bytes to frames and back.
//!
//! This folder knows slices of bytes and one format a file. It does not know sockets, time, or
//! which side of a conversation it is on: the same decoder reads for the server, the clients, the
//! load generator and the tests.
//!
//! A decoder looks at what is unread and says *frame*, *not yet*, or *never*, and says the same
//! however the bytes were cut on their way. (Bursts are the exception, and say so.)

mod ascii;
mod attached;
mod burst;
mod challenge;
mod command_stream;
mod decimal;
mod digest;
mod exposition;
mod file;
mod framing;
mod gbk;
mod headed;
mod http_head;
mod http_request;
mod ipmsg;
mod json_header;
mod keeping;
mod line;
mod nats;
mod ntp;
mod object;
mod prefixed;
mod since_1900;
mod strftime;
mod supervision;
mod take_over;
mod talk;
mod telnet;
mod text;

pub use ascii::{UpperCase, trim_ascii_white, upper};
pub use attached::AttachedNews;
pub use burst::{BURST_BYTES_MAX, Burst, DecodeSettled, Request};
pub use challenge::{
    CHALLENGE_BYTES, Challenge, Digest, HmacKey, Proof, SECRET_BYTES_MAX, SECRET_BYTES_MIN, Secret,
    SecretError,
};
pub use command_stream::{
    CommandAnswer, CommandAnswers, CommandEnd, CommandError, CommandErrorKind, CommandRequest,
    CommandRequests, CommandSignal, Opening, OutputChunk, RunCommand, STDIN_CREDIT_BYTES,
    STREAM_ARGUMENTS_MAX, STREAM_CHUNK_BYTES_MAX, STREAM_COMMAND_BYTES_MAX,
    STREAM_HEADER_BYTES_MAX, StdinChunk, StreamedCommand, WhyEnded,
};
pub use decimal::{Decimal, DecimalLength};
pub use digest::{Md5, Md5Sum, NoSum, Sha256, Sha256Sum, Sum, md5_hex};
pub use exposition::{EXPOSITION_TYPE, Family, Kind, Value, one_page};
pub use file::{
    BadName, FILE_NAME_BYTES_MAX, FILE_PART_BYTES_MAX, FILE_PATH_BYTES_MAX, FILE_PATH_PARTS_MAX,
    FILE_SIZE_MAX, FileAnswer, FileAnswers, FileEntry, FileError, FileErrorKind, FileFacts,
    FileName, FilePart, FilePartHead, FileRequest, FileRequests, Kept, Names, Upload, UploadForm,
};
pub use framing::CommandFraming;
pub use gbk::encode_gbk;
pub use http_head::{
    HTTP_FIELDS_MAX, HTTP_HEAD_BYTES_MAX, HttpRequest, HttpRequests, HttpResponse,
};
pub use http_request::is_http_request;
pub use ipmsg::{
    IPMSG_DATAGRAM_BYTES_MAX, IPMSG_FILES_MAX, IPMSG_PORT, IPMSG_RECORD_BYTES_MAX,
    IPMSG_REQUEST_BYTES_MAX, IPMSG_TREE_DEPTH_MAX, IPMSG_TREE_ENTRIES_MAX, IPMSG_VERSION,
    IpmsgCommand, IpmsgEncoding, IpmsgEntry, IpmsgFile, IpmsgFileKind, IpmsgFileRequest,
    IpmsgFileRequests, IpmsgPacket, IpmsgRecord, IpmsgRecords, IpmsgTree, IpmsgTreePart,
    ipmsg_text,
};
pub use json_header::{
    CommandHeader, ERROR_BYTES_MAX, HEADER_BYTES_MAX, JsonHeader, TIMEOUT_REASON,
};
pub use keeping::Keeping;
pub(crate) use line::oldest_lines;
pub use line::{LINE_BYTES_MAX, Line};
pub use nats::{
    JetStreamAnswer, JetStreamConfig, JetStreamError, JetStreamMessage, JetStreamPosition,
    JetStreamState, NATS_INFO_BYTES_MAX, NATS_LINE_BYTES_MAX, NatsCommands, NatsFrame, NatsHeaders,
    NatsMessage,
};
pub use ntp::{NTP_BYTES, Ntp, NtpPacket, NtpTime};
pub use prefixed::{FRAME_BYTES_MAX, Framed, LENGTH_BYTES, Length, Prefix, Prefixed};
pub use since_1900::Since1900;
pub use strftime::{STRFTIME_BYTES_MAX, StrftimeError, strftime};
pub use supervision::{
    FromProcess, ProcessState, SUPERVISION_BYTES_MAX, ToProcess, packed, unpacked,
};
pub use take_over::{
    FileNumbers, SOCKETS_HANDED_OVER_MAX, SOCKETS_PER_MESSAGE_MAX, SocketDescription,
    TAKE_OVER_BYTES_MAX, TAKE_OVER_VERSION, TakeOverAnswer, TakeOverMessage, TakeOverRequest,
};
pub use talk::{TalkMessage, TalkMessages, hangs_up};
pub use telnet::Telnet;
#[cfg(feature = "cli")]
pub(crate) use text::acts_on_a_terminal;
pub use text::{Escaped, neutralise};

use thiserror::Error;

/// Takes frames off the front of the bytes that are not yet read.
pub trait Decode {
    /// What one frame is; it may borrow from the bytes it was read from.
    type Frame<'b>;

    /// One frame off the front of `unread`, and how many bytes it took.
    ///
    /// `Ok(None)` means "not yet": call again with the same bytes and more behind them. A decoder
    /// may remember how far it has looked, so begin with a new one where another took bytes since.
    /// `Err` means "never": every later call with these bytes says so again. A frame takes at least
    /// one byte, so a loop of calls comes to an end.
    fn decode<'b>(
        &mut self,
        unread: &'b [u8],
    ) -> Result<Option<(Self::Frame<'b>, usize)>, WireError>;

    /// As [`decode`](Decode::decode), when no further byte will ever come.
    ///
    /// Half a frame is an error, unless the format says that the end completes it.
    fn decode_eof<'b>(
        &mut self,
        unread: &'b [u8],
    ) -> Result<Option<(Self::Frame<'b>, usize)>, WireError> {
        match self.decode(unread)? {
            None if !unread.is_empty() => Err(WireError::Truncated { have: unread.len() }),
            answer => Ok(answer),
        }
    }
}

/// Appends one frame to what will be sent.
pub trait Encode {
    /// Appends the bytes of `self` to `out`; touches nothing that is already there.
    fn encode(&self, out: &mut Vec<u8>);
}

impl Encode for [u8] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl Encode for str {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

/// What a peer sent can never become a frame.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// Longer than the limit, known before any of it was stored.
    #[error("{what} of {len} bytes is longer than the limit of {max}")]
    TooLong {
        /// What is too long: "line", "frame", "header".
        what: &'static str,
        /// Its length in bytes, as announced or as far as it came.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// A signed length below zero.
    #[error("{what} has the negative length {len}")]
    Negative {
        /// What announced the length.
        what: &'static str,
        /// The length as it was sent.
        len: i64,
    },
    /// The input ended inside a frame.
    #[error("the input ended inside a frame, after {have} of its bytes")]
    Truncated {
        /// How many bytes of the frame had come.
        have: usize,
    },
    /// The bytes do not follow the format.
    #[error("malformed {what}: {detail}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// What was wrong, and where.
        detail: String,
    },
}
