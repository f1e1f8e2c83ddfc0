//! One process, one thread, one poll loop.
//!
//! `onepoll` is a server for echo, chat, remote commands and the time over TCP, UDP and Unix sockets;
//! the instrument that measures how many connections per second a server takes; and a window into
//! the loop for people who study non-blocking sockets. This is its library: what the command line is
//! made of, to be read, tested and built upon.
//!
//! # The map
//!
//! The modules in the order in which a byte meets them:
//!
//! 1. [`reactor`]: the loop. It waits, and the socket is readable.
//! 2. [`buf`]: the byte comes to rest in a [`ReadBuf`](buf::ReadBuf).
//! 3. [`wire`]: a decoder says *frame*, *not yet* or *never*.
//! 4. [`service`]: it decides what the frame means, and answers through a [`Turn`](turn::Turn).
//! 5. [`turn`]: the answer waits in the connection's lane of the outbox.
//! 6. [`reactor`]: at the end of the turn the lane is flushed to the socket.
//!
//! Beside that way stand [`config`] (plain values, and how people write them), [`endpoint`] (what is
//! served where, and for which clients), `tls` and [`ipmsg`] (what both ends of these need), [`socket`] (Python's socket module, for study), [`client`] (blocking, with one deadline per operation) and, with the
//! feature `cli`, `load` (the load generator, with a loop of its own), `bench` (what is made of its runs)
//! and `cli` (one file per subcommand).
//!
//! [`guide`] has a page for each of the three, and [`guide::reading`], a tour of the loop in ten minutes for people
//! who know sockets from Python. ARCHITECTURE.md has the files in reading order.
//!
//! # The walk of a byte
//!
//! ```
//! use onepoll::config::Limits;
//! use onepoll::reactor::{ListenerOptions, Epoll, Reactor, listen_tcp};
//! use onepoll::service::Echo;
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//!
//! let mut reactor = Reactor::new(Epoll::new()?, Limits::default(), 100);
//! let socket = listen_tcp("127.0.0.1:0".parse()?)?;
//! let address = std::net::TcpListener::from(socket.try_clone()?).local_addr()?;
//! let service = reactor.add(Box::new(Echo));
//! reactor.listen(socket, ListenerOptions::to(service))?;
//!
//! let mut client = TcpStream::connect(address)?;
//! client.write_all(b"x")?;
//! reactor.turn()?; // wait, dispatch, serve, wake, flush, reap
//! let mut byte = [0];
//! client.read_exact(&mut byte)?;
//! assert_eq!(&byte, b"x");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The platform
//!
//! 64-bit Linux. What only Linux has lives below the loop's seam (`reactor/epoll.rs` and the files that it
//! calls), in `socket/` and in `adopt.rs`, the one audited file of `unsafe`.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("onepoll needs 64-bit Linux: edge-triggered epoll, pidfd, accept4, SO_PEERCRED");

mod adopt;
#[cfg(feature = "cli")]
pub mod bench;
pub mod buf;
#[cfg(feature = "cli")]
pub mod cli;
pub mod client;
pub mod config;
pub mod endpoint;
pub mod guide;
pub mod ipmsg;
#[cfg(feature = "cli")]
pub mod load;
pub mod reactor;
pub mod service;
pub mod socket;
#[cfg(feature = "tls")]
pub mod tls;
pub mod turn;
pub mod wire;
