//! The new server's side of a take-over.
//!
//! Whatever fails before the old server has let go ends this process, and the old one goes on.

use std::io;

use anyhow::Context as _;
use log::Level;

use super::open_socket::ControlPath;
use crate::cli::Failure;
use crate::cli::logging::announce;
use crate::client::{ClientError, Released, TakeOver};
use crate::endpoint::{Handed, Rest, SocketFile};

/// Asks the running server for its sockets.
pub(super) fn ask(control: &ControlPath) -> Result<(TakeOver, Handed), Failure> {
    let (asked, sockets) = TakeOver::ask_of(&control.path, control.user).map_err(|error| {
        let is_missing = matches!(
            &error,
            ClientError::Connect { cause, .. } if matches!(
                cause.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            )
        );
        let error = anyhow::Error::new(error);
        if is_missing {
            error.context(
                "no server to take over; start without --take-over, or name the --control of the one that runs",
            )
        } else {
            error.context("cannot take the server over, which goes on")
        }
    })?;
    let sockets = sockets
        .into_iter()
        .map(|handed| (handed.number, handed.description, handed.socket));
    Ok((asked, Handed::of(sockets)))
}

/// Makes sockets that were handed over what was asked for. If by a server, says to it that this one is ready, and waits
/// until it has let go: from then on the sockets and their files are ours.
pub(super) fn finish<'f>(
    asked: Option<TakeOver>,
    handed: Handed,
    files: impl Iterator<Item = &'f mut SocketFile>,
    rests: Vec<Rest>,
) -> Result<(), Failure> {
    let Some(asked) = asked else {
        for rest in rests {
            rest.finish()
                .context("cannot set up a socket that was handed over")?;
        }
        return Ok(());
    };
    let taken = handed.taken();
    // Those that nobody asked for are the old server's alone to close, or their queues would wait here.
    drop(handed);
    let released = asked
        .ready(taken)
        .context("cannot take the server over, which goes on")?;
    if released == Released::ByItsEnd {
        announce(
            Level::Warn,
            "the server that was taken over has ended",
            None,
        );
    }
    let settled = rests.into_iter().map(Rest::finish);
    let owned = files.map(SocketFile::own);
    for error in settled.chain(owned).filter_map(Result::err) {
        // It is served all the same.
        announce(
            Level::Warn,
            &format!("a socket that was taken over is not as it was asked for: {error}"),
            None,
        );
    }
    Ok(())
}
