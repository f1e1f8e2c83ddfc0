use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::handed::Handed;
use super::socket_file::{Intent, SocketFile};
use crate::reactor::begin_to_listen;

/// Of the file.
const MODE: u32 = 0o600;

/// The socket through which a process of the same user, or root, takes the server over.
#[derive(Debug)]
pub struct Control {
    /// It listens.
    pub socket: OwnedFd,
    /// Its file.
    pub file: SocketFile,
}

/// Binds it; `is_private`: its directory is ours to make.
pub fn bind_control(path: &Path, is_private: bool) -> io::Result<Control> {
    let (socket, file) = SocketFile::bind(path, MODE, is_private, Intent::Serve)?;
    begin_to_listen(&socket)?;
    Ok(Control { socket, file })
}

/// Takes that of the server that is taken over, if its file is at this path.
pub fn take_control(path: &Path, handed: &mut Handed) -> io::Result<Option<Control>> {
    let Some((socket, numbers)) = handed.path(path) else {
        return Ok(None);
    };
    let file = SocketFile::handed(path, MODE, numbers)?;
    Ok(Some(Control { socket, file }))
}
