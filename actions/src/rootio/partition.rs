//! Writes partition tables.

use super::format::erase;
use super::layout::plan;
use super::storage::{Disk, Storage};
use super::{RootioError, find, lvm, open, random};
use crate::device::{self, Opened};
use crate::image2disk::table::Disk as Geometry;
use crate::image2disk::table::new::{self, NewPart, Table};
use crate::programs;
use crate::say;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

const MIB: u64 = 1 << 20;

struct Planned<'s> {
    disk: &'s Disk,
    path: PathBuf,
    opened: Opened,
    geometry: Geometry,
    parts: Vec<NewPart>,
}

pub fn run(storage: &Storage, mbr: bool, dry: bool) -> Result<(), RootioError> {
    if storage.disks.is_empty() && storage.groups.is_empty() {
        return Err(RootioError::None("disks: set storage.disks"));
    }
    let mut all = Vec::new();
    for disk in &storage.disks {
        let path = find(&disk.device)?;
        let opened = open(&path)?;
        let geometry = Geometry { size: opened.size, sector: opened.sector };
        let layout = plan(&disk.partitions, geometry, mbr);
        let parts = layout.map_err(|source| RootioError::Layout { device: path.clone(), size: geometry.size, source })?;
        all.push(Planned { disk, path, opened, geometry, parts });
    }
    let disks: Vec<_> = all.iter().map(Planned::for_volumes).collect();
    let volumes = lvm::plan(&storage.groups, &disks)?;
    for planned in all {
        planned.say();
        if !dry {
            planned.write(mbr)?;
        }
    }
    if dry {
        programs::show(&volumes);
        return Ok(());
    }
    Ok(programs::run_all(&volumes)?)
}

impl Planned<'_> {
    fn for_volumes(&self) -> lvm::Planned<'_> {
        lvm::Planned { path: &self.path, numbers: self.parts.iter().map(|part| part.number).collect() }
    }

    fn say(&self) {
        for part in &self.parts {
            let range = part.range(self.geometry);
            let (size, number, name) = ((range.end - range.start) >> 20, part.number, &part.name);
            say(&format!("{}: partition {number} {name:?} from byte {}, {size} MiB", self.path.display(), range.start));
        }
    }

    fn write(self, mbr: bool) -> Result<(), RootioError> {
        let failed = |source| RootioError::Write { device: self.path.clone(), source };
        let table = self.table(mbr).map_err(failed)?;
        self.put(&table).map_err(failed)?;
        if self.opened.is_block_device {
            let reread = device::reread_partitions(&self.path, &self.opened.file);
            reread.map_err(|source| RootioError::Device { device: self.disk.device.clone(), source })?;
        }
        let kind = if mbr { "MBR" } else { "GPT" };
        say(&format!("wrote a {kind} with {} partitions to {}", self.parts.len(), self.path.display()));
        Ok(())
    }

    fn table(&self, mbr: bool) -> io::Result<Table> {
        // One number of the kernel for each GUID: so many partitions are at most 129 of them.
        let mut ids = (0..=self.parts.len()).map(|_| random().map(as_guid)).collect::<io::Result<Vec<_>>>()?;
        let [a, b, c, d, ..] = random()?;
        Ok(if mbr {
            new::mbr(&self.parts, self.geometry, u32::from_le_bytes([a, b, c, d]))
        } else {
            new::gpt(&self.parts, self.geometry, || ids.pop().unwrap_or_default())
        })
    }

    /// The table comes last. With `wipe_table` nothing of before appears in the new partitions.
    fn put(&self, table: &Table) -> io::Result<()> {
        let file = &self.opened.file;
        if self.disk.wipe_table {
            for part in &self.parts {
                erase(file, part.range(self.geometry))?;
            }
        }
        // What is before the first partition and after the last one belongs to no partition: old boot code, RAID and ZFS.
        let end = self.parts.iter().map(|part| part.range(self.geometry).end).max().unwrap_or(0);
        let tail = end.max(self.geometry.size.saturating_sub(MIB))..self.geometry.size;
        for range in [0..MIB.min(self.geometry.size), tail] {
            erase(file, range)?;
        }
        if let Some((at, backup)) = &table.backup {
            file.write_all_at(backup, *at)?;
        }
        file.sync_all()?;
        file.write_all_at(&table.head, 0)?;
        file.sync_all()
    }
}

/// As in a UUID; the third group is little-endian here.
fn as_guid(mut bytes: [u8; 16]) -> [u8; 16] {
    let [.., version, variant, _, _, _, _, _, _, _] = &mut bytes;
    (*version, *variant) = (*version & 0x0f | 0x40, *variant & 0x3f | 0x80);
    bytes
}
