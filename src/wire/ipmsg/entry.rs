use super::command::IpmsgCommand;
use super::packet::IpmsgPacket;
use super::text::{IpmsgEncoding, ipmsg_text};

/// Who says in an entry, an answer to one, or a change of absence, that they are there.
///
/// The additional field is the nickname, and behind a NUL comes the group, in the code page of the sender. Two
/// programs add to that: the original a field `\nUN:…\nHN:…\nNN:…\nGN:…` with the names in UTF-8, which goes before
/// the rest; iptux the name of an icon and that of its encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpmsgEntry {
    /// The user.
    pub user: String,
    /// The machine.
    pub host: String,
    /// The nickname; the user's name where there is none.
    pub nick: String,
    /// The group; may be empty.
    pub group: String,
    /// The encoding that its sender reads, if it shows one.
    pub encoding: Option<IpmsgEncoding>,
}

/// The names in UTF-8, in the order in which they are written.
const NAMES: [&[u8]; 4] = [b"UN:", b"HN:", b"NN:", b"GN:"];

impl IpmsgEntry {
    /// What a packet of one of these modes says.
    pub fn of(packet: &IpmsgPacket<'_>) -> IpmsgEntry {
        let is_utf8 = packet.command.has(IpmsgCommand::UTF8);
        let text = |bytes| ipmsg_text(bytes, is_utf8).0;
        let mut fields: Vec<&[u8]> = packet.fields().collect();
        let names = fields.iter().position(|field| field.starts_with(b"\n"));
        let names = names.map(|n| fields[n]);
        let field = |fields: &[&[u8]], n: usize| fields.get(n).map(|field| field.to_vec());
        // iptux: group, icon, encoding.
        let told = field(&fields, 2).and_then(|name| IpmsgEncoding::named(&name));
        let can = packet.command.has(IpmsgCommand::CAN_UTF8) || is_utf8 || names.is_some();
        fields.retain(|field| !field.starts_with(b"\n"));
        let mut entry = IpmsgEntry {
            user: text(packet.user),
            host: text(packet.host),
            nick: text(packet.additional),
            group: text(&field(&fields, 0).unwrap_or_default()),
            encoding: told.or(can.then_some(IpmsgEncoding::Utf8)),
        };
        for line in names.unwrap_or_default().split(|byte| *byte == b'\n') {
            let places = [
                &mut entry.user,
                &mut entry.host,
                &mut entry.nick,
                &mut entry.group,
            ];
            for (name, place) in NAMES.iter().zip(places) {
                if let Some(value) = line.strip_prefix(*name) {
                    *place = String::from_utf8_lossy(value).into_owned();
                }
            }
        }
        if entry.nick.is_empty() {
            entry.nick.clone_from(&entry.user);
        }
        entry
    }

    /// Additional field and what follows of an entry that says this, for programs of every kind: nickname and group
    /// in this encoding, the names in UTF-8 where the original looks for them if they are more than ASCII, and the
    /// encoding where iptux does.
    pub fn fields(&self, encoding: IpmsgEncoding) -> (Vec<u8>, Vec<u8>) {
        let mut fields = encoding.encode(&self.group);
        fields.push(0);
        let values = [&self.user, &self.host, &self.nick, &self.group];
        let is_ascii = values.iter().all(|value| value.is_ascii());
        for (name, value) in NAMES.iter().zip(values).filter(|_| !is_ascii) {
            fields.push(b'\n');
            fields.extend_from_slice(name);
            fields.extend(value.bytes().filter(|byte| !matches!(byte, 0 | b'\n')));
        }
        fields.push(0);
        let reads = self.encoding.unwrap_or(IpmsgEncoding::Utf8);
        fields.extend_from_slice(reads.name().as_bytes());
        (encoding.encode(&self.nick), fields)
    }
}
