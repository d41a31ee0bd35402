//! Any bytes as a disk: its partitions, and what is free in its file systems.
#![no_main]

use actions::capture::free;
use actions::partitions;
use libfuzzer_sys::fuzz_target;
use std::io;

const SIZE: u64 = 8 << 20;

fuzz_target!(|bytes: &[u8]| {
    // As it is, behind the signature of an MBR, and as the superblock of ext4.
    let mut mbr = [bytes, &[0; 512]].concat();
    mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
    let mut ext = [&[0; 1024], bytes, &[0; 1024]].concat();
    ext[1024 + 56..1024 + 60].copy_from_slice(&[0x53, 0xef, 1, 0]);
    for disk in [bytes, &mbr, &ext] {
        let read = |at: u64, buffer: &mut [u8]| {
            if at.checked_add(buffer.len() as u64).is_none_or(|end| end > SIZE) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let from = usize::try_from(at).unwrap_or(usize::MAX);
            for (index, byte) in buffer.iter_mut().enumerate() {
                *byte = from.checked_add(index).and_then(|at| disk.get(at)).copied().unwrap_or(0);
            }
            Ok(())
        };
        for sector in [512, 4096] {
            let _ = partitions::table(&read, SIZE, sector);
            let free = free::of_disk(&read, SIZE, sector);
            assert!(free.total() <= SIZE);
        }
    }
});
