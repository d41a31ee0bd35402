//! Any metadata gives partitions that lie in order inside of their disk, or a refusal; and our own decoder reads their table.
#![no_main]

use actions::image2disk::table::new::{gpt, mbr};
use actions::image2disk::table::{Disk, adapt};
use actions::rootio::layout::plan;
use actions::rootio::storage::Storage;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, bool, &[u8])| {
    let (size, large, document) = input;
    let Ok(storage) = Storage::parse(document) else { return };
    let disk = Disk { size: u64::from(size) << 18, sector: if large { 4096 } else { 512 } };
    for partitions in storage.disks.iter().map(|disk| &disk.partitions) {
        for is_mbr in [true, false] {
            let Ok(parts) = plan(partitions, disk, is_mbr) else { continue };
            let mut end = 0;
            for part in &parts {
                let range = part.range(disk);
                assert!(range.start >= end && range.end > range.start && range.end <= disk.size);
                end = range.end;
            }
            let table = if is_mbr { mbr(&parts, disk, 1) } else { gpt(&parts, disk, || [7; 16]) };
            let mut head = table.head.clone();
            if disk.sector == 512 || !is_mbr {
                let adapted = adapt(&mut head, None, disk, None);
                assert!(adapted.is_ok_and(|adapted| adapted.notes.is_empty()), "the table is right as it is");
                assert!(head == table.head);
            }
        }
    }
});
