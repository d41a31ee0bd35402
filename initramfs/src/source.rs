//! Where kernel and modules come from: Debian packages (Ubuntu splits them), or a folder with such packages unpacked.

use crate::compress::{Decompressor, Packing};
use crate::deb::{self, DebError};
use devices::lists::BUILTIN;
use devices::module::ModuleName;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone)]
pub enum KernelSource {
    Debs(Vec<PathBuf>),
    Directory(PathBuf),
}

/// A file of the package that can matter. Everything else is passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelFile {
    Image { version: String },
    Config { version: String },
    Builtin { version: String },
    Module { version: String, path: String },
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is not usable as a kernel package")]
    Deb {
        path: PathBuf,
        #[source]
        source: DebError,
    },
}

impl KernelFile {
    /// `./lib/modules/6.1.0/kernel/fs/x.ko` and, since Debian 13, the same below `usr`.
    pub fn classify(path: &str) -> Option<Self> {
        let path = path.trim_start_matches("./").trim_start_matches('/');
        let path = path.strip_prefix("boot/").unwrap_or(path);
        if let Some(version) = path.strip_prefix("vmlinuz-") {
            return name(version).map(|version| Self::Image { version });
        }
        if let Some(version) = path.strip_prefix("config-") {
            return name(version).map(|version| Self::Config { version });
        }
        let path = path.strip_prefix("usr/").unwrap_or(path);
        let (version, path) = path.strip_prefix("lib/modules/")?.split_once('/')?;
        let version = name(version)?;
        match path {
            BUILTIN => return Some(Self::Builtin { version }),
            "vmlinuz" => return Some(Self::Image { version }), // Fedora's place
            "config" => return Some(Self::Config { version }),
            _ => {}
        }
        ModuleName::of_file(path)?;
        Some(Self::Module { version, path: path.to_owned() })
    }
}

fn name(text: &str) -> Option<String> {
    (!text.is_empty() && !text.contains('/')).then(|| text.to_owned())
}

/// How the modules of a package are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Unpacked,
    /// Compressed, if the package has them compressed.
    Shipped,
}

/// Reads one file of the package to its end.
pub type Contents<'a> = &'a mut dyn FnMut() -> io::Result<Vec<u8>>;

impl KernelSource {
    /// The package or folder to name in a message.
    pub fn path(&self) -> &Path {
        match self {
            Self::Debs(paths) => paths.first().map_or(Path::new(""), PathBuf::as_path),
            Self::Directory(path) => path,
        }
    }

    /// Calls the visitor once for every file that can matter, with the package it is in. Files that the visitor does not read
    /// are not kept in memory.
    pub fn visit<E: From<SourceError>>(
        &self,
        form: Form,
        mut visitor: impl FnMut(&Path, KernelFile, Contents<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Debs(paths) => {
                paths.iter().try_for_each(|path| visit_deb(path, form, &mut |file, contents| visitor(path, file, contents)))
            }
            Self::Directory(root) => visit_directory(root, form, &mut |file, contents| visitor(root, file, contents)),
        }
    }
}

fn visit_deb<E: From<SourceError>>(
    path: &Path,
    form: Form,
    visitor: &mut impl FnMut(KernelFile, Contents<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let unreadable = |source| SourceError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let data = deb::data_tar(BufReader::new(file)).map_err(|source| SourceError::Deb { path: path.to_owned(), source })?;
    let mut tar = tar::Archive::new(data);
    for entry in tar.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let Some(kind) = KernelFile::classify(&name).filter(|_| entry.header().entry_type().is_file()) else { continue };
        visitor(kind, &mut || contents(&name, form, &mut entry))?;
    }
    Ok(())
}

fn visit_directory<E: From<SourceError>>(
    root: &Path,
    form: Form,
    visitor: &mut impl FnMut(KernelFile, Contents<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut folders: Vec<PathBuf> = ["boot", "lib/modules", "usr/lib/modules"].map(|name| root.join(name)).into();
    if root.join("lib").is_symlink() {
        folders.remove(1); // merged /usr: the same folder twice
    }
    let top = std::fs::read_dir(root).map_err(|source| SourceError::Read { path: root.to_owned(), source })?;
    let mut files: Vec<PathBuf> = top.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    files.iter().try_for_each(|path| show(root, path, form, visitor))?;
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let mut paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
                continue;
            }
            show(root, &path, form, visitor)?;
        }
    }
    Ok(())
}

fn show<E>(
    root: &Path,
    path: &Path,
    form: Form,
    visitor: &mut impl FnMut(KernelFile, Contents<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let name = path.strip_prefix(root).ok().and_then(Path::to_str);
    match name.and_then(|name| Some((name, KernelFile::classify(name)?))) {
        Some((name, kind)) => visitor(kind, &mut || contents(name, form, &mut File::open(path)?)),
        None => Ok(()),
    }
}

fn contents(name: &str, form: Form, file: &mut dyn Read) -> io::Result<Vec<u8>> {
    let suffix = name.rsplit_once(".ko").map_or("", |(_, suffix)| suffix);
    let packing = Packing::of_suffix(suffix).filter(|_| form == Form::Unpacked);
    let mut data = Vec::new();
    Decompressor::new(packing.unwrap_or(Packing::None), file)?.read_to_end(&mut data)?;
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_that_matter_are_known_by_their_path() {
        let version = || "6.1.0-1-cloud".to_owned();
        for (path, expected) in [
            ("./boot/vmlinuz-6.1.0-1-cloud", Some(KernelFile::Image { version: version() })),
            ("./boot/config-6.1.0-1-cloud", Some(KernelFile::Config { version: version() })),
            ("lib/modules/6.1.0-1-cloud/modules.builtin", Some(KernelFile::Builtin { version: version() })),
            (
                "./usr/lib/modules/6.1.0-1-cloud/kernel/fs/overlayfs/overlay.ko.xz",
                Some(KernelFile::Module { version: version(), path: "kernel/fs/overlayfs/overlay.ko.xz".into() }),
            ),
            ("vmlinuz-6.1.0-1-cloud", Some(KernelFile::Image { version: version() })),
            ("lib/modules/6.1.0-1-cloud/vmlinuz", Some(KernelFile::Image { version: version() })),
            ("./lib/modules/6.1.0-1-cloud/modules.order", None),
            ("./boot/System.map-6.1.0-1-cloud", None),
            ("./usr/share/doc/linux/vmlinuz-1", None),
        ] {
            assert_eq!(KernelFile::classify(path), expected, "{path}");
        }
    }
}
