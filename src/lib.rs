//! One process, one thread, one poll loop.

#[cfg(feature = "cli")]
pub mod cli;
pub mod buf;
pub mod outbox;
pub mod reactor;
pub mod service;
pub mod wire;
