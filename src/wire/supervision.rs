//! What a supervisor and the processes that it runs say to each other.
//!
//! Knows the messages: JSON, one in each packet of a `SOCK_SEQPACKET` socket (unix(7)), so that none is cut. Does not
//! know descriptors, which go beside a packet: the sockets that it describes, or one file in memory with what is too
//! long for a packet, or secret.
//!
//! ```text
//! supervisor                                  process
//!  │ {"sockets":{"sockets":[…]}}              │  as many descriptors; again while there are more
//!  │ ───────────────────────────────────────> │
//!  │ "begin"                                  │  and what the configuration says, in a file
//!  │ ───────────────────────────────────────> │
//!  │ "ready"                                  │  it could serve now
//!  │ <─────────────────────────────────────── │
//!  │ "go"                                     │  it serves
//!  │ ───────────────────────────────────────> │
//!  │                …                         │
//! ```
//!
//! Whichever end is gone, the other reads the end: a process then drains, as at `stop`.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::SocketDescription;

/// The longest packet: descriptions of 253 sockets fit.
pub const SUPERVISION_BYTES_MAX: usize = 128 * 1024;

/// What the supervisor says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToProcess {
    /// These sockets are for the next `begin` or `reload`.
    Sockets {
        /// One for each descriptor beside this.
        sockets: Vec<SocketDescription>,
    },
    /// Prepare to serve what the file beside this says, on those sockets.
    Begin,
    /// Serve.
    Go,
    /// Serve what the file beside this says from now on, on the sockets that are served already and on those that came.
    Reload,
    /// Open again what is written to: it may have been moved away.
    Reopen,
    /// Print the counters.
    Report,
    /// Another server has the sockets from now on.
    Release {
        /// The numbers of those that it goes on with, as fstat(2) has them. The others are closed when their queues
        /// are empty.
        taken: Vec<u64>,
    },
    /// Accept what is in the queues, let connections finish, and end.
    Stop,
    /// End.
    StopNow,
    /// Is the loop turning? It is answered with [`FromProcess::Alive`].
    Ping,
    /// Say what you have counted.
    Figures {
        /// To this process.
        to: u32,
    },
    /// The figures that were asked for.
    Told {
        /// Of all processes, and what the supervisor knows of each.
        of: Vec<ProcessState>,
    },
    /// What a process has counted, in the file beside this.
    Page {
        /// Which process.
        process: u32,
    },
}

/// What a process says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromProcess {
    /// It could serve now.
    Ready,
    /// It cannot, or can no longer, for these reasons.
    Failed {
        /// A line each.
        problems: Vec<String>,
    },
    /// It serves what it was told to serve from now on.
    Reloaded {
        /// Endpoints that it serves since then.
        opened: usize,
        /// Otherwise than before.
        changed: usize,
        /// No more.
        vanished: usize,
    },
    /// It serves what it served before, for these reasons.
    NotReloaded {
        /// A line each.
        problems: Vec<String>,
    },
    /// The loop turns.
    Alive,
    /// Somebody asks for the figures of all.
    AskFigures,
    /// What it has counted, in the file beside this.
    Page {
        /// For this process.
        to: u32,
    },
}

/// What a supervisor knows of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessState {
    /// Which: they are counted from 1.
    pub process: u32,
    /// Whether it serves.
    pub serves: bool,
    /// How often it has been started again.
    pub restarts: u64,
}

/// A message as a packet.
pub fn packed(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("strings and numbers make JSON")
}

/// The message in a packet.
///
/// # Errors
///
/// `InvalidData`: it is none. Both ends are the same program, so that is a mistake of ours.
pub fn unpacked<T: DeserializeOwned>(packet: &[u8]) -> io::Result<T> {
    serde_json::from_slice(packet)
        .map_err(|wrong| io::Error::new(io::ErrorKind::InvalidData, wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_what_was_packed() {
        let told = ToProcess::Told {
            of: vec![ProcessState {
                process: 2,
                serves: false,
                restarts: 7,
            }],
        };
        let packet = packed(&told);
        assert_eq!(unpacked::<ToProcess>(&packet).unwrap(), told);
        for cut in 0..packet.len() {
            let wrong = unpacked::<ToProcess>(&packet[..cut]).unwrap_err();
            assert_eq!(wrong.kind(), io::ErrorKind::InvalidData);
        }
        assert_eq!(packed(&ToProcess::Go), b"\"go\"");
        unpacked::<FromProcess>(b"\"go\"").unwrap_err();
    }
}
