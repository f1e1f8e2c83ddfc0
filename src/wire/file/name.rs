use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How many bytes one component of a name may have: NAME_MAX of Linux.
pub const FILE_NAME_BYTES_MAX: usize = 255;

/// How many bytes a name may have where it may have directories.
pub const FILE_PATH_BYTES_MAX: usize = 1024;

/// How many components it may have then, the last included.
pub const FILE_PATH_PARTS_MAX: usize = 16;

/// What a name that has directories in it means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Names {
    /// Its last component counts, as the tutorials send `/a/b/c.txt` and mean `c.txt`.
    #[default]
    Basename,
    /// It is refused.
    Refuse,
    /// They are directories beneath the root.
    Tree,
}

impl Names {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Names::Basename => "basename",
            Names::Refuse => "refuse",
            Names::Tree => "tree",
        }
    }
}

/// A name that a file may have beneath a root: one component, or with [`Names::Tree`] several, joined by `/`.
///
/// A component has 1 to [`FILE_NAME_BYTES_MAX`] bytes, does not begin with a dot, and has no control character and
/// no backslash in it.
///
/// ```
/// use onepoll::wire::{FileName, Names};
///
/// let name = FileName::new("/a/b/c.txt", Names::Basename)?;
/// assert_eq!(name.as_str(), "c.txt");
/// assert!(FileName::new("a/../b", Names::Tree).is_err());
/// # Ok::<(), onepoll::wire::BadName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(String);

impl FileName {
    /// What `name` is called here.
    pub fn new(name: &str, names: Names) -> Result<FileName, BadName> {
        let name = match names {
            Names::Basename => name.rsplit('/').next().unwrap_or_default(),
            Names::Refuse if name.contains('/') => return Err(BadName::Directories),
            Names::Refuse | Names::Tree => name,
        };
        if name.len() > FILE_PATH_BYTES_MAX {
            return Err(BadName::TooLong);
        }
        for (n, part) in name.split('/').enumerate() {
            if n >= FILE_PATH_PARTS_MAX {
                return Err(BadName::TooDeep);
            }
            check(part)?;
        }
        Ok(FileName(name.to_owned()))
    }

    /// All of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its directories, if it has any, and its last component.
    pub fn split(&self) -> (Option<&str>, &str) {
        match self.0.rsplit_once('/') {
            Some((directories, last)) => (Some(directories), last),
            None => (None, &self.0),
        }
    }
}

fn check(part: &str) -> Result<(), BadName> {
    if part.is_empty() {
        Err(BadName::Empty)
    } else if part.starts_with('.') {
        Err(BadName::Hidden)
    } else if part.len() > FILE_NAME_BYTES_MAX {
        Err(BadName::TooLong)
    } else if part.contains('\\') {
        Err(BadName::Backslash)
    } else if part.chars().any(char::is_control) {
        Err(BadName::Control)
    } else {
        Ok(())
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why no file may have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadName {
    /// It, or a part of it, is empty.
    #[error("the name, or a part of it, is empty")]
    Empty,
    /// It begins with a dot: `..` goes up, others are hidden.
    #[error("a name does not begin with a dot")]
    Hidden,
    /// A component has more than [`FILE_NAME_BYTES_MAX`] bytes, or all more than [`FILE_PATH_BYTES_MAX`].
    #[error("a name has at most 255 bytes, with its directories 1024")]
    TooLong,
    /// It has more than [`FILE_PATH_PARTS_MAX`] components.
    #[error("a name has at most 16 components")]
    TooDeep,
    /// It has directories, where it may not.
    #[error("a name has no directories here")]
    Directories,
    /// It has a backslash, which is a separator elsewhere.
    #[error("a name has no backslash")]
    Backslash,
    /// It has a control character.
    #[error("a name has no control characters")]
    Control,
}
