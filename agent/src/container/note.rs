//! The child's reports to the agent: one JSON object per line, on the socket that is its standard input.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// An error that libcontainer logged. The errors that it returns do not say what went wrong.
    Library(String),
    /// The action's process runs. Its time counts from here.
    Started { pid: i32 },
    /// The container was made, but its program could not be started.
    NotStarted(String),
    /// The container could not be made or started.
    Failed(String),
    /// The exit code, or 128 and the signal's number for a process that was killed.
    Exited { code: i32, oom_kills: u64 },
}

impl Note {
    pub fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    pub fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_survive_the_wire_and_noise_is_not_a_note() {
        for note in [Note::Library("a\nb".into()), Note::Started { pid: 7 }, Note::Exited { code: 137, oom_kills: 1 }] {
            let line = note.line();
            assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1, "one line each");
            assert_eq!(Note::parse(&line), Some(note));
        }
        assert_eq!(Note::parse(b"thread panicked"), None);
    }
}
