//! Firmware files from Debian's firmware packages or a folder: only those that a driver in the ramdisk names. They are
//! stored unpacked, because not every kernel reads packed ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::compress::{Decompressor, Packing};
use crate::deb::{self, DebError};
use crate::error::BuildError;
use crate::recipe::{ExtraFile, Module};
use devices::module::ModuleName;

const FOLDERS: [&str; 2] = ["lib/firmware/", "usr/lib/firmware/"];
const SUFFIXES: [&str; 3] = ["", ".zst", ".xz"];
/// How many links in a row are followed.
const LINKS: u8 = 8;

#[derive(Debug, thiserror::Error)]
pub enum FirmwareError {
    #[error("cannot read firmware from {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is not usable as a firmware package")]
    Deb {
        path: PathBuf,
        #[source]
        source: DebError,
    },
}

/// Contents by the name that a driver asks for.
#[derive(Debug, Default)]
pub struct Firmware(BTreeMap<String, Vec<u8>>);

impl Firmware {
    /// The first source that has a file wins.
    pub fn gather<'a>(sources: &[PathBuf], modules: impl Iterator<Item = &'a Module>) -> Result<Self, BuildError> {
        let mut wanted: BTreeSet<&str> = modules.flat_map(|module| &module.info.firmware).map(String::as_str).collect();
        let mut found = BTreeMap::new();
        for source in sources {
            let more = if source.is_dir() { in_folder(source, &wanted)? } else { in_package(source, &wanted)? };
            wanted.retain(|name| !more.contains_key(*name));
            found.extend(more);
        }
        Ok(Self(found))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The files that these drivers ask for, as far as they were found.
    pub fn of(&self, modules: &[Module]) -> Vec<ExtraFile> {
        let wanted: BTreeSet<&String> = modules.iter().flat_map(|module| &module.info.firmware).collect();
        let file = |name: &String| {
            let data = self.0.get(name)?.clone();
            Some(ExtraFile { path: format!("lib/firmware/{name}"), data, is_program: false })
        };
        wanted.into_iter().filter_map(file).collect()
    }

    /// Whether a file that this driver asks for was found.
    pub fn serves(&self, module: &Module) -> bool {
        module.info.firmware.iter().any(|name| self.0.contains_key(name))
    }

    /// `FILE (MODULE)` of every file that was not found.
    pub fn missing(&self, modules: &[Module]) -> Vec<String> {
        let line = |module: &Module, name: &String| {
            (!self.0.contains_key(name)).then(|| format!("{name} ({})", ModuleName::of_path(&module.path)))
        };
        modules.iter().flat_map(|module| module.info.firmware.iter().filter_map(move |name| line(module, name))).collect()
    }
}

fn in_folder(folder: &Path, wanted: &BTreeSet<&str>) -> Result<BTreeMap<String, Vec<u8>>, FirmwareError> {
    let mut found = BTreeMap::new();
    let places = [""].iter().chain(&FOLDERS).map(|place| folder.join(place));
    let places: Vec<PathBuf> = places.filter(|place| place.is_dir()).collect();
    for name in wanted.iter().filter(|name| is_plain(name)) {
        let paths = places.iter().flat_map(|place| SUFFIXES.map(|suffix| (place.join(format!("{name}{suffix}")), suffix)));
        if let Some((path, suffix)) = paths.into_iter().find(|(path, _)| path.is_file()) {
            let failed = |source| FirmwareError::Read { path: path.clone(), source };
            let data = unpacked(suffix, File::open(&path).map_err(failed)?).map_err(failed)?;
            found.insert((*name).to_owned(), data);
        }
    }
    Ok(found)
}

/// Two passes: the first finds the links, the second reads the wanted files.
fn in_package(path: &Path, wanted: &BTreeSet<&str>) -> Result<BTreeMap<String, Vec<u8>>, FirmwareError> {
    let mut links = BTreeMap::new();
    let mut files = BTreeSet::new();
    each(path, |name, entry| {
        match entry.link_name_bytes() {
            Some(target) => drop(links.insert(name.to_owned(), resolved(name, &String::from_utf8_lossy(&target)))),
            None => drop(files.insert(name.to_owned())),
        }
        Ok(())
    })?;
    let place = |name: &str| {
        let mut at = SUFFIXES
            .map(|suffix| format!("{name}{suffix}"))
            .into_iter()
            .find(|it| files.contains(it) || links.contains_key(it))?;
        for _ in 0..LINKS {
            match links.get(&at) {
                Some(target) => at = target.clone(),
                None => return files.contains(&at).then_some(at),
            }
        }
        None
    };
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in wanted.iter().filter(|name| is_plain(name)) {
        if let Some(file) = place(name) {
            names.entry(file).or_default().push((*name).to_owned());
        }
    }
    let mut found = BTreeMap::new();
    each(path, |name, entry| {
        if let Some(wanted) = names.get(name).filter(|_| entry.link_name_bytes().is_none()) {
            let suffix = SUFFIXES.iter().rev().find(|suffix| name.ends_with(**suffix)).copied().unwrap_or_default();
            let data = unpacked(suffix, entry)?;
            found.extend(wanted.iter().map(|name| (name.clone(), data.clone())));
        }
        Ok(())
    })?;
    Ok(found)
}

