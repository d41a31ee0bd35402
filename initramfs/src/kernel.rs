//! What a kernel package holds, and its modules as the ramdisk stores them.

use crate::build::BuildError;
use crate::compress;
use crate::modinfo::ModInfo;
use crate::modules::ModuleFiles;
use crate::recipe::Module;
use crate::source::{Form, KernelFile, KernelSource};
use crate::xz;
use devices::lists::BUILTIN;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Without these the ramdisk does not unpack or PID 1 has no devices.
const NEEDED_OPTIONS: &[&str] = &["CONFIG_BLK_DEV_INITRD", "CONFIG_RD_ZSTD", "CONFIG_DEVTMPFS"];

/// What a first pass over the package finds.
#[derive(Debug)]
pub struct Kernel {
    pub version: String,
    pub image: Vec<u8>,
    pub modules: ModuleFiles,
    /// Whether it loads modules that xz has compressed.
    unpacks_xz: bool,
}

/// The memory that the kernel's decoder may take for each module that is loaded. Debian's modules need half of it.
const XZ_DICTIONARY_MAX: u64 = 2 << 20;

/// How modules lie in the ramdisk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storing {
    /// As they are: the ramdisk as a whole is compressed once, and loading costs no time.
    Plain,
    /// Each by itself: what is not loaded stays small in memory.
    Packed,
    /// As the package has them: xz is denser than zstd, and this kernel unpacks it itself.
    Shipped,
}

impl Kernel {
    pub fn survey(source: &KernelSource) -> Result<Self, BuildError> {
        let path = source.path().to_owned();
        let mut images = BTreeMap::new();
        let mut config = String::new();
        let (mut files, mut builtin) = (Vec::new(), String::new());
        source.visit(Form::Unpacked, |package, file, contents| {
            let broken = |file: &str, source| BuildError::Package { package: package.to_owned(), file: file.to_owned(), source };
            match file {
                KernelFile::Image { version } => {
                    images.insert(version, contents().map_err(|error| broken("vmlinuz", error))?);
                }
                KernelFile::Config { .. } => {
                    let text = contents().map_err(|error| broken("config", error))?;
                    config = String::from_utf8_lossy(&text).into_owned();
                }
                KernelFile::Builtin { .. } => {
                    let text = contents().map_err(|error| broken(BUILTIN, error))?;
                    builtin = String::from_utf8_lossy(&text).into_owned();
                }
                KernelFile::Module { path, .. } => {
                    let module = contents().map_err(|error| broken(&path, error))?;
                    let info = ModInfo::of_module(&module).map_err(|error| broken(&path, io::Error::other(error)))?;
                    files.push((path, info));
                }
            }
            Ok::<(), BuildError>(())
        })?;
        if images.len() > 1 {
            return Err(BuildError::SeveralKernels { path, versions: images.into_keys().collect() });
        }
        let Some((version, image)) = images.pop_first() else { return Err(BuildError::NoKernel(path)) };
        if let Some(option) = missing_option(&config) {
            return Err(BuildError::MissingOption { path, option: option.to_owned() });
        }
        Ok(Self { version, image, modules: ModuleFiles::new(files, builtin), unpacks_xz: unpacks_xz(&config) })
    }

    /// The modules at these paths, and how to store those that shall be small.
    pub fn files(&self, source: &KernelSource, paths: &[&str]) -> Result<(BTreeMap<String, Vec<u8>>, Storing), BuildError> {
        if self.unpacks_xz && paths.iter().all(|path| path.ends_with(".ko.xz")) {
            let files = self.read(source, paths, Form::Shipped)?;
            if files.values().all(|file| xz::dictionary(file).is_some_and(|bytes| bytes <= XZ_DICTIONARY_MAX)) {
                return Ok((files, Storing::Shipped));
            }
        }
        Ok((self.read(source, paths, Form::Unpacked)?, Storing::Packed))
    }

    /// A second pass over the package: all of its modules at once would take 400 MB of memory.
    pub fn read(&self, source: &KernelSource, paths: &[&str], form: Form) -> Result<BTreeMap<String, Vec<u8>>, BuildError> {
        let wanted: BTreeSet<&str> = paths.iter().copied().collect();
        let mut found = BTreeMap::new();
        source.visit(form, |package, file, contents| {
            if let KernelFile::Module { version, path } = file
                && version == self.version
                && wanted.contains(path.as_str())
            {
                let read = |source| BuildError::Package { package: package.to_owned(), file: path.clone(), source };
                found.insert(path.clone(), contents().map_err(read)?);
            }
            Ok::<(), BuildError>(())
        })?;
        match wanted.into_iter().find(|path| !found.contains_key(*path)) {
            None => Ok(found),
            Some(gone) => Err(BuildError::Package {
                package: source.path().to_owned(),
                file: gone.to_owned(),
                source: io::Error::new(io::ErrorKind::NotFound, "the package changed while it was read"),
            }),
        }
    }

    /// The modules at `paths` as the ramdisk holds them.
    pub fn stored(&self, files: &BTreeMap<String, Vec<u8>>, paths: &[&str], storing: Storing) -> Result<Vec<Module>, BuildError> {
        let wanted = paths.iter().filter_map(|path| Some(((*path).to_owned(), files.get(*path)?.clone()))).collect();
        let stored = compress::each(wanted, storing == Storing::Packed).map_err(BuildError::Compress)?;
        let modules = stored.into_iter().map(|(path, data)| {
            let info = self.modules.info(&path).cloned().unwrap_or_default();
            Module { path: stored_path(&path, storing), data, info }
        });
        Ok(modules.collect())
    }
}

/// The path in the ramdisk of the module at `path` in the package.
pub fn stored_path(path: &str, storing: Storing) -> String {
    let stem = path.rsplit_once(".ko").map_or(path, |(stem, _)| stem);
    match storing {
        Storing::Plain => format!("{stem}.ko"),
        Storing::Packed => format!("{stem}.ko.zst"),
        Storing::Shipped => path.to_owned(),
    }
}

/// The version that a kernel for x86 says of itself: Linux' Documentation/x86/boot.rst, field `kernel_version`.
pub fn version_in(image: &[u8]) -> Option<String> {
    const SECTOR: usize = 512;
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let at = u16::from_le_bytes(image.get(0x20e..0x210)?.try_into().ok()?);
    let text = image.get(usize::from(at) + SECTOR..)?.split(|byte| !byte.is_ascii_graphic()).next()?;
    (at > 0 && !text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned())
}

/// A package without a config, as of a kernel built by hand, is not checked.
fn missing_option(config: &str) -> Option<&'static str> {
    let has = |option: &str| config.lines().any(|line| line.strip_prefix(option) == Some("=y"));
    NEEDED_OPTIONS.iter().copied().find(|option| !config.is_empty() && !has(option))
}

/// `CONFIG_MODULE_DECOMPRESS` is only for the format that modules were installed in.
fn unpacks_xz(config: &str) -> bool {
    ["CONFIG_MODULE_DECOMPRESS=y", "CONFIG_MODULE_COMPRESS_XZ=y"].iter().all(|wanted| config.lines().any(|line| line == *wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_says_its_version() {
        let mut image = vec![0; 0x400];
        assert_eq!(version_in(&image), None);
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x120u16.to_le_bytes());
        image[0x320..0x32c].copy_from_slice(b"6.1.0-1 (a@b");
        assert_eq!(version_in(&image).as_deref(), Some("6.1.0-1"));
        image[0x20e..0x210].copy_from_slice(&0xffffu16.to_le_bytes());
        assert_eq!(version_in(&image), None);
    }
}
