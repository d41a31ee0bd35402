//! What a kernel module says about itself: the NUL-separated `key=value` pairs of `.modinfo`.

use crate::elf::{self, ElfError};
use devices::module::ModuleName;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModInfo {
    /// Modules whose symbols this one uses: without them it does not load.
    pub depends: Vec<ModuleName>,
    pub aliases: Vec<String>,
    /// `softdep=` as it is written, for `modules.softdep`.
    pub softdeps: Vec<String>,
    /// Files that the driver may ask for, below `/lib/firmware`.
    pub firmware: Vec<String>,
}

impl ModInfo {
    /// Reads an uncompressed `.ko`. A file without `.modinfo` depends on nothing.
    pub fn of_module(file: &[u8]) -> Result<Self, ElfError> {
        Ok(elf::section(file, ".modinfo")?.map(Self::parse).unwrap_or_default())
    }

    pub fn parse(section: &[u8]) -> Self {
        let mut info = Self::default();
        for pair in section.split(|byte| *byte == 0) {
            let text = String::from_utf8_lossy(pair);
            match text.split_once('=') {
                Some(("depends", list)) => info.depends.extend(names(list.split(','))),
                Some(("alias", pattern)) => info.aliases.push(pattern.to_owned()),
                Some(("softdep", wishes)) => info.softdeps.push(wishes.to_owned()),
                Some(("firmware", file)) => info.firmware.push(file.to_owned()),
                _ => {}
            }
        }
        info
    }

    /// Pairs with `|` between them.
    #[cfg(test)]
    pub fn of_text(text: &str) -> Self {
        Self::parse(text.replace('|', "\0").as_bytes())
    }
}

fn names<'a>(list: impl Iterator<Item = &'a str>) -> impl Iterator<Item = ModuleName> {
    list.map(str::trim).filter(|name| !name.is_empty()).map(ModuleName::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(names: &[&str]) -> Vec<ModuleName> {
        names.iter().map(|name| ModuleName::new(name)).collect()
    }

    #[test]
    fn dependencies_softdeps_and_aliases_are_read() {
        let info = ModInfo::parse(
            b"license=GPL\0alias=pci:v00001AF4d*\0alias=virtio-net\0depends=net_failover,virtio-ring\0\0\
              softdep=pre: crc32c post: algif-hash hci\0vermagic=6.1 SMP\0\
              firmware=tigon/tg3.bin\0",
        );
        assert_eq!(info.depends, list(&["net_failover", "virtio_ring"]));
        assert_eq!(info.aliases, ["pci:v00001AF4d*", "virtio-net"]);
        assert_eq!(info.softdeps, ["pre: crc32c post: algif-hash hci"]);
        assert_eq!(info.firmware, ["tigon/tg3.bin"]);
    }

    #[test]
    fn an_empty_depends_is_no_dependency() {
        assert_eq!(ModInfo::parse(b"depends=\0name=x\0"), ModInfo::default());
    }

    #[test]
    fn a_module_is_read_from_its_elf_file() {
        let file = crate::elf::tests::module(b"depends=virtio\0");
        assert_eq!(ModInfo::of_module(&file).unwrap().depends, list(&["virtio"]));
    }

    proptest! {
        #[test]
        fn any_bytes_parse(section in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = ModInfo::parse(&section);
        }

        #[test]
        fn written_dependencies_are_read_back(names in proptest::collection::vec("[a-z0-9_]{1,12}", 0..8)) {
            let section = format!("a=b\0depends={}\0", names.join(","));
            let wanted: Vec<_> = names.iter().map(|name| ModuleName::new(name)).collect();
            prop_assert_eq!(ModInfo::parse(section.as_bytes()).depends, wanted);
        }
    }
}
