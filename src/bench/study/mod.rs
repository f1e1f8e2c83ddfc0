//! What runs say together.
//!
//! - [`forecast`]: what a run will need of the [`resources`] that this machine has.
//! - [`comparison`]: several runs beside each other, in [`turns`]; [`statistic`] and `percentile`: what they say together; [`change`]: whether one is better
//!   or worse than another, or than in an earlier result, a [`baseline`]. [`quiet`]: whether the machine is quiet enough for
//!   that.
//! - [`provenance`]: when, where and by which command it was made.
//! - [`search`]: the highest rate at which an [objective](mod@objective) holds.

pub mod baseline;
pub mod change;
pub mod comparison;
pub mod forecast;
pub mod objective;
mod percentile;
pub mod provenance;
pub mod quiet;
pub mod resources;
pub mod search;
pub mod statistic;
pub mod turns;
