//! How far a request or a connection was when it failed, and in which part of the run. A stage is one row of the table.

use serde::{Deserialize, Serialize};

/// From one row per stage: its documentation, its variant, its field (also the key in JSON), its name in
/// sentences.
macro_rules! stages {
    ($($(#[doc = $doc:literal])+ $stage:ident, $field:ident, $words:literal;)+) => {
        /// How far a request, or a connection without one, was when it failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum FailureStage {
            $($(#[doc = $doc])+ $stage,)+
        }

        /// Failures by stage.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)] // an earlier result may have fewer stages
        pub struct ByStage {
            $($(#[doc = $doc])+ pub $field: u64,)+
        }

        impl ByStage {
            /// Counts one.
            pub fn count(&mut self, stage: FailureStage) {
                *match stage {
                    $(FailureStage::$stage => &mut self.$field,)+
                } += 1;
            }

            /// The sums of both.
            #[must_use]
            pub fn and(self, other: &Self) -> Self {
                Self {
                    $($field: self.$field + other.$field,)+
                }
            }

            /// All of them.
            pub fn total(&self) -> u64 {
                [$(self.$field,)+].into_iter().sum()
            }

            /// Number and name of each stage in which something failed.
            pub fn by_name(&self) -> impl Iterator<Item = (u64, &'static str)> {
                [$((self.$field, $words),)+]
                    .into_iter()
                    .filter(|(count, _)| *count > 0)
            }
        }
    };
}

stages! {
    /// Open model: it waited for a free connection.
    Queued, queued, "waiting for a free connection";
    /// On the way to the server.
    Connecting, connecting, "connecting";
    /// Connected, and the session of TLS did not stand yet, or the proof was not accepted.
    Handshake, handshake, "in the handshake";
    /// Part of the request had not left.
    Sending, sending, "sending";
    /// Sent, and nothing of the answer had come; in a fan-out the line at some member.
    Waiting, waiting, "waiting for the first byte";
    /// Part of the answer had come, or all of it, and it was wrong.
    Reading, reading, "reading the answer";
    /// Nothing was owed.
    Idle, idle, "idle";
    /// Answered, and the server was to close.
    Closing, closing, "waiting for the close";
}

/// Failures by stage, in each part of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureStages {
    /// While the connections that stay were opened.
    pub opening: ByStage,
    /// What began in the warm-up.
    pub warm_up: ByStage,
    /// What began while measuring, and failed then.
    pub measured: ByStage,
    /// What began while measuring, and failed after its end.
    pub draining: ByStage,
}

impl FailureStages {
    /// All but the warm-up's.
    pub fn counted(&self) -> ByStage {
        self.opening.and(&self.measured).and(&self.draining)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_is_all_but_the_warm_up() {
        let mut stages = FailureStages::default();
        stages.opening.count(FailureStage::Connecting);
        stages.warm_up.count(FailureStage::Idle);
        stages.measured.count(FailureStage::Reading);
        stages.draining.count(FailureStage::Reading);
        let counted = stages.counted();
        let all: Vec<_> = counted.by_name().collect();
        assert_eq!(all, [(1, "connecting"), (2, "reading the answer")]);
        assert_eq!((counted.total(), stages.warm_up.total()), (3, 1));
    }
}
