//! What the server has allocated, and what it keeps when its connections have gone.

use std::cell::Cell;

use crate::counting::Tally;

thread_local! {
    static TALLY: Cell<Option<&'static Tally>> = const { Cell::new(None) };
}

/// How much this thread had allocated at some time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory(i64);

impl Memory {
    pub(crate) fn now() -> Memory {
        let tally = TALLY.get().unwrap_or_else(|| {
            let tally = Tally::new();
            TALLY.set(Some(tally));
            tally.count_this_thread();
            tally
        });
        Memory(tally.live())
    }

    /// How much more it is now.
    pub(crate) fn grown(self) -> i64 {
        Memory::now().0 - self.0
    }
}
