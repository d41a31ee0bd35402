//! No text of a device, a disk or a list causes a panic, and no name leaves its folder below `/dev/disk`.
#![no_main]

use devices::alias::Wanted;
use devices::catalogue::{Catalogue, Lists};
use devices::content::{Place, in_table, probe};
use devices::disk::{Content, Disk, Scsi, Usb};
use devices::firmware;
use devices::plan::Schedule;
use devices::policy::Policy;
use devices::uevent::Uevent;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind % 5 {
        0 => drop((Uevent::parse(rest), firmware::missing(rest))),
        1 => content(rest),
        2 => names(rest),
        3 => modules(&String::from_utf8_lossy(rest)),
        _ => superblock(rest),
    }
});

fn content(disk: &[u8]) {
    let _ = probe(disk);
    for (number, start, block) in [(1, 0, 512), (2, 1 << 20, 4096), (u32::MAX, u64::MAX, u64::MAX), (0, 0, 0)] {
        let _ = in_table(disk, Place { number, start, block });
    }
}

/// The bytes at the offsets of superblocks, so that an input need not have 64 KiB for each disk.
fn superblock(bytes: &[u8]) {
    for at in [0, 1024, 4096 - 16, 0x8000, 0x10000] {
        let mut disk = vec![0; 0x12000];
        let end = (at + bytes.len()).min(disk.len());
        disk[at..end].copy_from_slice(&bytes[..end - at]);
        if let Some(volume) = probe(disk.as_slice()) {
            let content = Content { uuid: volume.uuid, label: volume.label, ..Content::default() };
            check(&Disk::default().identity().links(None, &content));
        }
    }
}

fn names(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let fields: Vec<String> = text.split('\0').map(str::to_owned).collect();
    let field = |index: usize| fields.get(index).cloned();
    let page_89 = bytes.iter().copied().cycle().take(572 * usize::from(!bytes.is_empty())).collect();
    let scsi = |vendor: &str, page_89| Scsi {
        vendor: vendor.to_owned(),
        model: field(1).unwrap_or_default(),
        address: field(2).unwrap_or_default(),
        page_80: bytes.to_vec(),
        page_83: bytes.to_vec(),
        page_89,
    };
    let usb = Usb { manufacturer: field(3), product: field(4), serial: field(0), ..Usb::default() };
    for (name, scsi, usb) in [
        ("vda", None, None),
        ("nvme0n1", None, None),
        ("mmcblk0", None, None),
        ("sda", Some(scsi("ATA     ", page_89)), None),
        ("sda", Some(scsi("x", Vec::new())), None),
        ("sda", Some(scsi("x", Vec::new())), Some(usb)),
    ] {
        let disk = Disk {
            name: name.to_owned(),
            serial: field(0),
            model: field(1),
            wwid: field(2),
            nsid: field(3),
            card: field(4),
            scsi,
            usb,
            ..Disk::default()
        };
        let content = Content { uuid: field(0), label: Some(bytes.to_vec()), part_uuid: None, part_label: field(1) };
        check(&disk.identity().links(None, &content));
        check(&disk.identity().links(Some(1), &content));
    }
}

fn check(links: &[String]) {
    for link in links {
        let (folder, name) = link.split_once('/').expect("a folder");
        assert!(folder.starts_with("by-") && !name.contains(['/', '\0']) && !matches!(name, "" | "." | ".."), "{link:?}");
    }
}

/// One text serves as all the lists: every module in it is planned, and every plan ends.
fn modules(text: &str) {
    let texts = || vec![text.to_owned()];
    let lists = Lists { dep: texts(), alias: texts(), softdep: texts(), builtin: text.to_owned() };
    let catalogue = Catalogue::new(&lists);
    let wanted = Wanted::new(text.split_whitespace().take(8).map(str::to_owned));
    let found = catalogue.find(&wanted, &Policy::default());
    let mut schedule = Schedule::default();
    let count = schedule.add(catalogue.plan(found.modules));
    for _ in 0..count {
        let module = schedule.start_next().expect("all get their turn");
        schedule.finished(&module.name);
    }
    assert!(schedule.is_idle());
}
