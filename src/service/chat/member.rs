use super::name::Name;
use super::pace::Pace;
use super::room::RoomKey;
use crate::service::telnet::Telnet;
use crate::service::{Encoding, Peer};
use crate::turn::ConnId;
use crate::wire::Line;

/// Somebody who is here: what the chat knows of one connection.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: Name,
    pub(super) room: RoomKey,
    /// Where among the room's members: its place in that list.
    pub(super) seat: usize,
    /// Whether the room was told of the coming, and so is to be told of the going.
    pub(super) announced: bool,
    /// Whether a line has come already.
    pub(super) spoke: bool,
    /// What the member reads and writes.
    pub(super) encoding: Encoding,
    /// What those are told who write to a member that is away.
    pub(super) away: Option<Box<str>>,
    /// Whom the member does not hear; some may have left.
    pub(super) ignores: Vec<ConnId>,
    /// How many others do not hear this member.
    pub(super) ignored_by: u32,
    /// Where the member comes from.
    pub(super) peer: Peer,
    /// Whether the name belongs to the member.
    pub(super) is_owner: bool,
    /// Whether the member may say who may be here.
    pub(super) is_operator: bool,
    /// How many tokens the member was wrong about.
    pub(super) wrong_tokens: u8,
    pub(super) telnet: Telnet,
    pub(super) lines: Line,
    pub(super) pace: Pace,
}

impl Member {
    /// A newcomer who has no seat yet.
    pub(super) fn new(name: Name, peer: Peer, line_bytes_max: usize) -> Member {
        Member {
            name,
            room: RoomKey::MAX,
            seat: usize::MAX,
            announced: false,
            spoke: false,
            encoding: Encoding::Utf8,
            peer,
            is_owner: false,
            is_operator: false,
            wrong_tokens: 0,
            away: None,
            ignores: Vec::new(),
            ignored_by: 0,
            telnet: Telnet::default(),
            lines: Line::new(line_bytes_max),
            pace: Pace::default(),
        }
    }
}
