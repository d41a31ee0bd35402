//! qcow2 images of both versions (docs/interop/qcow2.txt of QEMU): the header, here, and the clusters in [`walk`].
//!
//! Data is read in the order of the file, whatever its order on the disk. Images of `qemu-img convert` have their tables
//! before the data that these name, so they are read in one pass. Others need jumps, which a server with ranges allows.

pub mod walk;

pub const MAGIC: &[u8] = b"QFI\xfb";
/// The fields of version 3 with the kind of compression.
pub const HEADER: usize = 105;
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
/// The first table's entries. With the usual clusters of 64 KiB this is a disk of 32 TiB.
const TABLES_MAX: u64 = 65_536;
/// Bits 9 to 55 of an entry are a place in the file.
const PLACE: u64 = 0x00ff_ffff_ffff_fe00;
/// Subclusters of a cluster, as a power of two.
const SUBCLUSTER_BITS: u32 = 5;
/// With subclusters, a cluster has at least 16 KiB.
const CLUSTER_BITS_WITH_SUBCLUSTERS: u32 = 14;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Deflate,
    Zstd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub version: u32,
    pub cluster_bits: u32,
    /// Of the disk, in bytes.
    pub size: u64,
    pub tables_at: u64,
    pub compression: Compression,
    /// Each cluster has 32 parts of its own, and an entry has two numbers (`extended_l2`).
    pub subclusters: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Qcow2Error {
    #[error("the qcow2 image is damaged: {0}. Look at it with qemu-img check")]
    Damaged(&'static str),
    #[error("the qcow2 image {what}. Make one without: qemu-img convert -O qcow2 IMAGE new.qcow2")]
    Unsupported { what: &'static str },
    #[error("the version {0} of qcow2 is not known")]
    Version(u32),
}

impl Header {
    /// # Errors
    /// A file that is cut or contradicts itself, and features that one file alone cannot have.
    pub fn parse(start: &[u8]) -> Result<Self, Qcow2Error> {
        const CUT: Qcow2Error = Qcow2Error::Damaged("its header is cut off");
        let u32_at = |at: usize| number(start, at, 4).map(|value| value as u32).ok_or(CUT);
        let u64_at = |at: usize| number(start, at, 8).ok_or(CUT);
        let no = |what| Err(Qcow2Error::Unsupported { what });
        if !start.starts_with(MAGIC) {
            return Err(Qcow2Error::Damaged("it does not begin as one"));
        }
        let version = u32_at(4)?;
        if !matches!(version, 2 | 3) {
            return Err(Qcow2Error::Version(version));
        }
        if u64_at(8)? != 0 {
            return no("has a backing file, which is not part of it");
        }
        if u32_at(32)? != 0 {
            return no("is encrypted");
        }
        let (compression, subclusters) =
            if version == 3 { features(u64_at(72)?, u32_at(100)?, start)? } else { (Compression::Deflate, false) };
        let (cluster_bits, size, tables_at) = (u32_at(20)?, u64_at(24)?, u64_at(40)?);
        let header = Self { version, cluster_bits, size, tables_at, compression, subclusters };
        header.check(u32_at(36)?)?;
        Ok(header)
    }

    fn check(&self, tables: u32) -> Result<(), Qcow2Error> {
        let damaged = |what| Err(Qcow2Error::Damaged(what));
        if !CLUSTER_BITS.contains(&self.cluster_bits) {
            return damaged("the size of its clusters is not between 512 bytes and 2 MiB");
        }
        if self.subclusters && self.cluster_bits < CLUSTER_BITS_WITH_SUBCLUSTERS {
            return damaged("its clusters are too small for subclusters");
        }
        if self.size == 0 || self.size > i64::MAX as u64 {
            return damaged("its disk has no plausible size");
        }
        if u64::from(tables) < self.tables() {
            return damaged("its first table is shorter than the disk");
        }
        if !self.tables_at.is_multiple_of(self.cluster()) || self.tables_at == 0 {
            return damaged("its first table is not where one can be");
        }
        if self.tables() > TABLES_MAX {
            let what = "has so many tables that they take too much memory: its clusters are small for its disk";
            return Err(Qcow2Error::Unsupported { what });
        }
        Ok(())
    }

    pub fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// What is there or not as a whole: a subcluster if the image has them, otherwise a cluster.
    fn unit_bits(&self) -> u32 {
        if self.subclusters { self.cluster_bits - SUBCLUSTER_BITS } else { self.cluster_bits }
    }

    /// Numbers of eight bytes in an entry of a table of the second level.
    fn numbers_of_an_entry(&self) -> u64 {
        if self.subclusters { 2 } else { 1 }
    }

    /// Clusters that one table of the second level names.
    fn clusters_of_a_table(&self) -> u64 {
        self.cluster() / 8 / self.numbers_of_an_entry()
    }

    fn bytes_of_a_table(&self) -> u64 {
        self.cluster() * self.clusters_of_a_table()
    }

    /// Entries of the first table that the disk needs.
    pub fn tables(&self) -> u64 {
        self.size.div_ceil(self.bytes_of_a_table())
    }
}

/// The kind of compression, and whether there are subclusters.
fn features(incompatible: u64, header_length: u32, start: &[u8]) -> Result<(Compression, bool), Qcow2Error> {
    const DIRTY: u64 = 1; // concerns the reference counts, which are not used here
    const CORRUPT: u64 = 1 << 1;
    const EXTERNAL_DATA: u64 = 1 << 2;
    const COMPRESSION: u64 = 1 << 3;
    const EXTENDED_L2: u64 = 1 << 4;
    let no = |what| Err(Qcow2Error::Unsupported { what });
    if incompatible & CORRUPT != 0 {
        return Err(Qcow2Error::Damaged("QEMU has marked it as corrupt"));
    }
    if incompatible & EXTERNAL_DATA != 0 {
        return no("has its data in another file");
    }
    if incompatible & !(DIRTY | COMPRESSION | EXTENDED_L2) != 0 {
        return no("has a feature that is not known");
    }
    let compression = match (incompatible & COMPRESSION != 0 && header_length > 104).then(|| start.get(104)) {
        None | Some(Some(0)) => Compression::Deflate,
        Some(Some(1)) => Compression::Zstd,
        _ => return no("is compressed in a way that is not known"),
    };
    Ok((compression, incompatible & EXTENDED_L2 != 0))
}

fn number(data: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = data.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests;
