//! Checks whether an image fits: each of its bytes takes memory of the machine, and each file takes an inode of the file
//! system.

use crate::manifest::Descriptor;

/// The resources that can run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Bytes of the machine's memory.
    Memory,
    /// Bytes of the file system.
    Disk,
    /// Files, folders and links that the file system can have.
    Inodes,
}

/// How much may still be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Free {
    /// Bytes of the machine's memory.
    pub memory: u64,
    /// Bytes of the file system.
    pub disk: u64,
    /// Inodes of the file system.
    pub inodes: u64,
}

impl Free {
    pub const NONE: Self = Self { memory: 0, disk: 0, inodes: 0 };

    /// Only this limit, and no others.
    pub fn of_memory(bytes: u64) -> Self {
        Self { memory: bytes, disk: u64::MAX, inodes: u64::MAX }
    }

    /// The free bytes. A written file takes both memory and file system.
    pub fn bytes(&self) -> u64 {
        self.memory.min(self.disk)
    }

    pub fn of(&self, resource: Resource) -> u64 {
        match resource {
            Resource::Memory => self.memory,
            Resource::Disk => self.disk,
            Resource::Inodes => self.inodes,
        }
    }

    /// The rest after this use, or the resource that runs out.
    pub fn less(&self, bytes: u64, inodes: u64) -> Result<Self, Resource> {
        Ok(Self {
            inodes: self.inodes.checked_sub(inodes).ok_or(Resource::Inodes)?,
            disk: self.disk.checked_sub(bytes).ok_or(Resource::Disk)?,
            memory: self.memory.checked_sub(bytes).ok_or(Resource::Memory)?,
        })
    }

    /// The resource that limits the bytes.
    fn tighter(&self) -> Resource {
        if self.disk < self.memory { Resource::Disk } else { Resource::Memory }
    }
}

/// More is needed than is free, in bytes or inodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct NoSpace {
    pub resource: Resource,
    pub needed: u64,
    pub free: u64,
}

impl NoSpace {
    fn text(&self) -> String {
        let Self { needed, free, .. } = self;
        match self.resource {
            Resource::Memory => format!("needs about {needed} bytes, but only {free} bytes of memory are free"),
            Resource::Disk => format!("needs about {needed} bytes, but only {free} bytes of the file system are free"),
            Resource::Inodes => format!("needs at least {needed} inodes, but only {free} inodes of the file system are free"),
        }
    }
}

/// How many bytes the unpacked layers take. Plain archives are exact. For compressed ones it is two and a half times their
/// size, which is typical for programs and libraries.
pub fn estimate(layers: &[Descriptor]) -> u64 {
    layers
        .iter()
        .map(|l| if is_compressed(l) { l.size.saturating_add(l.size.saturating_mul(3) / 2) } else { l.size })
        .fold(0, u64::saturating_add)
}

/// The least that the layers can unpack to.
pub fn at_least(layers: &[Descriptor]) -> u64 {
    layers.iter().map(|l| l.size).fold(0, u64::saturating_add)
}

pub fn is_compressed(layer: &Descriptor) -> bool {
    !layer.media_type.ends_with(".tar")
}

pub fn is_gzip(layer: &Descriptor) -> bool {
    layer.media_type.ends_with("gzip")
}

/// The unpacked size in gzip's last four bytes, if it can be true. They hold it modulo 4 GiB and only describe the last
/// member, and deflate never exceeds 1032 to 1.
pub fn plausible(compressed: u64, trailer: [u8; 4]) -> Option<u64> {
    let size = u64::from(u32::from_le_bytes(trailer));
    (compressed <= size.saturating_mul(2) && size <= compressed.saturating_mul(1032) && compressed < 1 << 30).then_some(size)
}

/// Memory that is reserved for the running action. Of the rest, an image that is pulled meanwhile may take a quarter.
const FOR_THE_ACTION: u64 = 32 << 20;

pub fn spare(free: &Free) -> Free {
    let spare = |bytes: u64| bytes.saturating_sub(FOR_THE_ACTION) / 4;
    Free { memory: spare(free.memory), disk: spare(free.disk), inodes: free.inodes / 4 }
}

/// The room that is left after the image is unpacked.
pub fn admit(needed: u64, room: &Free) -> Result<u64, NoSpace> {
    let free = room.bytes();
    free.checked_sub(needed).ok_or(NoSpace { resource: room.tighter(), needed, free })
}

/// How much is fetched before the turn of a layer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ahead {
    /// How many layers are in progress at once, including the one that is being unpacked.
    pub layers: usize,
    /// How many bytes of complete layers may wait in the agent's memory.
    pub bytes: u64,
    /// How many bytes of complete layers may wait in files beside the image. Of a larger layer only the first bytes wait.
    pub spooled: u64,
}

