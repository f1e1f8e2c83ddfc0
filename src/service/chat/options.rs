use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::name::{NAME_BYTES_MAX, Name};
use super::owned::{NAMES_BYTES_MAX, Owned};
use crate::config::limits::CHAT_HISTORY_LINES_MAX;
use crate::config::{Trouble, quoted, with};
use crate::service::{Backlog, Checked, Class, Encoding, OwnFile, Several};

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
    /// The file of names that belong to somebody; absent: none does.
    pub names: Option<PathBuf>,
    /// The file to which all that is said in rooms is appended; absent: to none.
    pub transcript: Option<PathBuf>,
    /// Whether the members of this endpoint are operators, who say who may be here.
    pub operator: bool,
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
    const OF_LISTENER: &'static [&'static str] = &["encoding", "operator"];

    fn set(&self) -> Option<&str> {
        self.rooms.as_deref()
    }

    fn several(&self) -> Several {
        Several::WithBus(
            "each would have rooms of its own, whose members do not hear those of the others",
        )
    }

    fn class(&self) -> Class {
        if self.operator {
            Class::Operators
        } else {
            Class::Plain
        }
    }

    fn file(&self) -> Option<OwnFile> {
        self.names.as_ref().map(|path| OwnFile {
            option: "names",
            path: path.clone(),
            bytes_max: NAMES_BYTES_MAX,
            made_by: "onepoll secret --name NAME FILE",
        })
    }

    fn descriptors(&self) -> usize {
        // Both ends of the pipe to the child that writes it, and what is known of that child.
        4 * usize::from(self.transcript.is_some())
    }

    fn probe(&self) -> Result<(), Trouble> {
        let Some(path) = &self.transcript else {
            return Ok(());
        };
        let wrong = |problem: String| Err(Trouble::with("transcript", problem));
        let name = path.display();
        match (path.parent(), path.metadata()) {
            _ if !path.is_absolute() => wrong(format!(
                "{name} is a relative path; name it from the root on"
            )),
            (_, Ok(found)) if !found.is_file() => wrong(format!("{name} is no regular file")),
            (_, Ok(found)) if found.permissions().mode() & 0o037 != 0 => wrong(format!(
                "{name} has mode {:04o}, and others must not read or write it; `chmod 600 {name}`",
                found.permissions().mode() & 0o7777
            )),
            (Some(directory), Err(_)) if !directory.is_dir() => wrong(format!(
                "{name} cannot be made: {} is no directory",
                directory.display()
            )),
            _ => Ok(()),
        }
    }

    fn check_file(content: &[u8]) -> Result<(), String> {
        Owned::parse(content).map(|_| ())
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
