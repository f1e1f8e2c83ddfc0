use std::time::Duration;

/// How many entries of one person are answered in a second.
const OF_ONE_PER_SECOND_MAX: u32 = 4;

/// How many of all people together: a flood of forged entries does not become one of answers (fault E14).
const OF_ALL_PER_SECOND_MAX: u32 = 64;

/// Answers that were given in a second.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answers {
    second: u64,
    given: u32,
}

impl Answers {
    /// Whether one more may be given, of this person and in all; it counts then.
    pub(super) fn may_give(now: Duration, one: &mut Answers, all: &mut Answers) -> bool {
        one.begin(now);
        all.begin(now);
        let may = one.given < OF_ONE_PER_SECOND_MAX && all.given < OF_ALL_PER_SECOND_MAX;
        one.given += u32::from(may);
        all.given += u32::from(may);
        may
    }

    fn begin(&mut self, now: Duration) {
        if self.second != now.as_secs() {
            *self = Answers {
                second: now.as_secs(),
                given: 0,
            };
        }
    }
}
