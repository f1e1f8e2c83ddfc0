//! The book of contacts: whom one calls by a name, and where they are.
//!
//! Knows TOML and names. Does not know sockets, nor who has spoken.

use std::fs::File;
use std::io::Read as _;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;

use toml::{Table, Value};

use crate::cli::Failure;
use crate::client::ServerAddress;
use crate::config::{HostPort, quoted};
use crate::wire::acts_on_a_terminal;

/// A book larger than this is none: 256 KiB are some thousand contacts.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// As many as are looked up when it begins.
const CONTACTS_MAX: usize = 1024;

/// The longest name, in bytes: it stands before every line of its owner.
const NAME_BYTES_MAX: usize = 64;

/// Names, and where their owners are; in the order of the names.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    all: Vec<Contact>,
}

/// Somebody with a name.
#[derive(Debug)]
pub(super) struct Contact {
    pub(super) name: String,
    pub(super) host: HostPort,
    /// Where that is; none: it has no address.
    pub(super) at: Option<SocketAddr>,
}

impl Contacts {
    /// Reads `NAME = "ADDRESS"` lines, and looks the addresses up. Those that have none are said by
    /// [`missing`](Contacts::missing).
    pub(super) fn read(path: &Path) -> Result<Contacts, Failure> {
        let wrong = |what: String| Failure::usage(format_args!("{}: {what}", path.display()));
        let mut text = String::new();
        let file = File::open(path);
        let read = file.and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
        read.map_err(|error| wrong(format!("cannot be read: {error}")))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(wrong(format!(
                "it is larger than the {FILE_BYTES_MAX} bytes of any book of contacts"
            )));
        }
        let mut contacts = Contacts::parse(&text).map_err(wrong)?;
        for contact in &mut contacts.all {
            contact.at = resolve(&contact.host);
        }
        Ok(contacts)
    }

    fn parse(text: &str) -> Result<Contacts, String> {
        let table: Table = toml::from_str(text).map_err(|wrong: toml::de::Error| {
            let line = wrong.span().map(|span| line_of(text, span.start));
            let place = line.map_or_else(String::new, |line| format!("line {line}: "));
            format!(
                "{place}{}; a contact is written NAME = \"HOST:PORT\"",
                wrong.message()
            )
        })?;
        if table.len() > CONTACTS_MAX {
            return Err(format!("it has more than {CONTACTS_MAX} contacts"));
        }
        let mut contacts = Contacts::default();
        for (name, value) in table {
            check_name(&name)?;
            let Value::String(address) = value else {
                return Err(format!(
                    "{}: an address is a text, such as \"192.0.2.7:8080\"",
                    quoted(&name)
                ));
            };
            let host = match address.parse::<ServerAddress>() {
                Ok(ServerAddress::Host(host)) => host,
                Ok(ServerAddress::Unix(_)) => {
                    return Err(format!(
                        "{}: contacts are talked to over UDP: write HOST:PORT",
                        quoted(&name)
                    ));
                }
                Err(wrong) => return Err(format!("{}: {wrong}", quoted(&name))),
            };
            if let Some(other) = contacts.named(&name) {
                // Somebody who types one would not know which.
                return Err(format!(
                    "{} and {} are the same name but for the case",
                    quoted(&other.name),
                    quoted(&name)
                ));
            }
            contacts.all.push(Contact {
                name,
                host,
                at: None,
            });
        }
        Ok(contacts)
    }

    /// The contact of this name, whatever its case.
    pub(super) fn named(&self, name: &str) -> Option<&Contact> {
        let wanted = name.to_lowercase();
        self.all
            .iter()
            .find(|contact| contact.name == name || contact.name.to_lowercase() == wanted)
    }

    /// The name of whoever is at this address; of several, the first.
    pub(super) fn name_of(&self, at: SocketAddr) -> Option<&str> {
        let found = self.all.iter().find(|contact| contact.at == Some(at));
        found.map(|contact| &*contact.name)
    }

    /// All names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|contact| &*contact.name)
    }

    /// Those who have no address.
    pub(super) fn missing(&self) -> impl Iterator<Item = &Contact> {
        self.all.iter().filter(|contact| contact.at.is_none())
    }

    #[cfg(test)]
    pub(super) fn of(book: &[(&str, &str)]) -> Contacts {
        let all = book.iter().map(|(name, at)| Contact {
            name: (*name).to_owned(),
            host: match at.parse() {
                Ok(ServerAddress::Host(host)) => host,
                other => panic!("{other:?}"),
            },
            at: at.parse().ok(),
        });
        Contacts { all: all.collect() }
    }
}

