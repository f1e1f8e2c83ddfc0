use serde::{Deserialize, Serialize};

use super::name::{NAME_BYTES_MAX, Name};
use crate::config::limits::CHAT_HISTORY_LINES_MAX;
use crate::config::{Trouble, quoted, with};
use crate::service::{Backlog, Checked, Encoding};

/// Options of `chat`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// Endpoints of the same `rooms` share them, with everybody who is there; absent: this endpoint has its own.
    pub rooms: Option<String>,
    /// Whether a member who says too much too fast is held back.
    #[serde(with = "with::on_off")]
    pub flood: bool,
    /// How many earlier lines a newcomer is shown; 0: none.
    pub history: u32,
    /// What is done about a member who does not read what others say.
    pub slow: Slow,
    /// What the members of this endpoint read and write.
    pub encoding: Encoding,
}

/// What is done about a member who does not read what others say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slow {
    /// The member is disconnected, and the room is told.
    #[default]
    Disconnect,
    /// The oldest lines that wait for the member are dropped, and the member is told how many.
    DropOldest,
}

impl Slow {
    pub(super) fn backlog(self) -> Backlog {
        match self {
            Slow::Disconnect => Backlog::Disconnect,
            Slow::DropOldest => Backlog::DropOldest,
        }
    }
}

impl Checked for Options {
    const OF_LISTENER: &'static [&'static str] = &["encoding"];

    fn set(&self) -> Option<&str> {
        self.rooms.as_deref()
    }

    fn check(&self) -> Result<(), Trouble> {
        if let Some(name) = &self.rooms
            && Name::parse(name.as_bytes()).is_none()
        {
            return Err(Trouble::with(
                "rooms",
                format!(
                    "{} is no name: 1 to {NAME_BYTES_MAX} ASCII letters, digits, - _ or ., beginning with a letter or a digit",
                    quoted(name)
                ),
            ));
        }
        if self.history > CHAT_HISTORY_LINES_MAX {
            return Err(Trouble::with(
                "history",
                format!("it is above {CHAT_HISTORY_LINES_MAX} lines, which are kept in memory"),
            ));
        }
        Ok(())
    }
}
