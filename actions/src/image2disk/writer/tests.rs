//! The order of writes, against a disk in memory.

use super::super::table::Disk;
use super::*;
use std::io;
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Write(u64, usize),
    Zero(u64, u64),
    Sync,
}

/// It starts full of old data, and loses its power after `power` steps or `bytes` bytes. `holes` says whether it makes holes for
/// zeros.
struct MemoryDisk {
    data: Vec<u8>,
    holes: bool,
    steps: Vec<Step>,
    power: usize,
    bytes: usize,
}

impl MemoryDisk {
    fn new(size: usize, holes: bool) -> Self {
        Self { data: vec![0xee; size], holes, steps: Vec::new(), power: usize::MAX, bytes: usize::MAX }
    }

    fn step(&mut self, step: Step) -> io::Result<()> {
        if self.steps.len() >= self.power {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.steps.push(step);
        Ok(())
    }
}

impl Target for MemoryDisk {
    fn disk(&self) -> Disk {
        Disk { size: self.data.len() as u64, sector: 512 }
    }
    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        self.step(Step::Write(offset, data.len()))?;
        // Whole sectors arrive before the power is lost, and nothing after them.
        let whole = data.len().min(self.bytes - self.bytes % 512);
        let place = self.data.get_mut(offset as usize..offset as usize + data.len()).ok_or(io::ErrorKind::StorageFull)?;
        place[..whole].copy_from_slice(&data[..whole]);
        self.bytes -= whole;
        if whole < data.len() {
            self.power = 0;
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }
    fn zero(&mut self, offset: u64, length: u64) -> io::Result<bool> {
        if self.holes {
            self.step(Step::Zero(offset, length))?;
            self.data[offset as usize..(offset + length) as usize].fill(0);
        }
        Ok(self.holes)
    }
    fn discard(&mut self, offset: u64, length: u64) -> io::Result<bool> {
        // What it reads as afterwards is anything.
        self.data[offset as usize..(offset + length) as usize].fill(0xdd);
        Ok(true)
    }
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        buffer.copy_from_slice(&self.data[offset as usize..offset as usize + buffer.len()]);
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        self.step(Step::Sync)
    }
    fn unfit(&self, number: u32, problem: String) -> ImageError {
        ImageError::Unfit { number, problem, disk: PathBuf::from("/dev/memory"), sector: 512, erased: false }
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
    let mut writer = Writer::begin(disk, false)?;
    for (number, data) in image.chunks(chunk).enumerate() {
        writer.write((number * chunk) as u64, data)?;
    }
    writer.settle()?;
    writer.finish(&Adapted::default())
}

#[test]
fn the_disk_holds_the_image_and_keeps_what_lies_behind_it() {
    for (holes, chunk) in [(true, 512 << 10), (false, 512 << 10), (true, 64 << 10), (false, 3 << 20)] {
        let mut disk = MemoryDisk::new(5 << 20, holes);
        assert_eq!(write(&mut disk, &image(), chunk).unwrap(), image().len() as u64);
        assert!(disk.data.starts_with(&image()), "holes {holes}, chunk {chunk}");
        assert!(disk.data[image().len()..3 << 20].iter().all(|byte| *byte == 0xee));
    }
}

#[test]
fn the_head_is_erased_first_and_written_last_between_syncs() {
    let mut disk = MemoryDisk::new(4 << 20, true);
    write(&mut disk, &image(), 512 << 10).unwrap();
    let erased = disk.steps.iter().position(|step| *step == Step::Sync).unwrap();
    let edge = |offset: u64| offset < HEAD as u64 || offset >= 2 << 20;
    assert!(disk.steps[..erased].iter().all(|step| matches!(step, Step::Write(offset, _) if edge(*offset))));
    let head = [Step::Sync, Step::Write(4096, HEAD - 4096), Step::Sync, Step::Write(0, 4096), Step::Sync];
    assert_eq!(disk.steps[disk.steps.len() - 5..], head);
    let between = &disk.steps[erased + 1..disk.steps.len() - 5];
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
    let mut writer = Writer::begin(&mut disk, false).unwrap();
    writer.write(0, &image()).unwrap();
    writer.settle().unwrap();
    drop(writer);
    assert!(disk.data[..HEAD].iter().all(|byte| *byte == 0));
}

#[test]
fn a_power_cut_after_any_step_leaves_the_old_disk_or_none_that_boots_or_the_whole_image() {
    let mut whole = MemoryDisk::new(5 << 20, false);
    write(&mut whole, &image(), 512 << 10).unwrap();
    let steps = whole.steps.len();
    assert!(steps > 10, "{steps}");
    for power in 0..steps {
        let mut disk = MemoryDisk::new(5 << 20, false);
        disk.power = power;
        assert!(write(&mut disk, &image(), 512 << 10).is_err(), "{power}");
        match disk.data[0] {
            0xee => assert_eq!(power, 0, "the old disk lives until the first step"),
            0 => assert!(disk.data[..512].iter().all(|byte| *byte == 0), "{power}"),
            _ => assert!(disk.data == whole.data, "{power}: the head is there before the rest"),
        }
    }
}

#[test]
fn a_power_cut_inside_of_any_write_never_leaves_a_half_image_that_boots() {
    let mut whole = MemoryDisk::new(5 << 20, false);
    write(&mut whole, &image(), 512 << 10).unwrap();
    let total: usize = whole.steps.iter().map(|step| if let Step::Write(_, length) = step { *length } else { 0 }).sum::<usize>();
    let mut state = 15u64;
    let random = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % total
    });
    // And each sector of the last write.
    let last = (1..=8).map(|sectors| total - sectors * 512);
    for bytes in random.take(50).chain(last) {
        let mut disk = MemoryDisk::new(5 << 20, false);
        disk.bytes = bytes;
        assert!(write(&mut disk, &image(), 512 << 10).is_err(), "{bytes}");
        match disk.data[0] {
            0xee => assert!(bytes < 512, "the old disk lives until the first sector: {bytes}"),
            0 => assert!(disk.data[..512].iter().all(|byte| *byte == 0), "{bytes}"),
            _ => assert!(disk.data[4096..] == whole.data[4096..], "{bytes}: the first sector is there before the rest"),
        }
    }
}

