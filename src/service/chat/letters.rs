//! What lines cost beside their own parsing: each member who is told one gets a letter.

use std::ops::AddAssign;

use crate::buf::ReadBuf;

/// How many letters weigh as much as a frame: a line that tells a thousand members something is
/// not one of 256 small ones, and a few who rename themselves all the time would stop the loop for
/// half a second (fault A7).
const PER_FRAME: usize = 8;

/// How many letters the lines of this input were for, and are not charged yet.
#[derive(Debug, Default)]
pub(super) struct Letters(usize);

impl Letters {
    /// Another input begins.
    pub(super) fn begin(&mut self) {
        self.0 = 0;
    }

    /// Takes what they weigh from the budget of the input.
    pub(super) fn charge(&mut self, input: &mut ReadBuf) {
        let frames = self.0 / PER_FRAME;
        self.0 %= PER_FRAME;
        input.charge(u32::try_from(frames).unwrap_or(u32::MAX));
    }
}

impl AddAssign<usize> for Letters {
    fn add_assign(&mut self, more: usize) {
        self.0 = self.0.saturating_add(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_weigh_what_frames_do_and_no_part_of_one_is_forgotten() {
        let (mut letters, mut input) = (Letters::default(), ReadBuf::default());
        input.begin_budget(10);
        for (more, left) in [(7, 10), (1, 9), (17, 7), (6, 7), (1, 6)] {
            letters += more;
            letters.charge(&mut input);
            assert_eq!(input.frames_left(), left, "{more}");
        }
        letters += 7;
        letters.begin();
        letters += 7;
        letters.charge(&mut input);
        assert_eq!(input.frames_left(), 6);
        letters += usize::MAX;
        letters.charge(&mut input);
        assert!(input.is_budget_spent());
    }
}
