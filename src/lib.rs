//! One process, one thread, one poll loop.

pub mod buf;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
pub mod outbox;
pub mod reactor;
pub mod service;
pub mod wire;
