//! What was learned of the network, kept in a folder that actions see, for the system that they install.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use cmdline::HwAddr;
use machine::files;

use super::bond::MIIMON;
use super::learned::{Bond, File, Learned, Nic};
use super::link::{self, Link};
use super::{Network, members};

/// NetworkManager wants its files to be root's alone, and netplan says so of its own.
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

impl Network {
    /// Writes it when it has changed, and not before PID 1 knows that there is a network: the boot goes first.
    pub(super) fn record(&mut self) {
        let Some(learned) = self.learned().filter(|_| self.ready.is_none()) else { return };
        if self.recorded.as_ref() == Some(&learned) {
            return;
        }
        if let Err(error) = write(Path::new(files::NETWORK), &learned.files()) {
            log::warn!("cannot write what was learned of the network to {}: {error}", files::NETWORK);
        }
        self.recorded = Some(learned); // also when it could not be written: once is enough to be told
    }

    fn learned(&self) -> Option<Learned> {
        let port = self.ports.get(&self.bound?)?;
        let lease = port.lease.clone()?;
        let base = self.links.iter().find(|link| port.link.is_on(link))?;
        let vlan = port.link.parent.and_then(|_| self.tag(base));
        let asked_for = self.arguments.bond.as_ref().filter(|bond| bond.name == base.name);
        let bond = asked_for.map(|bond| Bond::of(bond, base.mac, MIIMON));
        let nics = asked_for.map_or_else(|| vec![nic(base)], |bond| members::slaves(bond).iter().filter_map(member).collect());
        Some(Learned::new(nics, bond, vlan, lease))
    }
}

fn nic(link: &Link) -> Nic {
    Nic { name: link.name.clone(), mac: link.mac }
}

fn member(name: &String) -> Option<Nic> {
    let file = Path::new(link::SYSFS).join(name).join("bonding_slave/perm_hwaddr");
    let mac: HwAddr = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    Some(Nic { name: name.clone(), mac })
}

/// File by file, as the folder itself is bound into containers: a reader sees the old one or the new one.
fn write(folder: &Path, files: &[File]) -> io::Result<()> {
    for (name, text) in files {
        let path = folder.join(name);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        let is_private = name.starts_with("NetworkManager") || name.starts_with("netplan");
        let new = path.with_extension("new");
        let mode = if is_private { PRIVATE } else { PUBLIC };
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?.write_all(text.as_bytes())?;
        fs::rename(&new, &path)?;
    }
    forget_others(folder, folder, files);
    Ok(())
}

/// Files of a link that is not used any more.
fn forget_others(root: &Path, folder: &Path, files: &[File]) {
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let is_ours = files.iter().any(|(name, _)| root.join(name) == path);
        if path.is_dir() {
            forget_others(root, &path, files);
        } else if !is_ours && let Err(error) = fs::remove_file(&path) {
            log::warn!("cannot remove {}: {error}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_folder_has_what_was_learned_last_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let old = [file("NetworkManager/eth0.nmconnection", "old"), file("interfaces", "old")];
        let new = [file("NetworkManager/eth1.nmconnection", "new"), file("interfaces", "new")];
        for files in [old, new.clone()] {
            write(folder.path(), &files).unwrap();
        }
        for (name, text) in &new {
            assert_eq!(&fs::read_to_string(folder.path().join(name)).unwrap(), text);
        }
        assert!(!folder.path().join("NetworkManager/eth0.nmconnection").exists());
        for (name, mode) in [("NetworkManager/eth1.nmconnection", 0o600), ("interfaces", 0o644)] {
            assert_eq!(fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777, mode, "{name}");
        }
    }
}
