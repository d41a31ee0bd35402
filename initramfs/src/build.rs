//! From a request to `kernel`, `initramfs.cpio.zst`, packs and `SHA256SUMS`, with what each part costs.

use crate::architecture::Architecture;
use crate::choice::{Choice, Selection};
use crate::compress::zstd_for_kernel;
use crate::embed;
pub use crate::error::BuildError;
use crate::firmware::Firmware;
use crate::kernel::{Kernel, Storing};
use crate::media::{self, Media};
use crate::output::{Artifact, Output, sha256};
use crate::pack;
use crate::profile;
use crate::recipe::{self, ExtraFile, Ingredients, Module, RecipeError};
use crate::rescue;
use crate::sbom;
use crate::source::{Form, KernelSource};
use crate::uki;
use api::{names, packs, ramdisk};
use cpio::Archive;
use serde::Serialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The pack for drivers that are in the ramdisk itself.
const FIRMWARE: &str = "firmware";
/// A few drivers load fastest as they are. Hundreds must be small in memory, since a machine loads ten of them.
const FEW_MODULES: usize = 64;
/// Where Debian's package ca-certificates keeps the bundle.
const HOST_CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

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
    pub selection: Selection,
    pub ca: CaBundle,
    /// PEM files beyond the bundle.
    pub extra_ca: Vec<PathBuf>,
    /// Kernel arguments that stand before the boot loader's.
    pub cmdline: Option<String>,
    /// Packages and folders with firmware files. The files that the drivers ask for are taken.
    pub firmware: Vec<PathBuf>,
    /// Policy, registries and the files that these name. The agent reads them, and the caller has checked them.
    pub settings: Vec<ExtraFile>,
    /// OCI image layouts, folders or archives. The ramdisk has their images.
    pub embed: Vec<PathBuf>,
    /// With the SSH server that `rescue` on the command line starts.
    pub rescue: bool,
    pub media: Media,
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
    pub modules: usize,
    pub parts: Vec<Part>,
    /// Policy, registries and what these name, by their paths in the ramdisk.
    pub settings: Vec<Artifact>,
    /// The authority of the server, by its path in the ramdisk of UKI and ISO. The ramdisk alone gets it from boots.
    pub server_ca: Option<Artifact>,
    pub packs: Vec<PackReport>,
    /// `FILE (MODULE)`: drivers ask for it, and no source of firmware has it.
    pub missing_firmware: Vec<String>,
    /// UKI and ISO.
    pub media: Vec<Artifact>,
    /// What the UKI leaves in a TPM's PCR 11 (SHA-256), to compare with what machines report.
    pub pcr11: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackReport {
    pub name: String,
    pub about: String,
    pub modules: usize,
    pub unpacked: usize,
    pub file: Artifact,
}

/// A file of the ramdisk. `compressed` is its size alone, so the sum is a little more than the ramdisk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    pub path: String,
    pub size: usize,
    pub compressed: usize,
}

