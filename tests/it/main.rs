//! What needs no process of its own, in one program: it is linked once.
//!
//! Alone stay the tests that need a process to themselves (`allocations` its allocator,
//! `load_pinned` its processor, `system_calls` a machine that is quiet), and the large judges
//! (`simulator`, `socket_*`), each of which is a program in several files.
//!
//! ```text
//! cargo test --test it chat::            one file
//! cargo test --test it load::truth::     or one of a folder
//! ```

mod chat;
#[cfg(feature = "cli")]
mod clients;
mod command_loop;
mod command_stream;
#[cfg(feature = "cli")]
mod config;
#[cfg(feature = "cli")]
mod field;
mod file_dialogue;
mod file_wire;
mod gate;
#[cfg(feature = "cli")]
mod guide;
mod hear;
#[cfg(feature = "cli")]
mod ipmsg_iptux;
mod ipmsg_wire;
#[cfg(feature = "cli")]
mod lab;
#[cfg(feature = "cli")]
mod load;
mod nats_wire;
#[cfg(feature = "cli")]
mod peers;
#[cfg(feature = "cli")]
mod python;
#[cfg(feature = "cli")]
mod reload;
mod slice;
mod socket;
mod socket_sizes;
mod strftime;
#[path = "../support/mod.rs"]
mod support;
#[cfg(feature = "cli")]
mod take_over;
mod wire;
