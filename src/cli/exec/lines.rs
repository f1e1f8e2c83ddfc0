//! A command as a line whose whole output comes at its end (C3, C4).

use std::io::{self, IsTerminal};

use super::codes::{EXIT_CONNECTION, EXIT_TIMEOUT};
use crate::cli::streams::print_bytes;
use crate::cli::terminal::safe_to_show;
use crate::cli::{Failure, complain};
use crate::client::{ExecOutput, ServerAddress};

/// Prints an output as it is, disarmed on a terminal, and says why it is not a whole one; returns the
/// exit code to pass on.
pub(super) fn show(output: &ExecOutput, address: &ServerAddress, raw: bool) -> Result<u8, Failure> {
    if io::stdout().is_terminal() && !raw {
        print_bytes(&safe_to_show(&output.bytes))?;
    } else {
        print_bytes(&output.bytes)?;
    }
    if let Some(reason) = &output.refusal {
        let (hint, code) = if output.timed_out() {
            (
                "; this is the limit of the server, its option `timeout`",
                EXIT_TIMEOUT,
            )
        } else {
            ("", EXIT_CONNECTION)
        };
        complain(format_args!("{address}: {reason}{hint}"));
        return Ok(code);
    }
    // A shell shows the low eight bits of larger codes; none of them may become a success.
    Ok(output
        .exit
        .map_or(0, |code| u8::try_from(code).unwrap_or(1)))
}
