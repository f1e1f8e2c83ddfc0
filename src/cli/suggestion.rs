//! Which flag was meant, by the measure that all other names have here: clap's own takes `--tsl` for `--html`.

use std::ffi::OsString;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::config::nearest;

/// The error about `words` with the flag in it that is nearest to the unknown one, if one is near enough.
pub(super) fn corrected(
    mut error: clap::Error,
    mut command: Command,
    words: impl IntoIterator<Item = OsString>,
) -> clap::Error {
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let Some(unknown) = unknown.strip_prefix("--").map(str::to_owned) else {
        return error;
    };
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    // With what is global, and names in usage lines.
    command.build();
    let mut named = &command;
    for word in words {
        named = named.find_subcommand(word).unwrap_or(named);
    }
    let known: Vec<&str> = named
        .get_arguments()
        .filter(|argument| !argument.is_hide_set())
        .filter_map(clap::Arg::get_long)
        .collect();
    let Some(near) = nearest(&unknown, &known).map(|near| format!("--{near}")) else {
        return error;
    };
    error.insert(ContextKind::SuggestedArg, ContextValue::String(near));
    let usage = named.clone().render_usage();
    error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
    error
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    #[test]
    fn a_flag_of_three_letters_is_known_again() {
        let command = Command::new("onepoll").subcommand(
            Command::new("bench")
                .args([Arg::new("tls").long("tls"), Arg::new("html").long("html")]),
        );
        let said = |flag: &'static str| {
            let words = ["bench", flag];
            let all = ["onepoll"].into_iter().chain(words);
            let error = command.clone().try_get_matches_from(all).unwrap_err();
            corrected(error, command.clone(), words.map(OsString::from)).to_string()
        };
        let tls = said("--tsl");
        assert!(tls.contains("similar argument exists: '--tls'"), "{tls}");
        assert!(!tls.contains("html"), "{tls}");
        let html = said("--htlm");
        assert!(html.contains("similar argument exists: '--html'"), "{html}");
        for unknown in ["-t", "--something-else"] {
            let said = said(unknown);
            assert!(!said.contains("similar"), "{said}");
        }
    }
}
