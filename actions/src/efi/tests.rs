//! Operations on entries, and on the files of a folder that efibootmgr reads, too.

use super::*;
use std::process::Command;

fn option(label: &str, loader: &str) -> LoadOption {
    let kind = partitions::Kind::Gpt { kind: [0; 16], id: [7; 16] };
    let path = device_path::of_file(&Partition { number: 1, start: 2048, sectors: 4096, kind }, loader);
    LoadOption { attributes: ACTIVE, description: label.to_owned(), path, data: Vec::new() }
}

fn entries() -> Entries {
    let all = [(0, "UiApp"), (1, "debian"), (2, "PXE IPv4"), (3, "PXE IPv6"), (0x10, "old")];
    let entries = all.map(|(number, label)| Entry { number, option: option(label, "\\a") }).to_vec();
    Entries { entries, order: vec![2, 3, 1, 0], next: Some(0x10), current: Some(2), timeout: Some(3) }
}

#[test]
fn a_new_entry_gets_a_free_number_and_its_place() {
    for (place, order) in
        [(Place::First, vec![4, 2, 3, 1, 0]), (Place::Last, vec![2, 3, 1, 0, 4]), (Place::Nowhere, vec![2, 3, 1, 0])]
    {
        let new = entries().with(option("Fedora", "\\b"), place).unwrap();
        assert_eq!((new.order, new.entries.len()), (order, 6));
    }
    let again = entries().with(option("debian", "\\a"), Place::First).unwrap();
    assert_eq!((again.order, again.entries.len()), (vec![1, 2, 3, 0], 5), "the same entry is taken");
}

#[test]
fn entries_are_named_by_numbers_and_labels() {
    let gone = entries().without("PXE*, 0010").unwrap();
    assert_eq!((gone.order.clone(), gone.next, gone.entries.len()), (vec![1, 0], None, 2));
    assert_eq!(entries().ordered("debian,Boot0000").unwrap().order, [1, 0, 2, 3]);
    assert_eq!(entries().with_next("0003").unwrap().next, Some(3));
    let error = entries().with_next("PXE*").unwrap_err().to_string();
    assert!(error.contains("more than one boot entry: 0002 PXE IPv4, 0003 PXE IPv6"), "{error}");
    let error = entries().without("gone").unwrap_err().to_string();
    assert!(error.contains("no boot entry is \"gone\"; there are 0000 UiApp, 0001 debian"), "{error}");
}

#[test]
fn an_entry_is_written_before_the_order_and_deleted_after_it() {
    let names = |before: &Entries, after: &Entries| {
        changes(before, after).into_iter().map(|(name, value)| (name, value.is_some())).collect::<Vec<_>>()
    };
    let new = entries().with(option("Fedora", "\\b"), Place::First).unwrap();
    assert_eq!(names(&entries(), &new), [("Boot0004".to_owned(), true), ("BootOrder".to_owned(), true)]);
    let gone = entries().without("old,debian").unwrap();
    let expected = [("BootOrder", true), ("BootNext", false), ("Boot0001", false), ("Boot0010", false)];
    assert_eq!(names(&entries(), &gone), expected.map(|(name, written)| (name.to_owned(), written)));
    assert_eq!(names(&entries(), &entries()), []);
}

/// A disk with an ESP as second partition.
fn disk(folder: &Path) -> Option<PathBuf> {
    let path = folder.join("disk");
    std::fs::File::create(&path).unwrap().set_len(64 << 20).unwrap();
    let table = "label: gpt\nlabel-id: 11111111-2222-3333-4444-555555555555\nstart=2048,size=2048\n\
                 start=4096,size=65536,type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B,uuid=0F3B3A4C-7F0E-4E5C-9C6E-2D9C5A7B1E11\n";
    let child = Command::new("sfdisk").arg("-q").arg(&path).stdin(std::process::Stdio::piped()).spawn();
    let mut child = child.map_err(|error| eprintln!("SKIPPED: sfdisk: {error}")).ok()?;
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), table.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    Some(path)
}

