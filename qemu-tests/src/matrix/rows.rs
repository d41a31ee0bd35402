//! The machines of the matrix: firmware, network card and disk, in combinations that cover every pair.

use crate::machine::{DiskModel, Firmware, NicModel};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// QEMU passes kernel and ramdisk to the firmware.
    Direct,
    /// The firmware boots from the network card.
    Network,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub firmware: Firmware,
    pub nic: NicModel,
    pub disk: DiskModel,
    pub start: Start,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Every part once.
    Short,
    /// Every pair of parts once, and every card that can boot as the boot card with both firmwares.
    Pairs,
    /// Every combination.
    Full,
}

impl Row {
    /// Whether Debian's cloud kernel has drivers for it.
    pub fn is_cloud(&self) -> bool {
        self.nic.is_cloud() && self.disk.is_cloud()
    }

    pub fn name(&self) -> String {
        let start = if self.start == Start::Network { ", network boot" } else { "" };
        format!("{} + {} + {}{start}", self.firmware.name(), self.nic.device(), self.disk.name())
    }
}

pub fn rows(form: Form, nics: &[NicModel]) -> Vec<Row> {
    let direct = |firmware, nic, disk| Row { firmware, nic, disk, start: Start::Direct };
    let firmware = |number: usize| if number.is_multiple_of(2) { Firmware::SeaBios } else { Firmware::Ovmf };
    let pairs = || {
        nics.iter().enumerate().flat_map(|(n, nic)| DiskModel::ALL.iter().enumerate().map(move |(d, disk)| (n, *nic, d, *disk)))
    };
    match form {
        Form::Short => {
            // OVMF takes half as long again, so only the last row uses it.
            let longest = nics.len().max(DiskModel::ALL.len());
            let part = |n: usize| Some((*nics.get(n % nics.len())?, *DiskModel::ALL.get(n % DiskModel::ALL.len())?));
            let row = |n: usize| {
                part(n).map(|(nic, disk)| direct(if n + 1 == longest { Firmware::Ovmf } else { Firmware::SeaBios }, nic, disk))
            };
            (0..longest).filter_map(row).collect()
        }
        Form::Pairs => {
            let mut rows: Vec<Row> = pairs().map(|(n, nic, d, disk)| direct(firmware(n + d), nic, disk)).collect();
            let boots = nics.iter().filter(|nic| nic.boots()).enumerate();
            rows.extend(boots.flat_map(|(n, nic)| {
                let disk = DiskModel::ALL.get(n % DiskModel::ALL.len()).copied().unwrap_or(DiskModel::VirtioBlk);
                Firmware::ALL.map(|firmware| Row { firmware, nic: *nic, disk, start: Start::Network })
            }));
            rows
        }
        Form::Full => pairs().flat_map(|(_, nic, _, disk)| Firmware::ALL.map(|firmware| direct(firmware, nic, disk))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_has_every_part() {
        let rows = rows(Form::Short, &NicModel::ALL);
        assert!(NicModel::ALL.iter().all(|nic| rows.iter().any(|row| row.nic == *nic)));
        assert!(DiskModel::ALL.iter().all(|disk| rows.iter().any(|row| row.disk == *disk)));
        assert!(Firmware::ALL.iter().all(|firmware| rows.iter().any(|row| row.firmware == *firmware)));
        assert_eq!(rows.len(), 7);
    }

    #[test]
    fn the_ordinary_form_has_every_pair() {
        let rows = rows(Form::Pairs, &NicModel::ALL);
        for nic in NicModel::ALL {
            assert!(DiskModel::ALL.iter().all(|disk| rows.iter().any(|row| (row.nic, row.disk) == (nic, *disk))), "{nic:?}");
            assert!(
                Firmware::ALL.iter().all(|firmware| rows.iter().any(|row| (row.nic, row.firmware) == (nic, *firmware))),
                "{nic:?}"
            );
        }
        for disk in DiskModel::ALL {
            assert!(
                Firmware::ALL.iter().all(|firmware| rows.iter().any(|row| (row.disk, row.firmware) == (disk, *firmware))),
                "{disk:?}"
            );
        }
        assert!(rows.iter().all(|row| row.start == Start::Direct || row.nic.boots()));
    }

    #[test]
    fn a_lab_without_one_card_still_covers_the_others() {
        let some = [NicModel::Virtio, NicModel::E1000];
        assert_eq!(rows(Form::Short, &some).len(), DiskModel::ALL.len());
        assert_eq!(rows(Form::Full, &some).len(), 2 * 5 * 2);
    }
}
