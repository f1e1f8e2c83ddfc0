use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::Confinement;

/// What the launcher of a command is told: this program once more, between the server and the command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The process that ends the command with itself.
    pub server: u32,
    /// What no other command has or had: the name of its cgroup.
    pub mark: String,
    /// The file that is run.
    pub program: Vec<u8>,
    /// Its arguments, with the name that it is called by first.
    pub arguments: Vec<Vec<u8>>,
    /// `NAME=VALUE`, all that it has.
    pub environment: Vec<Vec<u8>>,
    /// Where it runs; none: where the server does.
    pub directory: Option<PathBuf>,
    /// What is done before.
    pub confinement: Confinement,
}

/// What a launcher puts before the reason why the command was not run; no order begins so.
pub const REFUSAL: u8 = b'!';

/// What stands there before a number of the system's (errno(3)), where that is all there is to say.
pub const ERRNO: char = '=';
