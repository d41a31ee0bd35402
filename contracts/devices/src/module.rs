//! A module's name, as the kernel has it.

use std::borrow::Borrow;
use std::fmt;

/// Without folder and ending, with underscores for dashes: `virtio_net` of `kernel/drivers/net/virtio-net.ko.zst`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleName(String);

impl ModuleName {
    pub fn new(name: &str) -> Self {
        Self(name.replace('-', "_"))
    }

    pub fn of_path(path: &str) -> Self {
        Self::new(stem(path))
    }

    /// `None` if it is not the path of a module. Modules end in `.ko`, with a suffix if they are compressed.
    pub fn of_file(path: &str) -> Option<Self> {
        let (_, suffix) = path.rsplit_once(".ko")?;
        let name = Self::of_path(path);
        (matches!(suffix, "" | ".xz" | ".zst" | ".gz") && !name.0.is_empty()).then_some(name)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ModuleName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The file's name up to `.ko`, as it is written.
pub fn stem(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split_once(".ko").map_or(file, |(stem, _)| stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_named_after_its_file() {
        for (path, name) in [
            ("kernel/drivers/net/virtio-net.ko.zst", "virtio_net"),
            ("kernel/crypto/crc32c_generic.ko", "crc32c_generic"),
            ("overlay", "overlay"),
        ] {
            assert_eq!(ModuleName::of_path(path).as_str(), name);
        }
    }

    #[test]
    fn a_module_file_is_known_by_its_ending() {
        for (path, name) in [
            ("kernel/drivers/virtio/virtio-ring.ko", Some("virtio_ring")),
            ("kernel/fs/overlay.ko.xz", Some("overlay")),
            ("x.ko.zst", Some("x")),
            ("kernel/fs/overlay.ko.sig", None),
            ("modules.order", None),
            ("kernel/.ko", None),
            ("overlay", None),
        ] {
            assert_eq!(ModuleName::of_file(path), name.map(ModuleName::new), "{path}");
        }
    }
}
