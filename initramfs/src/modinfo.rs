//! What a kernel module says of itself: the NUL-separated `key=value` pairs of `.modinfo`.

use crate::elf::{Elf, ElfError};

/// A module's name with `-` written as `_`, as the kernel compares them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleName(String);

impl ModuleName {
    pub fn new(name: &str) -> Self {
        Self(name.trim().replace('-', "_"))
    }

    /// `kernel/drivers/net/virtio_net.ko.xz` is the module `virtio_net`; other files are none.
    pub fn of_path(path: &str) -> Option<Self> {
        let file = path.rsplit('/').next()?;
        let (stem, rest) = file.rsplit_once(".ko")?;
        (matches!(rest, "" | ".xz" | ".zst" | ".gz") && !stem.is_empty()).then(|| Self::new(stem))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ModuleName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModInfo {
    /// Modules whose symbols this one uses: without them it does not load.
    pub depends: Vec<ModuleName>,
    /// `softdep=pre:`: modules that should be there first, and may be missing.
    pub before: Vec<ModuleName>,
    /// `softdep=post:`: modules that should follow, and may be missing.
    pub after: Vec<ModuleName>,
    pub aliases: Vec<String>,
    /// `softdep=` as it is written, for `modules.softdep`.
    pub softdeps: Vec<String>,
    /// Files that the driver may ask for, below `/lib/firmware`.
    pub firmware: Vec<String>,
}

impl ModInfo {
    /// Reads an uncompressed `.ko`; one without `.modinfo` depends on nothing.
    pub fn of_module(file: &[u8]) -> Result<Self, ElfError> {
        Ok(Elf::parse(file)?.section(".modinfo")?.map(Self::parse).unwrap_or_default())
    }

    pub fn parse(section: &[u8]) -> Self {
        let mut info = Self::default();
        for pair in section.split(|byte| *byte == 0) {
            let text = String::from_utf8_lossy(pair);
            match text.split_once('=') {
                Some(("depends", list)) => info.depends.extend(names(list.split(','))),
                Some(("alias", pattern)) => info.aliases.push(pattern.to_owned()),
                Some(("softdep", list)) => {
                    info.softdep(list);
                    info.softdeps.push(list.to_owned());
                }
                Some(("firmware", file)) => info.firmware.push(file.to_owned()),
                _ => {}
            }
        }
        info
    }

    fn softdep(&mut self, list: &str) {
        let mut into = None;
        for word in list.split_whitespace() {
            match word {
                "pre:" => into = Some(&mut self.before),
                "post:" => into = Some(&mut self.after),
                name => {
                    if let Some(into) = into.as_mut() {
                        into.push(ModuleName::new(name));
                    }
                }
            }
        }
    }
}

fn names<'a>(list: impl Iterator<Item = &'a str>) -> impl Iterator<Item = ModuleName> {
    list.filter(|name| !name.trim().is_empty()).map(ModuleName::new)
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
        assert_eq!(info.before, list(&["crc32c"]));
        assert_eq!(info.after, list(&["algif_hash", "hci"]));
        assert_eq!(info.aliases, ["pci:v00001AF4d*", "virtio-net"]);
        assert_eq!(info.softdeps, ["pre: crc32c post: algif-hash hci"]);
        assert_eq!(info.firmware, ["tigon/tg3.bin"]);
    }

    #[test]
    fn an_empty_depends_is_no_dependency() {
        assert_eq!(ModInfo::parse(b"depends=\0name=x\0"), ModInfo::default());
    }

    #[test]
    fn a_module_file_is_known_by_its_name() {
        for (path, name) in [
            ("kernel/drivers/virtio/virtio-ring.ko", Some("virtio_ring")),
            ("kernel/fs/overlay.ko.xz", Some("overlay")),
            ("x.ko.zst", Some("x")),
            ("kernel/fs/overlay.ko.sig", None),
            ("modules.order", None),
            ("kernel/.ko", None),
        ] {
            assert_eq!(ModuleName::of_path(path), name.map(ModuleName::new), "{path}");
        }
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
