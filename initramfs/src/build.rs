//! From a request to `kernel`, `initramfs.cpio.zst` and `SHA256SUMS`, with what each part costs.

use crate::compress::zstd_for_kernel;
use crate::modinfo::{ModInfo, ModuleName};
use crate::modules::{Catalogue, ModuleError, Profile};
use crate::recipe::{self, Ingredients, Module, RecipeError};
use crate::source::{KernelFile, KernelSource, SourceError};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub const KERNEL_FILE: &str = "kernel";
pub const RAMDISK_FILE: &str = "initramfs.cpio.zst";
pub const SUMS_FILE: &str = "SHA256SUMS";
/// Where Debian's package ca-certificates keeps the bundle.
pub const HOST_CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Without these the ramdisk does not unpack or PID 1 has no devices.
const NEEDED_OPTIONS: &[&str] = &["CONFIG_BLK_DEV_INITRD", "CONFIG_RD_ZSTD", "CONFIG_DEVTMPFS"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaBundle {
    Host,
    File(PathBuf),
    None,
}

#[derive(Debug, Clone)]
pub struct Request {
    pub kernel: KernelSource,
    pub init: PathBuf,
    pub profile: Profile,
    /// Modules beyond the profile's.
    pub modules: Vec<String>,
    pub ca: CaBundle,
    /// The time of every file in the ramdisk: 0 or `SOURCE_DATE_EPOCH`.
    pub mtime: u32,
    pub output: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub kernel_version: String,
    pub profile: String,
    pub kernel: Artifact,
    pub initramfs: Artifact,
    /// The archive before compression: what the machine's memory holds afterwards.
    pub unpacked: usize,
    pub parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Artifact {
    pub path: PathBuf,
    pub size: usize,
    pub sha256: String,
}

/// A file of the ramdisk; `compressed` is its size alone, so the sum is a little more than the ramdisk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    pub path: String,
    pub size: usize,
    pub compressed: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot read {file} of the kernel package {package}")]
    Package {
        package: PathBuf,
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("{0} holds no kernel (boot/vmlinuz-VERSION)")]
    NoKernel(PathBuf),
    #[error("{path} holds more than one kernel: {}; give a package or a folder with one", .versions.join(", "))]
    SeveralKernels { path: PathBuf, versions: Vec<String> },
    #[error("the kernel of {path} is built without {option}, which the ramdisk needs")]
    MissingOption { path: PathBuf, option: String },
    #[error("{path} does not fit")]
    Modules {
        path: PathBuf,
        #[source]
        source: ModuleError,
    },
    #[error("{path}")]
    Recipe {
        path: PathBuf,
        #[source]
        source: RecipeError,
    },
    #[error("cannot read the CA bundle {path}; install the package ca-certificates, or name one with --ca FILE, or --ca none")]
    Ca {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot compress the ramdisk")]
    Compress(#[source] io::Error),
    #[error("cannot write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Builds both files; on an error the output folder keeps what it had.
pub fn build(request: &Request) -> Result<Report, BuildError> {
    let init = fs::read(&request.init).map_err(|source| BuildError::Read { path: request.init.clone(), source })?;
    let ca_bundle = ca_bundle(&request.ca)?;
    let kernel = Kernel::survey(&request.kernel)?;
    let modules = kernel.chosen_modules(request)?;
    let ingredients = Ingredients {
        init,
        kernel_version: kernel.version.clone(),
        profile: request.profile.name().to_owned(),
        modules,
        load: request.profile.load().iter().map(|name| (*name).to_owned()).collect(),
        builtin: kernel.catalogue.builtin().to_owned(),
        ca_bundle,
        mtime: request.mtime,
    };
    let wrong = |source| BuildError::Recipe { path: request.init.clone(), source };
    let archive = recipe::archive(&ingredients).map_err(wrong)?;
    let unpacked = archive.to_bytes().map_err(|error| wrong(error.into()))?;
    // The costs take about as long as the ramdisk itself.
    let (ramdisk, parts) = std::thread::scope(|scope| {
        let parts = scope.spawn(|| archive.files().map(|(path, data)| part(path, data)).collect::<Result<Vec<_>, _>>());
        (zstd_for_kernel(&unpacked), parts.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let ramdisk = ramdisk.map_err(BuildError::Compress)?;
    let mut parts = parts.map_err(BuildError::Compress)?;
    parts.sort_by(|a, b| b.compressed.cmp(&a.compressed).then_with(|| a.path.cmp(&b.path)));

    let output = &request.output;
    let report = Report {
        kernel_version: kernel.version,
        profile: ingredients.profile,
        kernel: artifact(output, KERNEL_FILE, &kernel.image),
        initramfs: artifact(output, RAMDISK_FILE, &ramdisk),
        unpacked: unpacked.len(),
        parts,
    };
    let sums = format!("{}  {KERNEL_FILE}\n{}  {RAMDISK_FILE}\n", report.kernel.sha256, report.initramfs.sha256);
    fs::create_dir_all(output).map_err(|source| BuildError::Write { path: output.clone(), source })?;
    for (name, data) in [(KERNEL_FILE, &kernel.image[..]), (RAMDISK_FILE, &ramdisk), (SUMS_FILE, sums.as_bytes())] {
        replace(&output.join(name), data)?;
    }
    Ok(report)
}

fn ca_bundle(choice: &CaBundle) -> Result<Option<Vec<u8>>, BuildError> {
    let path = match choice {
        CaBundle::None => return Ok(None),
        CaBundle::Host => Path::new(HOST_CA_BUNDLE),
        CaBundle::File(path) => path,
    };
    fs::read(path).map(Some).map_err(|source| BuildError::Ca { path: path.to_owned(), source })
}

fn part(path: &str, data: &[u8]) -> io::Result<Part> {
    Ok(Part { path: format!("/{path}"), size: data.len(), compressed: zstd_for_kernel(data)?.len() })
}

fn artifact(folder: &Path, name: &str, data: &[u8]) -> Artifact {
    Artifact { path: folder.join(name), size: data.len(), sha256: hex::encode(Sha256::digest(data)) }
}

/// Boots may serve the folder meanwhile: it sees the old file or the new one.
fn replace(path: &Path, data: &[u8]) -> Result<(), BuildError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let written = fs::write(&new, data).and_then(|()| fs::rename(&new, path));
    written.map_err(|source| {
        let _ = fs::remove_file(&new); // the write's error is the one to tell
        BuildError::Write { path: path.to_owned(), source }
    })
}

/// What a first pass over the package finds.
struct Kernel {
    version: String,
    image: Vec<u8>,
    catalogue: Catalogue,
}

impl Kernel {
    fn survey(source: &KernelSource) -> Result<Self, BuildError> {
        let path = source.path().to_owned();
        let mut images = BTreeMap::new();
        let mut config = String::new();
        let mut catalogue = Catalogue::default();
        source.visit(|file, contents| {
            let broken = |file: &str, source| BuildError::Package { package: path.clone(), file: file.to_owned(), source };
            match file {
                KernelFile::Image { version } => {
                    let image = contents().map_err(|error| broken("vmlinuz", error))?;
                    images.insert(version, image);
                }
                KernelFile::Config { .. } => {
                    let text = contents().map_err(|error| broken("config", error))?;
                    config = String::from_utf8_lossy(&text).into_owned();
                }
                KernelFile::Builtin { .. } => {
                    let text = contents().map_err(|error| broken("modules.builtin", error))?;
                    catalogue.add_builtin(&String::from_utf8_lossy(&text));
                }
                KernelFile::Module { path, .. } => {
                    let module = contents().map_err(|error| broken(&path, error))?;
                    let info = ModInfo::of_module(&module).map_err(|error| broken(&path, io::Error::other(error)))?;
                    catalogue.add(&path, info);
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
        Ok(Self { version, image, catalogue })
    }

    /// A second pass takes the few modules that are wanted: all of them would be 400 MB of memory.
    fn chosen_modules(&self, request: &Request) -> Result<Vec<Module>, BuildError> {
        let package = request.kernel.path();
        let extra = request.modules.iter().map(String::as_str);
        let wanted: Vec<_> = request.profile.modules().iter().copied().chain(extra).map(ModuleName::new).collect();
        let order = self.catalogue.closure(&wanted).map_err(|source| BuildError::Modules { path: package.to_owned(), source })?;
        let mut found = BTreeMap::new();
        request.kernel.visit(|file, contents| {
            if let KernelFile::Module { version, path } = file
                && version == self.version
                && order.contains(&path.as_str())
            {
                let read = |source| BuildError::Package { package: package.to_owned(), file: path.clone(), source };
                found.insert(path.clone(), contents().map_err(read)?);
            }
            Ok::<(), BuildError>(())
        })?;
        let taken = order.into_iter().map(|path| {
            let gone = || io::Error::new(io::ErrorKind::NotFound, "the package changed while it was read");
            let missing = || BuildError::Package { package: package.to_owned(), file: path.to_owned(), source: gone() };
            let data = found.remove(path).ok_or_else(missing)?;
            let info = self.catalogue.info(path).cloned().unwrap_or_default();
            Ok(Module { path: unpacked_path(path), data, info })
        });
        taken.collect()
    }
}

/// `visit` unpacks modules, whatever the package did.
fn unpacked_path(path: &str) -> String {
    path.rsplit_once(".ko").map_or_else(|| path.to_owned(), |(stem, _)| format!("{stem}.ko"))
}

/// A package without a config (somebody's own kernel) is taken at its word.
fn missing_option(config: &str) -> Option<&'static str> {
    let has = |option: &str| config.lines().any(|line| line.strip_prefix(option) == Some("=y"));
    NEEDED_OPTIONS.iter().copied().find(|option| !config.is_empty() && !has(option))
}

#[cfg(test)]
mod tests;
