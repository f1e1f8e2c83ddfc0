//! One service value behind several endpoints.
//!
//! Knows no socket and no service. What is needed for it, and where it is:
//!
//! - *Which endpoints share.* The options of a row say under which name they share a value
//!   ([`Checked::set`](super::Checked::set); `rooms=NAME` of the chat). Endpoints whose [`Set`] is equal have one
//!   value: the same service, the same name, the same options but those that concern the connections of one
//!   listener only ([`Checked::OF_LISTENER`](super::Checked::OF_LISTENER)). One name with other options is refused
//!   by `check` and `serve`, so a value may be made from the options of any endpoint of its set.
//! - *What a listener has for itself.* The loop tells the value the [`Terms`] of each listener before a connection
//!   comes through it ([`Service::listens`](super::Service::listens)), by a number that
//!   [`Turn::listener`](crate::turn::Turn::listener) says while a connection is opened; and when the last of its
//!   connections has gone, that the number is free. A value alone behind its endpoint is told the same.
//! - *Secrets.* They are of a listener, too: one [`Gate`](super::Gate) stands before a shared value, and asks for
//!   what the terms of the listener say, or for nothing. Its manner differs by listener for that reason.
//! - *Where the value is.* [`Reactor::share`](crate::reactor::Reactor::share) gives a set its value, which goes with
//!   the last connection of its last listener. A reload that adds endpoints to a set, or takes some away, finds the
//!   value by the set, and nobody notices; so does one that changes terms.
//!
//! The same seam carries a value behind both halves of a service, and a bridge between two values:
//!
//! - A datagram socket may be given the value of its set as a listener is: its endpoint has a [`Set`] as well, so
//!   that `Reactor::share` finds the one value, if the service gives its other half out as a `&mut dyn Datagrams`
//!   and the socket names a service instead of an answerer. The value is then told the terms of the socket by a
//!   number as of a listener.
//! - A bridge must not know the service at its other end. [`Reactor::shared`](crate::reactor::Reactor::shared) finds
//!   a value by service and name alone (`chat`, `lobby`); what one value says to another is handed over by the loop
//!   between two turns of services, as an effect, so that no value is borrowed twice.

use std::sync::Arc;

use super::Secrets;
use crate::config::Written;

/// Endpoints that have one value: all whose set is equal to this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// The service.
    pub service: &'static str,
    /// Under which name they share.
    pub name: String,
    /// What all of them say.
    pub options: Written,
}

impl Set {
    /// Whether this is the same service and name: then the options must be, too.
    pub fn is_named_as(&self, other: &Set) -> bool {
        self.service == other.service && self.name == other.name
    }

    /// The first option that the two do not agree on.
    pub fn contradiction(&self, other: &Set) -> Option<String> {
        let both = [(self, other), (other, self)];
        let differs = |(one, other): (&Set, &Set)| {
            let mut options = one.options.iter();
            let found = options.find(|option| !other.options.iter().any(|known| known == *option));
            found.map(|(name, _)| name.to_owned())
        };
        both.into_iter().find_map(differs)
    }
}

/// What the connections of one listener have for themselves.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// The options of its endpoint.
    pub options: Written,
    /// What they have to prove one of, where a gate stands before a value that is shared.
    pub secrets: Option<Secrets>,
    /// The content of the file that the service [reads](super::Checked::file), as it is now.
    pub file: Option<Arc<[u8]>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, options: &[(&str, &str)]) -> Set {
        let mut written = Written::default();
        for (option, value) in options {
            written.push(option, (*value).into());
        }
        Set {
            service: "chat",
            name: name.into(),
            options: written,
        }
    }

    #[test]
    fn a_contradiction_is_an_option_that_one_of_two_has_or_has_otherwise() {
        let plain = set("lobby", &[]);
        let with = set("lobby", &[("flood", "on"), ("history", "5")]);
        let other = set("lobby", &[("flood", "on"), ("history", "6")]);
        assert!(plain.is_named_as(&with) && !plain.is_named_as(&set("den", &[])));
        assert_eq!(plain.contradiction(&plain.clone()), None);
        assert_eq!(plain.contradiction(&with).as_deref(), Some("flood"));
        assert_eq!(with.contradiction(&plain).as_deref(), Some("flood"));
        assert_eq!(with.contradiction(&other).as_deref(), Some("history"));
    }
}
