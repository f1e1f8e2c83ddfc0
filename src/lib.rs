//! One process, one thread, one poll loop.

#[cfg(feature = "cli")]
pub mod cli;
pub mod client;
#[cfg(feature = "cli")]
pub mod load;
pub mod wire;
