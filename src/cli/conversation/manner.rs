use std::fmt;

/// How a person at a terminal is asked.
pub(in crate::cli) struct Manner {
    /// What stands before the line that is typed.
    pub(in crate::cli) prompt: &'static str,
    /// What the beginning of a word may become, of a line up to the cursor.
    pub(in crate::cli) complete: Box<dyn Fn(&str) -> Completions + Send>,
    /// Whether a line is not to be had again by a key: it has a secret in it.
    pub(in crate::cli) is_secret: fn(&str) -> bool,
}

impl fmt::Debug for Manner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manner")
            .field("prompt", &self.prompt)
            .finish_non_exhaustive()
    }
}

/// What the beginning of a word may become, and where in the line it begins.
#[derive(Debug, Default)]
pub(in crate::cli) struct Completions {
    pub(in crate::cli) at: usize,
    pub(in crate::cli) words: Vec<String>,
}
