//! What an experiment is.

use super::notebook::Notebook;

/// How a run ends: an error when a call failed that should not have, or a claim did not hold.
pub(super) type Done = anyhow::Result<()>;

/// Something to try, and what it teaches.
#[derive(Debug)]
pub(super) struct Experiment {
    /// As it is asked for.
    pub(super) name: &'static str,
    /// One line of what it shows.
    pub(super) title: &'static str,
    /// Does it, and notes what is seen.
    pub(super) run: fn(&mut Notebook) -> Done,
    /// Why it is so.
    pub(super) why: &'static str,
    /// What to try next.
    pub(super) next: &'static str,
    /// Where our own code heeds it: a file, and a line of it.
    pub(super) ours: &'static [(&'static str, &'static str)],
}
