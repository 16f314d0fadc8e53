//! Single keys from the terminal, without waiting for the end of a line.

use std::io::{self, IsTerminal, Stdin};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

/// Standard input as a source of keys, while it is a terminal. Dropping it puts the terminal back
/// as it was.
#[derive(Debug)]
pub struct Keys {
    input: Stdin,
    before: Termios,
}

impl Keys {
    /// Has the terminal hand over every key at once and show none. Ctrl-C and its like stay
    /// signals. `None` if standard input is no terminal.
    pub fn open() -> io::Result<Option<Self>> {
        let input = io::stdin();
        if !input.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&input)?;
        let mut changed = before.clone();
        changed.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        // A read returns what there is, be it nothing.
        changed.special_codes[SpecialCodeIndex::VMIN] = 0;
        changed.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&input, OptionalActions::Now, &changed)?;
        Ok(Some(Self { input, before }))
    }

    /// The keys pressed since the last call, as bytes; nothing if there were none.
    pub fn take(&self) -> Vec<u8> {
        let mut bytes = [0; 64];
        let count = rustix::io::read(&self.input, &mut bytes).unwrap_or(0);
        bytes[..count].to_vec()
    }
}

impl AsFd for Keys {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // If the terminal went away there is nothing to put back.
        tcsetattr(&self.input, OptionalActions::Now, &self.before).ok();
    }
}
