//! The network that a machine learned, as configuration files of the system that is installed. Each module below writes
//! them for one system.

#![forbid(unsafe_code)]

mod ifcfg;
mod ifupdown;
mod netplan;
mod network_manager;
mod networkd;
mod variables;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use machine::Chain;
use machine::network::{HwAddr, Learned, is_plain_name};

/// A file below the folder, and its text.
pub type File = (String, String);

/// NetworkManager and netplan accept their files only if no other user can read them.
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// What a link is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Duty {
    /// It has the address.
    Address,
    /// A VLAN above it has the address.
    Carries,
    /// It is part of a bond.
    Member,
}

impl Duty {
    fn of_nics(learned: &Learned) -> Self {
        if learned.bond.is_some() { Self::Member } else { Self::of_bond(learned) }
    }

    fn of_bond(learned: &Learned) -> Self {
        if learned.vlan.is_some() { Self::Carries } else { Self::Address }
    }
}

/// The files of all systems. They find links by their permanent addresses, and ask by DHCP again for an address that came by
/// DHCP.
pub fn files(learned: &Learned) -> Vec<File> {
    let learned = &with_plain_names(learned);
    let mut files = vec![
        ("netplan.yaml".to_owned(), netplan::render(learned)),
        ("interfaces".to_owned(), ifupdown::render(learned)),
        ("learned.env".to_owned(), variables::render(learned)),
    ];
    let folders: [(&str, Vec<File>); 3] = [
        ("networkd", networkd::render(learned)),
        ("NetworkManager", network_manager::render(learned)),
        ("ifcfg", ifcfg::render(learned)),
    ];
    for (folder, rendered) in folders {
        files.extend(rendered.into_iter().map(|(name, text)| (format!("{folder}/{name}"), text)));
    }
    files
}

/// Makes these files the only ones in the folder. Each is replaced by itself, because the folder may be mounted into
/// containers: a reader sees the old file or the new one.
pub fn write(folder: &Path, files: &[File]) -> io::Result<()> {
    for (name, text) in files {
        let path = folder.join(name);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        let is_private = name.starts_with("NetworkManager") || name.starts_with("netplan");
        let new = path.with_extension("new");
        let mode = if is_private { PRIVATE } else { PUBLIC };
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?.write_all(text.as_bytes())?;
        fs::rename(&new, &path)?;
    }
    remove_others(folder, folder, files);
    Ok(())
}

/// Removes the files of a link that is not used any more.
fn remove_others(root: &Path, folder: &Path, files: &[File]) {
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let is_current = files.iter().any(|(name, _)| root.join(name) == path);
        if path.is_dir() {
            remove_others(root, &path, files);
        } else if !is_current && let Err(error) = fs::remove_file(&path) {
            log::warn!("cannot remove {}: {}", path.display(), Chain(&error));
        }
    }
}

/// Names that would need quotes are replaced: the files find the links by their addresses.
fn with_plain_names(learned: &Learned) -> Learned {
    let mut learned = learned.clone();
    for (number, nic) in learned.nics.iter_mut().enumerate().filter(|(_, nic)| !is_plain_name(&nic.name)) {
        nic.name = format!("nic{number}");
    }
    if let Some(bond) = learned.bond.as_mut().filter(|bond| !is_plain_name(&bond.name)) {
        bond.name = "bond0".to_owned();
    }
    learned
}

fn joined<T: ToString>(items: &[T], between: &str) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(between)
}

/// An identifier that is the same at every boot, made from what identifies the link.
fn uuid(mac: HwAddr, kind: u16) -> String {
    let [a, b, c, d, e, f] = mac.0;
    format!("7468696d-626c-8{kind:03x}-8000-{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}{f:02x}")
}

/// The kind of a bond in [`uuid`]. The kind of a VLAN is its number, that of a plain link 0.
const BOND: u16 = 0xfff;

#[cfg(test)]
mod tests;
