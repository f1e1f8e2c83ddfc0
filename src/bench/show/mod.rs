//! Reports and comparisons, to be read.
//!
//! - `text`: a report. `table`: comparisons. `sentences`: what was measured, and the result.
//! - [`terminal`]: charts of characters. [`html`]: a page with charts of SVG.
//! - `phrases`: what all of these say in the same words. `scale`: from a figure to a place. `label`: how much room text needs.

pub mod html;
mod label;
mod phrases;
mod scale;
mod sentences;
mod table;
pub mod terminal;
mod text;
