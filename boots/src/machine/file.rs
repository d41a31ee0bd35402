//! Hardware from files, which are read again when they change. Every machine in them boots to install.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::thread;
use std::time::Duration;

use ::machine::Chain;
use model::{FilesError, Hardware, Mac, Object, ObjectName};

use super::place::{Place, Version};
use super::{BootInterface, BootState, HardwareFuture, MachineSource, SourceError, SourceFuture};

/// How often a place is looked at. Files are read at the second look that finds the same.
const LOOK: Duration = Duration::from_millis(500);
/// Lines about Hardware that share a MAC.
const MOST_LINES: usize = 20;

#[derive(Debug)]
pub struct FileSource {
    current: Arc<RwLock<Arc<Machines>>>,
}

/// Hardware, and which of it has a MAC or an address. If several have one, the first counts.
#[derive(Debug, Default)]
struct Machines {
    hardware: Vec<Arc<Hardware>>,
    by_mac: HashMap<Mac, usize>,
    by_address: HashMap<IpAddr, usize>,
}

impl Machines {
    fn of(hardware: Vec<Hardware>) -> Self {
        let mut machines = Self { hardware: hardware.into_iter().map(Arc::new).collect(), ..Self::default() };
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
        at.and_then(|at| self.hardware.get(*at)).map(|hardware| &**hardware)
    }

    /// MACs that several have.
    fn shared(&self) -> Vec<String> {
        let macs = |hardware: &Hardware| -> Vec<Mac> {
            hardware.spec.interfaces.iter().filter_map(|interface| interface.dhcp.as_ref()?.mac).collect()
        };
        let doubled = self.hardware.iter().enumerate().flat_map(|(at, hardware)| {
            macs(hardware).into_iter().filter_map(move |mac| {
                let first = self.by_mac.get(&mac).filter(|first| **first != at).and_then(|first| self.hardware.get(*first))?;
                let (first, name) = (first.name(), hardware.name());
                Some(format!("Hardware {first} and Hardware {name} both have {mac}; {first} counts"))
            })
        });
        doubled.take(MOST_LINES).collect()
    }

    fn only_at(&self, address: IpAddr) -> Result<Option<Arc<Hardware>>, SourceError> {
        if !self.by_address.contains_key(&address) {
            return Ok(None);
        }
        let found: Vec<_> = self.hardware.iter().filter(|hardware| hardware.spec.addresses().any(|own| own == address)).collect();
        match found.as_slice() {
            [] => Ok(None),
            [only] => Ok(Some(Arc::clone(only))),
            several => {
                let names = several.iter().map(|hardware| hardware.name()).collect();
                Err(SourceError::Ambiguous { address, names })
            }
        }
    }
}

impl FileSource {
    /// A file, or a folder with files.
    ///
    /// # Errors
    /// When it cannot be read, or has mistakes: the error lists all of them.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, SourceError> {
        Self::of(Place::Path(path.into()))
    }

    /// Follows the place until the source is dropped.
    ///
    /// # Errors
    /// As `open`, and if the system starts no thread.
    pub fn of(place: Place) -> Result<Self, SourceError> {
        let (version, machines) = read(&place)?;
        let current = Arc::new(RwLock::new(Arc::new(machines)));
        let followed = Arc::downgrade(&current);
        let follow = move || follow(&place, version, &followed);
        thread::Builder::new().name("hardware".to_owned()).spawn(follow).map_err(|error| SourceError::Other(error.into()))?;
        Ok(Self { current })
    }

    fn machines(&self) -> Arc<Machines> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads the place again when it has changed. A version with mistakes is reported once, and the last good one stays in force.
fn follow(place: &Place, mut used: Version, current: &Weak<RwLock<Arc<Machines>>>) {
    let (mut seen, mut is_gone) = (used.clone(), false);
    loop {
        thread::sleep(LOOK);
        let Some(current) = current.upgrade() else { return };
        let version = match place.version() {
            Ok(version) => version,
            Err(error) => {
                if !is_gone {
                    log::error!("machines: {}; those that {place} had before stay in force", Chain(&error));
                }
                is_gone = true;
                continue;
            }
        };
        is_gone = false;
        // Somebody may be writing.
        let is_settled = version.is_whole() || version == seen;
        seen.clone_from(&version);
        if version == used || !is_settled {
            continue;
        }
        match read(place) {
            Ok((version, machines)) => {
                log::info!("machines: {place} has changed{}: {} Hardware", version.shown(), machines.hardware.len());
                used = version;
                *current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(machines);
            }
            Err(error) => {
                log::error!("machines: {}; those that {place} had before stay in force", Chain(&error));
                used = version;
            }
        }
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

    fn hardware_at(&self, address: IpAddr) -> HardwareFuture<'_> {
        let found = self.machines().only_at(address);
        Box::pin(async move { found })
    }

    fn hardware_with(&self, mac: Mac) -> HardwareFuture<'_> {
        let machines = self.machines();
        let found = machines.by_mac.get(&mac).and_then(|at| machines.hardware.get(*at)).cloned();
        Box::pin(async move { Ok(found) })
    }

    fn hardware_named(&self, name: &ObjectName) -> HardwareFuture<'_> {
        let found = self.machines().hardware.iter().find(|hardware| hardware.name() == *name).cloned();
        Box::pin(async move { Ok(found) })
    }
}

fn read(place: &Place) -> Result<(Version, Machines), SourceError> {
    let (version, texts) = place.read()?;
    let objects = model::parse_texts(texts).map_err(FilesError::from)?;
    let hardware = objects.into_iter().filter_map(|object| match object {
        Object::Hardware(hardware) => Some(*hardware),
        _ => None,
    });
    let machines = Machines::of(hardware.collect());
    for line in machines.shared() {
        log::warn!("machines: {line}");
    }
    Ok((version, machines))
}
