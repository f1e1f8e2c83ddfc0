//! What the benches share: the servers that are compared, each in a process of its own, and the
//! load on them.
//!
//! - [`floor`]: the least a single-threaded server can do. [`broadcast`]: the same where one speaks
//!   to many. [`ours`]: the reactor. [`mio`], [`calloop`]: what others offer. [`threads`]: a thread
//!   per connection.
//! - [`server`]: one of them in a child process, pinned, and gone when its parent is.
//! - [`udp`]: a window of datagrams. [`fanout`]: a speaker and its listeners. Streams are asked by
//!   `onepoll::load`.
//! - [`options`]: the command line. [`figures`]: medians and ratios.
//!
//! # How to measure on a noisy machine
//!
//! **Alternate.** Another program, a warm processor, the neighbours of a virtual machine: what
//! disturbs one measurement disturbs the next, but not that of an hour ago. So the floor and the
//! others take turns (in `turn`, one turn of the loop each), and each is compared with the floor of
//! its own round. A figure by itself, or two that were taken in two runs, says nothing: keep the old
//! commit in a second work tree (`git worktree add`) and run its bench and yours in turn, as often
//! as each other.
//!
//! **Pin.** Server and load have a processor each, or the scheduler moves them about and onto each
//! other. With one processor only there is nothing to compare: the benches say so.
//!
//! **Medians of pairs.** The ratio of a round first, then the median over rounds; the mean believes
//! the round in which something else ran. Least and greatest are shown beside it: two servers whose
//! ranges overlap are not told apart by them.
//!
//! **How many rounds.** Five tell a factor of 1.2 from nothing on a busy machine; nine pairs a
//! difference of 4 %; below that, 25 rounds and more, or count instructions. If more rounds do not
//! narrow the median, more will not: the machine is too loud, and the honest answer is "not
//! established".
//!
//! **CPU time.** By the clock, a server can be no faster than the load can ask. Where `load busy`
//! comes near 100 %, the clock compares the load with itself, and only answers per second of the
//! server's own processor time still say something. That has a fault of its own: a server with less
//! to do sleeps and wakes more often, finds fewer ready each time, and pays more for each answer.
//! The same server, asked by a load that cannot keep it busy, looks dearer: compare under the same
//! load only, and two floors under two loads not at all.
//!
//! **`was_the_limit`**, in what `onepoll bench` says: the generator was busy, or ready to run and
//! kept from it, for nine tenths of the time; or the only processor that it may use was taken for
//! as long, as by a server pinned onto it; or, in the open model, it missed its schedule. Then the
//! rate is the generator's, the server may do more, and latencies contain the generator's queue.
//!
//! **Queues.** `polite` says how long the server waited for its processor while something else had
//! it. Beyond 1 % its tails are those of the machine.
//!
//! **Count instead.** When the clock cannot tell, counts can, whatever else runs: they are the same
//! each time. System calls: `cargo test --test system_calls`. Allocations: `cargo test --test
//! allocations`. Instructions outside the kernel, of as many turns of the reactor as of the floor:
//!
//!     cargo bench --bench turn --no-run      # prints the path of the program
//!     valgrind --tool=callgrind --callgrind-out-file=counts PROGRAM --bench --rounds 1 --seconds 3 --only '64 of 64'
//!     callgrind_annotate --inclusive=yes --tree=caller counts | grep 'turn'
//!
//! Two instructions more are two instructions more, on any machine; what the kernel and the caches
//! make of it they do not say.

#![allow(dead_code, reason = "every bench takes what it needs")]

pub(crate) mod addresses;
pub(crate) mod broadcast;
pub(crate) mod calloop;
pub(crate) mod fanout;
pub(crate) mod figures;
pub(crate) mod floor;
pub(crate) mod mio;
pub(crate) mod options;
pub(crate) mod ours;
pub(crate) mod server;
pub(crate) mod threads;
pub(crate) mod udp;

pub(crate) use onepoll::config::raise_descriptor_limit;
