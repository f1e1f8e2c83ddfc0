//! One process, one thread, one poll loop.

#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
pub mod wire;
