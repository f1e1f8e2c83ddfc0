//! The load generator: sends requests, checks every byte of the answers, and reports what it saw.
//!
//! It does not know the reactor: it has a small mio loop of its own, so that the server is not measured
//! with its own parts. In reading order:
//!
//! - [`plan`]: what a run is told. [`measure`]: clock, histogram, failures and what else can be counted.
//! - [`exchange`]: the bytes that are sent, and what counts as an answer. [`net`]: sockets and the poll.
//! - [`mod@run`]: what all kinds of runs share, and the [report](run::report) that is made of one.
//! - `drive`: the loop, and the three kinds of traffic that it drives.
//!
//! The order is `measure`, `plan` < `exchange`, `net`, `run` < `drive`; no file imports one that imports it.
//!
//! The model is *closed*, where each request waits for the answer before it, or *open*, where each request
//! has its time and latency counts from then.

mod drive;
pub mod exchange;
pub mod measure;
pub mod net;
pub mod plan;
pub mod run;

pub use drive::{run, run_watched};
pub use plan::Plan;
pub use plan::error::{LoadError, PlanError};
pub use plan::expect::Expect;
pub use plan::mode::{Amount, Arrivals, Close, Mode, ModeName, Model, ModelName};
pub use plan::source::SourceRange;
pub use plan::target::Endpoint;
pub use run::Watcher;
pub use run::outcome::{DatagramCounts, Deliveries};
pub use run::progress::Progress;
pub use run::report::Report;