/// Calls back with each file and link below the firmware folder, by its name in it.
fn each(
    path: &Path,
    mut visit: impl FnMut(&str, &mut tar::Entry<'_, Decompressor<io::Take<BufReader<File>>>>) -> io::Result<()>,
) -> Result<(), FirmwareError> {
    let failed = |source| FirmwareError::Read { path: path.to_owned(), source };
    let file = BufReader::new(File::open(path).map_err(failed)?);
    let data = deb::data_tar(file).map_err(|source| FirmwareError::Deb { path: path.to_owned(), source })?;
    for entry in tar::Archive::new(data).entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let kind = entry.header().entry_type();
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = name.trim_start_matches("./");
        let inside = FOLDERS.iter().find_map(|folder| name.strip_prefix(folder));
        if let Some(name) = inside.filter(|_| kind.is_file() || kind.is_symlink() || kind.is_hard_link()) {
            visit(name, &mut entry).map_err(failed)?;
        }
    }
    Ok(())
}

/// The target of a link, by its name in the firmware folder. The target of a hard link is a path from the package's root.
fn resolved(name: &str, target: &str) -> String {
    let target = target.trim_start_matches("./");
    if let Some(inside) = FOLDERS.iter().find_map(|folder| target.trim_start_matches('/').strip_prefix(folder)) {
        return inside.to_owned();
    }
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The name comes from a driver's file, and becomes a path on the building machine.
fn is_plain(name: &str) -> bool {
    !name.starts_with('/') && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn unpacked(suffix: &str, reader: impl Read) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    match Packing::of_suffix(suffix) {
        Some(packing) => drop(Decompressor::new(packing, reader)?.read_to_end(&mut data)?),
        None => return Err(io::Error::other(format!("{suffix}: this compression is unknown"))),
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::modinfo::ModInfo;

    fn module(name: &str, wants: &[&str]) -> Module {
        let info: String = wants.iter().map(|file| format!("firmware={file}\0")).collect();
        Module { path: format!("kernel/{name}.ko"), data: Vec::new(), info: ModInfo::parse(info.as_bytes()) }
    }

    /// A package with a file, a packed one, and links of both kinds.
    fn package(folder: &Path) -> PathBuf {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        for (path, data) in [
            ("./lib/firmware/a/one.bin", &b"one"[..]),
            ("./usr/lib/firmware/two.bin.zst", &zstd::encode_all(&b"two"[..], 1).unwrap()),
        ] {
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, data).unwrap();
        }
        for (kind, path, target) in [
            (tar::EntryType::Symlink, "./lib/firmware/b/link.bin", "../a/one.bin"),
            (tar::EntryType::Symlink, "./lib/firmware/loop.bin", "loop.bin"),
            (tar::EntryType::Link, "./lib/firmware/hard.bin", "./lib/firmware/a/one.bin"),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(0);
            tar.append_link(&mut header, path, target).unwrap();
        }
        let path = folder.join("firmware.deb");
        fs::write(&path, crate::deb::tests::package("data.tar", &tar.into_inner().unwrap())).unwrap();
        path
    }

    #[test]
    fn only_what_a_driver_names_is_taken_from_packages_and_folders() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("lib/firmware")).unwrap();
        fs::write(folder.path().join("lib/firmware/three.bin"), "three").unwrap();
        fs::write(folder.path().join("unasked.bin"), "x").unwrap();
        let wants = ["a/one.bin", "b/link.bin", "hard.bin", "two.bin", "three.bin", "loop.bin", "gone.bin", "../etc/passwd"];
        let modules = [module("nic", &wants), module("hba", &["three.bin"])];
        let sources = [package(folder.path()), folder.path().to_owned()];
        let found = Firmware::gather(&sources, modules.iter()).unwrap();
        let files: Vec<(String, String)> =
            found.of(&modules).into_iter().map(|file| (file.path, String::from_utf8(file.data).unwrap())).collect();
        let expected = [("a/one", "one"), ("b/link", "one"), ("hard", "one"), ("three", "three"), ("two", "two")];
        assert_eq!(files, expected.map(|(name, text)| (format!("lib/firmware/{name}.bin"), text.to_owned())));
        assert_eq!(found.missing(&modules), ["loop.bin (nic)", "gone.bin (nic)", "../etc/passwd (nic)"]);
        assert!(found.serves(&modules[1]) && !found.serves(&module("x", &["gone.bin"])));
    }

    #[test]
    fn what_is_no_package_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.deb");
        fs::write(&path, "text").unwrap();
        let error = Firmware::gather(&[path], [module("a", &["b"])].iter()).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("x.deb is not usable as a firmware package"), "{cause}");
    }
}
