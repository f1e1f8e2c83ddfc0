use std::time::Duration;

use super::options::{CommandOutput, Encoding, Options};
use crate::config::limits::COMMAND_OUTPUT_BYTES_MAX;
use crate::config::{Limits, Settle};
use crate::wire::CommandFraming;

/// What is kept free below the largest `i32` for the line that says that output was cut.
const NOTICE_BYTES_MAX: usize = 256;

/// What holds for every command of an endpoint.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) framing: CommandFraming,
    pub(super) ack: Option<Vec<u8>>,
    pub(super) output: CommandOutput,
    pub(super) encoding: Encoding,
    pub(super) settle: Settle,
    pub(super) timeout: Duration,
    pub(super) max_output: usize,
    /// Of a command in C5; none: as long as it likes.
    pub(super) stream_timeout: Option<Duration>,
    /// A connection that is owed so much is not sent more.
    pub(super) out_pause: usize,
    /// The longest request, in bytes.
    pub(super) request: usize,
}

impl Terms {
    pub(super) fn new(options: &Options, limits: &Limits) -> Terms {
        let max_output = options.max_output.unwrap_or(limits.command_output);
        Terms {
            framing: options.framing.of_lines(),
            ack: options.ack.as_ref().map(|word| word.as_bytes().to_vec()),
            output: options.output,
            encoding: options.encoding,
            settle: options.settle,
            timeout: options.timeout.unwrap_or(limits.command_timeout),
            max_output: max_output.min(COMMAND_OUTPUT_BYTES_MAX - NOTICE_BYTES_MAX),
            stream_timeout: options.timeout,
            out_pause: limits.out_pause,
            request: limits.frame,
        }
    }

    /// Whether standard output leaves as it comes. It cannot while standard error may replace it.
    pub(super) fn streams(&self) -> bool {
        self.framing == CommandFraming::Raw && self.output == CommandOutput::Both
    }
}