/// Builds everything. After an error the output folder has what it had before.
pub fn build(request: &Request) -> Result<Report, BuildError> {
    let init = read(&request.init)?;
    let ca_bundle = ca_bundle(&request.ca, &request.extra_ca)?;
    let kernel = Kernel::survey(&request.kernel)?;
    let package = request.kernel.path();
    let architecture = Architecture::of_efi_program(&kernel.image);
    let extra = extra_files(request)?;
    let programs = extra.iter().filter(|file| file.is_program).map(|file| (Path::new(&file.path), &file.data));
    for (path, data) in [(request.init.as_path(), &init)].into_iter().chain(programs) {
        fits(architecture, package, path, data)?;
    }
    let choice = request.selection.choose(&kernel.modules, |source| BuildError::Modules { path: package.to_owned(), source })?;
    let Drivers { base, mut packs } = drivers(request, &kernel, &choice)?;
    let all = || base.iter().chain(packs.iter().flat_map(|pack| &pack.modules));
    let firmware = Firmware::gather(&request.firmware, all())?;
    let missing_firmware =
        if request.firmware.is_empty() { Vec::new() } else { firmware.missing(&all().cloned().collect::<Vec<_>>()) };
    for pack in &mut packs {
        pack.firmware = firmware.of(&pack.modules);
    }
    let of_base = firmware.of(&base);

    let ingredients = Ingredients {
        init,
        kernel_version: kernel.version.clone(),
        profile: request.selection.name().to_owned(),
        modules: base,
        load: profile::LOAD.iter().map(|name| (*name).to_owned()).collect(),
        builtin: kernel.modules.builtin().to_owned(),
        ca_bundle,
        extra: extra.into_iter().chain(if request.selection.packs { Vec::new() } else { of_base.clone() }).collect(),
        mtime: request.mtime,
    };
    let wrong = |source| BuildError::Recipe { path: request.init.clone(), source };
    let archive = recipe::archive(&ingredients).map_err(wrong)?;
    let unpacked = archive.to_bytes().map_err(|error| wrong(error.into()))?;
    let (ramdisk, parts) = measured(&archive, &unpacked).map_err(BuildError::Compress)?;

    let parts_of_media = uki::Parts {
        kernel: &kernel.image,
        ramdisk: &ramdisk,
        cmdline: request.cmdline.as_deref().unwrap_or_default(),
        kernel_version: &kernel.version,
    };
    let made = media::make(&request.media, &parts_of_media, request.mtime)?;

    let mut output = Output::new(&request.output);
    let kernel_file = output.add(names::KERNEL, kernel.image);
    let initramfs = output.add(names::RAMDISK, ramdisk);
    let about = ramdisk::About { file: names::RAMDISK.to_owned(), server_ca: true };
    output.add_json(ramdisk::ABOUT, &about).map_err(BuildError::Compress)?;
    if request.selection.packs && !of_base.is_empty() {
        packs.push(Pack {
            name: FIRMWARE,
            about: "firmware of the ramdisk's own drivers",
            modules: Vec::new(),
            firmware: of_base,
        });
    }
    let served = ingredients.modules.iter().filter(|module| firmware.serves(module)).cloned().collect::<Vec<_>>();
    let packs = add_packs(&mut output, &ingredients, &packs, &served, wrong)?;
    let files = [(media::UKI_FILE, made.uki), (media::ISO_FILE, made.iso)];
    let media = files.into_iter().filter_map(|(name, data)| Some(output.add(name, data?))).collect();
    let settings: Vec<Artifact> = request.settings.iter().map(in_ramdisk).collect();
    let contents = sbom::Contents {
        kernel_version: &kernel.version,
        kernel_source: package,
        kernel_sha256: &kernel_file.sha256,
        ramdisk_sha256: &initramfs.sha256,
        ca_sha256: ingredients.ca_bundle.as_deref().map(sha256),
        settings: &settings,
        modules: ingredients.modules.len(),
    };
    output.add_json(sbom::SBOM_FILE, &sbom::document(&contents)).map_err(BuildError::Compress)?;
    output.write()?;
    Ok(Report {
        kernel_version: kernel.version,
        profile: ingredients.profile,
        kernel: kernel_file,
        initramfs,
        unpacked: unpacked.len(),
        modules: ingredients.modules.len(),
        parts,
        settings,
        server_ca: made.server_ca,
        packs,
        missing_firmware,
        media,
        pcr11: made.pcr11,
    })
}

/// A file that is not a program of either processor is checked elsewhere.
fn fits(needed: Option<Architecture>, package: &Path, path: &Path, program: &[u8]) -> Result<(), BuildError> {
    match (needed, Architecture::of_program(program)) {
        (Some(needed), Some(found)) if needed != found => {
            Err(BuildError::Architecture { program: path.to_owned(), found, package: package.to_owned(), needed })
        }
        _ => Ok(()),
    }
}

struct Drivers {
    base: Vec<Module>,
    packs: Vec<Pack>,
}

struct Pack {
    name: &'static str,
    about: &'static str,
    modules: Vec<Module>,
    firmware: Vec<ExtraFile>,
}

fn drivers(request: &Request, kernel: &Kernel, choice: &Choice<'_>) -> Result<Drivers, BuildError> {
    let all: Vec<&str> = choice.base.iter().chain(choice.packs.iter().flat_map(|pack| &pack.modules)).copied().collect();
    let many = choice.base.len() > FEW_MODULES;
    let (files, small) = match many {
        true => kernel.files(&request.kernel, &all)?,
        false => (kernel.read(&request.kernel, &all, Form::Unpacked)?, Storing::Packed),
    };
    let base = kernel.stored(&files, &choice.base, if many { small } else { Storing::Plain })?;
    let packs = choice.packs.iter().map(|pack| {
        let modules = kernel.stored(&files, &pack.modules, small)?;
        Ok(Pack { name: pack.family, about: pack.about, modules, firmware: Vec::new() })
    });
    Ok(Drivers { base, packs: packs.collect::<Result<_, BuildError>>()? })
}

