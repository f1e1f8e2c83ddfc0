use std::fmt;

use thiserror::Error;

use super::Endpoint;
use crate::config::ConfigError;

/// An endpoint is not served.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unserved {
    /// It must not be: wrong configuration, exit code 2.
    #[error(transparent)]
    Refused(ConfigError),
    /// It cannot be, here and now: exit code 1.
    #[error(transparent)]
    Failed(ConfigError),
    /// The directory of our private socket is somebody else's, or open to others: exit code 1, and not
    /// passed over in the default table, since clients would find another server there.
    #[error(transparent)]
    NotPrivate(ConfigError),
}

impl Unserved {
    pub(super) fn refused(endpoint: &Endpoint, problem: impl fmt::Display) -> Self {
        Self::Refused(ConfigError::at(endpoint, problem.to_string()))
    }

    pub(super) fn failed(endpoint: &Endpoint, problem: impl fmt::Display) -> Self {
        Self::Failed(ConfigError::at(endpoint, problem.to_string()))
    }
}