#[test]
fn efibootmgr_reads_what_was_created_as_it_is_printed_here() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = disk(folder.path()) else { return };
    let efivars = folder.path().join("efivars");
    std::fs::create_dir(&efivars).unwrap();
    let place = efivars.to_str().unwrap();
    for (label, loader, more) in [
        ("debian", "EFI/debian/shimx64.efi", ("ARGUMENTS", "")),
        ("Fedora 42", "\\EFI\\fedora\\shimx64.efi", ("BOOT_ORDER", "last")),
        ("with words", "\\vmlinuz.efi", ("ARGUMENTS", "root=/dev/vda1 ro")),
        ("debian", "EFI/debian/shimx64.efi", ("ARGUMENTS", "")),
    ] {
        let all = [
            ("OPERATION", "create"),
            ("LABEL", label),
            ("LOADER", loader),
            ("DEST_DISK", disk.to_str().unwrap()),
            ("EFIVARFS_PATH", place),
            more,
        ];
        dry_run(&Variables::of(all)).unwrap();
        run(&Variables::of(all)).unwrap();
    }
    run(&Variables::of([("OPERATION", "next"), ("ENTRIES", "Fedora*"), ("EFIVARFS_PATH", place)])).unwrap();
    let ours = load(&Efivars::open(Some(&efivars)).unwrap()).unwrap();
    assert_eq!(ours.order, [0, 2, 1]);
    let text = ours.render();
    let expected =
        "Boot0000* debian\tHD(2,GPT,0f3b3a4c-7f0e-4e5c-9c6e-2d9c5a7b1e11,0x1000,0x10000)/File(\\EFI\\debian\\shimx64.efi)\n";
    assert!(text.contains(expected), "{text}");
    // With a / at its end, as libefivar wants it.
    let output = match Command::new("efibootmgr").arg("-v").env("EFIVARFS_PATH", format!("{place}/")).output() {
        Ok(output) => output,
        Err(error) => return eprintln!("SKIPPED: efibootmgr: {error}"),
    };
    let theirs = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return eprintln!("SKIPPED: efibootmgr: {}", String::from_utf8_lossy(&output.stderr));
    }
    // Arguments follow there, each byte as it is.
    let cut = |text: &str| text.lines().map(|line| line.split(".efi)").next().unwrap_or_default().to_owned()).collect::<Vec<_>>();
    assert_eq!(cut(&text), cut(&theirs));
}

#[test]
fn efibootmgrs_entries_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = disk(folder.path()) else { return };
    let efivars = folder.path().join("efivars");
    std::fs::create_dir(&efivars).unwrap();
    let place = format!("{}/", efivars.display());
    let arguments = ["-c", "-q", "-d", disk.to_str().unwrap(), "-p", "2", "-L", "theirs", "-l", "\\EFI\\x.efi"];
    match Command::new("efibootmgr").args(arguments).env("EFIVARFS_PATH", &place).output() {
        Ok(output) if output.status.success() => {}
        other => return eprintln!("SKIPPED: efibootmgr does not write for a file: {other:?}"),
    }
    let read = load(&Efivars::open(Some(&efivars)).unwrap()).unwrap();
    let theirs = read.option(0).unwrap();
    let partition = find(&disk, None).unwrap();
    assert_eq!(theirs.path, device_path::of_file(&partition, "\\EFI\\x.efi"));
    assert_eq!(read.order, [0]);
}

#[test]
fn a_disk_without_one_system_partition_is_refused_with_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = disk(folder.path()) else { return };
    assert_eq!(find(&disk, None).unwrap().number, 2);
    let error = find(&disk, Some(7)).unwrap_err().to_string();
    assert!(error.contains("has no partition 7; its partitions are 1, 2"), "{error}");
    let two = [find(&disk, None).unwrap(); 2];
    assert!(choose(&two, None, &disk).unwrap_err().to_string().contains("several EFI system partitions"));
    assert!(choose(&[], None, &disk).unwrap_err().to_string().contains("no EFI system partition; its partitions are none"));
}

#[test]
fn a_wrong_setting_is_named() {
    for (values, expected) in [
        ([("OPERATION", "format"), ("X", "")], "OPERATION=\"format\" is not usable"),
        ([("OPERATION", "delete"), ("X", "")], "ENTRIES is not set"),
        ([("OPERATION", "create"), ("LOADER", "a")], "LABEL is not set"),
        ([("OPERATION", "create"), ("LABEL", "a")], "LOADER is not set"),
    ] {
        assert!(Operation::read(&Variables::of(values)).unwrap_err().to_string().starts_with(expected), "{expected}");
    }
}
