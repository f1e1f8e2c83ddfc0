//! Sockets that a supervisor opened and handed over: sd_listen_fds(3).
//!
//! Their numbers begin at 3, their names are in `LISTEN_FDNAMES`, several may have one. An endpoint takes them by
//! name (`echo+fd://NAME`) or by number; one that is written with an address takes the one that is bound there.

use std::env;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::Endpoint;
use super::handed::Handed;
use super::socket_file::numbers_of_its_file;
use crate::config::{Address, FdAddress, one_of, quoted};
use crate::reactor;
use crate::wire::SocketDescription;

/// The first number of those that are handed over.
const FIRST: i32 = 3;

/// The descriptors that this process was handed, or why they are not for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Activation {
    /// Each with its name.
    Here(Vec<(i32, String)>),
    /// `LISTEN_FDS` is not set.
    Absent,
    /// What is wrong with it, in words.
    Wrong(String),
}

impl Activation {
    /// As the environment has it.
    pub(super) fn of_this_process() -> Activation {
        let value = |name| env::var(name).ok();
        Activation::read(
            value("LISTEN_PID").as_deref(),
            value("LISTEN_FDS").as_deref(),
            value("LISTEN_FDNAMES").as_deref(),
            std::process::id(),
        )
    }

    fn read(pid: Option<&str>, count: Option<&str>, names: Option<&str>, ours: u32) -> Activation {
        let (Some(pid), Some(count)) = (pid, count) else {
            return Activation::Absent;
        };
        // A process that was started by the one that was handed them has the variables, and not the descriptors.
        if pid.parse() != Ok(ours) {
            return Activation::Wrong(format!(
                "LISTEN_FDS is for process {pid}, and this is process {ours}"
            ));
        }
        let Some(count) = count.parse::<u16>().ok().map(i32::from) else {
            return Activation::Wrong(format!("LISTEN_FDS={count} is not a number of descriptors"));
        };
        let numbers = FIRST..FIRST + count;
        let Some(names) = names else {
            return Activation::Here(numbers.map(|number| (number, "unknown".into())).collect());
        };
        let names: Vec<&str> = names.split(':').collect();
        if names.len() != numbers.len() {
            return Activation::Wrong(format!(
                "LISTEN_FDNAMES has {} names for {count} descriptors",
                names.len()
            ));
        }
        let named = numbers.zip(names);
        Activation::Here(
            named
                .map(|(number, name)| (number, name.to_owned()))
                .collect(),
        )
    }

    /// The numbers that have this name, or why there is none.
    pub(super) fn named(&self, name: &str) -> Result<Vec<i32>, String> {
        let why = match self {
            Activation::Here(all) => {
                let numbers: Vec<i32> = all
                    .iter()
                    .filter(|(_, known)| known == name)
                    .map(|(number, _)| *number)
                    .collect();
                if !numbers.is_empty() {
                    return Ok(numbers);
                }
                let mut known: Vec<&str> = all.iter().map(|(_, known)| known.as_str()).collect();
                known.dedup();
                match known.is_empty() {
                    true => "none was handed over".into(),
                    false => format!("those that were handed over: {}", one_of(&known)),
                }
            }
            Activation::Absent => {
                "LISTEN_FDS is not set; a supervisor such as systemd hands sockets over".into()
            }
            Activation::Wrong(why) => why.clone(),
        };
        Err(format!("no descriptor is named {}: {why}", quoted(name)))
    }

    /// Those that no endpoint takes by its number or name, for the endpoints that are bound where they are.
    pub(super) fn others(&self, endpoints: &[Endpoint]) -> Handed {
        let Activation::Here(all) = self else {
            return Handed::default();
        };
        let is_taken = |number: i32, name: &str| {
            endpoints.iter().any(|endpoint| match endpoint.address() {
                Address::Fd(FdAddress::Number(taken)) => *taken == number,
                Address::Fd(FdAddress::Name(taken)) => taken == name,
                _ => false,
            })
        };
        let others = all.iter().filter(|(number, name)| !is_taken(*number, name));
        let sockets = others.filter_map(|(number, name)| {
            let socket = reactor::inherited(*number).ok()?;
            // systemd hands over descriptors that block.
            set_nonblocking(&socket).ok()?;
            let description = SocketDescription {
                place: name.clone(),
                file: numbers_of_its_file(&socket),
            };
            Some((u32::try_from(*number).ok()?, description, socket))
        });
        Handed::of(sockets).by_activation()
    }
}

/// No call on this waits from here on.
fn set_nonblocking(socket: impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfl(&socket)?;
    Ok(fcntl_setfl(&socket, flags | OFlags::NONBLOCK)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(all: &[(i32, &str)]) -> Activation {
        Activation::Here(
            all.iter()
                .map(|(n, name)| (*n, (*name).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn descriptors_have_the_names_that_they_were_given() {
        let read = |pid, count, names| Activation::read(pid, count, names, 7);
        assert_eq!(
            read(Some("7"), Some("3"), Some("web:api:web")),
            here(&[(3, "web"), (4, "api"), (5, "web")])
        );
        assert_eq!(
            read(Some("7"), Some("2"), None),
            here(&[(3, "unknown"), (4, "unknown")])
        );
        assert_eq!(read(None, Some("2"), None), Activation::Absent);
        assert_eq!(read(Some("7"), None, None), Activation::Absent);
        for (pid, count, names) in [
            ("8", "1", "a"),
            ("x", "1", "a"),
            ("7", "-1", "a"),
            ("7", "2", "a"),
        ] {
            let read = read(Some(pid), Some(count), Some(names));
            assert!(matches!(read, Activation::Wrong(_)), "{read:?}");
        }
    }

    #[test]
    fn a_name_is_found_or_the_others_are_told() {
        let all = here(&[(3, "web"), (4, "api"), (5, "web")]);
        assert_eq!(all.named("web"), Ok(vec![3, 5]));
        let why = all.named("wed").unwrap_err();
        assert!(
            why.contains("no descriptor is named `wed`: those that were handed over: web"),
            "{why}"
        );
        let why = Activation::read(Some("8"), Some("1"), None, 7)
            .named("a")
            .unwrap_err();
        assert!(
            why.ends_with("LISTEN_FDS is for process 8, and this is process 7"),
            "{why}"
        );
        assert!(
            Activation::Absent
                .named("a")
                .unwrap_err()
                .contains("LISTEN_FDS is not set")
        );
    }
}
