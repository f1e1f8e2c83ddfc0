//! What is to be served, and within which limits: read, checked, not acted upon.
//!
//! This folder knows names, values and rules. It binds nothing, starts nothing and logs nothing;
//! what it refuses, it refuses before anything else has happened, in one sentence that says where
//! it stands, what is wrong and what would be right.

mod address;
mod default;
mod descriptors;
mod endpoint;
mod exposure;
#[cfg(feature = "cli")]
mod file;
pub mod limits;
mod options;
mod plan;
mod text;

pub use address::{Address, Host, HostPort, Transport, UNIX_PATH_BYTES_MAX, UnixAddress};
pub use default::{
    check_private_dir, command_socket, command_socket_of, default_endpoints, make_private_dir,
};
pub use descriptors::raise_descriptor_limit;
pub use endpoint::{
    Auth, Chat, Command, CommandFraming, CommandOutput, Common, ConfigError, Encoding, Endpoint,
    Greeting, GreetingFraming, ServiceKind, Settle, Upper,
};
pub use exposure::{Exposure, Reach, Reached, Refusal, exposure};
#[cfg(feature = "cli")]
pub use file::{ConfigFile, Log, LogFormat, LogLevel};
pub use limits::Limits;
pub use plan::{PlanError, Planned, check_together, plan, resolve};
pub use text::{format_duration, format_size, parse_duration, parse_size};
#[cfg(feature = "cli")]
pub(crate) use text::{nearest, percent_decode};
