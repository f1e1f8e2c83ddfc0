//! What `serve` does about what could not be opened, and `check` says that it would do.

use super::{Configuration, Failure};
use crate::endpoint::{Opening, Unserved};

/// The line at the end where the default table is asked for and none of it can be bound.
const NOTHING_LEFT: &str = "no endpoint could be bound, so there is nothing to serve";

/// Whether the server starts.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// What is wrong, a line each, if it does not.
    pub(super) problems: Vec<String>,
    /// What of the default table it goes without, and why.
    pub(super) skipped: Vec<String>,
    is_refused: bool,
}

impl Verdict {
    pub(super) fn of(configuration: &Configuration, opening: &Opening) -> Self {
        let mut verdict = Self::default();
        for unserved in opening.attempts.iter().filter_map(|a| a.unserved.as_ref()) {
            match unserved {
                Unserved::Refused(wrong) => {
                    verdict.is_refused = true;
                    verdict.problems.push(wrong.to_string());
                }
                Unserved::Failed(wrong) if configuration.is_default_table => {
                    verdict.skipped.push(wrong.to_string());
                }
                Unserved::Failed(wrong) | Unserved::NotPrivate(wrong) => {
                    verdict.problems.push(wrong.to_string());
                }
            }
        }
        if let Err(wrong) = &opening.connections_max {
            verdict.is_refused = true;
            verdict.problems.push(wrong.to_string());
        }
        if !verdict.skipped.is_empty() && verdict.skipped.len() == opening.attempts.len() {
            verdict.problems.push(NOTHING_LEFT.into());
        }
        verdict
    }

    /// The failure that `serve` ends with; none if it starts.
    pub(super) fn failure(&self) -> Option<Failure> {
        let problems = self.problems.join("\n");
        match (self.problems.is_empty(), self.is_refused) {
            (true, _) => None,
            (false, true) => Some(Failure::Usage(problems)),
            (false, false) => Some(anyhow::anyhow!(problems).into()),
        }
    }
}
