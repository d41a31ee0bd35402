//! `reboot`, `poweroff` and the end of `kexec`: leaves a file in /worker. The agent acts on it once the server has
//! acknowledged the success.

use std::io;
use std::path::{Path, PathBuf};

use machine::{Power, files};

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

pub fn run(power: Power) -> Result<(), PowerError> {
    leave(Path::new(files::WORKER), power)
}

pub fn dry_run(power: Power) -> Result<(), PowerError> {
    if !Path::new(files::WORKER).is_dir() {
        return Err(PowerError::NotBound(files::WORKER.into()));
    }
    crate::say(&format!("would ask for {}; nothing was asked for", power.file()));
    Ok(())
}

fn leave(worker: &Path, power: Power) -> Result<(), PowerError> {
    if !worker.is_dir() {
        return Err(PowerError::NotBound(worker.to_owned()));
    }
    let path = worker.join(power.file());
    std::fs::write(&path, "").map_err(|source| PowerError::Write { path, source })?;
    crate::say(&format!("asked for {} once the server has acknowledged this action's success", power.file()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wish_is_a_file_in_the_workers_folder() {
        for power in Power::ALL {
            let worker = tempfile::tempdir().unwrap();
            leave(worker.path(), power).unwrap();
            assert!(worker.path().join(power.file()).is_file());
        }
    }

    #[test]
    fn without_the_volume_the_template_is_to_blame() {
        let error = leave(Path::new("/no/worker"), Power::Reboot).unwrap_err();
        assert!(error.to_string().contains("volumes: [\"/worker:/worker\"]"), "{error}");
    }
}
