//! Requests to reboot or power off, which actions leave as files (HookOS's convention, volume `/worker:/worker`). A kernel
//! that an action has loaded for kexec is such a request, too.

use std::fs;
use std::path::{Path, PathBuf};

use machine::Power;
use tokio::sync::watch;

use crate::sys;

/// Contains `1` while a kernel is loaded for kexec.
const LOADED: &str = "/sys/kernel/kexec_loaded";

#[derive(Debug, Clone)]
pub struct Requests {
    folder: PathBuf,
    loaded: PathBuf,
    /// Whether a kernel was loaded before this agent started. It does not belong to an action.
    foreign: bool,
    /// Actions in the background: what they ask for is still to come.
    pub busy: watch::Sender<usize>,
}

impl Requests {
    pub fn below(folder: &Path) -> Self {
        Self::with(folder, Path::new(LOADED))
    }

    fn with(folder: &Path, loaded: &Path) -> Self {
        let asked = folder.join(Power::Kexec.file()).exists();
        Self {
            folder: folder.to_owned(),
            loaded: loaded.to_owned(),
            foreign: is_set(loaded) && !asked,
            busy: watch::Sender::new(0),
        }
    }

    /// After an action's success, a kernel that it loaded is recorded as a request, which survives a restart of the agent.
    pub fn note_kernel(&self) {
        let path = self.folder.join(Power::Kexec.file());
        if !self.foreign
            && is_set(&self.loaded)
            && self.folder.is_dir()
            && !path.exists()
            && let Err(error) = fs::write(&path, "")
        {
            log::warn!("cannot write {}: {error}; the loaded kernel will not be started", path.display());
        }
    }

    /// The pending request. If there are several, the first of [`Power::ALL`] wins.
    pub fn pending(&self) -> Option<Power> {
        Power::ALL.into_iter().find(|power| self.folder.join(power.file()).exists())
    }

    /// Removes the requests of a failed action, so that the next action starts without any.
    pub fn forget(&self) {
        if *self.busy.borrow() > 0 {
            return;
        }
        for power in Power::ALL {
            let path = self.folder.join(power.file());
            if path.exists() {
                match fs::remove_file(&path) {
                    Ok(()) => log::warn!("removed {}: the action that wrote it did not succeed", path.display()),
                    Err(error) => log::warn!("cannot remove the old request {}: {error}", path.display()),
                }
            }
        }
        if !self.foreign && is_set(&self.loaded) {
            match sys::unload_kernel() {
                Ok(()) => log::warn!("unloaded the kernel of an action that did not succeed"),
                Err(error) => log::warn!("cannot unload the kernel of an action that did not succeed: {error}"),
            }
        }
    }
}

fn is_set(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_files_that_can_be_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let requests = Requests::below(folder.path());
        assert_eq!(requests.pending(), None);
        fs::write(folder.path().join("reboot"), "").unwrap();
        assert_eq!(requests.pending().map(Power::exit_code), Some(80));
        fs::write(folder.path().join("poweroff"), "").unwrap();
        assert_eq!(requests.pending().map(Power::exit_code), Some(81));
        requests.forget();
        assert_eq!(requests.pending(), None);
    }

    #[test]
    fn a_loaded_kernel_is_a_request_unless_it_was_loaded_before() {
        let worker = tempfile::tempdir().unwrap();
        let loaded = worker.path().join("loaded");
        fs::write(&loaded, "0\n").unwrap();
        let requests = Requests::with(worker.path(), &loaded);
        requests.note_kernel();
        assert_eq!(requests.pending(), None);
        fs::write(&loaded, "1\n").unwrap();
        requests.note_kernel();
        assert_eq!(requests.pending().map(Power::exit_code), Some(82));
        let restarted = Requests::with(worker.path(), &loaded);
        assert_eq!(restarted.pending().map(Power::exit_code), Some(82));

        fs::remove_file(worker.path().join("kexec")).unwrap();
        let of_somebody_else = Requests::with(worker.path(), &loaded);
        of_somebody_else.note_kernel();
        of_somebody_else.forget();
        assert_eq!(of_somebody_else.pending(), None);
    }
}
