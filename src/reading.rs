//! A guided reading: one byte from the network through the loop and back. Ten minutes.
//!
//! For people who know sockets from Python. No Rust is needed to follow: `?` after a call means "raise, if it
//! failed", `match` is a row of `if`s, `A if x => B` is one of them ("if it is A, and x holds, the result is
//! B"), `!`, `&&` and `||` are `not`, `and` and `or`, and `Ok(n)` and `Err(e)` are what Python returns and
//! raises. A quoted line of code has a link to its file; search for the line there. After this reading you can
//! say what each of the loop's six lines is for, and why a server that looks right hangs. Then [`questions`]
//! asks what people get wrong, and answers with an experiment and a line of our code.
//!
//! # The server you know
//!
//! An echo server for many clients, with Python's `select.epoll`:
//!
//! ```python
//! while True:
//!     for fd, flags in ep.poll():           # sleeps until somebody is ready
//!         s = sockets[fd]                   # who is it?
//!         if s is listener:
//!             conn, address = s.accept()    # somebody new
//!             conn.setblocking(False)
//!             sockets[conn.fileno()] = conn
//!             ep.register(conn, EPOLLIN)
//!         else:
//!             data = s.recv(65536)          # what has come
//!             if data:
//!                 s.send(data)              # what is to be said to that
//!             else:
//!                 ep.unregister(s)          # b'': the end
//!                 del sockets[fd]
//!                 s.close()
//! ```
//!
//! It works on a good day. On a bad one `send` takes half of `data` and the rest is gone; a client that sends
//! for ever keeps all others waiting; a half-close drops an answer; the descriptors run out and the loop spins.
//! Our loop is the same loop with these days in mind. It has six lines,
//! [`Reactor::turn`](crate::reactor::Reactor::turn):
//!
//! ```text
//! self.wait()?;   sleeps: ep.poll()
//! self.note();    who is ready: the `for` and the look-up in `sockets`
//! self.serve();   recv, understand, decide what to say
//! self.wake();    timers
//! self.flush();   send
//! self.reap();    close
//! ```
//!
//! The difference is that each of them is done for *everybody* before the next one begins. (One exception:
//! an answer of 4 KiB or more leaves at once, in `serve`, from where it lies.)
//!
//! # One byte
//!
//! A client is connected, and sends `x`. This is what `onepoll serve --trace` tells of it, all of it. (The
//! program below runs with the tests of this crate, so this is not a drawing.)
//!
//! ```text
//! turn 1 at 845.1ms: slept 98.8ms, and the poll returned 1
//!   saw    #0 (generation 1): readable, writable
//!   read   #0 (generation 1): 1 of 65536 bytes; short, so the socket is drained
//!   serve  #0 (generation 1): took what there was, 0 bytes unread, owed 1 bytes now
//!   rest   #0 (generation 1): waits for an edge
//!   write  #0 (generation 1): 1 bytes, all
//! ```
//!
//! Two system calls for the byte, one `read` and one `write`, and the sleep before. (`rest` says what reading
//! does next, which is settled in `serve`; so it stands before `write`, which is `flush`. Only a large answer is
//! written in `serve` already, and then `write` stands first.) Now line by line.
//!
//! ## wait
//!
//! [`Os::wait`](crate::reactor::Os::wait) is the only place that sleeps, and the only one that looks at the
//! clock: all that happens in a turn happens at the same time. It sleeps until the kernel has something, or
//! until the next timer is due, and does not sleep at all while somebody is still on the list of those to be
//! served. Its implementation, [`Epoll`](crate::reactor::Epoll), is epoll through the library mio, which
//! always registers *edge-triggered*: the kernel tells once that something came, and does not repeat itself
//! while it lies there. (Your Python loop is *level-triggered*: it is told again and again for as long as
//! something lies there, so it may leave bytes behind. With `EPOLLIN | EPOLLET` it would be as ours.) The gain:
//! each socket is registered once, for reading and writing, and never again. A level-triggered loop must ask
//! for *writable* when a send was short, and take that back afterwards, or it would be told for ever.
//!
//! ## note
//!
//! The poll returned one event. It carries a number, a [`Token`](crate::reactor::Token), in which we packed a
//! place in the table of connections, `#0`, and which of that place's owners is meant, `generation 1`. Python
//! uses the descriptor for that, and a descriptor's number is somebody else's as soon as it is closed. `note`
//! reads nothing. It remembers, per connection, what is known of the bytes that the kernel holds:
//!
//! | `Incoming` | means | becomes |
//! | --- | --- | --- |
//! | `Nothing` | the last read proved that nothing is there | `Perhaps`, by an edge |
//! | `Perhaps` | an edge came: there may be something | `Nothing`, by a short read or `WouldBlock` |
//! | `Beyond` | the peer has ended its side, or sent urgent data: a short read proves nothing | `Nothing`, by `WouldBlock`; `End`, by reading `b''` |
//! | `End` | `b''` was read | |
//!
//! (There are two more, for a peer that hung up altogether.) This is the whole secret of edges: *we* remember
//! that a socket is readable, because the kernel will not say it twice, and we forget it only when the socket
//! itself has disproved it. Our connection goes from `Nothing` to `Perhaps`, and onto the list `ready`.
//!
//! > [`src/reactor/connection.rs`](../../src/onepoll/reactor/connection.rs.html): `Incoming::Nothing if seen.readable => Incoming::Perhaps,`
//!
//! ## serve
//!
//! Everybody on the list gets one helping, in the function `help`, which is the walk of a byte from top to
//! bottom. First the socket fills a [`ReadBuf`](crate::buf::ReadBuf):
//!
//! > [`src/reactor/mod.rs`](../../src/onepoll/reactor/mod.rs.html): `conn.read(&mut self.os, &mut input, room)`
//!
//! One `read` of at most 64 KiB, not a loop until `BlockingIOError`: whoever sends for ever shall not keep the
//! others waiting. It brought 1 byte of 65536. Fewer than asked for: the kernel had no more, so the connection
//! is `Nothing` again, and the `recv` that would only have said `BlockingIOError` is saved. Had it brought all
//! 65536, there might be more, and *no edge would tell*. Then the connection goes onto the list for the next
//! turn, behind everybody else, and `wait` does not sleep:
//!
//! > [`src/reactor/connection.rs`](../../src/onepoll/reactor/connection.rs.html): `Incoming::Perhaps if n < room => Incoming::Nothing,`
//! >
//! > [`src/reactor/mod.rs`](../../src/onepoll/reactor/mod.rs.html): `let more = conn.incoming.may_have_more() || conn.unserved || conn.incoming.has_ended();`
//!
//! In the first, `n` bytes came and `room` were asked for. In the second, `may_have_more` is "a read may bring
//! something", and `unserved` is "the service has not seen all that was read". Together they are what *draining*
//! is here: not a loop in one place, but a promise that nobody goes back to waiting for an edge while something
//! may be there.
//!
//! Then a [`Service`](crate::service::Service) is asked. It sees bytes, no socket, no clock, no poll:
//!
//! > [`src/reactor/mod.rs`](../../src/onepoll/reactor/mod.rs.html): `outcome = service.input(&mut turn, &mut input);`
//!
//! [`Echo`](crate::service::Echo) takes everything and says it back. A service that speaks in messages pulls
//! them out of the buffer with a [decoder](crate::wire::Decode), which answers *a frame*, *not yet* or *never*;
//! half a message stays in the buffer until the rest comes, which is the cure for sticky packets. What a
//! service says goes into the [`Turn`](crate::turn::Turn) that it was lent, `t.reply(...)`, and that writes
//! into memory: the outbox has a *lane* for each connection. A small answer waits there: a thousand lines of chat
//! to one member in one turn are one `write`.
//!
//! ## wake
//!
//! Whose timers are due: a client that has been silent for too long, a service that asked to be woken. They
//! come after what was read, so that a byte that came in time is not too late because we were. This turn had none.
//!
//! ## flush
//!
//! Each lane that has something gets one `write`:
//!
//! > [`src/reactor/mod.rs`](../../src/onepoll/reactor/mod.rs.html): `let sent = match self.outbox.deliver(slot, |bytes| conn.write(os, bytes)) {`
//!
//! The socket took 1 byte of 1. Had it taken fewer, that would be the `send` whose return value nobody looks
//! at: the rest stays in the lane, and the connection is marked `full`:
//!
//! > [`src/reactor/closing.rs`](../../src/onepoll/reactor/closing.rs.html): `self.full = n < bytes.len();`
//!
//! An edge, *writable*, comes when there is room. (Our event said `readable, writable` too: nothing was waiting
//! to be sent, so it was ignored. With edges that costs nothing; level-triggered, it would have woken us for
//! ever.) While too much is owed to it, an echo client is not read: what it sends waits in the kernel.
//!
//! ## reap, and back
//!
//! Connections that have ended are freed here and nowhere else, when all events of the turn are handled. So
//! no place in the table changes its owner while an event may still be about the old one.
//!
//! Then `wait` again. The connection is at rest: `Nothing` is unread, nothing is owed, and it owns no buffer.
//! Each connection is, at this point, in exactly one state: waiting for an edge, on the list, paused for a
//! reason that will wake it, ended, or closing with a deadline. Debug builds check that after every turn, and
//! so does every run on a simulated kernel, seed after seed. A loop that hangs is a loop with a sixth state.
//!
//! # The same byte as a program
//!
//! ```
//! use onepoll::config::Limits;
//! use onepoll::reactor::{ListenerOptions, Epoll, Reactor, listen_tcp};
//! use onepoll::service::Echo;
//! use std::io::{Read, Write};
//! use std::net::{TcpListener, TcpStream};
//!
//! let mut reactor = Reactor::new(Epoll::new()?, Limits::default(), 100);
//! let socket = listen_tcp("127.0.0.1:0".parse()?)?;
//! let address = TcpListener::from(socket.try_clone()?).local_addr()?;
//! let echo = reactor.add(Box::new(Echo));
//! reactor.listen(socket, ListenerOptions::to(echo))?;
//! let mut client = TcpStream::connect(address)?;
//! reactor.turn()?; // lets it in, and reads at once: nothing there yet
//! reactor.turn()?; // the first edge: it is writable, as new connections are
//!
//! let (mut told, out) = std::io::pipe()?;
//! reactor.trace_to(Box::new(out)); // what `--trace` does
//! client.write_all(b"x")?;
//! reactor.turn()?;
//! let mut byte = [0];
//! client.read_exact(&mut byte)?;
//! assert_eq!(&byte, b"x");
//!
//! drop(reactor);
//! let mut story = String::new();
//! told.read_to_string(&mut story)?;
//! let lines: Vec<&str> = story.lines().collect();
//! assert!(lines[0].starts_with("turn 1 at ") && lines[0].ends_with(", and the poll returned 1"));
//! assert_eq!(lines[1..6], [
//!     "  saw    #0 (generation 1): readable, writable",
//!     "  read   #0 (generation 1): 1 of 65536 bytes; short, so the socket is drained",
//!     "  serve  #0 (generation 1): took what there was, 0 bytes unread, owed 1 bytes now",
//!     "  rest   #0 (generation 1): waits for an edge",
//!     "  write  #0 (generation 1): 1 bytes, all",
//! ]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Try it
//!
//! - `onepoll serve --trace echo://127.0.0.1:9000`, and `nc 127.0.0.1 9000` in another terminal. Type a line;
//!   then `head -c 200000 /dev/zero | nc -N 127.0.0.1 9000 > /dev/null`, and look for `there may be more`.
//! - `onepoll lab` lists experiments without our loop: plain sockets, a wrong way beside the right way. Begin
//!   with `onepoll lab edge-trigger --step`.
//! - [`questions`], before you look at the answers.

