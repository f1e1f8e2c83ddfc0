//! Reports and comparisons, to be read.
//!
//! - `rows`: every figure, once. `phrases`: what is said of reports. `sentences`: what is said of a comparison.
//! - `text`: a report in lines. `table`: comparisons in columns. `search`: what was tried and found. [`changes`]: what is
//!   better or worse. [`terminal`]: charts of characters. [`html`]: a page
//!   with charts of SVG. All of these print those rows and phrases.
//! - [`mod@wrap`]: lines that are too long for a terminal. `scale`: from a figure to a place. `label`: how much room text needs, and numbers.

pub mod changes;
pub mod html;
mod label;
pub(crate) mod phrases;
mod rows;
mod scale;
mod search;
mod sentences;
mod table;
pub mod terminal;
mod text;
pub mod wrap;