/// Opening connections delays images with small layers, and one connection may be slower than the network.
const AHEAD: Ahead = Ahead { layers: 3, bytes: 2 << 20, spooled: 256 << 20 };
/// If less than this is to spare, nothing is fetched in advance.
const TIGHT: u64 = 16 << 20;

/// `spare` is what the unpacked image leaves free.
pub fn ahead(spare: u64, layers: &[Descriptor]) -> Ahead {
    let spooled = (spare.saturating_sub(TIGHT) / 4).min(AHEAD.spooled);
    if spare < TIGHT {
        Ahead { layers: 1, bytes: 0, spooled: 0 }
    } else if layers.iter().any(|layer| layer.media_type.ends_with("zstd")) {
        // A decoder may take up to 8 MiB, which depends on the layer.
        Ahead { layers: if spooled > 0 { AHEAD.layers } else { 2 }, bytes: 0, spooled }
    } else {
        Ahead { spooled, ..AHEAD }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(media_type: &str, size: u64) -> Descriptor {
        let digest = crate::digest::Digest::of(b"");
        Descriptor { media_type: media_type.into(), ..Descriptor::of(&digest, size) }
    }

    #[test]
    fn compressed_layers_count_for_more_than_their_size() {
        let layers =
            [layer("application/vnd.oci.image.layer.v1.tar+zstd", 1000), layer("application/vnd.oci.image.layer.v1.tar", 10)];
        assert_eq!((estimate(&layers), at_least(&layers)), (2510, 1010));
        assert_eq!(estimate(&[layer("", u64::MAX), layer("", u64::MAX)]), u64::MAX, "absurd sizes do not wrap");
    }

    #[test]
    fn a_refusal_contains_both_numbers() {
        let room = Free { disk: 7, ..Free::of_memory(5) };
        assert_eq!(admit(5, &room), Ok(0));
        assert_eq!(admit(2, &room), Ok(3));
        assert_eq!(admit(6, &room), Err(NoSpace { resource: Resource::Memory, needed: 6, free: 5 }));
        let full = Free { disk: 4, ..room };
        assert_eq!(admit(6, &full), Err(NoSpace { resource: Resource::Disk, needed: 6, free: 4 }));
    }

    #[test]
    fn the_resource_that_runs_out_first_is_named() {
        let room = Free { memory: 100, disk: 50, inodes: 1 };
        for (bytes, inodes, want) in
            [(50, 1, Ok(Free { memory: 50, disk: 0, inodes: 0 })), (51, 1, Err(Resource::Disk)), (0, 2, Err(Resource::Inodes))]
        {
            assert_eq!(room.less(bytes, inodes), want, "{bytes} {inodes}");
        }
        assert_eq!(Free { disk: 200, ..room }.less(101, 0), Err(Resource::Memory));
    }

    #[test]
    fn an_image_for_later_takes_a_quarter_of_the_memory_after_the_reserve() {
        for (free, want) in
            [(0, 0), (32 << 20, 0), (52 << 20, 5 << 20), (1 << 30, 248 << 20), (u64::MAX, (u64::MAX - (32 << 20)) / 4)]
        {
            assert_eq!(spare(&Free::of_memory(free)).bytes(), want, "of {free}");
        }
    }

    #[test]
    fn layers_are_fetched_in_advance_only_if_memory_is_to_spare() {
        let gzip = [layer("application/vnd.oci.image.layer.v1.tar+gzip", 1000)];
        let zstd =
            [layer("application/vnd.oci.image.layer.v1.tar", 10), layer("application/vnd.oci.image.layer.v1.tar+zstd", 10)];
        for (spare, at_once) in [(0, (1, 1)), (TIGHT - 1, (1, 1)), (TIGHT, (3, 2)), (2 * TIGHT, (3, 3)), (u64::MAX, (3, 3))] {
            let (of_gzip, of_zstd) = (ahead(spare, &gzip), ahead(spare, &zstd));
            assert_eq!((of_gzip.layers, of_zstd.layers), at_once, "{spare}");
            assert!(of_gzip.bytes <= spare / 8 && of_zstd.bytes == 0, "{spare}");
            assert!(of_gzip.spooled <= spare / 4 && of_gzip.spooled == of_zstd.spooled, "{spare}");
        }
    }

    #[test]
    fn an_implausible_gzip_trailer_is_ignored() {
        assert_eq!(plausible(1000, 4000u32.to_le_bytes()), Some(4000));
        assert_eq!(plausible(1000, 20u32.to_le_bytes()), None, "it may describe the last of several members");
        assert_eq!(plausible(10, u32::MAX.to_le_bytes()), None);
        assert_eq!(plausible(3 << 30, 4000u32.to_le_bytes()), None, "the size may have wrapped");
    }
}
