//! The loop over a simulated kernel: seeds, directed scripts, and the simulator itself checked
//! against the real one.
//!
//! ```text
//! cargo test --test simulator                                         some seeds
//! ONEPOLL_SIM_SEED=n cargo test --test simulator campaign::seeds      one seed again
//! ONEPOLL_SIM_TRACE=1 ONEPOLL_SIM_SEED=n cargo test --test simulator campaign::seeds -- --nocapture
//!                                                                     and what each turn did
//! ONEPOLL_SIM_SEEDS=1000000 cargo test --release --test simulator seeds -- --nocapture
//!                                                                     a million, and a million of C5
//! ```
//!
//! The run makes a table of what met connections in which state, and why they ended (`coverage.rs`).
//! It fails if a pair was not visited that is possible, or one that is said not to be
//! (`impossible.rs`). Each seed has a profile (`profile.rs`), so that none is too thin; what is too rare
//! for seeds has a script (`rare.rs`, `place.rs`).
//!
//! In half of the seeds an operator changes what is served, or limits, while clients are there (`operator.rs`), and
//! in a third of these another process takes listeners over (`successor.rs`). In some all clients guess secrets from
//! one place, in some many begin sessions at once. A run fails if one of its occasions (`occasions.rs`) was never met.
//!
//! Commands as streams have seeds of their own (`streams.rs`): a run fails if clients did not vanish in the middle of
//! every frame that they send, and after every one that they hear (`partings.rs`). Files have seeds of their own as
//! well (`files.rs`), with a real disk, and children that fail, die and are slow.
//!
//! Servers that share a bus have a small world of their own (`bus.rs`): a scripted NATS (`bus/nats.rs`), people who speak
//! and go (`bus/people.rs`), and seeds of all that may befall them (`bus/seeds.rs`, `bus/hazards.rs`).

mod bus;
mod campaign;
mod clients;
#[path = "../counting/mod.rs"]
#[expect(
    dead_code,
    reason = "how often something is allocated is of no interest here"
)]
mod counting;
mod coverage;
mod family;
mod faults;
mod faults_a;
mod faults_b;
mod faults_e;
mod faults_f;
mod files;
mod gates;
mod impossible;
mod ipmsg;
mod kernel;
mod kernel_agrees;
mod link;
mod listeners;
mod memory;
mod occasions;
mod operator;
mod overheard;
mod partings;
mod place;
mod play;
mod profile;
mod random;
mod rare;
mod readers;
mod sealed;
mod services;
mod sources;
mod streams;
mod successor;
mod talk;
mod turns;
