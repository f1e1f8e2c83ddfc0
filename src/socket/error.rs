//! Errors under Python's names.

use std::fmt;
use std::io;

use rustix::io::Errno;

/// Python's class of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is documented by Python under this name")]
pub enum Exception {
    OSError,
    BlockingIOError,
    BrokenPipeError,
    ChildProcessError,
    ConnectionAbortedError,
    ConnectionRefusedError,
    ConnectionResetError,
    FileExistsError,
    FileNotFoundError,
    InterruptedError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
    ProcessLookupError,
    TimeoutError,
    Gaierror,
    UnsupportedOperation,
    OverflowError,
    TypeError,
    ValueError,
}

impl Exception {
    /// The class that Python raises for an errno (PEP 3151).
    pub fn from_errno(errno: i32) -> Self {
        match Errno::from_raw_os_error(errno) {
            Errno::AGAIN | Errno::ALREADY | Errno::INPROGRESS => Self::BlockingIOError,
            Errno::PIPE | Errno::SHUTDOWN => Self::BrokenPipeError,
            Errno::CHILD => Self::ChildProcessError,
            Errno::CONNABORTED => Self::ConnectionAbortedError,
            Errno::CONNREFUSED => Self::ConnectionRefusedError,
            Errno::CONNRESET => Self::ConnectionResetError,
            Errno::EXIST => Self::FileExistsError,
            Errno::NOENT => Self::FileNotFoundError,
            Errno::INTR => Self::InterruptedError,
            Errno::ISDIR => Self::IsADirectoryError,
            Errno::NOTDIR => Self::NotADirectoryError,
            Errno::ACCESS | Errno::PERM => Self::PermissionError,
            Errno::SRCH => Self::ProcessLookupError,
            Errno::TIMEDOUT => Self::TimeoutError,
            _ => Self::OSError,
        }
    }

    /// Its name in Python.
    pub fn name(self) -> &'static str {
        match self {
            Self::OSError => "OSError",
            Self::BlockingIOError => "BlockingIOError",
            Self::BrokenPipeError => "BrokenPipeError",
            Self::ChildProcessError => "ChildProcessError",
            Self::ConnectionAbortedError => "ConnectionAbortedError",
            Self::ConnectionRefusedError => "ConnectionRefusedError",
            Self::ConnectionResetError => "ConnectionResetError",
            Self::FileExistsError => "FileExistsError",
            Self::FileNotFoundError => "FileNotFoundError",
            Self::InterruptedError => "InterruptedError",
            Self::IsADirectoryError => "IsADirectoryError",
            Self::NotADirectoryError => "NotADirectoryError",
            Self::PermissionError => "PermissionError",
            Self::ProcessLookupError => "ProcessLookupError",
            Self::TimeoutError => "TimeoutError",
            Self::Gaierror => "gaierror",
            Self::UnsupportedOperation => "UnsupportedOperation",
            Self::OverflowError => "OverflowError",
            Self::TypeError => "TypeError",
            Self::ValueError => "ValueError",
        }
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a socket call raises.
///
/// ```
/// use onepoll::socket::{Exception, socketpair};
///
/// let (a, _b) = socketpair()?;
/// a.setblocking(false)?;
/// let raised = a.recv(1).unwrap_err();
/// assert_eq!(raised.exception(), Exception::BlockingIOError);
/// assert_eq!(raised.errno(), Some(11));
/// assert_eq!(raised.to_string(), "[Errno 11] Resource temporarily unavailable");
///
/// a.settimeout(0.001)?;
/// let raised = a.recv(1).unwrap_err();
/// assert_eq!(raised.exception(), Exception::TimeoutError);
/// assert_eq!(raised.errno(), None); // the kernel said nothing: we stopped waiting
/// assert_eq!(raised.to_string(), "timed out");
/// # Ok::<(), onepoll::socket::SocketError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketError {
    exception: Exception,
    errno: Option<i32>,
    text: String,
    sent: usize,
}

impl SocketError {
    /// What the kernel answered.
    pub fn from_errno(errno: i32) -> Self {
        Self {
            exception: Exception::from_errno(errno),
            errno: Some(errno),
            text: strerror(errno),
            sent: 0,
        }
    }

    /// The time was over.
    pub(super) fn timed_out() -> Self {
        Self::raised(Exception::TimeoutError, "timed out")
    }

    /// An error that no errno stands behind.
    pub(super) fn raised(exception: Exception, text: impl Into<String>) -> Self {
        Self {
            exception,
            errno: None,
            text: text.into(),
            sent: 0,
        }
    }

    /// An error with an errno and a text of its own.
    pub(super) fn with_text(mut self, text: String) -> Self {
        self.text = text;
        self
    }

