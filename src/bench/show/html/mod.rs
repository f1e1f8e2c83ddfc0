//! Comparisons as a page for a browser.
//!
//! It does not know how a run is made: it is given reports, and returns text. In reading order:
//!
//! - [`page()`]: one HTML file that needs nothing else, no network and no script.
//! - `bars`: rates beside each other. `percentiles`: latencies. `rate`: second by second. `figures`: every figure.
//!   `probes`: what a search tried.
//! - `line_chart`: what the two charts of lines share. `axis`: what all charts share.
//! - `markup`: tags, always closed, and text, always escaped.
//!
//! A chart is a function of the figures and a width. The page holds each twice, wide and for a phone,
//! and the style shows one: the text of an SVG that is only scaled down is too small to read.

mod axis;
mod bars;
mod figures;
mod line_chart;
mod markup;
mod page;
mod percentiles;
mod probes;
mod rate;

pub use page::{page, page_of_search};
