//! Runs as pictures: a page for a browser, a few lines for a terminal.
//!
//! It does not know how a run is made: it is given what was seen, and returns text. In reading order:
//!
//! - [`page()`]: one HTML file that needs nothing else, no network and no script.
//! - `sentences`: what was measured, and the result, in sentences.
//! - `bars`: rates beside each other. `percentiles`: latencies. `rate`: second by second. `table`: every figure.
//! - `line_chart`: what the two charts of lines share. `axis`: what all charts share.
//! - `scale`: from a figure to a place, and which places get a number.
//! - `label`: how much room text needs, and how it gets by with less. `markup`: tags, always closed, and text, always escaped.
//! - [`terminal`]: the compact picture.
//!
//! A chart is a function of the figures and a width. The page holds each twice, wide and for a phone,
//! and the style shows one: the text of an SVG that is only scaled down is too small to read.

mod axis;
mod bars;
mod label;
mod line_chart;
mod markup;
mod page;
mod percentiles;
mod rate;
mod scale;
mod sentences;
mod table;
pub mod terminal;

pub use page::page;
