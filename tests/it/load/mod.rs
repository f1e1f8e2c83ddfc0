//! The load generator.

mod answers;
mod challenge;
mod compare;
mod fanout;
mod http;
mod line;
mod modes;
mod picture;
mod requests;
mod truth;
