use std::time::Duration;

use crate::client::IpmsgSocket;
use crate::ipmsg::IpmsgNews;

/// Waits for a while for people to say that they are there; what else comes meanwhile is handed on. Ends early when
/// `is_enough`.
pub(super) fn hear_people(
    socket: &mut IpmsgSocket,
    wait: Duration,
    mut is_enough: impl FnMut(&mut IpmsgSocket) -> bool,
    mut other: impl FnMut(&mut IpmsgSocket, IpmsgNews) -> Result<(), super::super::Failure>,
) -> Result<(), super::super::Failure> {
    let until = socket.now() + wait;
    let look = Duration::from_millis(50);
    while socket.now() < until && !is_enough(socket) {
        match socket
            .wait(Some(until.min(socket.now() + look)))
            .map_err(anyhow::Error::new)?
        {
            Some(IpmsgNews::Entered(_)) | None => {}
            Some(news) => other(socket, news)?,
        }
    }
    Ok(())
}
