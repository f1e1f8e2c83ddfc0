//! What `onepoll serve` serves when nothing was asked for.

use std::path::Path;

use super::Endpoint;
use crate::config::{Address, Transport, UnixAddress, Written, chat_socket_beside};
use crate::service::{chat, command};

const ON_LOOPBACK: [&str; 5] = [
    "echo://127.0.0.1:9000",
    "time://127.0.0.1:9000",
    "chat://127.0.0.1:9001?rooms=lobby",
    "upper://127.0.0.1:9999",
    "upper+udp://127.0.0.1:9999",
];

/// What the chats of the table share.
const ROOMS: &str = "lobby";

/// The default table: on 127.0.0.1, commands on a private Unix socket at `command_socket`, and the operators of the
/// chat on one beside it.
///
/// Of these, what cannot be bound is reported and skipped.
pub fn default_endpoints(command_socket: &Path) -> Vec<Endpoint> {
    // No URL: the path need not be UTF-8.
    let at = Address::Unix(UnixAddress::Path(command_socket.into()));
    let options = Written::of(&command::Options {
        framing: command::CommandFraming::Stream,
        ..command::Options::default()
    });
    let command = Endpoint::read(&command::ROW, at, Transport::Unix, options)
        .expect("commands go over Unix sockets, and their options are right");
    let at = Address::Unix(UnixAddress::Path(chat_socket_beside(command_socket)));
    let options = Written::of(&chat::Options {
        rooms: Some(ROOMS.into()),
        operator: true,
        ..chat::Options::default()
    });
    let operators = Endpoint::read(&chat::ROW, at, Transport::Unix, options)
        .expect("chats go over Unix sockets, and their options are right");
    let mut table: Vec<Endpoint> = ON_LOOPBACK
        .iter()
        .map(|url| url.parse().expect("the default table is in order"))
        .collect();
    table.extend([command, operators]);
    table
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::endpoint::{Reached, exposure};

    #[test]
    fn the_default_table_is_the_manuals() {
        let urls: Vec<String> = default_endpoints(Path::new("/run/user/7/onepoll/command.sock"))
            .iter()
            .map(Endpoint::to_string)
            .collect();
        assert_eq!(
            urls,
            [
                "echo://127.0.0.1:9000",
                "time://127.0.0.1:9000",
                "chat://127.0.0.1:9001?rooms=lobby",
                "upper://127.0.0.1:9999",
                "upper+udp://127.0.0.1:9999",
                "command+unix:///run/user/7/onepoll/command.sock?framing=stream",
                "chat+unix:///run/user/7/onepoll/chat.sock?operator=true&rooms=lobby",
            ]
        );
    }

    #[test]
    fn the_default_table_is_allowed_for_root_too() {
        for endpoint in default_endpoints(Path::new("/a")) {
            let at = match endpoint.address {
                Address::Unix(_) => Reached::Unix,
                _ => Reached::Inet((Ipv4Addr::LOCALHOST, 1).into()),
            };
            let allowed = exposure(&endpoint, at, true).unwrap();
            assert_eq!(allowed.warning, None);
        }
    }

    #[test]
    fn the_chats_of_the_default_table_share_their_rooms() {
        let table = default_endpoints(Path::new("/a/command.sock"));
        let sets: Vec<_> = table.iter().filter_map(Endpoint::set).collect();
        assert_eq!((sets.len(), &sets[0]), (2, &sets[1]));
    }
}
