use crate::wire::{Decode as _, FileAnswer, FileAnswers, FileError, Sha256Sum};

/// What a child has said.
#[derive(Debug, Default)]
pub(super) struct Output {
    answers: FileAnswers,
    unread: Vec<u8>,
    kept: Option<FileAnswer<'static>>,
}

impl Output {
    /// Keeps the last of these.
    pub(super) fn keep(&mut self, answers: Vec<FileAnswer<'static>>) {
        self.kept = answers.into_iter().next_back().or(self.kept.take());
    }

    /// Why it did not do what it was to do.
    pub(super) fn error(&self) -> Option<FileError> {
        match &self.kept {
            Some(FileAnswer::Error(error)) => Some(error.clone()),
            _ => None,
        }
    }

    /// The digest that was kept.
    pub(super) fn sha256(&self) -> Option<Sha256Sum> {
        match &self.kept {
            Some(FileAnswer::Ok(facts)) => facts.sha256,
            _ => None,
        }
    }

    /// Adds what it said, and takes what is whole.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Vec<FileAnswer<'static>> {
        self.unread.extend_from_slice(bytes);
        let mut all = Vec::new();
        loop {
            let taken = match self.answers.decode(&self.unread) {
                Ok(Some((FileAnswer::Ok(facts), taken))) => {
                    all.push(FileAnswer::Ok(facts));
                    taken
                }
                Ok(Some((FileAnswer::Error(error), taken))) => {
                    all.push(FileAnswer::Error(error));
                    taken
                }
                Ok(Some((_, taken))) => taken,
                // Our own child says nothing else; its end tells that something is missing.
                Ok(None) | Err(_) => return all,
            };
            self.unread.drain(..taken);
        }
    }
}
