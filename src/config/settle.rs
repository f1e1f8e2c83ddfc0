//! How long silence takes to complete a request, as it is written.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limits::SETTLE;
use super::text::{format_duration, parse_duration, with};

/// When a burst (a request without length or newline) is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// When nothing more came for this long; zero: with whatever one read returned.
    After(Duration),
    /// Never by waiting: a newline or the half-close is needed.
    Never,
}

impl Default for Settle {
    fn default() -> Self {
        Self::After(SETTLE)
    }
}

impl FromStr for Settle {
    type Err = String;
    fn from_str(written: &str) -> Result<Self, String> {
        match written {
            "never" => Ok(Self::Never),
            _ => parse_duration(written)
                .map(Self::After)
                .map_err(|wrong| format!("{wrong}; or `never`")),
        }
    }
}

impl fmt::Display for Settle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::After(duration) => f.write_str(&format_duration(*duration)),
        }
    }
}

impl Serialize for Settle {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Settle {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        with::by_text(d, str::parse)
    }
}
