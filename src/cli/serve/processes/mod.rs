//! `serve --processes N`: one supervisor and N processes that serve the same endpoints, each with a loop of its own.
//!
//! ```text
//!                 supervisor: binds, keeps all sockets, starts, watches, passes on what it is told
//!                /      |      \            a channel each; its end is the end of the process at the other
//!        process 1  process 2 … process N   each serves a TCP and a UDP socket of its own at every address, and the
//!                                           one of each Unix socket and inherited descriptor
//! ```
//!
//! The supervisor reads no byte of a client. It is a loop as every other (`Reactor`), which serves the control socket
//! alone and is told of its processes' ends and messages between two turns. What is bound stays open in it, so that
//! what waits in the queue of a process that died waits for the one that follows.

mod channel;
mod collecting;
mod following;
mod handing_over;
mod member;
mod roster;
mod shared;
mod supervising;

pub(in crate::cli) use self::member::{Args as ProcessArgs, run as run_process};
pub(super) use self::supervising::run;
