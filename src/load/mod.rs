//! The load generator: sends requests, checks every byte of the answers, and reports what it saw.
//!
//! It does not know the reactor: it has a small mio loop of its own, so that the server is not measured
//! with its own parts. In reading order:
//!
//! - [`plan`]: what a run is told. [`expect`]: what counts as an answer.
//! - [`forecast`]: the resources that a run needs, and what this machine has.
//! - [`run`]: what all kinds of runs share, and the [report](run::report) that is made of one.
//! - [`exchange`]: the bytes that are sent, and what counts as an answer.
//! - [`source`]: local addresses. [`net`]: opening connections, and waiting for events.
//! - [`measure`]: clock, histogram, failures and what else can be counted.
//! - `drive`: the loop, and the three kinds of traffic that it drives.
//! - `text`: a report as it is printed.
//! - [`comparison`]: several runs beside each other, [`statistic`]: what they say together, [`baseline`]: and
//!   beside an earlier result. `table`: as these are printed. [`html`]: runs to be looked at.
//! - [`search`]: the highest rate at which an [objective](mod@objective) holds.
//!
//! The model is *closed*, where each request waits for the answer before it, or *open*, where each request
//! has its time and latency counts from then.

pub mod baseline;
pub mod comparison;
mod drive;
pub mod exchange;
pub mod forecast;
pub mod html;
pub mod measure;
pub mod net;
pub mod objective;
pub mod plan;
pub mod run;
pub mod search;
pub mod statistic;
mod table;
mod text;

pub use drive::{run, run_watched};
pub use plan::Plan;
pub use plan::error::{LoadError, PlanError};
pub use plan::expect::{Expect, Framing};
pub use plan::mode::{Amount, Arrivals, Close, Mode, Model};
pub use plan::source::SourceRange;
pub use plan::target::Endpoint;
pub use run::Watcher;
pub use run::outcome::{DatagramCounts, Deliveries};
pub use run::progress::Progress;
pub use run::report::Report;
