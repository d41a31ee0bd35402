//! Which file a read request gets: a file of a folder, or one that is made for the machine.

use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;

use ::machine::Chain;
use api::StepKind;
use jiff::Timestamp;
use rustix::fs::{MemfdFlags, memfd_create};

use super::request::Refused;
use super::socket::Server;
use crate::beneath::{self, OpenError};
use crate::environment::Environment;
use crate::ipxe::Packs;
use crate::loaders::{self, Asked, By, Made, NotMade, Place, Via};
use crate::machine::SourceError;
use crate::packs::gather;
use crate::{BootInterface, Config, Milestone, ipxe, server_ca, steps};

pub struct Found {
    /// For logs.
    pub name: String,
    /// They are sent behind each other.
    pub files: Vec<File>,
    /// What it is to its machine, if that is known.
    pub kind: Option<StepKind>,
}

impl Found {
    fn file(name: impl Into<String>, file: File) -> Self {
        Self { name: name.into(), files: vec![file], kind: None }
    }
}

/// A path is looked for as asked first, and a boot program by its name alone at last. In between are the files of a loader that
/// reads everything by TFTP. `Err` of a request: it is to be made.
pub fn open(config: &Config, path: &str) -> Result<Result<Found, Refused>, (Asked, By)> {
    let plain = path.trim_start_matches('/');
    if let Ok(file) = beneath::open(&config.nbp, plain) {
        return Ok(Ok(Found::file(plain, file)));
    }
    if let Some(asked) = loaders::asked(path) {
        return Err(asked);
    }
    if plain == server_ca::PATH {
        return Ok(authority(config));
    }
    let file = match loaders::below_files(path) {
        Some(below) => Some(below),
        None => plain.rsplit('/').next().filter(|name| name.starts_with("onie-installer")),
    };
    if let Some(file) = file {
        return Ok(beneath::open(&config.files, file).map(|opened| Found::file(file, opened)).map_err(Refused::from));
    }
    Ok(ipxe::open_asked(config, path).map(|(name, file)| Found::file(name, file)).map_err(Refused::from))
}

fn authority(config: &Config) -> Result<Found, Refused> {
    let missing = || Refused::NotFound(server_ca::PATH.to_owned());
    let segment = server_ca::segment(config.server_ca.as_deref().ok_or_else(missing)?)
        .map_err(|error| Refused::NotMade { path: server_ca::PATH.to_owned(), why: error.to_string() })?;
    Ok(Found::file(server_ca::FILE, in_memory(&segment)?))
}

/// What GRUB, shim and PXELINUX ask for and do without. A line about each would hide others.
#[must_use]
pub fn is_usual_miss(path: &str) -> bool {
    let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
    let of_shim = matches!(name, "revocations_sku.efi" | "revocations_sbat.efi") || name.starts_with("shim_certificate_");
    of_shim || name.ends_with(".lst") || path.contains("pxelinux.cfg/") || name.starts_with("grub.cfg-")
}

