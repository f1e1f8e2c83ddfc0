//! Which options have no effect in a mode: its help does not show them, and an error says so.

use clap::{Arg, Command, ValueEnum};

use crate::load::ModeName;

/// An option, the modes in which it has no effect, and why.
type Unheeded = (&'static str, &'static [ModeName], &'static str);

const COMMAND: &str = "the message is the command line (--command)";
const NUMBERED: &str = "a message begins with its number, and comes back as it was sent";
const NO_CONNECTION: &str = "a challenge comes on a connection, and datagrams have none";
const NO_SESSION: &str = "a TLS session needs a connection, and datagrams have none";
const NO_REQUESTS: &str =
    "it sends no requests while it measures, but takes --connections and --duration";
const UNREAD: &str = "a greeting is read before a connection is asked at the end, and is no answer";
const NO_RATE: &str = "it has no rate to compare";

const UNHEEDED: &[Unheeded] = {
    use ModeName::{Exec, Fanout, Hold, Udp};
    &[
        ("size", &[Exec], COMMAND),
        ("payload", &[Exec], COMMAND),
        ("payload", &[Udp, Fanout], NUMBERED),
        ("expect", &[Udp, Fanout], NUMBERED),
        ("await-greeting", &[Hold], UNREAD),
        ("await-greeting", &[Udp, Fanout], NUMBERED),
        ("secret-file", &[Udp], NO_CONNECTION),
        ("digest", &[Udp], NO_CONNECTION),
        ("tls", &[Udp], NO_SESSION),
        ("ca", &[Udp], NO_SESSION),
        ("fingerprint", &[Udp], NO_SESSION),
        ("cert", &[Udp], NO_SESSION),
        ("key", &[Udp], NO_SESSION),
        ("rate", &[Hold], NO_REQUESTS),
        ("arrivals", &[Hold], NO_REQUESTS),
        ("seed", &[Hold], NO_REQUESTS),
        ("find-rate", &[Hold], NO_REQUESTS),
        ("count", &[Hold], NO_REQUESTS),
        ("warmup", &[Hold], NO_REQUESTS),
        ("baseline", &[Hold], NO_RATE),
        ("against", &[Hold], NO_RATE),
        ("tolerance", &[Hold], NO_RATE),
        ("max-busy", &[Hold], NO_RATE),
    ]
};

/// Why `option` has no effect in any of `modes`; none where one heeds it.
pub(super) fn why_unheeded(modes: &[ModeName], option: &str) -> Option<&'static str> {
    let why = |mode: &ModeName| {
        let mut rows = UNHEEDED.iter();
        let row = rows.find(|(name, modes, _)| *name == option && modes.contains(mode));
        row.map(|(_, _, why)| *why)
    };
    let reasons: Option<Vec<_>> = modes.iter().map(why).collect();
    reasons?.first().copied()
}

/// The modes of `command`, whose help shows what they heed and nothing else.
pub(super) fn hide_unheeded(command: Command) -> Command {
    let of_modes = ModeName::value_variants().iter();
    let command = of_modes.fold(command, |command, mode| {
        let is_unheeded = |option: &str| why_unheeded(&[*mode], option).is_some();
        hide(command, &mode.to_string(), is_unheeded)
    });
    // It takes one mode and one server.
    hide(command, "compare", |option| option == "find-rate")
}

fn hide(command: Command, mode: &str, is_hidden: impl Fn(&str) -> bool) -> Command {
    command.mut_subcommand(mode, |command| {
        command.mut_args(|arg: Arg| {
            let is_hidden = arg.get_long().is_some_and(&is_hidden);
            if is_hidden { arg.hide(true) } else { arg }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_one_of_the_modes_heeds_has_an_effect() {
        use ModeName::{Echo, Exec, Hold, Udp};
        assert_eq!(why_unheeded(&[Hold], "rate"), Some(NO_REQUESTS));
        assert_eq!(why_unheeded(&[Hold, Echo], "rate"), None);
        assert_eq!(why_unheeded(&[Exec, Udp], "payload"), Some(COMMAND));
        assert_eq!(why_unheeded(&[Echo], "duration"), None);
        assert_eq!(why_unheeded(&[Hold], "size"), None);
    }
}
