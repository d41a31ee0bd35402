//! What each machine asked while it booted, and what it was answered, over restarts.
//!
//! `book` is the memory, within limits. `file` keeps it on the disk. `diagnosis` names the likely cause when the next step does
//! not come. No machine waits for any of it.

#![forbid(unsafe_code)]

mod book;
mod diagnosis;
mod file;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ::machine::Chain;
use api::{BootStep, LastStep, MachineStep, StepKind};
use model::Mac;

pub use book::{Book, LEAST, MOST, PLACES, STRANGERS, TOTAL};
pub use diagnosis::{Situation, diagnose, other_server};

use file::File;

/// The file below the folder of the logs.
pub const NAME: &str = "boots.jsonl";
/// How long changes gather before they are written.
const GATHER: Duration = Duration::from_secs(1);

/// The steps of all machines. Dropping it writes what is not written yet.
#[derive(Debug, Default)]
pub struct Steps {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the writer.
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    book: Book,
    closed: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Steps {
    /// Reads the file in this folder, and keeps it from now on. A file that cannot be used costs a line of the log, and the
    /// steps are in memory only.
    #[must_use]
    pub fn open(folder: &Path) -> Self {
        let path = folder.join(NAME);
        match File::open(&path).and_then(|(file, book)| Self::kept(file, book)) {
            Ok(steps) => steps,
            Err(error) => {
                let path = path.display();
                log::error!("cannot keep in {path} how machines boot; it is lost at the next start: {}", Chain(&error));
                Self::default()
            }
        }
    }

    /// Reads the file of another process, and changes nothing.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        let book = file::read(path)?;
        Ok(Self {
            shared: Arc::new(Shared { state: Mutex::new(State { book, closed: false }), ..Shared::default() }),
            writer: None,
        })
    }

    fn kept(file: File, book: Book) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::new(State { book, closed: false }), ..Shared::default() });
        let writing = Arc::clone(&shared);
        let writer = std::thread::Builder::new().name("steps".to_owned()).spawn(move || write(&writing, file))?;
        Ok(Self { shared, writer: Some(writer) })
    }

    /// A machine has taken a step. `is_known` says whether it has Hardware, and so a place of its own. It never waits.
    pub fn add(&self, mac: Mac, is_known: bool, step: BootStep) {
        let mut state = self.shared.state();
        let wakes = state.book.add(mac, is_known, step);
        if self.writer.is_none() {
            state.book.forget_changes();
        } else if wakes {
            drop(state);
            self.shared.news.notify_one();
        }
    }

    /// Whether a step of this kind would be the first one of its boot.
    #[must_use]
    pub fn is_news(&self, mac: Mac, kind: StepKind) -> bool {
        self.shared.state().book.is_news(mac, kind)
    }

    /// Oldest first.
    #[must_use]
    pub fn of(&self, mac: Mac) -> Vec<BootStep> {
        self.shared.state().book.of(mac).cloned().collect()
    }

    /// The steps of several interfaces in the order of time.
    #[must_use]
    pub fn of_all(&self, macs: &[Mac]) -> Vec<MachineStep> {
        let state = self.shared.state();
        let mut steps: Vec<MachineStep> =
            macs.iter().flat_map(|&mac| state.book.of(mac).map(move |step| MachineStep { mac, step: step.clone() })).collect();
        drop(state);
        steps.sort_by_key(|one| one.step.latest());
        steps
    }

    /// The latest step of these interfaces, and whether another DHCP server is near.
    #[must_use]
    pub fn last(&self, macs: impl IntoIterator<Item = Mac>) -> Option<LastStep> {
        let state = self.shared.state();
        let latest = macs.into_iter().filter_map(|mac| Some((mac, state.book.of(mac).last()?)));
        let (mac, step) = latest.max_by_key(|(_, step)| step.latest())?;
        let other_server = diagnosis::other_server(state.book.of(mac));
        Some(LastStep { step: MachineStep { mac, step: step.clone() }, other_server })
    }

    /// Machines without Hardware whose MAC differs in at most two digits: a typing error looks so.
    #[must_use]
    pub fn similar(&self, mac: Mac) -> Vec<Mac> {
        self.shared.state().book.similar(mac)
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.news.notify_one();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join(); // it panicked, which the panic handler has reported
        }
    }
}

/// Writes changes until the steps are dropped.
fn write(shared: &Shared, mut file: File) {
    let mut failed = false;
    loop {
        let idle = |state: &mut State| !state.closed && !state.book.has_changed();
        let state = shared.news.wait_while(shared.state(), idle).unwrap_or_else(PoisonError::into_inner);
        let gather = shared.news.wait_timeout_while(state, GATHER, |state| !state.closed);
        let (mut state, _) = gather.unwrap_or_else(PoisonError::into_inner);
        let closed = state.closed;
        let done = if file.wants_all() {
            let macs = state.book.macs();
            drop(state);
            // Machines that boot meanwhile wait for one part only.
            file.replace(macs.chunks(file::TOGETHER).map(|macs| shared.state().book.whole(macs)))
        } else {
            let changes = state.book.take_changes();
            drop(state);
            file.append(&changes)
        };
        match done {
            Err(error) if !failed => {
                failed = true;
                log::warn!("cannot keep how machines boot in {}: {}", file.path().display(), Chain(&error));
            }
            Err(_) => {}
            Ok(()) => failed = false,
        }
        if closed {
            return;
        }
    }
}

/// Where the steps are below the folder of the logs.
#[must_use]
pub fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn steps_without_a_file_do_not_wait_for_one() {
        let steps = Steps::default();
        steps.add(Mac::new([2; 6]), true, BootStep::new(Timestamp::UNIX_EPOCH, StepKind::Offered, "DISCOVER", "OFFER"));
        assert_eq!(steps.of(Mac::new([2; 6])).len(), 1);
        assert!(!steps.shared.state().book.has_changed());
    }
}
