//! What became of lines on their way to members, as a report has it.

use serde::Serialize;

use crate::load::histogram::Summary;

/// What became of lines and of their deliveries, one to each member: `expected` is `delivered` and `lost`
/// together.
///
/// Lines of the warm-up are included. Those by which it was found out who hears are not, but what went
/// wrong with them is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Deliveries {
    /// Lines that were said.
    pub lines: u64,
    /// One for each line and each member that was there when it was said. Of a member that has gone
    /// no more is expected: its going is an error, the lines that it does not miss are none.
    pub expected: u64,
    /// Of these, those that came in time, every byte of them.
    pub delivered: u64,
    /// Of these, those that did not: not within the timeout, or the member went before.
    pub lost: u64,
    /// Deliveries after their time: lost before.
    pub late: u64,
    /// Lines that a member had received already.
    pub duplicates: u64,
    /// Lines that a member received after a later one.
    pub reordered: u64,
    /// Lines with a byte that was not said, or without one that was.
    pub wrong: u64,
    /// Lines that were not ours: what the server has to say itself.
    pub notices: u64,
    /// Members whose connection did not last until the end.
    pub gone: u64,
    /// Lines that every member had, a second while measuring.
    pub lines_per_s: f64,
    /// From the beginning of a line until the first member had it, in microseconds; here and below of
    /// the lines that all members had.
    pub first_us: Summary,
    /// Until half of the members had it.
    pub median_us: Summary,
}
