//! The order of writes, against a disk in memory.

use super::*;
use std::io;
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Write(u64, usize),
    Zero(u64, u64),
    Sync,
}

/// It starts full of old data. `holes` says whether it makes holes for zeros.
struct MemoryDisk {
    data: Vec<u8>,
    holes: bool,
    steps: Vec<Step>,
}

impl MemoryDisk {
    fn new(size: usize, holes: bool) -> Self {
        Self { data: vec![0xee; size], holes, steps: Vec::new() }
    }
}

impl Target for MemoryDisk {
    fn size(&self) -> u64 {
        self.data.len() as u64
    }
    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        self.steps.push(Step::Write(offset, data.len()));
        let place = self.data.get_mut(offset as usize..offset as usize + data.len());
        place.ok_or(io::ErrorKind::StorageFull)?.copy_from_slice(data);
        Ok(())
    }
    fn zero(&mut self, offset: u64, length: u64) -> io::Result<bool> {
        if self.holes {
            self.steps.push(Step::Zero(offset, length));
            self.data[offset as usize..(offset + length) as usize].fill(0);
        }
        Ok(self.holes)
    }
    fn read_at(&mut self, data: &mut [u8], offset: u64) -> io::Result<()> {
        let start = offset as usize;
        data.copy_from_slice(&self.data[start..start + data.len()]);
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        self.steps.push(Step::Sync);
        Ok(())
    }
    fn too_large(&self, image: u64, exact: bool) -> ImageError {
        ImageError::TooLarge { image, exact, disk: PathBuf::from("/dev/memory"), size: self.size() }
    }
    fn write_failed(&self, offset: u64, source: io::Error) -> ImageError {
        ImageError::Write { disk: PathBuf::from("/dev/memory"), offset, source }
    }
}

/// Three MiB: a head, a MiB of zeros, data, and an odd tail.
fn image() -> Vec<u8> {
    let mut image = vec![1; HEAD];
    image.extend(vec![0; HEAD]);
    image.extend(vec![2; HEAD - 100]);
    image
}

fn write(disk: &mut MemoryDisk, image: &[u8], chunk: usize) -> Result<u64, ImageError> {
    let mut writer = Writer::begin(disk)?;
    for data in image.chunks(chunk) {
        writer.write(data)?;
    }
    writer.settle()?;
    writer.finish()
}

#[test]
fn the_disk_holds_the_image_and_keeps_what_lies_behind_it() {
    for (holes, chunk) in [(true, 512 << 10), (false, 512 << 10), (true, 64 << 10), (false, 3 << 20)] {
        let mut disk = MemoryDisk::new(4 << 20, holes);
        assert_eq!(write(&mut disk, &image(), chunk).unwrap(), image().len() as u64);
        assert!(disk.data.starts_with(&image()), "holes {holes}, chunk {chunk}");
        assert!(disk.data[image().len()..].iter().all(|byte| *byte == 0xee));
    }
}

#[test]
fn the_head_is_erased_first_and_written_last_between_syncs() {
    let mut disk = MemoryDisk::new(4 << 20, true);
    write(&mut disk, &image(), 512 << 10).unwrap();
    let erased = disk.steps.iter().position(|step| *step == Step::Sync).unwrap();
    assert!(disk.steps[..erased].iter().all(|step| matches!(step, Step::Write(offset, _) if *offset < HEAD as u64)));
    assert_eq!(disk.steps[disk.steps.len() - 3..], [Step::Sync, Step::Write(0, HEAD), Step::Sync]);
    let between = &disk.steps[erased + 1..disk.steps.len() - 3];
    assert!(between.iter().all(|step| !matches!(step, Step::Write(offset, _) if *offset < HEAD as u64)));
}

#[test]
fn a_run_of_zeros_is_one_step_even_across_chunks() {
    let mut disk = MemoryDisk::new(4 << 20, true);
    write(&mut disk, &image(), 128 << 10).unwrap();
    let zeros: Vec<_> = disk.steps.iter().filter(|step| matches!(step, Step::Zero(..))).collect();
    assert_eq!(zeros, [&Step::Zero(HEAD as u64, HEAD as u64)]);
}

#[test]
fn an_interrupted_write_leaves_no_head() {
    let mut disk = MemoryDisk::new(4 << 20, true);
    let mut writer = Writer::begin(&mut disk).unwrap();
    writer.write(&image()).unwrap();
    writer.settle().unwrap();
    drop(writer);
    assert!(disk.data[..HEAD].iter().all(|byte| *byte == 0));
}

#[test]
fn an_image_larger_than_the_disk_is_refused_when_it_shows() {
    let mut disk = MemoryDisk::new(2 << 20, true);
    let error = write(&mut disk, &image(), 512 << 10).unwrap_err();
    assert_eq!(error.to_string(), "the image has at least 2621440 bytes, and DEST_DISK /dev/memory has 2097152");
}

#[test]
fn a_backup_partition_table_of_the_old_system_is_erased() {
    for sector in [512, 4096] {
        let mut disk = MemoryDisk::new(4 << 20, true);
        let at = disk.data.len() - sector;
        disk.data[at..at + 8].copy_from_slice(GPT);
        write(&mut disk, &image(), 512 << 10).unwrap();
        assert!(disk.data[at..].iter().all(|byte| *byte == 0), "{sector}");
    }
}

#[test]
fn small_images_and_disks_work() {
    for (image, disk) in [(1usize, 512usize), (512, 512), (5000, 1 << 20), (HEAD, HEAD), (HEAD + 1, HEAD + 1)] {
        let mut target = MemoryDisk::new(disk, true);
        let data = vec![7; image];
        assert_eq!(write(&mut target, &data, 512 << 10).unwrap(), image as u64, "{image} on {disk}");
        assert!(target.data.starts_with(&data));
    }
}
