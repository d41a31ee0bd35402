//! The journal: what the agent was doing, for a restarted agent. It is a small file that is always replaced as a whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::host::write_private;
use crate::outcome::Outcome;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JournalEntry {
    /// The action runs, or was running when the agent died.
    Running { action: Action, attempt: u32 },
    /// The action has ended, and the server has not acknowledged that yet.
    Finished { action: Action, attempt: u32, outcome: Outcome },
    /// The server has acknowledged the result.
    Acknowledged { action: Action, success: bool },
}

#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    entry: Option<JournalEntry>,
}

impl Journal {
    /// An unreadable journal counts as empty. The server then decides what runs again.
    pub fn open(path: &Path) -> Self {
        let entry = fs::read(path).ok().and_then(|bytes| match serde_json::from_slice(&bytes) {
            Ok(entry) => Some(entry),
            Err(error) => {
                log::warn!("cannot understand {}: {error}; starting without it", path.display());
                None
            }
        });
        Self { path: path.to_owned(), entry }
    }

    pub fn entry(&self) -> Option<&JournalEntry> {
        self.entry.as_ref()
    }

    /// Work continues without a journal. Only a restart in the middle of an action would lose information.
    pub fn write(&mut self, entry: JournalEntry) {
        if let Err(error) = replace(&self.path, &entry) {
            log::warn!("cannot write {}: {error}; a restart would forget the current action", self.path.display());
            if matches!(entry, JournalEntry::Running { .. }) {
                self.forget();
            }
        }
        self.entry = Some(entry);
    }

    /// An earlier action's reboot must not be taken for this one's.
    fn forget(&self) {
        for path in [self.path.with_extension("new"), self.path.clone()] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => log::warn!("cannot remove {}: {error}", path.display()),
                _ => {}
            }
        }
    }
}

fn replace(path: &Path, entry: &JournalEntry) -> io::Result<()> {
    let new = path.with_extension("new");
    write_private(&new, &serde_json::to_vec(entry)?)?; // it contains the action's environment
    fs::rename(&new, path)
}

/// The number of the attempt at `action` that begins now. Only an interrupted attempt counts.
pub fn attempt(last: Option<&JournalEntry>, action: &Action) -> u32 {
    match last {
        Some(JournalEntry::Running { action: last, attempt }) if last.id == action.id => attempt.saturating_add(1),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(id: &str) -> Action {
        let wire = proto::ActionResponse {
            workflow_id: Some("default/w".into()),
            task_id: Some("t".into()),
            action_id: Some(id.into()),
            ..Default::default()
        };
        Action::from_wire(wire).unwrap()
    }

    #[test]
    fn an_interrupted_action_counts_its_attempts() {
        let running = JournalEntry::Running { action: action("a"), attempt: 1 };
        assert_eq!(attempt(Some(&running), &action("a")), 2);
        assert_eq!(attempt(Some(&running), &action("b")), 1);
        assert_eq!(attempt(Some(&JournalEntry::Acknowledged { action: action("a"), success: true }), &action("a")), 1);
        assert_eq!(attempt(None, &action("a")), 1);
    }

    #[test]
    fn an_older_success_is_removed_even_if_the_start_cannot_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.json");
        let mut journal = Journal::open(&path);
        journal.write(JournalEntry::Acknowledged { action: action("a"), success: true });
        fs::create_dir(directory.path().join("journal.new")).unwrap(); // like a full tmpfs, this stops every write
        journal.write(JournalEntry::Running { action: action("b"), attempt: 1 });
        assert_eq!(Journal::open(&path).entry(), None);
    }

    #[test]
    fn an_entry_is_read_after_a_restart_and_nonsense_counts_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.json");
        let entry = JournalEntry::Running { action: action("a"), attempt: 3 };
        Journal::open(&path).write(entry.clone());
        assert_eq!(Journal::open(&path).entry(), Some(&entry));
        fs::write(&path, "{").unwrap();
        assert_eq!(Journal::open(&path).entry(), None);
    }
}
