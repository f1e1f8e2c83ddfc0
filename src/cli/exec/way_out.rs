//! What a person can do about a command that was not run, to be said behind the reason.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::cli::access;
use crate::client::{ClientError, ServerAddress};
use crate::config::{command_socket, command_sockets};

/// What to say to a server of lines, of which none says how it answers them.
const LINES_ONLY: &str = "say how it answers them: --framing json, i32, decimal or raw";

/// What to do about it where the server may not understand streams: it has not shown that it does.
pub(super) fn way_out_in_lines(
    error: &ClientError,
    address: &ServerAddress,
    is_proven: bool,
) -> String {
    match error {
        ClientError::HungUp { .. } if !is_proven => {
            format!("; if that server takes command lines only: {LINES_ONLY}")
        }
        _ => way_out(error, address, is_proven),
    }
}

/// What to do about it, to be said behind it.
pub(super) fn way_out(error: &ClientError, address: &ServerAddress, is_proven: bool) -> String {
    match (error, address) {
        (ClientError::Timeout { progress, .. }, _)
            if progress.ends_with("of the header came") && !progress.starts_with('0') =>
        {
            "; is --framing the one that it was given? If so, --timeout raises this limit of exec itself"
                .to_owned()
        }
        (ClientError::Timeout { .. }, _) => {
            "; this is the limit of exec itself, --timeout raises it".to_owned()
        }
        (ClientError::Connect { cause, .. }, ServerAddress::Unix(path))
            if matches!(
                cause.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            no_server_at(path)
        }
        (ClientError::Connect { cause, .. }, ServerAddress::Host(_))
            if cause.kind() == ErrorKind::ConnectionRefused =>
        {
            "; no server listens on that port".to_owned()
        }
        (ClientError::Untrusted { .. }, _) => {
            "; find out whose it is, or name the address of a server that you trust".to_owned()
        }
        (ClientError::OnlyLines { .. }, _) => format!("; {LINES_ONLY}"),
        (ClientError::NotCommands { .. }, _) => format!(
            "; name a `command` endpoint that takes requests, such as the one of `onepoll serve`, unix://{}",
            command_socket().display()
        ),
        (ClientError::Unasked { .. }, _) => {
            "; it may be another service, such as a `command` with `tail=true`, which is read with --framing raw, \
             or ask for a secret: --secret-file FILE"
                .to_owned()
        }
        (ClientError::Wire { .. }, _) => {
            "; is it a `command` endpoint, is --framing the one that it was given, and does it ask for a \
             secret (--secret-file)?"
                .to_owned()
        }
        _ => access::way_out(error, address, is_proven).unwrap_or_default(),
    }
}

/// How to have a server there, and where one could be instead.
fn no_server_at(path: &Path) -> String {
    let places = command_sockets();
    if !places.iter().any(|place| place == path) {
        return format!(
            "; `onepoll serve command+unix://{}` starts a server there",
            path.display()
        );
    }
    let mut text = "; `onepoll serve` starts a server there".to_owned();
    let others = places.iter().filter(|place| *place != path);
    let (there, missing): (Vec<_>, Vec<_>) =
        others.partition(|place| place.symlink_metadata().is_ok());
    let list = |places: Vec<&PathBuf>| {
        let urls = places
            .iter()
            .map(|place| format!("unix://{}", place.display()));
        urls.collect::<Vec<_>>().join(" or ")
    };
    if !there.is_empty() {
        text.push_str(&format!("; there is one at {}", list(there)));
    }
    if !missing.is_empty() {
        text.push_str(&format!("; there is none at {} either", list(missing)));
    }
    text
}
