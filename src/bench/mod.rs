//! What is made of runs: they are studied, and shown.
//!
//! It does not know sockets: [`load`](crate::load) makes a run and returns a report; here several reports
//! become a comparison, a search for the highest rate, or a page.
//!
//! - [`study`]: what a run will lack, several runs beside each other, the highest rate that holds.
//! - [`show`]: reports and comparisons as text, as tables, as charts.

pub mod show;
pub mod study;
