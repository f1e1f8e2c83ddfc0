//! How long a socket's calls may wait: the three modes.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::error::{Exception, SocketError};

/// How long a call may wait.
///
/// ```
/// use onepoll::socket::Timeout;
///
/// assert_eq!(Timeout::from_seconds(None)?, Timeout::Blocking); // settimeout(None)
/// assert_eq!(Timeout::from_seconds(Some(0.0))?, Timeout::NonBlocking); // settimeout(0)
/// let half = Timeout::from_seconds(Some(0.5))?; // settimeout(0.5)
/// assert_eq!(half.seconds(), Some(0.5));
/// assert!(Timeout::from_seconds(Some(-1.0)).is_err()); // ValueError
/// # Ok::<(), onepoll::socket::SocketError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeout {
    /// For ever. The descriptor blocks, and the kernel waits.
    Blocking,
    /// Not at all. The descriptor does not block, and no call waits.
    NonBlocking,
    /// This long. The descriptor does not block either: `poll` waits before each call.
    After(Duration),
}

impl Timeout {
    /// As Python writes it: `None`, `0`, or seconds.
    ///
    /// # Errors
    ///
    /// `ValueError` for what is negative or no number, `OverflowError` for what is longer than 292
    /// years: Python counts nanoseconds in 64 bits.
    pub fn from_seconds(seconds: Option<f64>) -> Result<Self, SocketError> {
        let Some(seconds) = seconds else {
            return Ok(Self::Blocking);
        };
        if seconds.is_nan() {
            return Err(SocketError::raised(
                Exception::ValueError,
                "Invalid value NaN (not a number)",
            ));
        }
        if seconds < 0.0 {
            return Err(SocketError::raised(
                Exception::ValueError,
                "Timeout value out of range",
            ));
        }
        // Rounded up, as Python does: a timeout is at least as long as it says, and never becomes zero.
        let nanos = (seconds * 1e9).ceil();
        if nanos >= 9.2e18 {
            return Err(SocketError::raised(
                Exception::OverflowError,
                "timestamp out of range for platform time_t",
            ));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 9.2e18 was checked above"
        )]
        let nanos = nanos as u64;
        Ok(Self::from(Duration::from_nanos(nanos)))
    }

    /// As `gettimeout()` tells it.
    pub fn seconds(self) -> Option<f64> {
        match self {
            Self::Blocking => None,
            Self::NonBlocking => Some(0.0),
            Self::After(duration) => Some(duration.as_secs_f64()),
        }
    }

    /// The length, in timeout mode only.
    pub(super) fn duration(self) -> Option<Duration> {
        match self {
            Self::After(duration) => Some(duration),
            Self::Blocking | Self::NonBlocking => None,
        }
    }
}

impl From<Duration> for Timeout {
    fn from(duration: Duration) -> Self {
        if duration.is_zero() {
            Self::NonBlocking
        } else {
            Self::After(duration)
        }
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seconds() {
            None => f.write_str("None"),
            Some(seconds) => write!(f, "{seconds:?}"),
        }
    }
}

/// What [`settimeout`](super::Socket::settimeout) takes: `None`, seconds, or a [`Duration`].
pub trait IntoTimeout {
    /// As a mode.
    ///
    /// # Errors
    ///
    /// See [`Timeout::from_seconds`].
    fn into_timeout(self) -> Result<Timeout, SocketError>;
}

impl IntoTimeout for Option<f64> {
    fn into_timeout(self) -> Result<Timeout, SocketError> {
        Timeout::from_seconds(self)
    }
}

impl IntoTimeout for f64 {
    fn into_timeout(self) -> Result<Timeout, SocketError> {
        Timeout::from_seconds(Some(self))
    }
}

impl IntoTimeout for Duration {
    fn into_timeout(self) -> Result<Timeout, SocketError> {
        Ok(self.into())
    }
}

impl IntoTimeout for Timeout {
    fn into_timeout(self) -> Result<Timeout, SocketError> {
        Ok(self)
    }
}

/// A [`Timeout`] that several threads may look at while one changes it.
#[derive(Debug)]
pub(super) struct SharedTimeout(AtomicI64);

impl SharedTimeout {
    pub(super) const fn blocking() -> Self {
        Self(AtomicI64::new(-1))
    }

    pub(super) fn new(timeout: Timeout) -> Self {
        let this = Self::blocking();
        this.set(timeout);
        this
    }

    pub(super) fn get(&self) -> Timeout {
        match u64::try_from(self.0.load(Ordering::Relaxed)) {
            Ok(nanos) => Duration::from_nanos(nanos).into(),
            Err(_) => Timeout::Blocking,
        }
    }

    pub(super) fn set(&self, timeout: Timeout) {
        let nanos = match timeout {
            Timeout::Blocking => -1,
            Timeout::NonBlocking => 0,
            Timeout::After(duration) => i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX),
        };
        self.0.store(nanos, Ordering::Relaxed);
    }
}

static DEFAULT: SharedTimeout = SharedTimeout::blocking();

/// `socket.setdefaulttimeout(timeout)`: the mode in which sockets of this process are born, accepted ones
/// too.
///
/// ```standalone_crate
/// // socket.setdefaulttimeout(0.5)
/// use onepoll::socket::{AF_INET, SOCK_STREAM, Socket, getdefaulttimeout, setdefaulttimeout};
///
/// setdefaulttimeout(0.5)?;
/// assert_eq!(Socket::new(AF_INET, SOCK_STREAM)?.gettimeout(), Some(0.5));
/// setdefaulttimeout(None)?;
/// assert_eq!(getdefaulttimeout(), None);
/// # Ok::<(), onepoll::socket::SocketError>(())
/// ```
///
/// # Errors
///
/// See [`Timeout::from_seconds`].
pub fn setdefaulttimeout(timeout: impl IntoTimeout) -> Result<(), SocketError> {
    DEFAULT.set(timeout.into_timeout()?);
    Ok(())
}

/// `socket.getdefaulttimeout()`: `None` until it is set.
///
/// ```
/// assert_eq!(onepoll::socket::getdefaulttimeout(), None);
/// ```
pub fn getdefaulttimeout() -> Option<f64> {
    default_timeout().seconds()
}

pub(super) fn default_timeout() -> Timeout {
    DEFAULT.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_never_too_small_to_count() {
        for seconds in [f64::MIN_POSITIVE, 1e-300, 1e-10, 1e-9] {
            let least = Timeout::After(Duration::from_nanos(1));
            assert_eq!(
                Timeout::from_seconds(Some(seconds)).unwrap(),
                least,
                "{seconds}"
            );
        }
        assert_eq!(
            Timeout::from_seconds(Some(1.000_000_000_1)).unwrap(),
            Timeout::After(Duration::from_nanos(1_000_000_001))
        );
        // What is nothing, whatever its sign, does not wait.
        for seconds in [0.0, -0.0] {
            assert_eq!(
                Timeout::from_seconds(Some(seconds)).unwrap(),
                Timeout::NonBlocking
            );
        }
        let shared = SharedTimeout::new(Timeout::After(Duration::from_nanos(1)));
        assert_eq!(shared.get(), Timeout::After(Duration::from_nanos(1)));
        shared.set(Timeout::After(Duration::MAX));
        assert!(matches!(shared.get(), Timeout::After(_)));
    }
}
