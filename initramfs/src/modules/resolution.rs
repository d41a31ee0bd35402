//! The builder and PID 1 agree: for each device and each module, PID 1 finds in the ramdisk what the builder found in the package.

use super::*;
use crate::choice::{Choice, Selection};
use crate::kernel::{Kernel, Storing, stored_path};
use crate::{BuildError, KernelSource, Profile};
use devices::alias::Wanted;
use devices::plan::Planned;
use devices::policy::Policy;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Names a kernel package, such as `linux-image-*.deb`, whose modules are compared too.
const PACKAGE: &str = "THIMBLE_TEST_KERNEL";

fn fixture() -> ModuleFiles {
    let files = [
        ("fs/overlayfs/overlay", ""),
        ("drivers/net/virtio_net", "alias=virtio:d00000001v*|depends=net_failover"),
        ("drivers/net/net_failover", "depends=failover"),
        ("net/core/failover", ""),
        ("drivers/net/ethernet/intel/igb/igb", "alias=pci:v00008086d00001521sv*sd*bc*sc*i*|depends=dca,i2c-algo-bit"),
        ("drivers/dca/dca", ""),
        ("drivers/i2c/algos/i2c-algo-bit", ""),
        ("drivers/net/usb/cdc_subset", "alias=usb:v0525pA4A2d*|depends=usbnet"),
        ("drivers/net/usb/cdc_ether", "alias=usb:v*p*d*dc02dsc06dp00ic*isc*ip*in*|depends=usbnet"),
        ("drivers/net/usb/rndis_host", "alias=usb:v*p*d*dc02dsc02dpFFic*isc*ip*in*|depends=usbnet,cdc_ether"),
        ("drivers/net/usb/usbnet", ""),
        ("drivers/scsi/lpfc/lpfc", "alias=pci:v000010DFd*sv*sd*bc*sc*i*|depends=scsi_transport_fc"),
        ("drivers/scsi/scsi_transport_fc", ""),
        ("fs/btrfs/btrfs", "alias=fs-btrfs|softdep=pre: crypto-crc32c|softdep=pre: xxhash64|softdep=post: late"),
        ("crypto/crc32c_generic", "alias=crypto-crc32c"),
        ("arch/x86/crypto/crc32c-intel", "alias=crypto-crc32c|alias=cpu:type:x86,ven*fam*mod*:feature:*0094*"),
        ("crypto/xxhash_generic", "alias=xxhash64"),
        ("fs/late", "depends=btrfs"),
    ];
    let files = files.map(|(path, info)| (format!("kernel/{path}.ko"), ModInfo::of_text(info)));
    ModuleFiles::new(files, "kernel/drivers/usb/core/usbcore.ko\n".to_owned())
}

/// The lists of the ramdisk and of all its packs, as PID 1 reads them on a machine that has them all.
fn lists_of_the_ramdisk(files: &ModuleFiles, choice: &Choice<'_>) -> Lists {
    let stored = |paths: &[&str]| -> Vec<(String, ModInfo)> {
        paths.iter().map(|path| (stored_path(path, Storing::Packed), files.info(path).unwrap().clone())).collect()
    };
    let base = stored(&choice.base);
    let packs: Vec<_> = choice.packs.iter().map(|pack| stored(&pack.modules)).collect();
    let mut lists = Lists { builtin: files.builtin().to_owned(), ..Lists::default() };
    for (modules, others) in std::iter::once((&base, &[][..])).chain(packs.iter().map(|pack| (pack, &base[..]))) {
        let [dep, alias, softdep, _] = depmod::lists(&listed(modules), &listed(others)).map(|(_, text)| text);
        lists.dep.push(dep);
        lists.alias.push(alias);
        lists.softdep.push(softdep);
    }
    lists
}

fn listed(modules: &[(String, ModInfo)]) -> Vec<Listed<'_>> {
    modules.iter().map(|(path, info)| Listed { path, info }).collect()
}

type Step = (ModuleName, BTreeSet<ModuleName>);

/// What is loaded for these roots in PID 1's order, each with all that it waits for.
fn steps(catalogue: &Catalogue<'_>, roots: impl IntoIterator<Item = ModuleName>) -> Vec<Step> {
    let waits = |module: Planned| (module.name, module.needs.into_iter().chain(module.wishes).collect());
    catalogue.plan(roots).in_order().map(waits).collect()
}

/// For each module one name that its alias means.
fn devices(catalogue: &Catalogue<'_>) -> BTreeMap<ModuleName, String> {
    catalogue.aliases().map(|(pattern, module)| (module, device(pattern))).collect()
}

/// `*` and `?` become a digit, and a set such as `[0-5]` its first member.
fn device(pattern: &str) -> String {
    let mut pieces = pattern.split('[');
    let first = pieces.next().unwrap_or_default().to_owned();
    let text = pieces.fold(first, |text, piece| {
        let (set, rest) = piece.split_once(']').unwrap_or((piece, ""));
        text + &set[..1] + rest
    });
    text.replace(['*', '?'], "0")
}

/// Modules and devices that were compared.
fn compare(files: &ModuleFiles, selection: &Selection) -> (usize, usize) {
    let fail = |source| BuildError::Modules { path: PathBuf::new(), source };
    let choice = selection.choose(files, fail).unwrap();
    let lists = lists_of_the_ramdisk(files, &choice);
    let (package, ramdisk) = (files.catalogue(), Catalogue::new(&lists));
    let inside: BTreeSet<ModuleName> = ramdisk.modules().map(|(name, _)| name).collect();
    for name in &inside {
        assert_eq!(steps(&ramdisk, [name.clone()]), steps(&package, [name.clone()]), "{name}");
    }
    let devices = devices(&ramdisk);
    for device in devices.values() {
        let found = |catalogue: &Catalogue<'_>| catalogue.find(&Wanted::new([device.clone()]), &Policy::default()).modules;
        let packed: BTreeSet<ModuleName> = found(&package).intersection(&inside).cloned().collect();
        assert_eq!(found(&ramdisk), packed, "{device}");
        assert!(!packed.is_empty(), "{device}");
    }
    (inside.len(), devices.len())
}

fn selections() -> [Selection; 3] {
    let with_packs = |profile| Selection { profile, packs: true, ..Selection::default() };
    let one = Selection { only: Some(vec!["filesystems".into()]), ..Selection::default() };
    [with_packs(Profile::Cloud), with_packs(Profile::Metal), one]
}

#[test]
fn pid_1_loads_what_the_builder_packed() {
    let files = fixture();
    assert_eq!(selections().map(|selection| compare(&files, &selection)), [(18, 10), (18, 10), (6, 4)]);
}

#[test]
fn pid_1_and_the_builder_agree_on_a_whole_kernel() {
    let Some(package) = std::env::var_os(PACKAGE) else {
        eprintln!("not compared: {PACKAGE} does not name a kernel package");
        return;
    };
    let kernel = Kernel::survey(&KernelSource::Debs(vec![package.into()])).unwrap();
    for selection in selections() {
        let (modules, devices) = compare(&kernel.modules, &selection);
        eprintln!("{}: {modules} modules, {devices} devices", selection.name());
        assert!(modules > 10 && devices > 10);
    }
}
