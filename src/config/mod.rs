//! What is to be served, and within which limits: read, checked, not acted upon.
//!
//! This folder knows names, values and rules. It binds nothing, starts nothing and logs nothing;
//! what it refuses, it refuses before anything else has happened, in one sentence that says where
//! it stands, what is wrong and what would be right.

mod address;
mod endpoint;
pub mod limits;
mod options;
mod text;

pub use address::{Address, Host, HostPort, Transport, UNIX_PATH_BYTES_MAX, UnixAddress};
pub use endpoint::{
    Auth, Chat, Command, CommandFraming, CommandOutput, Common, ConfigError, Encoding, Endpoint,
    Greeting, GreetingFraming, ServiceKind, Settle, Upper,
};
pub use limits::Limits;
pub use text::{format_duration, format_size, parse_duration, parse_size};
