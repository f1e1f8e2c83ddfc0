use crate::wire::CommandFraming;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::limits::COMMAND_OUTPUT_BYTES_MAX;
use crate::config::{Limits, Settle, Trouble, format_size, with};
use crate::service::{Checked, Class};

/// Options of `command`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// How the answer is framed.
    pub framing: CommandFraming,
    /// The one word that releases the output of `decimal` framing; without it any burst does.
    pub ack: Option<String>,
    /// Which of the two outputs is the answer.
    pub output: CommandOutput,
    /// How the request is encoded.
    pub encoding: Encoding,
    /// When a request without a newline is over.
    pub settle: Settle,
    /// Wall time a command may take; absent: the `command-timeout` of the limits.
    #[serde(with = "with::some_time_or_absent")]
    pub timeout: Option<Duration>,
    /// Bytes of output that are collected; absent: the `command-output` of the limits.
    #[serde(with = "with::size_or_absent")]
    pub max_output: Option<usize>,
}

impl Checked for Options {
    fn check(&self) -> Result<(), Trouble> {
        match (&self.ack, self.max_output) {
            (Some(_), _) if self.framing != CommandFraming::Decimal => Err(Trouble::with(
                "ack",
                "only `framing=decimal` waits for an acknowledgement",
            )),
            (Some(word), _) if word.is_empty() => Err(Trouble::with(
                "ack",
                "an empty acknowledgement cannot be sent",
            )),
            (_, Some(max)) if max > COMMAND_OUTPUT_BYTES_MAX => Err(Trouble::with(
                "max-output",
                format!(
                    "it is above {COMMAND_OUTPUT_BYTES_MAX}, the largest length that an i32 announces"
                ),
            )),
            _ => Ok(()),
        }
    }

    fn fits(&self, limits: &Limits) -> Result<(), Trouble> {
        // The output of one command must fit what all buffers may have.
        match self.max_output {
            Some(max) if max > limits.buffers => Err(Trouble::with(
                "max-output",
                format!(
                    "{} is above the limit `buffers` of {}, the memory of all buffers together",
                    format_size(max as u64),
                    format_size(limits.buffers as u64)
                ),
            )),
            _ => Ok(()),
        }
    }

    fn class(&self) -> Class {
        Class::Commands
    }
}

/// Which of a command's outputs is the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommandOutput {
    /// Standard output, then standard error.
    #[default]
    Both,
    /// Standard error if there is any, else standard output.
    StderrOrStdout,
}

/// How a command line is encoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// UTF-8.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    /// GBK.
    Gbk,
}
