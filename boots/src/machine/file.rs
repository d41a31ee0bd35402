//! Hardware from a YAML file, which is read again when it changes. Every machine in it boots to install.

use std::collections::HashMap;
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
    machines: Arc<Machines>,
    version: Version,
    looked: Instant,
}

/// Hardware, and which of it has a MAC or an address. If several have one, the first counts.
#[derive(Debug, Default)]
struct Machines {
    hardware: Vec<Hardware>,
    by_mac: HashMap<Mac, usize>,
    by_address: HashMap<IpAddr, usize>,
}

impl Machines {
    fn of(hardware: Vec<Hardware>) -> Self {
        let mut machines = Self { hardware, ..Self::default() };
        for (at, hardware) in machines.hardware.iter().enumerate() {
            for dhcp in hardware.spec.interfaces.iter().filter_map(|interface| interface.dhcp.as_ref()) {
                if let Some(mac) = dhcp.mac {
                    machines.by_mac.entry(mac).or_insert(at);
                }
                if let Some(address) = dhcp.ip.as_ref().and_then(|ip| ip.address) {
                    machines.by_address.entry(address).or_insert(at);
                }
            }
        }
        machines
    }

    fn find(&self, at: Option<&usize>) -> Option<&Hardware> {
        at.and_then(|at| self.hardware.get(*at))
    }
}

/// It changes with the content of the file, and is found without reading the file.
type Version = (SystemTime, u64);

impl FileSource {
    /// # Errors
    /// When the file cannot be read, or has mistakes: the error lists all of them.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, SourceError> {
        let path = path.into();
        let (version, machines) = read(&path)?;
        Ok(Self { state: Mutex::new(State { machines: Arc::new(machines), version, looked: Instant::now() }), path })
    }

    /// What the file says now. A file with mistakes is reported once, and its last good content stays in force.
    fn machines(&self) -> Arc<Machines> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() < TRUST {
            return Arc::clone(&state.machines);
        }
        state.looked = Instant::now();
        let version = version(&self.path).ok();
        if version.is_none_or(|version| version == state.version) {
            return Arc::clone(&state.machines);
        }
        match read(&self.path) {
            Ok((version, machines)) => {
                log::info!("read {} again: {} machines", self.path.display(), machines.hardware.len());
                (state.version, state.machines) = (version, Arc::new(machines));
            }
            Err(error) => {
                log::error!("{}; its previous content stays in force", Chain(&error));
                state.version = version.unwrap_or(state.version);
            }
        }
        Arc::clone(&state.machines)
    }
}

impl MachineSource for FileSource {
    fn machine(&self, mac: Mac) -> SourceFuture<'_> {
        let machines = self.machines();
        let found = machines.find(machines.by_mac.get(&mac));
        let machine =
            found.and_then(|hardware| BootInterface::from_hardware(hardware, mac, BootState::Install { workflow: None }));
        Box::pin(async move { Ok(machine) })
    }

    fn machine_at(&self, address: IpAddr) -> SourceFuture<'_> {
        let machines = self.machines();
        let boot = BootState::Install { workflow: None };
        let found = machines.find(machines.by_address.get(&address));
        let machine = found.and_then(|hardware| BootInterface::from_hardware_at(hardware, address, boot));
        Box::pin(async move { Ok(machine) })
    }
}

fn version(path: &Path) -> io::Result<Version> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.modified()?, metadata.len()))
}

fn read(path: &Path) -> Result<(Version, Machines), SourceError> {
    let unreadable = |source| FilesError::Unreadable { path: path.to_owned(), source };
    let version = version(path).map_err(unreadable)?; // before the text: a change in between is seen next time
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let objects = model::parse_texts([(path.display().to_string(), text)]).map_err(FilesError::from)?;
    let hardware = objects.into_iter().filter_map(|object| match object {
        Object::Hardware(hardware) => Some(*hardware),
        _ => None,
    });
    Ok((version, Machines::of(hardware.collect())))
}
