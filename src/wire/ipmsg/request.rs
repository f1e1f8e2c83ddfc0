use super::command::IpmsgCommand;
use super::file::number;
use super::packet::IpmsgPacket;
use crate::wire::{Decode, WireError};

/// How many bytes a request for a file has at most.
pub const IPMSG_REQUEST_BYTES_MAX: usize = 1024;

/// What is asked for over TCP: a file of an offer from an offset on, or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpmsgFileRequest {
    /// The number of the packet that offered it.
    pub packet: u32,
    /// Which of the files of that packet.
    pub id: u32,
    /// From which byte on.
    pub offset: u64,
    /// Whether a directory is asked for.
    pub is_directory: bool,
}

impl IpmsgFileRequest {
    /// The additional field of a packet that asks for it: in hexadecimal, `packet:id:offset`, or without offset for a
    /// directory.
    pub fn additional(&self) -> Vec<u8> {
        let (packet, id, offset) = (self.packet, self.id, self.offset);
        if self.is_directory {
            format!("{packet:x}:{id:x}").into_bytes()
        } else {
            format!("{packet:x}:{id:x}:{offset:x}").into_bytes()
        }
    }

    /// The command of such a packet. It has no option: iptux alone sends one, and warns of it.
    pub fn command(&self) -> IpmsgCommand {
        let mode = if self.is_directory {
            IpmsgCommand::GET_DIRECTORY
        } else {
            IpmsgCommand::GET_FILE
        };
        IpmsgCommand::new(mode, 0)
    }

    fn of(packet: &IpmsgPacket<'_>) -> Result<IpmsgFileRequest, WireError> {
        let is_directory = match packet.command.mode() {
            IpmsgCommand::GET_FILE => false,
            IpmsgCommand::GET_DIRECTORY => true,
            mode => return Err(wrong(format!("mode {mode:#x} asks for no file"))),
        };
        let mut fields = packet.additional.split(|byte| *byte == b':');
        let mut hex = |what: &str| {
            let field = fields.next().filter(|field| !field.is_empty());
            let field = field.ok_or_else(|| wrong(format!("it has no {what}")))?;
            number(field, 16).ok_or_else(|| wrong(format!("the {what} is not hexadecimal")))
        };
        let short = |number: u64, what: &str| {
            u32::try_from(number).map_err(|_| wrong(format!("the {what} has more than 32 bits")))
        };
        let named = short(hex("packet number")?, "packet number")?;
        let id = short(hex("file id")?, "file id")?;
        let offset = match hex("offset") {
            Ok(offset) => offset,
            Err(_) if is_directory => 0,
            Err(error) => return Err(error),
        };
        Ok(IpmsgFileRequest {
            packet: named,
            id,
            offset,
            is_directory,
        })
    }
}

/// Takes one request off the front of a TCP stream.
///
/// The request has no length, and no program agrees with another on its end: a NUL (ours, and iptux), a colon behind
/// the last number, a new line, or nothing at all. So it is over at one of those, or at the end of input; who reads
/// from programs of the last kind asks with [`decode_eof`](Decode::decode_eof) when nothing more came for a while. It is
/// the only one on its connection: what may follow it, such as a NUL behind a colon, says nothing.
///
/// # Errors
///
/// [`WireError::Malformed`] when it is no request for a file, [`WireError::TooLong`] when it has more than
/// [`IPMSG_REQUEST_BYTES_MAX`] bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct IpmsgFileRequests;

impl Decode for IpmsgFileRequests {
    type Frame<'b> = IpmsgFileRequest;

    fn decode(&mut self, unread: &[u8]) -> Result<Option<(IpmsgFileRequest, usize)>, WireError> {
        let reach = &unread[..unread.len().min(IPMSG_REQUEST_BYTES_MAX)];
        match end(reach) {
            Some(len) => Ok(Some((request(&unread[..len])?, len))),
            None if unread.len() > IPMSG_REQUEST_BYTES_MAX => Err(WireError::TooLong {
                what: "IPMSG request",
                len: IPMSG_REQUEST_BYTES_MAX as u64 + 1,
                max: IPMSG_REQUEST_BYTES_MAX as u64,
            }),
            None => Ok(None),
        }
    }

    fn decode_eof(
        &mut self,
        unread: &[u8],
    ) -> Result<Option<(IpmsgFileRequest, usize)>, WireError> {
        match self.decode(unread)? {
            None if !unread.is_empty() => Ok(Some((request(unread)?, unread.len()))),
            answer => Ok(answer),
        }
    }
}

/// How many bytes the request at the front has, its end included, if that is certain.
fn end(unread: &[u8]) -> Option<usize> {
    let colons = unread.iter().enumerate();
    let colons = colons.filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
    // Behind the command.
    let begins = colons.clone().nth(4)? + 1;
    let is_end = |(_, byte): &(usize, &u8)| matches!(byte, 0 | b'\n');
    let ended = unread[begins..].iter().enumerate().find(is_end);
    let ended = ended.map(|(at, _)| begins + at);
    // The third of them stands behind the offset.
    let third = colons.skip(5).nth(2);
    Some(ended.into_iter().chain(third).min()? + 1)
}

fn request(bytes: &[u8]) -> Result<IpmsgFileRequest, WireError> {
    let is_end = |byte: &u8| matches!(byte, 0 | b'\n' | b'\r');
    let trimmed = bytes.iter().rposition(|byte| !is_end(byte));
    let packet = IpmsgPacket::parse(&bytes[..trimmed.map_or(0, |last| last + 1)])?;
    IpmsgFileRequest::of(&packet)
}

fn wrong(detail: String) -> WireError {
    WireError::Malformed {
        what: "IPMSG request for a file",
        detail,
    }
}
