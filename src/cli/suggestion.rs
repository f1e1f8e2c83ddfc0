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
    let (mut above, mut named) = (None, &command);
    for word in words {
        if let Some(found) = named.find_subcommand(word) {
            (above, named) = (Some(named), found);
        }
    }
    if let Some(elsewhere) = above.and_then(|above| elsewhere(above, named, &unknown)) {
        return named.clone().error(ErrorKind::UnknownArgument, elsewhere);
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

/// That not `named` has this flag, but another one of what stands beside it, such as another mode of `bench`.
fn elsewhere(above: &Command, named: &Command, unknown: &str) -> Option<String> {
    // Of the subcommands of onepoll each is a program of its own.
    let of = above.get_bin_name()?.split_once(' ')?.1;
    let has_it = |sub: &&Command| {
        let mut flags = sub.get_arguments().filter(|flag| !flag.is_hide_set());
        flags.any(|flag| flag.get_long() == Some(unknown))
    };
    let others = above.get_subcommands().filter(has_it);
    let others: Vec<_> = others
        .map(|sub| format!("`{of} {}`", sub.get_name()))
        .collect();
    let named = named.get_name();
    (!others.is_empty()).then(|| {
        let others = others.join(" and ");
        format!("--{unknown} is no option of `{of} {named}`, but of {others}")
    })
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
