//! Which modules a machine can do without once its devices have their drivers.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalogue::Lists;
use crate::lists;
use crate::module::ModuleName;

/// Buses whose devices exist from the start: PCI slots, and parts of their devices. A USB device, a disk or a virtio device
/// may come at any time.
const FIXED: [&str; 2] = ["pci:", "auxiliary:"];

/// Paths of the modules that drive nothing but fixed devices, and that no other module needs. The file of a loaded module has
/// been removed already.
#[must_use]
pub fn drivers_of_fixed_devices(lists: &Lists) -> Vec<&str> {
    let mut fixed: BTreeMap<ModuleName, bool> = BTreeMap::new();
    for (pattern, module) in lists.alias.iter().flat_map(|text| text.lines()).filter_map(lists::alias) {
        let is_fixed = FIXED.iter().any(|bus| pattern.starts_with(bus));
        fixed.entry(ModuleName::new(module)).and_modify(|all| *all &= is_fixed).or_insert(is_fixed);
    }
    let is_spare = |path: &str| fixed.get(&ModuleName::of_path(path)).copied().unwrap_or(false);
    let modules: Vec<(&str, &str)> = lists.dep.iter().flat_map(|text| text.lines()).filter_map(lists::dep).collect();
    // `needs` has everything that a module needs, not only the nearest.
    let kept = modules.iter().filter(|(path, _)| !is_spare(path));
    let needed: BTreeSet<&str> = kept.flat_map(|(_, needs)| needs.split_whitespace()).collect();
    modules.iter().map(|(path, _)| *path).filter(|path| is_spare(path) && !needed.contains(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_drivers_of_fixed_devices_that_nothing_needs_are_spare() {
        let lists = Lists {
            dep: vec![
                "net/e1000.ko:\nnet/core.ko:\nnet/core_ib.ko: net/core.ko\nusb/usbnet.ko:\nusb/asix.ko: usb/usbnet.ko\n\
                 scsi/hba.ko: scsi/lib.ko\nscsi/lib.ko:\nscsi/sd.ko:\nblk/virtio_blk.ko:\nx/bridge.ko:\nx/user.ko: x/bridge.ko\n\
                 x/both.ko:\n"
                    .to_owned(),
                "pack/nic-two.ko.zst:\n".to_owned(),
            ],
            alias: vec![
                "alias pci:v00008086d0000100E* e1000\nalias pci:v00008086d0000100F* e1000\nalias pci:v000015B3* core\n\
                 alias auxiliary:core.rdma core_ib\nalias usb:v0B95* asix\nalias pci:v1* hba\nalias scsi:t-0x00* sd\n\
                 alias virtio:d00000002v* virtio_blk\nalias pci:v2* bridge\nalias fs-x user\nalias pci:v3* both\nalias of:N* both\n"
                    .to_owned(),
                "alias pci:v4* nic_two\n".to_owned(),
            ],
            ..Lists::default()
        };
        assert_eq!(
            drivers_of_fixed_devices(&lists),
            ["net/e1000.ko", "net/core.ko", "net/core_ib.ko", "scsi/hba.ko", "pack/nic-two.ko.zst"],
            "not those of USB, disks and virtio, not what has no alias, not what another module needs"
        );
        assert!(drivers_of_fixed_devices(&Lists::default()).is_empty());
    }
}
