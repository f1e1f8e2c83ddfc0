//! What was written and cannot be meant: one sentence that says where, what, and what would be
//! right.

use std::fmt;

use serde::de;
use thiserror::Error;

use super::text::{nearest, quoted};

/// What was written cannot be served. One sentence: where, what, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{place}: {problem}")]
pub struct ConfigError {
    /// The endpoint as it was written, or the file with line and column.
    pub place: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl ConfigError {
    /// An error about the endpoint that is written `url`, as a whole.
    pub fn at(url: impl fmt::Display, problem: impl Into<String>) -> Self {
        Self {
            place: format!("endpoint {}", quoted(&url.to_string())),
            problem: problem.into(),
        }
    }
}

/// What is wrong with one option, or with the whole when it has no name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The option, so that a file can say where it stands.
    pub option: Option<String>,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl Trouble {
    /// With the whole.
    pub fn new(problem: impl Into<String>) -> Self {
        Self {
            option: None,
            problem: problem.into(),
        }
    }

    /// With one option.
    pub fn of(option: &str, problem: impl Into<String>) -> Self {
        Self {
            option: Some(option.into()),
            problem: problem.into(),
        }
    }

    /// With the value that one option was given.
    pub fn with(option: &str, problem: impl fmt::Display) -> Self {
        Self::of(option, format!("option `{option}`: {problem}"))
    }

    /// `typed` is not among the `known`: names the nearest, and all of them.
    pub fn unknown(subject: &str, what: &str, typed: &str, known: &[&str]) -> Self {
        let known_names = match known {
            [] => "it takes none".into(),
            known => format!("known: {}", known.join(", ")),
        };
        Self::of(
            typed,
            format!(
                "{subject} has no {what} {}{} ({known_names})",
                quoted(typed),
                meant(typed, known)
            ),
        )
    }
}

/// What was probably meant by a name that nobody knows.
pub(crate) fn meant(typed: &str, known: &[&str]) -> String {
    nearest(typed, known).map_or_else(String::new, |name| format!(", perhaps `{name}` was meant"))
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for Trouble {}

impl de::Error for Trouble {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self::new(problem.to_string())
    }
}
