//! One process, one thread, one poll loop.

pub mod buf;
#[cfg(feature = "cli")]
pub mod cli;
pub mod client;
pub mod config;
#[cfg(feature = "cli")]
pub mod load;
pub mod outbox;
pub mod reactor;
pub mod service;
pub mod wire;