#[test]
fn zeros_are_written_to_a_disk_that_was_discarded() {
    for holes in [true, false] {
        let mut disk = MemoryDisk::new(8 << 20, holes);
        let mut writer = Writer::begin(&mut disk, true).unwrap();
        writer.write(0, &image()).unwrap();
        writer.settle().unwrap();
        writer.finish(&Adapted::default()).unwrap();
        assert!(disk.data.starts_with(&image()), "{holes}");
        assert!(disk.data[6 << 20..].iter().all(|byte| *byte == 0), "{holes}: the end");
        assert!(disk.data[image().len()..6 << 20].iter().all(|byte| *byte == 0xdd), "{holes}: the rest");
    }
}

#[test]
fn an_image_larger_than_the_disk_is_refused_when_it_shows() {
    let mut disk = MemoryDisk::new(2 << 20, true);
    let error = write(&mut disk, &image(), 512 << 10).unwrap_err();
    assert_eq!(error.to_string(), "the image has at least 2621440 bytes, and DEST_DISK /dev/memory has 2097152");
}

#[test]
fn what_the_old_system_has_at_the_end_is_erased() {
    // The backup of GPT, md 1.0 and md 0.90, the last label of ZFS; also on a disk that ends inside of a block of 64 KiB.
    for size in [5 << 20, (5 << 20) + 512] {
        let mut disk = MemoryDisk::new(size, true);
        write(&mut disk, &image(), 512 << 10).unwrap();
        for before_the_end in [512, 4096, 8192, 128 << 10, 512 << 10, (1 << 20) + (600 << 10)] {
            assert_eq!(disk.data[size - before_the_end], 0, "{size}, {before_the_end}");
        }
    }
}

#[test]
fn parts_in_any_order_make_the_same_disk() {
    let mut disk = MemoryDisk::new(5 << 20, true);
    let mut writer = Writer::begin(&mut disk, false).unwrap();
    for number in [2, 0, 3, 1, 5, 4] {
        let at = number * (512 << 10);
        let end = (at + (512 << 10)).min(image().len());
        writer.write(at as u64, &image()[at..end]).unwrap();
    }
    writer.settle().unwrap();
    assert_eq!(writer.finish(&Adapted::default()).unwrap(), image().len() as u64);
    assert!(disk.data.starts_with(&image()));
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

/// The reserved area of FAT16 with sectors of 512 bytes, of which it has this many.
fn fat(reserved: u16) -> Vec<u8> {
    let mut data = vec![0; usize::from(reserved) * 512];
    data[0] = 0xeb;
    data[11..13].copy_from_slice(&512u16.to_le_bytes());
    data[13] = 8;
    data[14..16].copy_from_slice(&reserved.to_le_bytes());
    data[17..19].copy_from_slice(&512u16.to_le_bytes());
    data[22..24].copy_from_slice(&8u16.to_le_bytes());
    data[54..58].copy_from_slice(b"FAT1");
    data[510..512].copy_from_slice(&[0x55, 0xaa]);
    data
}

#[test]
fn a_converted_partition_may_begin_in_the_head_that_is_not_on_the_disk_yet() {
    for (case, start) in [("in it", HEAD / 2), ("up to its end", HEAD - 4096), ("behind it", HEAD)] {
        let mut disk = MemoryDisk::new(4 << 20, true);
        let mut image = image();
        image[start..start + 8192].copy_from_slice(&fat(16));
        let mut writer = Writer::begin(&mut disk, false).unwrap();
        writer.write(0, &image).unwrap();
        writer.settle().unwrap();
        writer.convert(&[Part { number: 1, start: start as u64, end: image.len() as u64 }], 4096).unwrap();
        writer.finish(&Adapted::default()).unwrap();
        let found = &disk.data[start..start + 8192];
        assert_eq!((&found[11..13], &found[14..16]), (&4096u16.to_le_bytes()[..], &2u16.to_le_bytes()[..]), "{case}");
        assert!(disk.data[..start] == image[..start] && disk.data[start + 8192..image.len()] == image[start + 8192..], "{case}");
    }
}
