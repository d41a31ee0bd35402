//! Driver packs: cpio segments that unpack over the base ramdisk, and the index that says which devices want which.

use crate::lists;
use crate::recipe::{ExtraFile, Module};
use cpio::{Archive, CpioError, Node};
use machine::files::PACK_MANIFESTS;
use serde::Serialize;

/// One pack's archive: modules, their lists and a manifest, each under the pack's name.
pub fn archive(
    name: &str,
    kernel: &str,
    (modules, firmware): (&[Module], &[ExtraFile]),
    base: &[Module],
    mtime: u32,
) -> Result<Archive, CpioError> {
    let mut archive = Archive::new(mtime);
    for file in firmware {
        archive.add(&file.path, 0o644, Node::File(file.data.clone()))?;
    }
    let folder = format!("lib/modules/{kernel}");
    for module in modules {
        archive.add(&format!("{folder}/{}", module.path), 0o644, Node::File(module.data.clone()))?;
    }
    let (own, others): (Vec<_>, Vec<_>) =
        (modules.iter().map(Module::listed).collect(), base.iter().map(Module::listed).collect());
    for (list, text) in lists::of(&own, &others).files() {
        archive.add(&format!("{folder}/modules.{list}.d/{name}"), 0o644, Node::File(text.as_bytes().to_vec()))?;
    }
    let manifest = crate::recipe::manifest(&archive);
    archive.add(&format!("{PACK_MANIFESTS}/{name}"), 0o644, Node::File(manifest.into_bytes()))?;
    Ok(archive)
}

/// `packs.json`: whoever knows a machine's modaliases finds the packs it needs.
#[derive(Debug, Serialize)]
pub struct Index<'a> {
    pub kernel: &'a str,
    pub packs: Vec<Entry<'a>>,
}

#[derive(Debug, Serialize)]
pub struct Entry<'a> {
    pub name: &'a str,
    pub about: &'a str,
    pub file: String,
    pub size: usize,
    pub sha256: String,
    /// Shell patterns as in `modules.alias`; a device's modalias that matches one wants this pack.
    pub modaliases: Vec<&'a str>,
}

/// The devices these modules serve; other aliases (`fs-*`, `crypto-*`) are no devices.
pub fn modaliases(modules: &[Module]) -> Vec<&str> {
    let mut all: Vec<&str> =
        modules.iter().flat_map(|module| &module.info.aliases).map(String::as_str).filter(|alias| alias.contains(':')).collect();
    all.sort_unstable();
    all.dedup();
    all
}

pub fn file_name(name: &str) -> String {
    format!("pack-{name}.cpio.zst")
}