fn add_packs(
    output: &mut Output,
    base: &Ingredients,
    drivers: &[Pack],
    served: &[Module],
    wrong: impl Fn(RecipeError) -> BuildError,
) -> Result<Vec<PackReport>, BuildError> {
    let mut reports = Vec::new();
    let mut entries = Vec::new();
    for pack in drivers {
        let archive = pack::archive(pack.name, &base.kernel_version, (&pack.modules, &pack.firmware), &base.modules, base.mtime);
        let bytes = archive.and_then(|archive| archive.to_bytes()).map_err(|error| wrong(error.into()))?;
        let file = output.add(&packs::file_name(pack.name), zstd_for_kernel(&bytes).map_err(BuildError::Compress)?);
        let (name, about) = (pack.name.to_owned(), pack.about.to_owned());
        entries.push(packs::Pack {
            name: name.clone(),
            about: about.clone(),
            file: packs::file_name(pack.name),
            size: file.size as u64,
            sha256: file.sha256.clone(),
            modaliases: pack::modaliases(if pack.name == FIRMWARE { served } else { &pack.modules }),
        });
        reports.push(PackReport { name, about, modules: pack.modules.len(), unpacked: bytes.len(), file });
    }
    if !drivers.is_empty() {
        let index = packs::Index { kernel: base.kernel_version.clone(), packs: entries };
        output.add_json(packs::INDEX, &index).map_err(BuildError::Compress)?;
    }
    Ok(reports)
}

fn extra_files(request: &Request) -> Result<Vec<ExtraFile>, BuildError> {
    let cmdline = request.cmdline.as_deref().map(str::trim).filter(|words| !words.is_empty());
    let cmdline = cmdline.map(|words| ExtraFile::text(machine::files::CMDLINE.to_owned(), format!("{words}\n")));
    let rescue = if request.rescue { rescue::files()? } else { Vec::new() };
    let images = embed::files(&request.embed)?;
    Ok(cmdline.into_iter().chain(rescue).chain(request.settings.clone()).chain(images).collect())
}

fn in_ramdisk(file: &ExtraFile) -> Artifact {
    Artifact { path: PathBuf::from(&file.path), size: file.data.len(), sha256: sha256(&file.data) }
}

/// The compressed archive, and what each file costs. The second takes about as long as the first.
fn measured(archive: &Archive, unpacked: &[u8]) -> io::Result<(Vec<u8>, Vec<Part>)> {
    let (ramdisk, parts) = std::thread::scope(|scope| {
        let parts = scope.spawn(|| archive.files().map(|(path, data)| part(path, data)).collect::<io::Result<Vec<_>>>());
        (zstd_for_kernel(unpacked), parts.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let mut parts = parts?;
    parts.sort_by(|a, b| b.compressed.cmp(&a.compressed).then_with(|| a.path.cmp(&b.path)));
    Ok((ramdisk?, parts))
}

fn part(path: &str, data: &[u8]) -> io::Result<Part> {
    let packed =
        if [".zst", ".xz"].iter().any(|ending| path.ends_with(ending)) { data.len() } else { zstd_for_kernel(data)?.len() };
    Ok(Part { path: format!("/{path}"), size: data.len(), compressed: packed })
}

fn ca_bundle(choice: &CaBundle, extra: &[PathBuf]) -> Result<Option<Vec<u8>>, BuildError> {
    let path = match choice {
        CaBundle::None => None,
        CaBundle::Host => Some(Path::new(HOST_CA_BUNDLE)),
        CaBundle::File(path) => Some(path.as_path()),
    };
    let read_bundle = |path: &Path| fs::read(path).map_err(|source| BuildError::Ca { path: path.to_owned(), source });
    let mut bundle = path.map(read_bundle).transpose()?;
    for path in extra {
        let text = read(path)?;
        if !recipe::is_pem(&text) {
            return Err(BuildError::NoCertificate { path: path.clone() });
        }
        let all = bundle.get_or_insert_default();
        if all.last().is_some_and(|byte| *byte != b'\n') {
            all.push(b'\n');
        }
        all.extend(text);
    }
    Ok(bundle)
}

fn read(path: &Path) -> Result<Vec<u8>, BuildError> {
    fs::read(path).map_err(|source| BuildError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
