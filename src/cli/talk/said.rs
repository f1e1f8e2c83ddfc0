//! What a peer said, on our screen.

use crate::cli::Failure;
use crate::cli::conversation::{Conversation, Look};

/// Shows each line of it; on a terminal `mark` stands before each, which nothing that is said can imitate. Through
/// pipes it does where `is_marked`.
pub(super) fn show(
    conversation: &mut Conversation,
    mark: &str,
    is_marked: bool,
    said: &[u8],
) -> Result<(), Failure> {
    let is_marked = is_marked || !conversation.is_plain();
    for line in said.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if is_marked {
            let shown = [mark.as_bytes(), b" ", line].concat();
            conversation.show(&shown, Look::Said(mark.len()))?;
        } else {
            conversation.show(line, Look::Said(0))?;
        }
    }
    Ok(())
}
