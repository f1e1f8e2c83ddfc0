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
//! others take turns, and each is compared with the floor of its own round. A figure by itself, or
//! two that were taken in two runs, says nothing: keep the old commit in a second work tree
//! (`git worktree add`) and run its bench and yours in turn, as often as each other.
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
//! comes near 100 % (in `onepoll bench`: `generator.was_the_limit`), the clock compares the load with
//! itself, and only answers per second of the server's own processor time still say something. It
//! has a fault of its own: a server with less to do sleeps and wakes more often, finds fewer ready
//! each time, and pays more for each answer. The same server, asked by a load that cannot keep it
//! busy, looks dearer; compare at the same load only.
//!
//! **Queues.** `polite` says how long the server waited for its processor while something else had
//! it. Beyond 1 % its tails are those of the machine.
//!
//! **Count instead.** When the clock cannot tell, counts can, whatever else runs: they are the same
//! each time. System calls: `cargo test --test system_calls`. Allocations: `cargo test --test
//! allocations`. Instructions of our own code:
//!
//!     cargo bench --bench turn --no-run      # prints the path of the program
//!     valgrind --tool=callgrind --dump-instr=yes PROGRAM --bench --rounds 1 --seconds 2 --only '64 of 1000'
//!     callgrind_annotate callgrind.out.*     # `Reactor::turn` inclusive, beside `Floor::turn`
//!
//! Two instructions more are two instructions more, on any machine; what the kernel and the caches
//! make of it they do not say.

#![allow(dead_code, reason = "every bench takes what it needs")]

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