    /// After so many bytes had gone.
    pub(super) fn after_sending(mut self, sent: usize) -> Self {
        self.sent = sent;
        self
    }

    /// A name has no address.
    pub(super) fn gaierror(code: i32, text: &str) -> Self {
        Self {
            exception: Exception::Gaierror,
            errno: Some(code),
            text: text.to_owned(),
            sent: 0,
        }
    }

    /// What the resolver said: the library tells its code only in words.
    pub(super) fn from_resolver(error: &io::Error) -> Self {
        let said = error.to_string();
        let text = said
            .rsplit_once("information: ")
            .map_or(said.as_str(), |(_, text)| text);
        let code = match text {
            "Name or service not known" => -2,
            "Temporary failure in name resolution" => -3,
            "Non-recoverable failure in name resolution" => -4,
            "No address associated with hostname" => -5,
            _ => -2,
        };
        Self::gaierror(code, text)
    }

    /// Its class.
    pub fn exception(&self) -> Exception {
        self.exception
    }

    /// `error.errno`: absent when it was not the kernel that refused.
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }

    /// `error.strerror`, or the text of an error without an errno.
    pub fn strerror(&self) -> &str {
        &self.text
    }

    /// How many bytes had gone when `sendall` failed, which Python does not tell.
    pub fn sent(&self) -> usize {
        self.sent
    }
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errno {
            Some(errno) => write!(f, "[Errno {errno}] {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

impl std::error::Error for SocketError {}

impl From<Errno> for SocketError {
    fn from(errno: Errno) -> Self {
        Self::from_errno(errno.raw_os_error())
    }
}

impl From<io::Error> for SocketError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::from_errno(errno),
            None => Self::raised(Exception::OSError, error.to_string()),
        }
    }
}

impl From<SocketError> for io::Error {
    fn from(error: SocketError) -> Self {
        let kind = match (error.errno, error.exception) {
            (Some(errno), exception) if exception != Exception::Gaierror => {
                return Self::from_raw_os_error(errno);
            }
            (_, Exception::TimeoutError) => io::ErrorKind::TimedOut,
            (_, Exception::UnsupportedOperation) => io::ErrorKind::Unsupported,
            (_, Exception::ValueError | Exception::TypeError | Exception::OverflowError) => {
                io::ErrorKind::InvalidInput
            }
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// The C library's text for an errno.
fn strerror(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    match text.rsplit_once(" (os error") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_has_pythons_class_and_text() {
        for (errno, class, text) in [
            (1, "PermissionError", "Operation not permitted"),
            (2, "FileNotFoundError", "No such file or directory"),
            (3, "ProcessLookupError", "No such process"),
            (4, "InterruptedError", "Interrupted system call"),
            (10, "ChildProcessError", "No child processes"),
            (11, "BlockingIOError", "Resource temporarily unavailable"),
            (13, "PermissionError", "Permission denied"),
            (17, "FileExistsError", "File exists"),
            (20, "NotADirectoryError", "Not a directory"),
            (21, "IsADirectoryError", "Is a directory"),
            (32, "BrokenPipeError", "Broken pipe"),
            (
                103,
                "ConnectionAbortedError",
                "Software caused connection abort",
            ),
            (104, "ConnectionResetError", "Connection reset by peer"),
            (107, "OSError", "Transport endpoint is not connected"),
            (
                108,
                "BrokenPipeError",
                "Cannot send after transport endpoint shutdown",
            ),
            (110, "TimeoutError", "Connection timed out"),
            (111, "ConnectionRefusedError", "Connection refused"),
            (114, "BlockingIOError", "Operation already in progress"),
            (115, "BlockingIOError", "Operation now in progress"),
        ] {
            let error = SocketError::from_errno(errno);
            assert_eq!(error.exception().name(), class);
            assert_eq!(error.to_string(), format!("[Errno {errno}] {text}"));
        }
    }

    #[test]
    fn what_is_no_errno_is_an_error_of_rust_by_its_class() {
        for (exception, kind) in [
            (Exception::TimeoutError, io::ErrorKind::TimedOut),
            (Exception::UnsupportedOperation, io::ErrorKind::Unsupported),
            (Exception::ValueError, io::ErrorKind::InvalidInput),
            (Exception::TypeError, io::ErrorKind::InvalidInput),
            (Exception::OverflowError, io::ErrorKind::InvalidInput),
            (Exception::OSError, io::ErrorKind::Other),
        ] {
            let error = io::Error::from(SocketError::raised(exception, "a reason"));
            assert_eq!((error.kind(), error.to_string()), (kind, "a reason".into()));
        }
        let reset = io::Error::from(SocketError::from_errno(104));
        assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(reset.raw_os_error(), Some(104));
    }
}
