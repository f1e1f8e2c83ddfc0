//! Python's `socket` module, for study and for clients.
//!
//! This folder does not know the reactor, nor what bytes mean. It does what CPython does on Linux: the
//! same names, the same three modes, the same errors.
//!
//! [`Socket`] is the socket; a [`SocketFile`] is what `makefile` returns; every call raises a
//! [`SocketError`], which has the name of Python's exception and the errno.
//!
//! # The three modes
//!
//! | | blocking | timeout | non-blocking |
//! | --- | --- | --- | --- |
//! | Python | `settimeout(None)`, `setblocking(True)` | `settimeout(0.5)` | `settimeout(0)`, `setblocking(False)` |
//! | `gettimeout()` | `None` | `Some(0.5)` | `Some(0.0)` |
//! | `getblocking()` | `true` | `true` | `false` |
//! | the descriptor | blocks | does not block | does not block |
//! | a call that must wait | waits in the kernel | waits in `poll`, then calls | raises `BlockingIOError` |
//! | and when it is late | never | `TimeoutError`, "timed out" | at once |
//!
//! So `settimeout` is made of two things: a descriptor that never blocks, and a `poll` before each call. If
//! the call finds that readiness was a false alarm, `poll` waits again, for what is left of the time.
//!
//! ```
//! use onepoll::socket::{Exception, socketpair};
//!
//! let (a, b) = socketpair()?;
//! a.setblocking(false)?;
//! assert_eq!(a.recv(1).unwrap_err().exception(), Exception::BlockingIOError); // at once
//! a.settimeout(0.01)?;
//! assert_eq!(a.recv(1).unwrap_err().exception(), Exception::TimeoutError); // after 10 ms
//! b.send(b"x")?;
//! assert_eq!(a.recv(1)?, b"x");
//! # Ok::<(), onepoll::socket::SocketError>(())
//! ```
//!
//! # The table
//!
//! Each function with its Python line and its Rust line; *waits* says in which modes it may wait. What
//! Python takes as an optional argument is a second function, `…_with`.
//!
//! | Python | Rust | waits (blocking, timeout, non-blocking) |
//! | --- | --- | --- |
//! | `s = socket.socket(AF_INET, SOCK_STREAM)` | [`Socket::new`]`(AF_INET, SOCK_STREAM)?` | no, no, no |
//! | `s = socket.socket(fileno=fd)` | [`Socket::from_fd`]`(fd)?`, [`Socket::from_fileno`]`(3)?` | no, no, no |
//! | `a, b = socket.socketpair()` | `let (a, b) = `[`socketpair`]`()?` | no, no, no |
//! | `s = socket.create_connection(address, 5.0)` | [`create_connection_with`]`(address, 5.0, None)?` | yes; so long; `EINPROGRESS` |
//! | `s = socket.create_server(address)` | [`create_server`]`(address)?` | no, no, no |
//! | `t = s.dup()` | [`s.dup()?`](Socket::dup) | no, no, no |
//! | `s.bind((host, port))` | [`s.bind((host, port))?`](Socket::bind) | no, no, no |
//! | `s.listen(5)` | [`s.listen(5)?`](Socket::listen) | no, no, no |
//! | `conn, address = s.accept()` | [`let (conn, address) = s.accept()?`](Socket::accept) | yes; so long; `EAGAIN` |
//! | `s.connect(address)` | [`s.connect(address)?`](Socket::connect) | yes; so long; `EINPROGRESS` |
//! | `code = s.connect_ex(address)` | [`let code = s.connect_ex(address)?`](Socket::connect_ex) | yes; so long, then 11; 115 |
//! | `data = s.recv(1024)` | [`let data = s.recv(1024)?`](Socket::recv) | yes; so long; `EAGAIN` |
//! | `n = s.recv_into(buffer)` | [`let n = s.recv_into(&mut buffer)?`](Socket::recv_into) | yes; so long; `EAGAIN` |
//! | `data, address = s.recvfrom(1024)` | [`let (data, address) = s.recvfrom(1024)?`](Socket::recvfrom) | yes; so long; `EAGAIN` |
//! | `n, address = s.recvfrom_into(buffer)` | [`let (n, address) = s.recvfrom_into(&mut buffer)?`](Socket::recvfrom_into) | yes; so long; `EAGAIN` |
//! | `n = s.send(data)` | [`let n = s.send(data)?`](Socket::send) | yes; so long; `EAGAIN` |
//! | `s.sendall(data)` | [`s.sendall(data)?`](Socket::sendall) | yes; so long *in all*; `EAGAIN` after what went |
//! | `n = s.sendto(data, address)` | [`let n = s.sendto(data, address)?`](Socket::sendto) | yes; so long; `EAGAIN` |
//! | `s.shutdown(SHUT_WR)` | [`s.shutdown(SHUT_WR)?`](Socket::shutdown) | no, no, no |
//! | `f = s.makefile('rb')` | [`let mut f = s.makefile("rb")?`](Socket::makefile) | no, no, no |
//! | `f.read(10)`, `f.readline()` | [`f.read(Some(10))?`](SocketFile::read), [`f.readline()?`](SocketFile::readline) | yes; so long, then never again; `None`, what came |
//! | `f.write(data)`, `f.flush()` | [`f.write(data)?`](SocketFile::write), [`f.flush()?`](SocketFile::flush) | yes; so long; `EAGAIN` |
//! | `s.getsockname()`, `s.getpeername()` | [`s.getsockname()?`](Socket::getsockname), [`s.getpeername()?`](Socket::getpeername) | no, no, no |
//! | `s.getsockopt(SOL_SOCKET, SO_TYPE)` | [`s.getsockopt(SOL_SOCKET, SO_TYPE)?`](Socket::getsockopt) | no, no, no |
//! | `s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)` | [`s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)?`](Socket::setsockopt) | no, no, no |
//! | `s.setblocking(False)` | [`s.setblocking(false)?`](Socket::setblocking) | no, no, no |
//! | `s.settimeout(0.5)`, `s.settimeout(None)` | [`s.settimeout(0.5)?`, `s.settimeout(None)?`](Socket::settimeout) | no, no, no |
//! | `s.gettimeout()`, `s.getblocking()` | [`s.gettimeout()`](Socket::gettimeout), [`s.getblocking()`](Socket::getblocking) | no, no, no |
//! | `socket.setdefaulttimeout(5.0)` | [`setdefaulttimeout`]`(5.0)?` | no, no, no |
//! | `socket.getdefaulttimeout()` | [`getdefaulttimeout`]`()` | no, no, no |
//! | `socket.has_dualstack_ipv6()` | [`has_dualstack_ipv6`]`()` | no, no, no |
//! | `s.fileno()` | [`s.fileno()`](Socket::fileno) | no, no, no |
//! | `fd = s.detach()` | [`let fd = s.detach()`](Socket::detach) | no, no, no |
//! | `s.close()` | [`s.close()`](Socket::close) | only with `SO_LINGER`: yes, yes, yes |
//!
//! # What strace shows
//!
//! The system calls of each function, on x86-64, by CPython 3.11 and here, with the error where one
//! failed; `tests/socket_strace.rs` runs both under strace and compares with this table. What a call waits for
//! is there already, unless said otherwise. To see one yourself:
//! `strace -e trace=%network,poll,ppoll,ioctl,close python3 -c '…'`.
//!
//! | call | CPython | ours |
//! | --- | --- | --- |
//! | `socket(AF_INET, SOCK_STREAM)` | `socket` | `socket` |
//! | `setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)` | `setsockopt` | `setsockopt` |
//! | `getsockopt(SOL_SOCKET, SO_REUSEADDR)` | `getsockopt` | `getsockopt` |
//! | `bind(address)` | `bind` | `bind` |
//! | `listen(5)` | `listen` | `listen` |
//! | `getsockname()` | `getsockname` | `getsockname` |
//! | `connect(address)`, blocking | `connect` | `connect` |
//! | `getpeername()` | `getpeername` | `getpeername` |
//! | `accept()`, blocking | `accept4`, `getsockname` | `accept4` |
//! | `settimeout(5.0)` | `ioctl` | `ioctl` |
//! | `connect(address)`, timeout | `connect` EINPROGRESS, `poll`, `getsockopt` | `connect` EINPROGRESS, `ppoll`, `getsockopt` |
//! | `accept()`, timeout | `poll`, `accept4`, `getsockname`, `ioctl` | `ppoll`, `accept4`, `ioctl` |
//! | `accept()`, timeout, no client | `poll` | `ppoll` |
//! | `setblocking(False)` | `ioctl` | `ioctl` |
//! | `accept()`, non-blocking, no client | `accept4` EAGAIN | `accept4` EAGAIN |
//! | `connect(address)`, non-blocking | `connect` EINPROGRESS | `connect` EINPROGRESS |
//! | `connect_ex(closed port)`, blocking | `connect` ECONNREFUSED | `connect` ECONNREFUSED |
//! | `connect_ex(closed port)`, timeout | `connect` EINPROGRESS, `poll`, `getsockopt` | `connect` EINPROGRESS, `ppoll`, `getsockopt` |
//! | `connect_ex(closed port)`, timeout, again | `connect` ECONNABORTED | `connect` ECONNABORTED |
//! | `connect_ex(closed port)`, non-blocking | `connect` EINPROGRESS | `connect` EINPROGRESS |
//! | `send(data)`, blocking | `sendto` | `sendto` |
//! | `recv(1)`, blocking | `recvfrom` | `recvfrom` |
//! | `send(data)`, timeout | `poll`, `sendto` | `ppoll`, `sendto` |
//! | `recv(1)`, timeout | `poll`, `recvfrom` | `ppoll`, `recvfrom` |
//! | `recv_into(buffer)`, timeout | `poll`, `recvfrom` | `ppoll`, `recvfrom` |
//! | `recv(1)`, timeout, nothing comes | `poll` | `ppoll` |
//! | `settimeout(0)` | `ioctl` | `ioctl` |
//! | `recv(1)`, non-blocking, nothing came | `recvfrom` EAGAIN | `recvfrom` EAGAIN |
//! | `send(data)`, non-blocking | `sendto` | `sendto` |
//! | `settimeout(None)` | `ioctl` | `ioctl` |
//! | `sendall(data)`, blocking | `sendto` | `sendto` |
//! | `sendall(data)`, timeout | `poll`, `sendto` | `ppoll`, `sendto` |
//! | `gettimeout()`, `getblocking()`, `fileno()` | nothing | nothing |
//! | `socketpair()` | `socketpair`, `getsockname`, `getsockname` | `socketpair` |
//! | `send(data)`, non-blocking, no room | `sendto` EAGAIN | `sendto` EAGAIN |
//! | `send(data)`, timeout, no room | `poll` | `ppoll` |
//! | `sendto(data, address)`, blocking | `sendto` | `sendto` |
//! | `recvfrom(100)`, blocking | `recvfrom` | `recvfrom` |
//! | `sendto(data, address)`, timeout | `poll`, `sendto` | `ppoll`, `sendto` |
//! | `recvfrom(100)`, timeout | `poll`, `recvfrom` | `ppoll`, `recvfrom` |
//! | `sendto(data, address)`, non-blocking | `sendto` | `sendto` |
//! | `recvfrom_into(buffer)`, non-blocking | `recvfrom` | `recvfrom` |
//! | `recvfrom(100)`, non-blocking, nothing came | `recvfrom` EAGAIN | `recvfrom` EAGAIN |
//! | `dup()`, blocking | `fcntl`, `getsockname`, `ioctl` | `fcntl`, `ioctl` |
//! | `dup()`, timeout | `fcntl`, `getsockname`, `ioctl` | `fcntl`, `ioctl` |
//! | `detach()` | nothing | nothing |
//! | `socket(fileno=fd)` | `getsockname`, `getsockopt`, `getsockopt` | `getsockopt`, `getsockopt`, `getsockopt` |
//! | `shutdown(SHUT_WR)` | `shutdown` | `shutdown` |
//! | `close()` | `close` | `close` |
//! | `close()`, again | nothing | nothing |
//! | `create_server(address)` | `socket`, `setsockopt`, `bind`, `listen` | `socket`, `setsockopt`, `bind`, `listen` |
//! | `create_connection(address)` | `socket`, `connect` | `socket`, `connect` |
//! | `create_connection(address, 5.0)` | `socket`, `ioctl`, `connect` EINPROGRESS, `poll`, `getsockopt` | `socket`, `ioctl`, `connect` EINPROGRESS, `ppoll`, `getsockopt` |
//! | `makefile('rb')` | nothing | nothing |
//! | `makefile('wb')` | nothing | nothing |
//! | `f.write(data)` | nothing | nothing |
//! | `f.flush()` | `sendto` | `sendto` |
//! | `f.readline()` | `recvfrom` | `recvfrom` |
//! | `close()`, before its file's | nothing | nothing |
//! | `f.close()`, the last | `close` | `close` |
//! | `setdefaulttimeout(5.0)`, `getdefaulttimeout()` | nothing | nothing |
//! | `socket(AF_INET, SOCK_STREAM)`, with a default timeout | `socket`, `ioctl` | `socket`, `ioctl` |
//!
//! What to see in it:
//!
//! - `recv` and `send` are `recvfrom` and `sendto` without an address: the kernel has no others.
//! - A timeout is an `ioctl` once (`FIONBIO`) and a poll before each call; when nothing comes, the poll is all
//!   there is.
//! - A connection that is waited for asks `getsockopt` (`SO_ERROR`) how it went, which takes the error away:
//!   after a refusal, the next `connect` of that socket says `ECONNABORTED`.
//! - What differs: `poll` is `ppoll` here, which can count nanoseconds. CPython asks `getsockname` of every
//!   descriptor that it is given, its own too, to know that it is a socket; here that is asked only of a
//!   stranger's, by `getsockopt` (`SO_DOMAIN`).
//! - A duplicate, and what a listener with a timeout accepts, are told their mode, though on Linux it is the
//!   right one already: an `ioctl` for nothing, in both.
//!
//! # Surprises, all of them CPython's
//!
//! - `recv(0)` and `recv_into` of an empty buffer make no system call: they succeed on a closed socket too.
//! - An accepted socket has the default mode, not its listener's.
//! - `sendall` of nothing makes one call: on a datagram socket that is an empty datagram.
//! - A Unix listener whose queue is full refuses `connect` with `EAGAIN` at once, whatever the timeout: only
//!   `EINPROGRESS` is waited for.
//! - `connect_ex` answers 11 (`EAGAIN`), not 110, when the timeout is over.
//! - The mode belongs to the socket object, whether the kernel blocks to all duplicates together: after
//!   `dup`, `setblocking(True)` on one makes the other's "non-blocking" calls block.
//! - The timeout of `create_connection` is for each address of a name.
//!
//! # What differs
//!
//! How it is known: random scripts run in CPython and here give the same results (`tests/socket_differential`), and
//! CPython's own tests of these functions pass on these sockets (`tests/python_socket/score.py`).
//!
//! - Options have names here, and one without a name is refused with `ENOPROTOOPT`: setting memory by a
//!   bare number needs `unsafe`, and this crate has one audited file of that.
//! - Where Python takes a number for a descriptor that changes hands, Rust has [`OwnedFd`](std::os::fd::OwnedFd):
//!   [`Socket::detach`] returns one, [`Socket::from_fd`] takes one.
//! - Files speak bytes. Text is `f.lines()` of [`BufRead`](std::io::BufRead).
//! - Closing a socket while another thread waits in it leaves the descriptor to that thread until it
//!   returns. Python pulls it away, and the number may belong to another file by then.
//! - `create_connection(all_errors=True)` is not offered: the last address's error is told.
//! - A file's `readline` in non-blocking mode returns what has come. Python's does so only for a buffered file
//!   in one direction; the others raise `OSError` and lose it.
//! - [`SocketError::sent`] says how much `sendall` had sent when it failed, which Python does not tell.

mod address;
mod constants;
mod core;
mod create;
mod deadline;
mod error;
mod file;
mod option;
#[expect(
    clippy::module_inception,
    reason = "one noun a file, named for the type it holds"
)]
mod socket;
mod timeout;

pub use address::{Address, IntoAddress};
pub use constants::*;
pub use create::{
    ServerOptions, create_connection, create_connection_with, create_server, create_server_with,
    has_dualstack_ipv6, socketpair, socketpair_with,
};
pub use error::{Exception, SocketError};
pub use file::SocketFile;
pub use option::{OptionValue, option_by_name};
pub use socket::{BACKLOG, Socket};
pub use timeout::{IntoTimeout, Timeout, getdefaulttimeout, setdefaulttimeout};
