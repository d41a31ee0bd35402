//! Swap space: what mkswap(8) writes, and taking it into use and out again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::sys;
pub use crate::sys::page_size;

/// Makes the first `size` bytes of the device swap space, and uses it: before all other swap if `first`.
///
/// # Errors
/// Those of the system. `InvalidInput` if the size is less than two pages, or more than swap can have.
pub fn on(device: &Path, size: u64, first: bool) -> io::Result<()> {
    let page = page_size();
    let header = size.checked_div(page).and_then(|pages| header(pages, page)).ok_or(io::ErrorKind::InvalidInput)?;
    let file = OpenOptions::new().write(true).open(device)?;
    file.write_all_at(&header, 0)?;
    file.sync_all()?;
    drop(file);
    sys::swap_on(device, first)
}

/// Its content moves back to memory, or the call fails. Afterwards the device does not look like swap space.
pub fn off(device: &Path) -> io::Result<()> {
    sys::swap_off(device)?;
    let file = OpenOptions::new().write(true).open(device)?;
    file.write_all_at(&vec![0; usize::try_from(page_size()).unwrap_or(4096)], 0)?;
    file.sync_all()
}

/// One page: version, last page and number of bad pages behind the boot block, the signature at the end.
fn header(pages: u64, page: u64) -> Option<Vec<u8>> {
    const INFO: usize = 1024;
    const SIGNATURE: &[u8] = b"SWAPSPACE2";
    let last = u32::try_from(pages.checked_sub(1)?).ok()?;
    let mut header = vec![0; usize::try_from(page).ok()?];
    header.get_mut(INFO..INFO + 4)?.copy_from_slice(&1u32.to_ne_bytes());
    header.get_mut(INFO + 4..INFO + 8)?.copy_from_slice(&last.to_ne_bytes());
    let end = header.len().checked_sub(SIGNATURE.len())?;
    header.get_mut(end..)?.copy_from_slice(SIGNATURE);
    Some(header)
}

/// The bytes of a block device that swap can use: whole pages, and as many as the header can count.
pub fn usable(device: &File) -> io::Result<u64> {
    let (size, page) = (io::Seek::seek(&mut &*device, io::SeekFrom::End(0))?, page_size().max(1));
    Ok((size / page).min(u64::from(u32::MAX)) * page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_mkswaps() {
        let header = super::header(18_000, 4096).unwrap();
        assert_eq!(header.len(), 4096);
        assert_eq!(header.get(1024..1036).unwrap(), [1, 0, 0, 0, 0x4f, 0x46, 0, 0, 0, 0, 0, 0]);
        assert!(header.ends_with(b"SWAPSPACE2"));
        assert_eq!((super::header(0, 4096), super::header(9, 0), super::header(1 << 33, 4096)), (None, None, None));
    }

    #[test]
    fn a_device_is_used_in_whole_pages() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(3 * 4096 + 100).unwrap();
        assert_eq!(usable(&file).unwrap(), 3 * 4096);
    }
}
