use super::command::IpmsgCommand;
use crate::wire::{Encode, Escaped, WireError};

/// The port of IPMSG, of datagrams and of TCP.
pub const IPMSG_PORT: u16 = 2425;

/// How many bytes a datagram of ours has at most. iptux receives 8,192 and needs one of them for itself; the original
/// 32 KiB.
pub const IPMSG_DATAGRAM_BYTES_MAX: usize = 8191;

/// The version that packets of ours say, and those of the original.
pub const IPMSG_VERSION: &[u8] = b"1";

/// How much of what is wrong is shown.
const SHOWN_BYTES_MAX: usize = 32;

/// One packet: `version:number:user:host:command:additional`, and fields behind NULs.
///
/// A datagram is one packet, and a request over TCP is one. No field before the additional one can have a colon in
/// it; that one can have any number. A NUL behind the last field is optional in both directions (fault E12). Texts are
/// bytes here, in an encoding that the packet may or may not tell: [`ipmsg_text`](super::ipmsg_text).
///
/// ```
/// use onepoll::wire::{IpmsgCommand, IpmsgPacket};
///
/// let packet = IpmsgPacket::parse(b"1:111:eva:eva:32:10:30 at the gate")?;
/// assert_eq!((packet.number, packet.user), (111, &b"eva"[..]));
/// assert_eq!(packet.command.mode(), IpmsgCommand::MESSAGE);
/// assert_eq!(packet.additional, b"10:30 at the gate");
/// # Ok::<(), onepoll::wire::WireError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpmsgPacket<'b> {
    /// The sender's program; anything.
    pub version: &'b [u8],
    /// Which of the sender's packets it is.
    pub number: u32,
    /// The sender's user.
    pub user: &'b [u8],
    /// The sender's machine.
    pub host: &'b [u8],
    /// What it is for.
    pub command: IpmsgCommand,
    /// The text, or what else the command says.
    pub additional: &'b [u8],
    /// What follows behind the first NUL, less a NUL at its end.
    pub fields: &'b [u8],
}

impl<'b> IpmsgPacket<'b> {
    /// Reads a whole datagram.
    ///
    /// # Errors
    ///
    /// [`WireError::Malformed`] when fields are missing, when number or command are not decimal numbers of 32 bits,
    /// or when a NUL stands before the additional field.
    pub fn parse(bytes: &'b [u8]) -> Result<IpmsgPacket<'b>, WireError> {
        let mut parts = bytes.splitn(6, |byte| *byte == b':');
        let mut next = |what: &'static str| {
            let part = parts.next();
            part.ok_or_else(|| wrong(format!("it has no {what}")))
        };
        let [version, number, user, host, command, rest] = [
            next("version")?,
            next("packet number")?,
            next("user")?,
            next("host")?,
            next("command")?,
            next("additional field")?,
        ];
        for (what, field) in [("version", version), ("user", user), ("host", host)] {
            if field.contains(&0) {
                return Err(wrong(format!("a NUL in the {what}")));
            }
        }
        let end = memchr::memchr(0, rest).unwrap_or(rest.len());
        let fields = rest.get(end + 1..).unwrap_or_default();
        Ok(IpmsgPacket {
            version,
            number: decimal("packet number", number)?,
            user,
            host,
            command: IpmsgCommand(decimal("command", command)?),
            additional: &rest[..end],
            fields: fields.strip_suffix(b"\0").unwrap_or(fields),
        })
    }

    /// The fields behind the additional one.
    pub fn fields(&self) -> impl Iterator<Item = &'b [u8]> {
        self.fields.split(|byte| *byte == 0)
    }
}

impl Encode for IpmsgPacket<'_> {
    /// What would be read as another field is written as `_`: a colon or a NUL in version, user or host. The additional
    /// field ends at a NUL in it.
    fn encode(&self, out: &mut Vec<u8>) {
        let head = |field: &[u8], out: &mut Vec<u8>| {
            let as_it_may_be = |byte: &u8| {
                if matches!(byte, b':' | 0) {
                    b'_'
                } else {
                    *byte
                }
            };
            out.extend(field.iter().map(as_it_may_be));
            out.push(b':');
        };
        head(self.version, out);
        out.extend_from_slice(self.number.to_string().as_bytes());
        out.push(b':');
        head(self.user, out);
        head(self.host, out);
        out.extend_from_slice(self.command.0.to_string().as_bytes());
        out.push(b':');
        let end = memchr::memchr(0, self.additional).unwrap_or(self.additional.len());
        out.extend_from_slice(&self.additional[..end]);
        out.push(0);
        if !self.fields.is_empty() {
            out.extend_from_slice(self.fields);
            out.push(0);
        }
    }
}

fn decimal(what: &'static str, digits: &[u8]) -> Result<u32, WireError> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).unwrap_or_default();
    match text.parse() {
        Ok(number) if is_number => Ok(number),
        _ => {
            let shown = Escaped(&digits[..digits.len().min(SHOWN_BYTES_MAX)]);
            Err(wrong(format!(
                "the {what} {shown:?} is not a decimal number of 32 bits"
            )))
        }
    }
}

fn wrong(detail: String) -> WireError {
    WireError::Malformed {
        what: "IPMSG packet",
        detail,
    }
}
