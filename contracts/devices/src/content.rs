//! What a disk or partition holds: the identity of its file system, and of the partition in its table.

mod partition;
mod superblock;

pub use partition::{Place, in_table};
pub use superblock::{Volume, probe};

/// A disk or partition to read from. `false` if these bytes are beyond its end or cannot be read.
pub trait Source {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> bool;
    fn size(&self) -> u64;
}

impl Source for [u8] {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> bool {
        let from = usize::try_from(offset).ok().and_then(|offset| self.get(offset..));
        match from.and_then(|from| from.get(..buffer.len())) {
            Some(bytes) => {
                buffer.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    fn size(&self) -> u64 {
        self.len() as u64
    }
}

/// `N` bytes from there.
fn bytes<const N: usize>(source: &(impl Source + ?Sized), offset: u64) -> Option<[u8; N]> {
    let mut buffer = [0; N];
    source.read(offset, &mut buffer).then_some(buffer)
}

/// A field of a block that was read.
fn field<const N: usize>(block: &[u8], offset: usize) -> Option<[u8; N]> {
    block.get(offset..)?.first_chunk().copied()
}

fn le16(block: &[u8], offset: usize) -> Option<u16> {
    field(block, offset).map(u16::from_le_bytes)
}

fn le32(block: &[u8], offset: usize) -> Option<u32> {
    field(block, offset).map(u32::from_le_bytes)
}

fn le64(block: &[u8], offset: usize) -> Option<u64> {
    field(block, offset).map(u64::from_le_bytes)
}

fn starts(block: &[u8], offset: usize, magic: &[u8]) -> bool {
    block.get(offset..).is_some_and(|rest| rest.starts_with(magic))
}

/// The bytes in the order in which they are written. `None` for all zeros.
fn uuid(bytes: [u8; 16]) -> Option<String> {
    if bytes == [0; 16] {
        return None;
    }
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |range| hex.get(range).unwrap_or_default();
    Some(format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)))
}
