//! Driver packs that the machine fetches itself. A network boot brings packs as further segments of the ramdisk. An ISO image
//! brings only what packs there are, and their digests ([`Offer`]).
//!
//! They come before the agent asks for work, because an action may need their disks.

mod devices;
mod fetch;
mod unpack;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use api::packs::{Offer, Pack};
use machine::{Chain, Milestone, files};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::space;
use devices::Device;

/// A driver that starts its hardware for longer goes on by itself.
const LOADED_WITHIN: Duration = Duration::from_secs(60);
/// How long the drivers of the ramdisk may take to find their devices.
const DRIVERS_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
const MODPROBE: &str = "/sbin/modprobe";

/// Fetches, unpacks and loads what this machine needs of the packs in its image, if its image names any. `names` are those that
/// it needs whatever its devices are.
pub async fn add(root: &Path, names: &[String]) {
    let Some(offer) = offer(root) else {
        if !names.is_empty() {
            log::debug!("thimble.packs counts only for an ISO image of a site; a network boot has its packs already");
        }
        return;
    };
    wait_for_drivers(root).await;
    let present = present(root);
    let unknown = names.iter().filter(|name| offer.index.packs.iter().all(|pack| pack.name != **name));
    for name in unknown {
        log::error!("driver pack {name} of thimble.packs does not exist; there are: {}", all_names(&offer));
    }
    let without_driver = devices::without_driver(&root.join("sys"));
    let mut attempts = fetch::ATTEMPTS;
    for (pack, devices) in wanted(&offer, &without_driver, names, &present) {
        if let Ended::Away = add_one(root, &offer, pack, &devices, attempts).await {
            attempts = 1; // the same boots has the others, and it was waited for already
        }
    }
    Milestone::Packs.reached();
}

enum Ended {
    Tried,
    /// boots did not answer.
    Away,
}

async fn add_one(root: &Path, offer: &Offer, pack: &Pack, devices: &[&Device], attempts: u32) -> Ended {
    let (url, free) = (offer.url_of(pack), space::free(root).memory);
    let bytes = match fetch::whole(&url, pack, free, attempts).await {
        Ok(bytes) => bytes,
        Err(error) => {
            let without = shown(devices);
            log::error!("driver pack {} is missing, so the machine goes on without it{without}: {}", pack.name, Chain(&error));
            return if error.may_pass() { Ended::Away } else { Ended::Tried };
        }
    };
    let count = match unpack::into(root, &bytes) {
        Ok(count) => count,
        Err(error) => {
            log::error!("driver pack {} from {url} cannot be unpacked: {}", pack.name, Chain(&error));
            let _ = fs::remove_file(manifest(root, &pack.name)); // the next agent tries again
            return Ended::Tried;
        }
    };
    log::info!("driver pack {} from {url}: {count} files, {} bytes{}", pack.name, pack.size, shown(devices));
    load(&files::below(root, MODPROBE), devices).await;
    Ended::Tried
}

/// What the machine lacks a driver for, as the end of a line.
fn shown(devices: &[&Device]) -> String {
    let names: Vec<&str> = devices.iter().map(|device| device.place.as_str()).collect();
    if names.is_empty() { String::new() } else { format!(" (for {})", names.join(", ")) }
}

/// Modules without a device are loaded by the kernel, when it asks for them by name.
async fn load(program: &Path, devices: &[&Device]) {
    let aliases: BTreeSet<&str> = devices.iter().map(|device| device.modalias.as_str()).collect();
    if aliases.is_empty() {
        return;
    }
    let mut modprobe = Command::new(program);
    modprobe.args(["-a", "-b", "--"]).args(&aliases).stdin(Stdio::null());
    match timeout(LOADED_WITHIN, modprobe.output()).await {
        Err(_) => log::warn!("the drivers of a pack are still starting their devices after {} s", LOADED_WITHIN.as_secs()),
        Ok(Err(error)) => log::error!("cannot execute {}: {error}", program.display()),
        Ok(Ok(output)) if !output.status.success() => {
            String::from_utf8_lossy(&output.stderr).lines().for_each(|line| log::warn!("{line}"));
        }
        Ok(Ok(_)) => {}
    }
}

/// The packs that a device asks for or that are named, and are not there yet.
fn wanted<'a>(
    offer: &'a Offer,
    without_driver: &'a [Device],
    names: &[String],
    present: &BTreeSet<String>,
) -> Vec<(&'a Pack, Vec<&'a Device>)> {
    let mut wanted = Vec::new();
    for pack in offer.index.packs.iter().filter(|pack| !present.contains(&pack.name)) {
        let devices = devices::served_by(pack, without_driver);
        if !devices.is_empty() || names.contains(&pack.name) {
            wanted.push((pack, devices));
        }
    }
    wanted
}

fn all_names(offer: &Offer) -> String {
    offer.index.packs.iter().map(|pack| pack.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn offer(root: &Path) -> Option<Offer> {
    let path = files::below(root, files::PACKS);
    let text = fs::read(&path).ok()?; // only an ISO image for a site has it
    let offer = Offer::parse(&text);
    offer.inspect_err(|error| log::error!("no driver packs are used: {}: {}", path.display(), Chain(error))).ok()
}

/// The packs whose manifest is there: those of the boot loader, and those of an agent before this one.
fn present(root: &Path) -> BTreeSet<String> {
    let manifests = fs::read_dir(files::below(root, files::PACK_MANIFESTS)).into_iter().flatten().flatten();
    manifests.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn manifest(root: &Path, pack: &str) -> PathBuf {
    files::below(root, files::PACK_MANIFESTS).join(pack)
}

/// A device may be without a driver only because the ramdisk's own is still being loaded.
async fn wait_for_drivers(root: &Path) {
    let loaded = async {
        while fs::read_to_string(files::below(root, files::BOOT)).is_ok_and(|boot| Milestone::Drivers.at(&boot).is_none()) {
            sleep(POLL).await;
        }
    };
    if timeout(DRIVERS_WITHIN, loaded).await.is_err() {
        log::warn!("the ramdisk's drivers are still starting their devices; the driver packs do not wait for them");
    }
}

#[cfg(test)]
mod tests;
