//! `thimble image action`: one static program becomes one layer, and every action an image of that layer.

use super::{ActionArguments, layout, push};
use anyhow::Context;
use api::names::ACTIONS;
use flate2::{Compression, GzBuilder};
use initramfs::elf;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::io::Write;

/// The image that takes the action's name as its command, and one image per action.
const ANY: &str = "actions";

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// Bytes under their digest, as registries and layouts keep them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    pub digest: String,
    pub bytes: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub name: String,
    pub config: Blob,
    pub manifest: Blob,
}

/// All images, and the layer they share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    pub layer: Blob,
    pub images: Vec<Image>,
}

pub fn run(arguments: &ActionArguments) -> anyhow::Result<()> {
    let path = &arguments.binary;
    let binary = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let images = pack(&binary).with_context(|| format!("cannot pack {}", path.display()))?;
    if let Some(folder) = &arguments.output {
        layout::write(&images, &arguments.tag, folder)?;
    }
    let mut names: Vec<String> = images.images.iter().map(|image| format!("{}:{}", image.name, arguments.tag)).collect();
    if let Some(url) = &arguments.push {
        names = push::run(&images, &push::Target::parse(url, &arguments.tag)?)?;
    }
    print(&images, &names, arguments.json)
}

fn print(images: &Images, names: &[String], json: bool) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        image: &'a str,
        digest: &'a str,
    }
    let digests = images.images.iter().map(|image| image.manifest.digest.as_str());
    let lines: Vec<_> = names.iter().zip(digests).map(|(image, digest)| Line { image, digest }).collect();
    if json {
        println!("{}", serde_json::to_string_pretty(&lines)?);
        return Ok(());
    }
    println!("layer {} of {} bytes", images.layer.digest, images.layer.bytes.len());
    for line in lines {
        println!("{}  {}", line.digest, line.image);
    }
    Ok(())
}

/// Pure: the same program gives the same digests.
pub fn pack(binary: &[u8]) -> anyhow::Result<Images> {
    let architecture = elf::static_program(binary)?.context("its architecture is neither amd64 nor arm64")?.name();
    let tar = tar(binary)?;
    let diff_id = digest(&tar);
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    gzip.write_all(&tar)?;
    let layer = Blob::new(gzip.finish()?);
    let image = |name: &str| image(name, architecture, &diff_id, &layer);
    let images = std::iter::once(&ANY).chain(&ACTIONS).map(|name| image(name)).collect::<Result<_, _>>()?;
    Ok(Images { layer, images })
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

fn image(name: &str, architecture: &str, diff_id: &str, layer: &Blob) -> anyhow::Result<Image> {
    let entrypoint = std::iter::once("/actions").chain((name != ANY).then_some(name)).collect();
    let config = Blob::new(serde_json::to_vec(&Config {
        created: EPOCH,
        architecture,
        os: "linux",
        // Runtimes look the program up in PATH and refuse to start without one.
        config: Start { env: vec!["PATH=/"], entrypoint, working_dir: "/" },
        rootfs: RootFs { kind: "layers", diff_ids: vec![diff_id] },
        history: vec![History { created: EPOCH, created_by: "thimble image action" }],
    })?);
    let manifest = Blob::new(serde_json::to_vec(&Manifest {
        schema_version: 2,
        media_type: MANIFEST,
        config: config.descriptor(CONFIG),
        layers: vec![layer.descriptor(LAYER)],
    })?);
    Ok(Image { name: name.to_owned(), config, manifest })
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        Self { digest: digest(&bytes), bytes }
    }

    pub fn descriptor<'a>(&'a self, media_type: &'a str) -> Descriptor<'a> {
        Descriptor { media_type, digest: &self.digest, size: self.bytes.len(), annotations: None }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor<'a> {
    pub media_type: &'a str,
    pub digest: &'a str,
    pub size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
}

#[derive(Debug, Serialize)]
pub struct Annotations {
    #[serde(rename = "org.opencontainers.image.ref.name")]
    pub reference: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u8,
    media_type: &'a str,
    config: Descriptor<'a>,
    layers: Vec<Descriptor<'a>>,
}

#[derive(Serialize)]
struct Config<'a> {
    created: &'a str,
    architecture: &'a str,
    os: &'a str,
    config: Start<'a>,
    rootfs: RootFs<'a>,
    history: Vec<History<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Start<'a> {
    env: Vec<&'a str>,
    entrypoint: Vec<&'a str>,
    working_dir: &'a str,
}

#[derive(Serialize)]
struct RootFs<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    diff_ids: Vec<&'a str>,
}

#[derive(Serialize)]
struct History<'a> {
    created: &'a str,
    created_by: &'a str,
}

#[cfg(test)]
mod tests;
