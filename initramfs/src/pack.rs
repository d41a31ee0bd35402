//! Driver packs: cpio segments that unpack over the base ramdisk.

use crate::depmod;
use crate::recipe::{self, ExtraFile, Module};
use cpio::{Archive, CpioError, Node};
use devices::lists::of_packs;
use machine::files::PACK_MANIFESTS;

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
    for (list, text) in depmod::lists(&own, &others) {
        archive.add(&format!("{folder}/{}/{name}", of_packs(list)), 0o644, Node::File(text.into_bytes()))?;
    }
    let manifest = recipe::manifest(&archive);
    archive.add(&format!("{PACK_MANIFESTS}/{name}"), 0o644, Node::File(manifest.into_bytes()))?;
    Ok(archive)
}

/// Patterns of the devices that these modules serve. Other aliases, such as `fs-*` and `crypto-*`, do not name a device.
pub fn modaliases(modules: &[Module]) -> Vec<String> {
    let aliases = modules.iter().flat_map(|module| &module.info.aliases);
    let mut all: Vec<String> = aliases.filter(|alias| alias.contains(':')).cloned().collect();
    all.sort_unstable();
    all.dedup();
    all
}
