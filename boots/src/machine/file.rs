//! Hardware from a YAML file, which is read again when it changes. Every machine in it boots to install.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use std::{fs, io};

use ::machine::Chain;
use model::{FilesError, Hardware, Mac, Object};

use super::{BootInterface, BootState, MachineSource, SourceError, SourceFuture};

/// The shortest time between two checks of the file.
const TRUST: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    hardware: Arc<Vec<Hardware>>,
    version: Version,
    looked: Instant,
}

/// It changes with the content of the file, and is found without reading the file.
type Version = (SystemTime, u64);

impl FileSource {
    /// # Errors
    /// When the file cannot be read, or has mistakes: the error lists all of them.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, SourceError> {
        let path = path.into();
        let (version, hardware) = read(&path)?;
        Ok(Self { state: Mutex::new(State { hardware: Arc::new(hardware), version, looked: Instant::now() }), path })
    }

    /// What the file says now. A file with mistakes is reported once, and its last good content stays in force.
    fn hardware(&self) -> Arc<Vec<Hardware>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() < TRUST {
            return Arc::clone(&state.hardware);
        }
        state.looked = Instant::now();
        let version = version(&self.path).ok();
        if version.is_none_or(|version| version == state.version) {
            return Arc::clone(&state.hardware);
        }
        match read(&self.path) {
            Ok((version, hardware)) => {
                log::info!("read {} again: {} machines", self.path.display(), hardware.len());
                (state.version, state.hardware) = (version, Arc::new(hardware));
            }
            Err(error) => {
                log::error!("{}; its previous content stays in force", Chain(&error));
                state.version = version.unwrap_or(state.version);
            }
        }
        Arc::clone(&state.hardware)
    }
}

impl MachineSource for FileSource {
    fn machine(&self, mac: Mac) -> SourceFuture<'_> {
        let machine = self
            .hardware()
            .iter()
            .find_map(|hardware| BootInterface::from_hardware(hardware, mac, BootState::Install { workflow: None }));
        Box::pin(async move { Ok(machine) })
    }

    fn machine_at(&self, address: IpAddr) -> SourceFuture<'_> {
        let machine = self
            .hardware()
            .iter()
            .find_map(|hardware| BootInterface::from_hardware_at(hardware, address, BootState::Install { workflow: None }));
        Box::pin(async move { Ok(machine) })
    }
}

fn version(path: &Path) -> io::Result<Version> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.modified()?, metadata.len()))
}

fn read(path: &Path) -> Result<(Version, Vec<Hardware>), SourceError> {
    let unreadable = |source| FilesError::Unreadable { path: path.to_owned(), source };
    let version = version(path).map_err(unreadable)?; // before the text: a change in between is seen next time
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let objects = model::parse_texts([(path.display().to_string(), text)]).map_err(FilesError::from)?;
    let hardware = objects.into_iter().filter_map(|object| match object {
        Object::Hardware(hardware) => Some(*hardware),
        _ => None,
    });
    Ok((version, hardware.collect()))
}
