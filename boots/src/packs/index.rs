//! `packs.json` as checked types, and which packs a machine's devices want. Pure.

use serde::Deserialize;

use super::Device;

/// What was built beside one ramdisk.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Index {
    pub kernel: String,
    pub packs: Vec<Pack>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Pack {
    pub name: String,
    /// Beside the index.
    pub file: String,
    pub size: u64,
    /// In hexadecimal.
    pub sha256: String,
    /// Patterns as in `modules.alias`.
    pub modaliases: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum BadIndex {
    #[error("it is not what `thimble image build --packs` writes")]
    Json(#[source] serde_json::Error),
    #[error("the pack {name:?} has {file:?} as its file, and wanted is a plain name of letters, digits and ._-+")]
    FileName { name: String, file: String },
}

impl Index {
    /// # Errors
    /// When it is no index, or names a file that cannot be said in a boot script.
    pub fn parse(text: &[u8]) -> Result<Self, BadIndex> {
        let index: Self = serde_json::from_slice(text).map_err(BadIndex::Json)?;
        match index.packs.iter().find(|pack| !is_plain(&pack.file)) {
            Some(pack) => Err(BadIndex::FileName { name: pack.name.clone(), file: pack.file.clone() }),
            None => Ok(index),
        }
    }

    /// The packs that these devices want and those that somebody named, in the index's order.
    #[must_use]
    pub fn wanted(&self, devices: &[Device], named: &[String]) -> Vec<Pack> {
        let asked = |pack: &&Pack| pack.modaliases.iter().any(|alias| devices.iter().any(|device| device.may_match(alias)));
        self.packs.iter().filter(|pack| named.contains(&pack.name) || asked(pack)).cloned().collect()
    }

    /// Names that no pack has.
    #[must_use]
    pub fn unknown<'a>(&self, named: &'a [String]) -> Vec<&'a str> {
        let is_known = |name: &&String| self.packs.iter().any(|pack| pack.name == **name);
        named.iter().filter(|name| !is_known(name)).map(String::as_str).collect()
    }
}

/// The name becomes a word of the boot script and of the kernel's command line.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(['.', '-'])
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let pack = |name: &str, aliases: &[&str]| serde_json::json!({"name": name, "about": "a", "file": format!("pack-{name}.cpio.zst"), "size": 1, "sha256": "00", "modaliases": aliases});
        let packs = [
            pack("san", &["pci:v00001077d*sv*sd*bc*sc*i*"]),
            pack("storage", &["pci:v*d*sv*sd*bc01sc08i02*", "pci:v*d*sv*sd*bc01sc06i01*", "mmc:block"]),
            pack("fabrics", &[]),
        ];
        Index::parse(serde_json::json!({"kernel": "6.1.0", "packs": packs}).to_string().as_bytes()).unwrap()
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
            ("a class that nobody told", vec![Device::pci(0x8086, 0x1533, None)], vec!["storage"]),
            ("a bus that is not PCI", vec![Device::of_modalias("mmc:block").unwrap()], vec!["storage"]),
        ] {
            let names: Vec<String> = index().wanted(&devices, &[]).into_iter().map(|pack| pack.name).collect();
            assert_eq!(names, expected, "{case}");
        }
        let named = ["fabrics", "nonsense"].map(str::to_owned);
        let wanted = index().wanted(&[Device::pci(1, 2, Some(0x01_08_02))], &named);
        assert_eq!(wanted.iter().map(|pack| pack.name.as_str()).collect::<Vec<_>>(), ["storage", "fabrics"]);
        assert_eq!(index().unknown(&named), ["nonsense"]);
    }

    #[test]
    fn an_index_that_cannot_be_used_is_refused() {
        for text in ["", "{}", "[]", r#"{"kernel":"6","packs":[{"name":"a"}]}"#] {
            assert!(matches!(Index::parse(text.as_bytes()), Err(BadIndex::Json(_))), "{text}");
        }
        for file in ["", "../a", "a/b", "a b", "-a", ".a", "a&&b", "a\\nb", "${x}"] {
            let text =
                format!(r#"{{"kernel":"6","packs":[{{"name":"a","file":"{file}","size":1,"sha256":"","modaliases":[]}}]}}"#);
            assert!(matches!(Index::parse(text.as_bytes()), Err(BadIndex::FileName { .. })), "{file}");
        }
    }
}