/// A file without a place in a folder.
fn in_memory(bytes: &[u8]) -> Result<File, Refused> {
    let failed = |source: io::Error| Refused::Unreadable { name: "a file in memory".to_owned(), source };
    let mut file = File::from(memfd_create("boots", MemfdFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?);
    file.write_all(bytes).map_err(failed)?;
    Ok(file)
}

impl Server {
    /// Makes a file for the machine that asks. It may wait for the server and for the disk.
    pub(super) async fn make(
        &self,
        path: &str,
        asked: Asked,
        by: By,
        (peer, local): (IpAddr, Option<IpAddr>),
    ) -> Result<Found, Refused> {
        let config = self.config.seen_by(Some(peer), local);
        let machine = match self.who(by, peer).await {
            Ok(Some(machine)) => machine,
            Ok(None) => {
                return ipxe::open_asked(&config, path).map(|(name, file)| Found::file(name, file)).map_err(Refused::from);
            }
            Err(error) => {
                let Some(made) = loaders::disk(&asked) else {
                    log::error!("TFTP {peer}: no {}: {}", short(path), Chain(&error));
                    return Err(Refused::NotFound(short(path)));
                };
                log::error!("TFTP {peer}: {}; it boots its local disk", Chain(&error));
                return Ok(Found::file(format!("{} for the local disk", short(path)), in_memory(&made.bytes)?));
            }
        };
        if let Asked::RaspberryPi { serial: Some(serial), .. } = &asked
            && machine.rpi.as_ref().is_some_and(|rpi| !rpi.serial.is_empty() && !rpi.serial.ends_with(serial.as_str()))
        {
            return Err(Refused::NotMade { path: short(path), why: format!("{} has another serial number", machine.name) });
        }
        let (shelf, settings, who) = (Arc::clone(&self.packs), Arc::clone(&config), machine.clone());
        let gathered = tokio::task::spawn_blocking(move || gather(&settings, &shelf, &who, Some(&who.devices)).0);
        let packs = gathered.await.map_err(|error| Refused::Unreadable { name: short(path), source: io::Error::other(error) })?;
        let now = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
        match loaders::make(&asked, Via::Tftp, &config, &machine, &packs, now) {
            Ok(made) => self.made(path, &machine, peer, made),
            Err(NotMade::File) => match asked {
                Asked::RaspberryPi { file, .. } if file == loaders::RAMDISK => joined(&config, &machine, &packs, now),
                Asked::RaspberryPi { file, .. } => in_places(&config, &machine, &file),
                _ => Err(Refused::NotFound(short(path))),
            },
            Err(why) => match loaders::instead(&asked, &machine, &why) {
                Some(made) => {
                    log::warn!("TFTP: {} ({}) does not get its {}: {why}", machine.mac, machine.name, short(path));
                    let step = steps::of_tftp(StepKind::NbpRefused, path, &why.to_string(), Timestamp::now());
                    self.events.step(machine.mac, step);
                    Ok(Found::file(format!("{} in place of its own", short(path)), in_memory(&made.bytes)?))
                }
                None => Err(Refused::NotMade { path: short(path), why: why.to_string() }),
            },
        }
    }

    async fn who(&self, by: By, peer: IpAddr) -> Result<Option<BootInterface>, SourceError> {
        match by {
            By::Mac(mac) => self.source.machine(mac).await,
            By::Address(address) => self.source.machine_at(IpAddr::V4(address)).await,
            By::Sender => self.source.machine_at(peer).await,
        }
    }

    fn made(&self, path: &str, machine: &BootInterface, peer: IpAddr, made: Made) -> Result<Found, Refused> {
        let (boot, reason) = (machine.boot.word(), machine.boot.reason().to_owned());
        for note in &made.notes {
            log::warn!("{} of {} ({}): {note}", short(path), machine.mac, machine.name);
        }
        log::info!("TFTP: {} ({}) gets its {}: {boot}: {reason}", machine.mac, machine.name, short(path));
        self.events.publish(Some(machine.mac), Some(peer), Milestone::ScriptSent { boot, reason });
        Ok(Found::file(short(path), in_memory(&made.bytes)?))
    }
}

/// The ramdisk, and behind it what other loaders load after it. All of that is compressed, so it may begin anywhere.
fn joined(config: &Config, machine: &BootInterface, packs: &Packs, now: u64) -> Result<Found, Refused> {
    let environment = Environment::of(config, machine, packs, now);
    let open = |path: &String| beneath::open(&config.files, path).map_err(Refused::from);
    let mut files = vec![open(&environment.ramdisk)?];
    if environment.authority {
        files.extend(authority(config)?.files);
    }
    for (_, path) in &environment.packs {
        files.push(open(path)?);
    }
    let names: Vec<&str> = environment.segments().collect();
    Ok(Found { name: names.join(" with "), files, kind: Some(StepKind::Ramdisk) })
}

fn in_places(config: &Config, machine: &BootInterface, file: &str) -> Result<Found, Refused> {
    let open = |place: Place| match place {
        Place::Programs(path) => beneath::open(&config.nbp, &path).map(|file| Found::file(path, file)),
        Place::Files(path) => beneath::open(&config.files, &path).map(|file| Found::file(path, file)),
    };
    let mut last = OpenError::Missing(short(file));
    for place in loaders::places(machine, file) {
        match open(place) {
            Ok(found) => return Ok(found),
            Err(OpenError::Missing(_)) => {}
            Err(error) => last = error,
        }
    }
    Err(last.into())
}

/// What a client named, for logs.
fn short(path: &str) -> String {
    path.chars().take(100).flat_map(char::escape_debug).collect()
}
