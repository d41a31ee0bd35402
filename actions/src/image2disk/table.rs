//! The image's partition table on this disk (UEFI 2.10, section 5; MBR): it is converted to the disk's sectors, the backup of
//! GPT moves to the end of the disk, and the last partition grows if the operator wants that.
//!
//! [`adapt`] changes the image's first MiB while it waits to be written, so a table is never wrong on the disk.

pub mod fat;
mod gpt;
mod mbr;
pub mod new;

/// A disk, or a part of it, that an image is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    pub size: u64,
    /// The logical sector size.
    pub sector: u64,
}

/// The partition that takes the rest of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grow {
    Last,
    Number(u32),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    #[error(
        "its partition table counts in sectors of {image} bytes, and the disk has sectors of {disk}: no system would find its \
         partitions. Use an image made for {disk}-byte sectors, or format the disk to {image} (nvme format --lbaf)"
    )]
    Sector { image: u64, disk: u64 },
    #[error(
        "its partition table counts in sectors of {image} bytes, and the disk has sectors of {disk}. It cannot be converted: \
         partition {number} does not begin and end at a multiple of {disk} bytes, behind the table. Use an image made for \
         {disk}-byte sectors, or format the disk to {image} (nvme format --lbaf)"
    )]
    Unaligned { number: u32, image: u64, disk: u64 },
    #[error(
        "its FAT file system has sectors of {image} bytes, and the disk has {disk}, which FAT cannot have. Use another image"
    )]
    Fat { image: u64, disk: u64 },
    #[error("its partition {number} ends at byte {end}, and the disk has {size}")]
    TooSmall { number: u32, end: u64, size: u64 },
    #[error("GROW: it has no partition table")]
    NoTable,
    #[error("GROW: it has no partition {0}")]
    NoPartition(u32),
    #[error("GROW: partition {number} is not the last one on the disk: partition {last} is")]
    NotLast { number: u32, last: u32 },
    #[error("GROW: partition {0} is a logical or extended one, which is not grown here")]
    Extended(u32),
}

/// What else is to be written, before the first MiB.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adapted {
    /// The backup of GPT with its place.
    pub backup: Option<(u64, Vec<u8>)>,
    /// Places and lengths of what is to be erased: the backup that the image has, and old superblocks in a partition that grew.
    pub stale: Vec<(u64, u64)>,
    /// The partitions whose table was converted. Their file systems need sectors as large as the disk's, too.
    pub converted: Vec<Part>,
    /// The partition that grew.
    pub grown: Option<u32>,
    /// For the log.
    pub notes: Vec<String>,
}

/// A partition in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub number: u32,
    pub start: u64,
    pub end: u64,
}

impl Part {
    /// Whether sectors of this size can describe it, behind the first `used` bytes.
    fn is_aligned(&self, sector: u64, used: u64) -> bool {
        self.start.is_multiple_of(sector) && self.end.is_multiple_of(sector) && self.start >= used
    }
}

/// # Errors
/// A table that does not fit the disk, or a wish that cannot be fulfilled. The head is unchanged then.
pub fn adapt(head: &mut [u8], image: Option<u64>, disk: Disk, grow: Option<Grow>) -> Result<Adapted, TableError> {
    let found = [512, 4096].into_iter().find(|sector| gpt::is_at(head, *sector));
    match found {
        Some(sector) if sector != disk.sector => {
            let mut copy = head.to_vec();
            let converted = gpt::convert(&mut copy, sector, disk, image)?;
            let mut adapted = gpt::adapt(&mut copy, image, disk, grow)?;
            head.copy_from_slice(&copy);
            let text = format!("the partition table was converted from sectors of {sector} bytes to {}", disk.sector);
            adapted.notes.insert(0, text);
            adapted.stale.extend(converted.stale);
            Ok(Adapted { converted: converted.parts, ..adapted })
        }
        Some(_) => gpt::adapt(head, image, disk, grow),
        None => match mbr::parts(head) {
            Some(parts) => mbr::adapt(head, &parts, image, disk, grow),
            None => {
                fat(head, disk.sector)?;
                if grow.is_some() { Err(TableError::NoTable) } else { Ok(Adapted::default()) }
            }
        },
    }
}

/// Where the partitions of a table are, in bytes. None if it is damaged.
pub fn partitions(head: &[u8], sector: u64) -> Vec<std::ops::Range<u64>> {
    let parts = if gpt::is_at(head, sector) { gpt::list(head, sector) } else { mbr::list(head, sector) };
    parts.into_iter().map(|part| part.start..part.end.max(part.start)).collect()
}

/// A file system in place of partitions.
fn fat(head: &[u8], disk: u64) -> Result<(), TableError> {
    let jump = matches!(head.first(), Some(0xeb | 0xe9));
    let is_fat = head.get(54..57) == Some(b"FAT") || head.get(82..85) == Some(b"FAT");
    let image = number(head, 11, 2);
    if jump && is_fat && image < disk { Err(TableError::Fat { image, disk }) } else { Ok(()) }
}

/// The one that grows, which must be the last on the disk.
fn chosen(parts: &[Part], grow: Grow) -> Result<Part, TableError> {
    let last = parts.iter().max_by_key(|part| part.end).ok_or(TableError::NoTable)?;
    match grow {
        Grow::Number(number) if !parts.iter().any(|part| part.number == number) => Err(TableError::NoPartition(number)),
        Grow::Number(number) if number != last.number => Err(TableError::NotLast { number, last: last.number }),
        _ => Ok(*last),
    }
}

fn fits(parts: &[Part], size: u64) -> Result<(), TableError> {
    match parts.iter().find(|part| part.end > size) {
        Some(Part { number, end, .. }) => Err(TableError::TooSmall { number: *number, end: *end, size }),
        None => Ok(()),
    }
}

/// Some images leave out the end of their last partition. In others it was cut off.
fn short(parts: &[Part], image: Option<u64>) -> Option<String> {
    let (part, image) = (parts.iter().max_by_key(|part| part.end)?, image?);
    let text = format!("the image has {image} bytes, and its partition {} ends at byte {}", part.number, part.end);
    (part.end > image).then(|| format!("{text}: it is cut off, or leaves out the end of the partition"))
}

fn grown(number: u32, before: u64, after: u64) -> String {
    format!("partition {number} grew by {} MiB", after.saturating_sub(before) >> 20)
}

/// Copies of the superblock of btrfs lie at these places of a file system. Those of the disk's old one must not be found in a
/// partition that grew over them. Everything else that is known lies in the last 2 MiB of the disk, which the writer erases.
fn old_copies(part: &Part, end: u64) -> Vec<(u64, u64)> {
    const COPIES: [u64; 2] = [64 << 20, 256 << 30];
    const LENGTH: u64 = 4096;
    let places = COPIES.iter().map(|copy| part.start.saturating_add(*copy));
    places.filter(|at| *at >= part.end && at.saturating_add(LENGTH) <= end).map(|at| (at, LENGTH)).collect()
}

/// Little-endian, and 0 behind the end.
fn number(data: &[u8], at: usize, length: usize) -> u64 {
    let bytes = data.get(at..at + length).unwrap_or_default();
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn put(data: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = data.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests;
