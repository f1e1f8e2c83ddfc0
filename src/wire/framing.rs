//! How the output of a command line is framed (C1 to C4).

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a server marks the end of a command's output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum CommandFraming {
    /// Not at all: output as it comes (C1).
    Raw,
    /// A decimal length, an acknowledgement, the output (C2).
    Decimal,
    /// An `i32` length, the output (C3).
    I32,
    /// An `i32` length, a JSON header with the exit code, the output (C4).
    #[default]
    Json,
    /// As `json`: where clients are expected to speak C5.
    Stream,
}

impl CommandFraming {
    /// How the output of a line is framed.
    pub fn of_lines(self) -> CommandFraming {
        match self {
            CommandFraming::Stream => CommandFraming::Json,
            other => other,
        }
    }
}

impl fmt::Display for CommandFraming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Decimal => "decimal",
            Self::I32 => "i32",
            Self::Json => "json",
            Self::Stream => "stream",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_framing_is_shown_as_it_is_written() {
        for framing in [
            CommandFraming::Raw,
            CommandFraming::Decimal,
            CommandFraming::I32,
            CommandFraming::Json,
            CommandFraming::Stream,
        ] {
            let written = serde_json::to_value(framing).unwrap();
            assert_eq!(written, framing.to_string());
        }
    }
}
