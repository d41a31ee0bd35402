//! Whether an image fits: every byte of it is memory of the machine, and every file an inode of the file system.

use crate::manifest::Descriptor;

/// What can run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Bytes of the machine.
    Memory,
    /// Bytes of the file system.
    Disk,
    /// Files, folders and links that the file system may hold.
    Inodes,
}

/// What may still be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Free {
    /// Bytes of the machine.
    pub memory: u64,
    /// Bytes of the file system.
    pub disk: u64,
    /// Of the file system.
    pub inodes: u64,
}

impl Free {
    pub const NONE: Self = Self { memory: 0, disk: 0, inodes: 0 };

    /// Without any limit but this one.
    pub fn of_memory(bytes: u64) -> Self {
        Self { memory: bytes, disk: u64::MAX, inodes: u64::MAX }
    }

    /// Bytes: a file that is written takes both.
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

    /// What is left, or what runs out.
    pub fn less(&self, bytes: u64, inodes: u64) -> Result<Self, Resource> {
        Ok(Self {
            inodes: self.inodes.checked_sub(inodes).ok_or(Resource::Inodes)?,
            disk: self.disk.checked_sub(bytes).ok_or(Resource::Disk)?,
            memory: self.memory.checked_sub(bytes).ok_or(Resource::Memory)?,
        })
    }

    /// What limits the bytes.
    fn tighter(&self) -> Resource {
        if self.disk < self.memory { Resource::Disk } else { Resource::Memory }
    }
}

/// More is needed than there is, in bytes or inodes.
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
            Resource::Memory => format!("needs about {needed} bytes, {free} bytes of memory are free"),
            Resource::Disk => format!("needs about {needed} bytes, {free} bytes of the file system are free"),
            Resource::Inodes => format!("needs at least {needed} inodes, {free} inodes of the file system are free"),
        }
    }
}

/// Bytes the layers take once unpacked: exact for plain archives, and for compressed ones two and a half times
/// their size, which is what gzip and zstd make of programs and libraries.
pub fn estimate(layers: &[Descriptor]) -> u64 {
    layers
        .iter()
        .map(|l| if is_compressed(l) { l.size.saturating_add(l.size.saturating_mul(3) / 2) } else { l.size })
        .fold(0, u64::saturating_add)
}

/// No layer unpacks to less than this.
pub fn at_least(layers: &[Descriptor]) -> u64 {
    layers.iter().map(|l| l.size).fold(0, u64::saturating_add)
}

pub fn is_compressed(layer: &Descriptor) -> bool {
    !layer.media_type.ends_with(".tar")
}

pub fn is_gzip(layer: &Descriptor) -> bool {
    layer.media_type.ends_with("gzip")
}

/// What gzip's last four bytes say of the unpacked size, if it can be true: they hold it modulo 4 GiB and
/// describe only the last member, and deflate never exceeds 1032 to 1.
pub fn plausible(compressed: u64, trailer: [u8; 4]) -> Option<u64> {
    let size = u64::from(u32::from_le_bytes(trailer));
    (compressed <= size.saturating_mul(2) && size <= compressed.saturating_mul(1032) && compressed < 1 << 30).then_some(size)
}

/// What an image may take that is pulled while an action runs, which may need more memory itself: a quarter, after this
/// many bytes are set aside.
const FOR_THE_ACTION: u64 = 32 << 20;

pub fn spare(free: &Free) -> Free {
    let spare = |bytes: u64| bytes.saturating_sub(FOR_THE_ACTION) / 4;
    Free { memory: spare(free.memory), disk: spare(free.disk), inodes: free.inodes / 4 }
}

/// What is left when the image is unpacked.
pub fn admit(needed: u64, room: &Free) -> Result<u64, NoSpace> {
    let free = room.bytes();
    free.checked_sub(needed).ok_or(NoSpace { resource: room.tighter(), needed, free })
}

/// How far layers are fetched before their turn to be unpacked comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ahead {
    /// On the way at once, with the one that is being unpacked.
    pub layers: usize,
    /// Bytes of whole layers that may wait in the agent's memory.
    pub bytes: u64,
    /// Bytes of whole layers that may wait in files beside the image. Of a larger layer only the beginning waits.
    pub spooled: u64,
}

/// Connections that are being opened hold an image of small layers up, and one connection may be slower than the network.
const AHEAD: Ahead = Ahead { layers: 3, bytes: 2 << 20, spooled: 256 << 20 };
/// Less to spare than this is left alone.
const TIGHT: u64 = 16 << 20;

/// `spare` is what the unpacked image leaves.
pub fn ahead(spare: u64, layers: &[Descriptor]) -> Ahead {
    let spooled = (spare.saturating_sub(TIGHT) / 4).min(AHEAD.spooled);
    if spare < TIGHT {
        Ahead { layers: 1, bytes: 0, spooled: 0 }
    } else if layers.iter().any(|layer| layer.media_type.ends_with("zstd")) {
        // A decoder may take 8 MiB, and how much it will stands in the layer itself.
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
    fn compressed_layers_count_for_more_than_they_weigh() {
        let layers =
            [layer("application/vnd.oci.image.layer.v1.tar+zstd", 1000), layer("application/vnd.oci.image.layer.v1.tar", 10)];
        assert_eq!((estimate(&layers), at_least(&layers)), (2510, 1010));
        assert_eq!(estimate(&[layer("", u64::MAX), layer("", u64::MAX)]), u64::MAX, "absurd sizes do not wrap");
    }

    #[test]
    fn a_refusal_holds_both_numbers() {
        let room = Free { disk: 7, ..Free::of_memory(5) };
        assert_eq!(admit(5, &room), Ok(0));
        assert_eq!(admit(2, &room), Ok(3));
        assert_eq!(admit(6, &room), Err(NoSpace { resource: Resource::Memory, needed: 6, free: 5 }));
        let full = Free { disk: 4, ..room };
        assert_eq!(admit(6, &full), Err(NoSpace { resource: Resource::Disk, needed: 6, free: 4 }));
    }

    #[test]
    fn what_runs_out_first_is_named() {
        let room = Free { memory: 100, disk: 50, inodes: 1 };
        for (bytes, inodes, want) in
            [(50, 1, Ok(Free { memory: 50, disk: 0, inodes: 0 })), (51, 1, Err(Resource::Disk)), (0, 2, Err(Resource::Inodes))]
        {
            assert_eq!(room.less(bytes, inodes), want, "{bytes} {inodes}");
        }
        assert_eq!(Free { disk: 200, ..room }.less(101, 0), Err(Resource::Memory));
    }

    #[test]
    fn an_image_for_later_takes_a_quarter_of_what_is_not_set_aside() {
        for (free, want) in
            [(0, 0), (32 << 20, 0), (52 << 20, 5 << 20), (1 << 30, 248 << 20), (u64::MAX, (u64::MAX - (32 << 20)) / 4)]
        {
            assert_eq!(spare(&Free::of_memory(free)).bytes(), want, "of {free}");
        }
    }

    #[test]
    fn layers_are_fetched_ahead_only_where_memory_is_to_spare() {
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
    fn an_unbelievable_gzip_trailer_is_not_believed() {
        assert_eq!(plausible(1000, 4000u32.to_le_bytes()), Some(4000));
        assert_eq!(plausible(1000, 20u32.to_le_bytes()), None, "the last of several members");
        assert_eq!(plausible(10, u32::MAX.to_le_bytes()), None);
        assert_eq!(plausible(3 << 30, 4000u32.to_le_bytes()), None, "may have wrapped");
    }
}