pub mod questions {
    //! Six questions about sockets, each with its answer, the experiment that shows it, and our line of code.
    //!
    //! `onepoll lab NAME` runs an experiment on real sockets over loopback; `--step` waits before each step.
    //!
    //! # Why does edge-triggering need draining?
    //!
    //! `onepoll lab edge-trigger`
    //!
    //! Because an edge tells that something *came*, not that something *is there*. Eight bytes come: one edge.
    //! `recv(3)`, back to `poll`: it sleeps, with five bytes in the queue, until new bytes make a new edge. If the
    //! peer is waiting for an answer to those eight, it will send none, and both wait for ever. So a socket
    //! counts as readable until it has said otherwise, and whoever stops reading earlier, to be fair to others,
    //! must remember it on a list.
    //!
    //! We stop after one `read` each, and remember: whoever may have more is put on the list for the next turn,
    //! and the loop does not sleep while somebody is on it.
    //!
    //! > [`src/reactor/mod.rs`](../../../src/onepoll/reactor/mod.rs.html): `let more = conn.incoming.may_have_more() || conn.unserved || conn.incoming.has_ended();`
    //!
    //! # Why may a short read stand for `BlockingIOError`?
    //!
    //! `onepoll lab short-read`
    //!
    //! `recv(65536)` returns fewer bytes only if the queue is empty now. What comes after that makes an edge of
    //! its own, so the second `recv`, just to be refused, teaches nothing: one system call saved of two. Two
    //! things make a short read lie. The *end* is no byte: it may lie behind the last ones, and came with their
    //! edge. And at the mark of *urgent data* `recv` stops early. The kernel tells of both (`EPOLLRDHUP`,
    //! `EPOLLPRI`), and then we read on until there is proof.
    //!
    //! > [`src/reactor/connection.rs`](../../../src/onepoll/reactor/connection.rs.html): `Incoming::Perhaps if n < room => Incoming::Nothing,`
    //! >
    //! > [`src/reactor/connection.rs`](../../../src/onepoll/reactor/connection.rs.html): `_ if seen.read_closed || seen.urgent => Incoming::Beyond,`
    //!
    //! # What is a stale token?
    //!
    //! `onepoll lab stale-token`
    //!
    //! An event about somebody who has left, and whose place somebody else has taken. One `poll` returns two
    //! events: anna says "kick bert", and bert hangs up. Handling the first closes bert; carla, who was waiting,
    //! gets his place (or his descriptor's number); the second event, "place 1 has hung up", now hits carla. The
    //! kernel is not wrong, it spoke before. So a place has a generation, a token says which one it means, and
    //! a stale one is silence. Besides, we free places at the end of the turn only.
    //!
    //! > [`src/reactor/mod.rs`](../../../src/onepoll/reactor/mod.rs.html): `let Some(conn) = self.conns.get_mut(id.slot as usize).filter(|c| c.is(id)) else {`
    //! >
    //! > [`src/reactor/mod.rs`](../../../src/onepoll/reactor/mod.rs.html): `self.reap(); // the only place a connection is freed`
    //!
    //! # Why can a closing server destroy its own last words?
    //!
    //! `onepoll lab reset-eats-goodbye`
    //!
    //! A server has read the beginning of a request, finds it too long, sends `* too long`, and closes. There is
    //! unread input, so the kernel sends a reset instead of an end. A reset throws away what is still in the
    //! server's own send queue, and a client that is still sending its request is told `ConnectionResetError`
    //! before it ever reads. (What the client's kernel already holds, Linux does hand out; others do not.) So the
    //! order is: say it, shut down writing, read and throw away what still comes, with a limit in bytes and
    //! time, and close when the peer has ended too. We call that *lingering*.
    //!
    //! > [`src/reactor/closing.rs`](../../../src/onepoll/reactor/closing.rs.html): `if conn.incoming.has_ended() || !linger && !conn.incoming.may_have_more() {`
    //! >
    //! > [`src/reactor/closing.rs`](../../../src/onepoll/reactor/closing.rs.html): `conn.stage = Stage::Lingering { why, discarded: 0 };`
    //!
    //! # What is `settimeout` made of?
    //!
    //! `onepoll lab timeout-modes`
    //!
    //! Of a descriptor that never blocks, and a `poll` before each call. The kernel has only one switch,
    //! `O_NONBLOCK`, and a socket with a timeout has it on, though `getblocking()` says `True`. `recv` with a
    //! timeout is: `poll` for what is left of the time; too late, `TimeoutError`; else call, and if somebody
    //! else was faster, `poll` again for what is *still* left. `TimeoutError` has no errno, since no
    //! kernel refused anything. In [`socket`](crate::socket) this is one function, for all calls:
    //!
    //! > [`src/socket/core.rs`](../../../src/onepoll/socket/core.rs.html): `match wait(&*self.fd()?, want, left) {`
    //! >
    //! > [`src/socket/core.rs`](../../../src/onepoll/socket/core.rs.html): `Err(Errno::AGAIN) if self.timeout().duration().is_some() => {`
    //!
    //! # Why does UDP never stick, and what does it do instead?
    //!
    //! `onepoll lab udp-truncation`, `onepoll lab udp-lost`, `onepoll lab empty-message`
    //!
    //! A datagram has a header with its length, so the kernel knows where one ends, and `recv` returns exactly
    //! one: never two, never the rest of one. That is also why what does not fit into your buffer is *cut off
    //! and lost* without a word, where TCP would keep it for the next `recv`; why an empty datagram is a message
    //! and not an end; and why, when the receiver's queue is full, whole datagrams are *lost* while every
    //! `sendto` succeeds. TCP would have made the sender wait. We read into a buffer that no datagram exceeds,
    //! answer or drop, never queue; and our client asks again, patiently, when no answer comes.
    //!
    //! > [`src/reactor/mod.rs`](../../../src/onepoll/reactor/mod.rs.html): `datagram_buf: vec![0; DATAGRAM_BYTES_MAX],`
    //! >
    //! > [`src/client/time.rs`](../../../src/onepoll/client/time.rs.html): `tries += 1;`
}
