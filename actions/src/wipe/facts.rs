//! What is known of the disk before anything is erased.

use super::plan::{Facts, Method, Region};
use super::signatures::{self, END, START};
use super::{WipeError, ata, nvme};
use crate::disks;
use crate::image2disk::table;
use crate::sys;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

/// How much of the start has a partition table in it.
const TABLE: usize = 64 << 10;
/// Entries of GPT.
const PARTITIONS_MAX: usize = 4096;

pub fn gather(path: &Path, method: Method) -> Result<Facts, WipeError> {
    let root = Path::new("/");
    let failed = |source| WipeError::Read { disk: path.to_owned(), source };
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut file = File::open(path).map_err(failed)?;
    let is_block_device = file.metadata().map_err(failed)?.file_type().is_block_device();
    let size = file.seek(SeekFrom::End(0)).map_err(failed)?;
    let name = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let table = disks::table(root);
    let (whole, is_partition) = match disks::whole(root, &name) {
        Some(whole) => (whole, true),
        None => (name.clone(), false),
    };
    let known = table.iter().find(|disk| disk.name == whole);
    let label = known.map_or_else(
        || path.display().to_string(),
        |disk| if is_partition { format!("{} of {disk}", path.display()) } else { disk.to_string() },
    );
    let sector = if is_block_device { rustix::fs::ioctl_blksszget(&file).map_or(512, u64::from) } else { 512 };
    let mut facts = Facts {
        disk: label,
        size,
        serial: known.map(|disk| disk.serial.clone()).unwrap_or_default(),
        is_partition,
        discards: is_block_device && disks::discards(root, &whole),
        users: if is_block_device { disks::users(root, &name) } else { Vec::new() },
        ..Facts::default()
    };
    let mut ranges = vec![("the disk".to_owned(), 0..size)];
    let partitions = partitions(&file, &real, size, sector).map_err(failed)?;
    ranges.extend((1..).zip(partitions).map(|(number, range)| (format!("partition {number}, in the order of the disk,"), range)));
    for (name, range) in ranges {
        let (found, blank) = found(&file, &range).map_err(failed)?;
        facts.regions.push(Region { name, range, found, blank });
    }
    match method {
        Method::NvmeFormat | Method::NvmeSanitize => {
            facts.nvme = sys::nvme_identify(&file)
                .ok()
                .and_then(|(controller, namespace, number)| nvme::abilities(&controller, &namespace, number));
            facts.namespaces = disks::namespaces(root, &whole);
        }
        Method::AtaSecureErase => {
            let mut answer = [0; ata::IDENTIFY_LENGTH];
            let asked = sys::ata(&file, &ata::Command::Identify.block(), ata::Data::In, &mut answer, COMMAND_MS);
            facts.ata = asked.ok().and_then(|()| ata::security(&answer));
        }
        _ => {}
    }
    Ok(facts)
}

const COMMAND_MS: u32 = 30_000;

/// Those that the kernel has, and those of the table, which the kernel may not have read.
fn partitions(file: &File, real: &Path, size: u64, sector: u64) -> io::Result<Vec<Range<u64>>> {
    let mut head = vec![0; usize::try_from(size).map_or(TABLE, |size| size.min(TABLE))];
    file.read_exact_at(&mut head, 0)?;
    let mut all = disks::partitions(Path::new("/"), real);
    all.extend(table::partitions(&head, sector).into_iter().take(PARTITIONS_MAX));
    for range in &mut all {
        range.end = range.end.min(size);
    }
    all.retain(|range| range.start < range.end && range.start > 0);
    all.sort_by_key(|range| (range.start, range.end));
    all.dedup();
    Ok(all)
}

/// What is recognised, and whether nothing but zeros was seen.
fn found(file: &File, range: &Range<u64>) -> io::Result<(Vec<&'static str>, bool)> {
    let size = range.end - range.start;
    let length = |most: usize| usize::try_from(size).map_or(most, |size| size.min(most));
    let (mut start, mut end) = (vec![0; length(START)], vec![0; length(END)]);
    file.read_exact_at(&mut start, range.start)?;
    let at = range.end - end.len() as u64;
    file.read_exact_at(&mut end, at)?;
    let blank = start.iter().chain(&end).all(|byte| *byte == 0);
    Ok((signatures::names(size, &start, &end), blank))
}
