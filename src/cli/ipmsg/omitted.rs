use std::collections::BTreeSet;
use std::process::ExitCode;

use super::super::complain;
use crate::ipmsg::IpmsgOmitted;

/// How much of it is told; the rest is counted.
const TOLD_MAX: usize = 20;

/// What is left out of the directories that are offered, each told once: it is found when a directory is offered, and
/// again whenever it is sent.
#[derive(Debug, Default)]
pub(super) struct Omitted {
    told: BTreeSet<IpmsgOmitted>,
    more: u64,
}

impl Omitted {
    /// This is left out.
    pub(super) fn tell(&mut self, one: IpmsgOmitted) {
        if self.told.contains(&one) {
            return;
        }
        if self.told.len() == TOLD_MAX {
            self.more += 1;
            return;
        }
        complain(format_args!(
            "left out {}: {}",
            one.path.replace('\n', "\\n"),
            one.why
        ));
        self.told.insert(one);
    }

    /// Says that there is more than was told.
    pub(super) fn say_more(&self) {
        if self.more > 0 {
            complain("more was left out than is told here");
        }
    }

    /// The exit code, if nothing else was wrong.
    pub(super) fn code(&self) -> ExitCode {
        if self.told.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(1)
        }
    }
}
