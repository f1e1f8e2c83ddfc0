//! What can be counted and measured; it imports nothing else of `load`.
//!
//! - [`clock`]: the one place that reads the clock. [`cpu`]: the processor time of the generator's thread.
//! - [`process`]: what the server's processes used.
//! - [`histogram`]: latencies. [`series`]: what happened second by second. [`failures`]: by kind. [`stages`]: by how far they were.
//! - [`figures`]: numbers as they are printed.

pub mod clock;
pub mod cpu;
pub mod failures;
pub mod figures;
pub mod histogram;
pub mod process;
pub mod series;
pub mod stages;
