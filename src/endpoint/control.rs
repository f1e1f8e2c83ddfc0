use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::handed::Handed;
use super::socket_file::{Intent, SocketFile};
use crate::reactor::begin_to_listen;

/// Binds the socket through which a process of the same user takes the server over (`is_private`: its directory
/// is ours to make), or takes that of the server that is taken over.
pub fn bind_control(
    path: &Path,
    is_private: bool,
    handed: &mut Handed,
) -> io::Result<(OwnedFd, SocketFile)> {
    const MODE: u32 = 0o600;
    if let Some((socket, numbers)) = handed.path(path) {
        return Ok((socket, SocketFile::handed(path, MODE, numbers)?));
    }
    let (socket, file) = SocketFile::bind(path, MODE, is_private, Intent::Serve)?;
    begin_to_listen(&socket)?;
    Ok((socket, file))
}
