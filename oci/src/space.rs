//! Whether an image fits: every byte of it is memory of the machine.

use crate::manifest::Descriptor;

/// More is needed than there is; both in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("needs about {needed} bytes, {free} bytes of memory are free")]
pub struct NoSpace {
    pub needed: u64,
    pub free: u64,
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

pub fn spare(free: u64) -> u64 {
    free.saturating_sub(FOR_THE_ACTION) / 4
}

/// What is left when the image is unpacked.
pub fn admit(needed: u64, free: u64) -> Result<u64, NoSpace> {
    free.checked_sub(needed).ok_or(NoSpace { needed, free })
}

/// How far layers are fetched before their turn to be unpacked comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ahead {
    /// On the way at once, with the one that is being unpacked.
    pub layers: usize,
    /// Bytes of whole layers that may wait in memory; of a larger one only the beginning does.
    pub bytes: u64,
}

/// Connections that are being opened hold an image of many layers up, not bytes: few of them ahead win nearly all of it.
const AHEAD: Ahead = Ahead { layers: 3, bytes: 2 << 20 };
/// Less to spare than this is left alone.
const TIGHT: u64 = 16 << 20;

pub fn ahead(spare: u64, layers: &[Descriptor]) -> Ahead {
    if spare < TIGHT {
        Ahead { layers: 1, bytes: 0 }
    } else if layers.iter().any(|layer| layer.media_type.ends_with("zstd")) {
        Ahead { layers: 2, bytes: 0 } // a decoder may take 8 MiB, and how much it will stands in the layer itself
    } else {
        AHEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(media_type: &str, size: u64) -> Descriptor {
        let digest = crate::digest::Digest::of(b"");
        Descriptor { media_type: media_type.into(), digest, size, platform: None }
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
        assert_eq!(admit(5, 5), Ok(0));
        assert_eq!(admit(2, 5), Ok(3));
        assert_eq!(admit(6, 5), Err(NoSpace { needed: 6, free: 5 }));
    }

    #[test]
    fn an_image_for_later_takes_a_quarter_of_what_is_not_set_aside() {
        for (free, want) in
            [(0, 0), (32 << 20, 0), (52 << 20, 5 << 20), (1 << 30, 248 << 20), (u64::MAX, (u64::MAX - (32 << 20)) / 4)]
        {
            assert_eq!(spare(free), want, "of {free}");
        }
    }

    #[test]
    fn layers_are_fetched_ahead_only_where_memory_is_to_spare() {
        let gzip = [layer("application/vnd.oci.image.layer.v1.tar+gzip", 1000)];
        let zstd =
            [layer("application/vnd.oci.image.layer.v1.tar", 10), layer("application/vnd.oci.image.layer.v1.tar+zstd", 10)];
        for (spare, at_once) in [(0, (1, 1)), (TIGHT - 1, (1, 1)), (TIGHT, (3, 2)), (u64::MAX, (3, 2))] {
            let (of_gzip, of_zstd) = (ahead(spare, &gzip), ahead(spare, &zstd));
            assert_eq!((of_gzip.layers, of_zstd.layers), at_once, "{spare}");
            assert!(of_gzip.bytes <= spare / 8 && of_zstd.bytes == 0, "{spare}");
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
