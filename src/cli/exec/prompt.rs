//! Where command lines come from: the lines of standard input.

use std::io::{self, BufRead, IsTerminal, Read};

use anyhow::Context as _;

use crate::cli::Failure;
use crate::cli::streams::{input, say};
use crate::client::ServerAddress;

/// The longest line of standard input that is asked: what a server takes as a request.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// A source of command lines.
#[derive(Debug)]
pub(super) struct Prompt {
    /// What stands before a line that a person types.
    shown: Option<String>,
}

impl Prompt {
    pub(super) fn new(address: &ServerAddress) -> Result<Prompt, Failure> {
        let is_terminal = io::stdin().is_terminal();
        Ok(Prompt {
            shown: is_terminal.then(|| format!("{address}> ")),
        })
    }

    /// The next line, without its end; none at the end of input.
    pub(super) fn line(&mut self) -> Result<Option<String>, Failure> {
        if let Some(shown) = &self.shown {
            say(shown);
        }
        let mut line = Vec::new();
        let read = input()
            .by_ref()
            .take(LINE_BYTES_MAX + 1)
            .read_until(b'\n', &mut line);
        if read.context("standard input cannot be read")? == 0 {
            if self.shown.is_some() {
                say("\n");
            }
            return Ok(None);
        }
        if line.len() as u64 > LINE_BYTES_MAX {
            return Err(Failure::usage("a command line has at most 65536 bytes"));
        }
        let Ok(line) = String::from_utf8(line) else {
            return Err(Failure::usage("a command must be UTF-8"));
        };
        Ok(Some(line.trim_end_matches(['\n', '\r']).to_owned()))
    }
}
