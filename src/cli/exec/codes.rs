//! Exit codes of `onepoll exec` that are not the command's own.

/// Time ran out, ours or the server's, as `timeout` says it.
pub(super) const EXIT_TIMEOUT: u8 = 124;
/// It was found and cannot be executed, as a shell says it.
pub(super) const EXIT_NOT_EXECUTABLE: u8 = 126;
/// There is no such program, as a shell says it.
pub(super) const EXIT_NOT_FOUND: u8 = 127;
/// With the number of a signal: that ended it.
pub(super) const EXIT_SIGNAL: u8 = 128;
/// There was no connection, or no longer, or no whole answer on it, as `ssh` says it.
pub(super) const EXIT_CONNECTION: u8 = 255;
