//! `reboot`, `poweroff` and the end of `kexec`: leaves a file in /worker. The agent acts on it once the server has
//! acknowledged the success.

use std::io;
use std::path::{Path, PathBuf};

use machine::files;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    Reboot,
    PowerOff,
    Kexec,
}

#[derive(Debug, thiserror::Error)]
pub enum PowerError {
    #[error("{0} does not exist: the action needs volumes: [\"/worker:/worker\"] in the template")]
    NotBound(PathBuf),
    #[error("cannot write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Request {
    fn file(self) -> &'static str {
        match self {
            Self::Reboot => "reboot",
            Self::PowerOff => "poweroff",
            Self::Kexec => "kexec",
        }
    }
}

pub fn run(request: Request) -> Result<(), PowerError> {
    leave(Path::new(files::WORKER), request)
}

fn leave(worker: &Path, request: Request) -> Result<(), PowerError> {
    if !worker.is_dir() {
        return Err(PowerError::NotBound(worker.to_owned()));
    }
    let path = worker.join(request.file());
    std::fs::write(&path, "").map_err(|source| PowerError::Write { path, source })?;
    crate::say(&format!("asked for {} once the server has acknowledged this action's success", request.file()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wish_is_a_file_in_the_workers_folder() {
        for (request, file) in [(Request::Reboot, "reboot"), (Request::PowerOff, "poweroff"), (Request::Kexec, "kexec")] {
            let worker = tempfile::tempdir().unwrap();
            leave(worker.path(), request).unwrap();
            assert!(worker.path().join(file).is_file());
        }
    }

    #[test]
    fn without_the_volume_the_template_is_to_blame() {
        let error = leave(Path::new("/no/worker"), Request::Reboot).unwrap_err();
        assert!(error.to_string().contains("volumes: [\"/worker:/worker\"]"), "{error}");
    }
}
