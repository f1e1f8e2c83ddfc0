//! What a server tells its keeper: a line of JSON for each command that begins or ends.

use serde::{Deserialize, Serialize};

use super::Encode;

/// One line. A command has a mark, `PREFIX` and a number, which is in its environment as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keeping {
    /// A command is about to be started. Nobody has its mark before this.
    Begins {
        /// Its mark.
        mark: String,
        /// The directory in which it has a cgroup, named by its mark, if it has one.
        cgroup: Option<String>,
    },
    /// It runs: the leader of a session of this number.
    Runs {
        /// Its mark.
        mark: String,
        /// Its process.
        pid: u32,
    },
    /// It has ended, and its process is reaped; or it was never started.
    Ended {
        /// Its mark.
        mark: String,
    },
}

impl Encode for Keeping {
    fn encode(&self, out: &mut Vec<u8>) {
        serde_json::to_writer(&mut *out, self)
            .expect("text and numbers are JSON, and memory takes them");
        out.push(b'\n');
    }
}

impl Keeping {
    /// What a line without its end says, or nothing, if that is none of ours.
    pub fn of_line(line: &[u8]) -> Option<Keeping> {
        serde_json::from_slice(line).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let mark = || "4711-99-0-3".to_owned();
        for said in [
            Keeping::Begins {
                mark: mark(),
                cgroup: None,
            },
            Keeping::Begins {
                mark: mark(),
                cgroup: Some("/a b\n\"".into()),
            },
            Keeping::Runs {
                mark: mark(),
                pid: 17,
            },
            Keeping::Ended { mark: mark() },
        ] {
            let mut line = Vec::new();
            said.encode(&mut line);
            assert_eq!(line.pop(), Some(b'\n'));
            assert!(!line.contains(&b'\n'));
            assert_eq!(Keeping::of_line(&line), Some(said));
        }
        assert_eq!(Keeping::of_line(b"{\"stops\":{}}"), None);
        assert_eq!(Keeping::of_line(b""), None);
    }
}
