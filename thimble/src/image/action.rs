//! `thimble image action`: one static program becomes one layer, and every action becomes an image with that layer. With
//! `--tools` each image has a second one, of Debian packages. Programs for two architectures give an index of two images.

mod tools;

use super::{ActionArguments, defaults, push};
use anyhow::{Context, ensure};
use api::names::ACTIONS;
use initramfs::architecture::Architecture;
use initramfs::elf;
use oci::build::{Blob, BuildError, ConfigBuilder, ConfigurationBuilder, HistoryBuilder, Image, Layer};
use oci::layout::write::{Folder, NamedDescriptor};
use serde::Serialize;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The image that takes the action's name as its command. There is also one image per action.
const ANY: &str = "actions";

/// The layout's folder below `--into`.
const LAYOUT: &str = "actions";

/// Debian's, and where the links of the actions are.
const WITH_TOOLS: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/";

const EPOCH: &str = "1970-01-01T00:00:00Z";
/// The level of gzip: the best one, because every byte travels to every machine.
const LEVEL: u32 = 9;

/// All actions, and the layers that they share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    pub layers: Vec<Layer>,
    pub actions: Vec<Named>,
}

/// One action: its image for each architecture, and what its tag names. That is the image's manifest, or an index of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    pub images: Vec<Image>,
    pub top: Blob,
}

pub fn run(arguments: &ActionArguments) -> anyhow::Result<()> {
    let paths = match arguments.binary.as_slice() {
        [] => vec![defaults::program(None, "--binary", "actions")?],
        given => given.iter().map(|path| defaults::program(Some(path), "--binary", "actions")).collect::<Result<_, _>>()?,
    };
    let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let binaries = paths.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
    let shown: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    let images = pack(&binaries, &arguments.tools).with_context(|| format!("cannot pack {}", shown.join(" and ")))?;
    let tag = arguments.tag();
    if let Some(folder) = &arguments.output {
        let written = write(&images, tag, folder);
        written.with_context(|| format!("cannot write the image layout {}", folder.display()))?;
    }
    if let Some(served) = &arguments.into {
        let folder = served.join(LAYOUT);
        let written = readable(served).map_err(BuildError::from).and_then(|()| put(&images, tag, &folder));
        written.with_context(|| format!("cannot put the images into {}", folder.display()))?;
    }
    let mut names: Vec<String> = images.actions.iter().map(|action| format!("{}:{tag}", action.name)).collect();
    if let Some(url) = &arguments.push {
        names = push::run(&images, &push::Target::parse(url, tag)?, &push::settings()?)?;
    }
    print(&images, &names, arguments.json)
}

fn print(images: &Images, names: &[String], json: bool) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        image: &'a str,
        digest: String,
    }
    let digests = images.actions.iter().map(|action| action.top.digest.to_string());
    let lines: Vec<_> = names.iter().zip(digests).map(|(image, digest)| Line { image, digest }).collect();
    if json {
        println!("{}", serde_json::to_string_pretty(&lines)?);
        return Ok(());
    }
    for layer in &images.layers {
        println!("layer {} of {} bytes", layer.blob.digest, layer.blob.bytes.len());
    }
    for line in lines {
        println!("{}  {}", line.digest, line.image);
    }
    Ok(())
}

/// The same programs and packages give the same digests.
pub fn pack(binaries: &[Vec<u8>], packages: &[PathBuf]) -> anyhow::Result<Images> {
    ensure!(packages.is_empty() || binaries.len() == 1, "--tools has programs of one architecture: give one --binary");
    let mut kinds: Vec<(Architecture, Vec<Layer>)> = Vec::new();
    for binary in binaries {
        let architecture = elf::static_program(binary)?.context("its architecture is neither amd64 nor arm64")?;
        let is_new = kinds.iter().all(|(other, _)| *other != architecture);
        ensure!(is_new, "two programs are for {}: each architecture has one", architecture.name());
        let mut layers = vec![Layer::gzip(&tar(binary)?, LEVEL)?];
        if !packages.is_empty() {
            layers.push(tools::layer(packages, architecture)?);
        }
        kinds.push((architecture, layers));
    }
    // The order of the options is not a difference.
    kinds.sort_by_key(|(architecture, _)| architecture.name());
    let actions = std::iter::once(&ANY).chain(&ACTIONS).map(|name| named(name, &kinds)).collect::<Result<_, BuildError>>()?;
    Ok(Images { layers: kinds.into_iter().flat_map(|(_, layers)| layers).collect(), actions })
}

fn named(name: &str, kinds: &[(Architecture, Vec<Layer>)]) -> Result<Named, BuildError> {
    let image = |(architecture, layers): &(Architecture, Vec<Layer>)| image(name, architecture.name(), layers);
    let images: Vec<Image> = kinds.iter().map(image).collect::<Result<_, _>>()?;
    let top = match images.as_slice() {
        [only] => only.manifest.clone(),
        several => oci::build::index(kinds.iter().map(|(architecture, _)| architecture.name()).zip(several))?,
    };
    Ok(Named { name: name.to_owned(), images, top })
}

fn tar(binary: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut header = tar::Header::new_ustar();
    header.set_size(binary.len() as u64);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_data(&mut header, "actions", binary)?;
    Ok(tar.into_inner()?)
}

fn image(name: &str, architecture: &str, layers: &[Layer]) -> Result<Image, BuildError> {
    let entrypoint: Vec<_> = std::iter::once("/actions").chain((name != ANY).then_some(name)).map(str::to_owned).collect();
    // Runtimes search the program in PATH and refuse to start without that variable.
    let path = if layers.len() > 1 { WITH_TOOLS } else { "PATH=/" };
    let config = ConfigBuilder::default().env([path.to_owned()]).entrypoint(entrypoint).working_dir("/").build()?;
    let history = HistoryBuilder::default().created(EPOCH).created_by("thimble image action").build()?;
    let configuration = ConfigurationBuilder::default().created(EPOCH).architecture(architecture).os("linux");
    Image::new(layers.iter(), configuration.config(config).history(vec![history; layers.len()]))
}

/// Writes the images as an OCI image layout, a folder that skopeo and other tools read.
fn write(images: &Images, tag: &str, folder: &Path) -> Result<(), BuildError> {
    let (layout, entries) = fill(images, tag, folder)?;
    layout.finish(entries)
}

/// The same in a layout that `thimble up` serves: images with other tags stay there, and a pull sees the old image or the new
/// one.
fn put(images: &Images, tag: &str, folder: &Path) -> Result<(), BuildError> {
    let (layout, entries) = fill(images, tag, folder)?;
    layout.finish_more(entries)
}

/// Makes the served folder. The daemons have another user, whatever the umask of this one.
fn readable(folder: &Path) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    std::fs::set_permissions(folder, Permissions::from_mode(0o755))
}

fn fill(images: &Images, tag: &str, folder: &Path) -> Result<(Folder, Vec<NamedDescriptor>), BuildError> {
    let layout = Folder::create(folder)?;
    for layer in &images.layers {
        layout.put(&layer.blob.bytes)?;
    }
    let mut entries = Vec::new();
    for Named { name, images, top } in &images.actions {
        for image in images {
            layout.put(&image.config.bytes)?;
            layout.put(&image.manifest.bytes)?;
        }
        layout.put(&top.bytes)?;
        entries.push(NamedDescriptor::new(&format!("{name}:{tag}"), &top.bytes)?);
    }
    Ok((layout, entries))
}

#[cfg(test)]
mod tests;