/// The first address of a host. IPv4 in the dress of IPv6 is IPv4.
pub(super) fn resolve(host: &HostPort) -> Option<SocketAddr> {
    let found = host.to_socket_addrs().ok()?.next()?;
    Some(match found.ip().to_canonical() {
        ip if ip.is_ipv4() => SocketAddr::new(ip, found.port()),
        // With its zone.
        _ => found,
    })
}

/// A name stands before a colon, and in brackets beside an address.
fn check_name(name: &str) -> Result<(), String> {
    let wrong = match () {
        () if name.trim() != name || name.is_empty() => "it is empty, or has a blank at an end",
        () if name.len() > NAME_BYTES_MAX => "it is longer than 64 bytes",
        () if name.contains([':', '[', ']']) => "it has a colon or a bracket, as addresses have",
        () if name.chars().any(|c| acts_on_a_terminal(c) || hides(c)) => {
            "it has characters that do not show, or act on a terminal"
        }
        () if name.eq_ignore_ascii_case("q") => "`q` leaves a contact",
        () => return Ok(()),
    };
    Err(format!("{} is no name: {wrong}", quoted(name)))
}

/// Takes no room, so that two names could look alike (fault C9).
fn hides(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn line_of(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or(text);
    before.matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        Contacts::parse(text).unwrap_err()
    }

    #[test]
    fn a_book_is_names_and_addresses() {
        let text = "# friends\nzoe = \"127.0.0.1:8081\"\n\"王 小\" = \"[::1]:8080\"\neva = \"localhost:1\"\n";
        let book = Contacts::parse(text).unwrap();
        assert_eq!(book.names().collect::<Vec<_>>(), ["eva", "zoe", "王 小"]);
        let [zoe, eva] = ["Zoe", "EVA"].map(|name| book.named(name).unwrap().host.to_string());
        assert_eq!((&*zoe, &*eva), ("127.0.0.1:8081", "localhost:1"));
        assert!(book.named("bob").is_none());
    }

    #[test]
    fn what_is_wrong_with_a_book_is_said_with_its_place() {
        assert!(wrong("eva = \"127.0.0.1:1\"\nbob = \n").starts_with("line 2: "));
        assert!(wrong("eva = \"h:1\"\neva = \"h:2\"\n").contains("duplicate"));
        assert!(wrong("eva = 7\n").contains("an address is a text"));
        assert!(wrong("eva = \"h\"\n").contains("is no address"));
        assert!(wrong("eva = \"h:0\"\n").contains("is no address"));
        assert!(wrong("eva = \"/tmp/x\"\n").contains("over UDP"));
        assert!(wrong("eva = \"h:1\"\nEva = \"h:2\"\n").contains("but for the case"));
        for name in [
            "",
            " eva",
            "a:b",
            "[x]",
            "e\\u001bva",
            "e\\u202eva",
            "e\\u200bva",
            "Q",
            &"x".repeat(65),
        ] {
            let text = format!("\"{name}\" = \"h:1\"\n");
            assert!(wrong(&text).contains("is no name"), "{name}");
        }
    }

    #[test]
    fn whoever_is_at_an_address_has_the_name_of_the_book() {
        let book = Contacts::of(&[("eva", "127.0.0.1:1"), ("bob", "[::1]:2")]);
        let name = |at: &str| book.name_of(at.parse().unwrap());
        assert_eq!(name("127.0.0.1:1"), Some("eva"));
        assert_eq!(name("[::1]:2"), Some("bob"));
        assert_eq!(name("127.0.0.1:2"), None);
    }
}
