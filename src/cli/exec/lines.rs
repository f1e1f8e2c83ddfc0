//! A command as a line whose whole output comes at its end (C3, C4).

use std::io::{self, IsTerminal};

use super::codes::{EXIT_CONNECTION, EXIT_TIMEOUT};
use crate::cli::streams::print_bytes;
use crate::cli::terminal::safe_to_show;
use crate::cli::{Failure, complain};
use crate::client::{ExecOutput, ServerAddress};

/// What a shell takes for these arguments, untouched.
pub(super) fn quoted<'a>(arguments: impl IntoIterator<Item = &'a str>) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"%+,-./:=@_".contains(&byte);
    let mut line = String::new();
    for argument in arguments {
        if !line.is_empty() {
            line.push(' ');
        }
        if !argument.is_empty() && argument.bytes().all(is_plain) {
            line.push_str(argument);
        } else {
            line.push('\'');
            line.push_str(&argument.replace('\'', r"'\''"));
            line.push('\'');
        }
    }
    line
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_given_back_the_arguments_that_it_was_quoted() {
        assert_eq!(quoted(["make", "-j2", "CFLAGS=-O2"]), "make -j2 CFLAGS=-O2");
        assert_eq!(
            quoted(["echo", "", "it's", "$HOME", "a b", "你"]),
            r"echo '' 'it'\''s' '$HOME' 'a b' '你'"
        );
    }
}
