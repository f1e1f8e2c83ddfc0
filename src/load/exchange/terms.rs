//! What is asked, and what counts as the answer: the same for all requests of a run.

use crate::load::exchange::judge::Judge;
use crate::load::exchange::payload::Payload;
use crate::load::plan::Plan;

/// The terms of a run.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) payload: Payload,
    /// How many bytes a message has.
    pub(crate) size: usize,
    pub(crate) judge: Judge,
    /// Of commands: what their output is to be, if that is known, and their exit code.
    pub(crate) output: Option<Vec<u8>>,
    pub(crate) exit: i32,
}

impl Terms {
    /// As the plan has them.
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            payload: match &plan.text {
                Some(text) => Payload::fixed(text, plan.mode.depth()),
                None => Payload::new(plan.size, plan.mode.depth()),
            },
            size: plan.message_bytes(),
            judge: Judge::new(plan),
            output: plan.output.clone(),
            exit: plan.exit,
        }
    }

    /// How long an answer is, where that is known.
    #[inline]
    pub(crate) fn answer_bytes(&self) -> Option<usize> {
        self.judge.size(self.size)
    }
}
