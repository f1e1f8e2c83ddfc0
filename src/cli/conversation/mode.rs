use std::io;

use rustix::stdio::stdin;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

/// How a terminal was before it was ours.
///
/// rustyline has it to itself while a line is being typed. Between two lines it would be as it was, for a moment in
/// which what is typed would be echoed, and Ctrl-D would be lost: so that mode is one in which keys are kept as they are.
#[derive(Debug)]
pub(super) struct Mode {
    before: Termios,
}

impl Mode {
    /// Takes the terminal.
    pub(super) fn take() -> io::Result<Mode> {
        let before = tcgetattr(stdin())?;
        let mut ours = before.clone();
        let keys = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
        ours.local_modes.remove(keys);
        ours.input_modes
            .remove(InputModes::ICRNL | InputModes::IXON);
        ours.special_codes[SpecialCodeIndex::VMIN] = 1;
        ours.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(stdin(), OptionalActions::Now, &ours)?;
        Ok(Mode { before })
    }

    /// As it was.
    pub(super) fn give_back(&self) {
        // A terminal that has gone is nobody's.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}

impl Drop for Mode {
    fn drop(&mut self) {
        self.give_back();
    }
}
