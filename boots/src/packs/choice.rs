//! Which packs of an index a machine's devices want. Pure.

use api::packs::{Index, Pack};
use devices::modalias::Device;

/// The packs that these devices want and those that are named, in the index's order. If a number of a device is not known,
/// any pack that may fit is taken: an extra pack costs bytes, and a missing one costs the installation.
#[must_use]
pub fn wanted(index: &Index, devices: &[Device], named: &[String]) -> Vec<Pack> {
    let asked = |pack: &&Pack| pack.modaliases.iter().any(|alias| devices.iter().any(|device| device.may_match(alias)));
    index.packs.iter().filter(|pack| named.contains(&pack.name) || asked(pack)).cloned().collect()
}

/// Names that do not belong to a pack.
#[must_use]
pub fn unknown<'a>(index: &Index, named: &'a [String]) -> Vec<&'a str> {
    let is_known = |name: &&String| index.packs.iter().any(|pack| pack.name == **name);
    named.iter().filter(|name| !is_known(name)).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::packs::file_name;

    fn index() -> Index {
        let pack = |name: &str, aliases: &[&str]| Pack {
            name: name.to_owned(),
            about: "a".to_owned(),
            file: file_name(name),
            size: 1,
            sha256: "00".to_owned(),
            modaliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        };
        let packs = vec![
            pack("san", &["pci:v00001077d*sv*sd*bc*sc*i*"]),
            pack("storage", &["pci:v*d*sv*sd*bc01sc08i02*", "pci:v*d*sv*sd*bc01sc06i01*", "mmc:block"]),
            pack("fabrics", &[]),
        ];
        Index { kernel: "6.1.0".to_owned(), packs }
    }

    #[test]
    fn a_machine_gets_the_packs_that_its_devices_ask_for() {
        for (case, devices, expected) in [
            ("nothing known", vec![], vec![]),
            ("nothing that a pack serves", vec![Device::pci(0x1af4, 0x1000, Some(0x02_00_00))], vec![]),
            ("one disk", vec![Device::pci(0x1b36, 0x0010, Some(0x01_08_02))], vec!["storage"]),
            (
                "two disks, one pack",
                vec![Device::pci(1, 2, Some(0x01_08_02)), Device::pci(3, 4, Some(0x01_06_01))],
                vec!["storage"],
            ),
            (
                "a disk and an adapter",
                vec![Device::pci(1, 2, Some(0x01_06_01)), Device::pci(0x1077, 4, Some(0x0c_04_00))],
                vec!["san", "storage"],
            ),
            ("a class that is not known", vec![Device::pci(0x8086, 0x1533, None)], vec!["storage"]),
            ("a bus that is not PCI", vec![Device::of_modalias("mmc:block").unwrap()], vec!["storage"]),
        ] {
            let names: Vec<String> = wanted(&index(), &devices, &[]).into_iter().map(|pack| pack.name).collect();
            assert_eq!(names, expected, "{case}");
        }
        let named = ["fabrics", "nonsense"].map(str::to_owned);
        let wanted = wanted(&index(), &[Device::pci(1, 2, Some(0x01_08_02))], &named);
        assert_eq!(wanted.iter().map(|pack| pack.name.as_str()).collect::<Vec<_>>(), ["storage", "fabrics"]);
        assert_eq!(unknown(&index(), &named), ["nonsense"]);
    }
}
