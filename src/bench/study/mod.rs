//! What runs say together.
//!
//! - [`forecast`]: what a run will need of the [`resources`] that this machine has.
//! - [`comparison`]: several runs beside each other; [`statistic`]: what they say together; [`baseline`]: beside
//!   an earlier result.
//! - [`search`]: the highest rate at which an [objective](mod@objective) holds.

pub mod baseline;
pub mod comparison;
pub mod forecast;
pub mod objective;
pub mod resources;
pub mod search;
pub mod statistic;
