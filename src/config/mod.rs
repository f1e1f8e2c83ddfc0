//! Plain values, and how people write them: addresses, durations, sizes, options as text, limits.
//!
//! This folder knows no service and no socket. What it refuses, it refuses in one sentence that
//! says where it stands, what is wrong and what would be right.

mod address;
mod bus;
mod client_ports;
mod confined;
mod descriptors;
mod error;
pub mod limits;
mod lookups;
mod network;
mod new_file;
#[cfg(feature = "tls")]
mod nkey;
mod policy;
mod private;
mod random;
mod rate;
mod server_url;
mod settle;
mod text;
mod written;

pub use address::{
    Address, FdAddress, Host, HostPort, Transport, UNIX_PATH_BYTES_MAX, UnixAddress,
};
pub use bus::{BUS_SERVERS_MAX, BusOptions, BusUrl, NATS_PORT};
pub use descriptors::{descriptor_limit, descriptors_beside, raise_descriptor_limit};
pub use error::{ConfigError, Trouble};
pub use limits::Limits;
pub use lookups::{Content, Lookups};
pub use network::Network;
pub(crate) use new_file::write_new;
#[cfg(feature = "tls")]
pub use nkey::{NKEY_BYTES, NkeySeed, nkey_user};
pub use policy::{Confinement, Policy};
pub use private::{
    chat_socket, chat_socket_beside, check_private_dir, check_private_socket, command_socket,
    command_socket_of, command_sockets, control_socket, control_socket_of, is_private_socket,
    make_private_dir, private_places, talk_socket,
};
pub use random::random_bytes;
pub use rate::Rate;
pub use server_url::{AddressError, ServerAddress, ServerUrl};
pub use settle::Settle;
pub use text::{format_duration, format_size, parse_duration, parse_size};
pub use written::{Value, Written, keys_of};

pub(crate) use client_ports::{CLIENT_PORTS_DEFAULT, client_ports};
pub(crate) use confined::{CONFINED, open_confined};
pub(crate) use error::meant;
#[cfg(feature = "cli")]
pub(crate) use text::nearest;
pub(crate) use text::{PercentEncoded, one_of, percent_decode, quoted, with};
