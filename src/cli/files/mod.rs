//! `onepoll send`, `fetch` and `list`: files of a server.

pub mod fetch;
mod fetching;
pub mod list;
mod listing;
mod partial;
mod place;
mod plan;
mod progress;
mod pump;
mod report;
pub mod send;
mod sending;
mod server;

pub(super) use self::partial::{Partial, finish_all};
pub(super) use self::place::{Place, make_new};
