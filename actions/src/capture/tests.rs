//! Images of disks against what zstd, qemu-img and e2fsprogs find in them.

use super::*;
use std::path::Path;
use std::process::Command;

/// What comes back from a tool, or `None` with the reason if there is no such tool.
fn tool(name: &str, arguments: &[&str]) -> Option<String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    match Command::new(name).args(arguments).env("PATH", path).output() {
        Ok(output) => {
            let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{name} {arguments:?}: {text}");
            Some(text)
        }
        Err(error) => {
            eprintln!("SKIPPED: {name}: {error}");
            None
        }
    }
}

/// In memory if possible: each installation waits for the disk several times.
fn folder() -> tempfile::TempDir {
    let fast = Path::new("/dev/shm");
    if fast.is_dir() { tempfile::tempdir_in(fast) } else { tempfile::tempdir() }.unwrap()
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 7u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn capture(disk: &Path, to: &Path, more: [(&str, &str); 1]) {
    let all = [("SOURCE_DISK", disk.to_str().unwrap()), ("DEST_URL", to.to_str().unwrap()), more[0]];
    run(&Variables::of(all)).unwrap_or_else(|error| panic!("{}", machine::Chain(&error)));
}

fn install(image: &Path, size: u64) -> Vec<u8> {
    std::fs::read(installed(image, size)).unwrap()
}

fn installed(image: &Path, size: u64) -> PathBuf {
    let disk = image.with_extension("installed");
    std::fs::File::create(&disk).unwrap().set_len(size).unwrap();
    let all = [("IMG_URL", image.to_str().unwrap()), ("DEST_DISK", disk.to_str().unwrap()), ("IMG_FORMAT", "raw")];
    let qcow2 = [("IMG_URL", image.to_str().unwrap()), ("DEST_DISK", disk.to_str().unwrap())];
    let variables = if image.extension().is_some_and(|end| end == "qcow2") { Variables::of(qcow2) } else { Variables::of(all) };
    crate::image2disk::run(&variables).unwrap_or_else(|error| panic!("{}", machine::Chain(&error)));
    disk
}

/// Looks like a disk: an MBR with a partition, data here and there, and an end that is not a whole cluster or frame.
fn disk(folder: &Path, size: u64) -> std::path::PathBuf {
    let path = folder.join("disk");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(size).unwrap();
    file.write_all_at(&[0, 0, 2, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0], 446).unwrap();
    file.write_all_at(&[0x55, 0xaa], 510).unwrap();
    let noise = noise(300_000);
    for at in [1 << 20, 5 << 20, size - 300_000] {
        file.write_all_at(&noise, at).unwrap();
    }
    path
}

#[test]
fn an_image_in_frames_is_read_by_zstd_and_installs() {
    let folder = folder();
    let size: u64 = (9 << 20) + 1536;
    let disk = disk(folder.path(), size);
    let image = folder.path().join("a.raw.zst");
    capture(&disk, &image, [("LEVEL", "1")]);
    assert!(install(&image, size) == std::fs::read(&disk).unwrap(), "the installed disk is another one");
    assert!(std::fs::metadata(&image).unwrap().len() < 1_000_000);
    let sums = folder.path().join("a.raw.zst.sha256");
    if let Some(text) = tool("zstd", &["-lv", image.to_str().unwrap()]) {
        assert!(text.contains("# Zstandard Frames: 10"), "{text}");
        tool("zstd", &["-tq", image.to_str().unwrap()]);
    }
    let checked = Command::new("sha256sum").arg("-c").arg(&sums).current_dir(folder.path()).output().unwrap();
    assert!(checked.status.success());
}

#[test]
fn an_image_as_qcow2_passes_qemus_check_and_installs_in_one_pass() {
    let folder = folder();
    // The second one has two tables.
    for size in [(9 << 20) + 1536, (513 << 20) + 512] {
        let disk = disk(folder.path(), size);
        let image = folder.path().join("a.qcow2");
        capture(&disk, &image, [("X", "")]);
        let name = image.to_str().unwrap();
        assert!(std::fs::metadata(&image).unwrap().len() < 2_000_000);
        if let Some(text) = tool("qemu-img", &["check", name]) {
            assert!(text.contains("No errors were found"), "{text}");
            tool("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", disk.to_str().unwrap(), name]);
        }
        let same = Command::new("cmp").arg(&disk).arg(installed(&image, size)).status().unwrap();
        assert!(same.success(), "the installed disk is another one");
    }
}

#[test]
fn blocks_that_an_ext_file_system_does_not_use_are_left_out() {
    for (options, block) in [
        ("-g 1024", "4096"),
        ("-O^64bit,^metadata_csum,^flex_bg", "1024"),
        ("-Ometa_bg,^resize_inode", "1024"),
        ("-text2", "2048"),
    ] {
        let folder = folder();
        let disk = folder.path().join("disk");
        std::fs::write(&disk, noise(16 << 20)).unwrap(); // what was there before
        let name = disk.to_str().unwrap().to_owned();
        std::fs::write(folder.path().join("file"), noise(1 << 20)).unwrap();
        let mut arguments = vec!["-qF", "-b", block, "-E", "nodiscard,lazy_itable_init=1"];
        arguments.extend(options.split_whitespace());
        arguments.push(&name);
        if tool("mkfs.ext4", &arguments).is_none() {
            return;
        }
        let write = format!("write {} file", folder.path().join("file").display());
        tool("debugfs", &["-w", "-R", &write, &name]);
        let image = folder.path().join("a.raw.zst");
        if block == "4096" {
            capture(&disk, &image, [("COPY_FREE", "true")]);
            assert!(install(&image, 16 << 20) == std::fs::read(&disk).unwrap(), "with what was there before");
        }
        capture(&disk, &image, [("X", "")]);
        let all = std::fs::metadata(&image).unwrap().len();
        let is_known = !options.contains("meta_bg");
        assert_eq!(all < 8 << 20, is_known, "{options}: {all} bytes");
        std::fs::write(&disk, install(&image, 16 << 20)).unwrap();
        tool("e2fsck", &["-fn", &name]);
        let out = folder.path().join("out");
        tool("debugfs", &["-R", &format!("dump /file {}", out.display()), &name]);
        assert!(std::fs::read(&out).unwrap() == std::fs::read(folder.path().join("file")).unwrap(), "{options}");
        // Beside the signature of another file system, it may be that one which counts.
        let file = std::fs::OpenOptions::new().write(true).open(&disk).unwrap();
        file.write_all_at(b"_BHRfS_M", 65600).unwrap();
        capture(&disk, &image, [("X", "")]);
        assert!(
            install(&image, 16 << 20) == std::fs::read(&disk).unwrap(),
            "{options}: a part of what may be btrfs was left out"
        );
    }
}

#[test]
fn the_free_parts_of_partitions_and_swap_are_found() {
    let folder = folder();
    let path = folder.path().join("disk");
    std::fs::File::create(&path).unwrap().set_len(64 << 20).unwrap();
    let name = path.to_str().unwrap();
    let mut child = match Command::new("sfdisk").args(["-q", name]).stdin(std::process::Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return eprintln!("SKIPPED: sfdisk: {error}"),
    };
    io::Write::write_all(&mut child.stdin.take().unwrap(), b"label: gpt\nstart=2048,size=65536\nstart=67584,size=32768\n")
        .unwrap();
    assert!(child.wait().unwrap().success());
    let mut swap = [0u8; 4096];
    swap[4086..].copy_from_slice(b"SWAPSPACE2");
    swap[1024] = 1; // the version
    // mkswap leaves what is behind the last whole page, and may be asked for less than the partition has.
    let pages: u32 = 4000;
    swap[1028..1032].copy_from_slice(&(pages - 1).to_le_bytes());
    let file = std::fs::OpenOptions::new().write(true).read(true).open(&path).unwrap();
    file.write_all_at(&swap, 67584 * 512).unwrap();
    let read = |at: u64, buffer: &mut [u8]| file.read_exact_at(buffer, at);
    let free = free::of_disk(&read, 64 << 20, 512);
    assert_eq!(free.state(67584 * 512), (false, 67584 * 512 + 4096));
    assert_eq!(free.state(67584 * 512 + 4096), (true, 67584 * 512 + 4000 * 4096));
    assert_eq!(free.total(), 3999 * 4096);
    for (case, at, stale) in [
        ("another version", 1024, &[2u8][..]),
        ("more pages than there are", 1030, &[1]),
        ("what was LUKS before", 0, b"LUKS\xba\xbe"),
        ("what was a physical volume before", 512, b"LABELONE"),
        ("the superblock of ext of before", 1080, &[0x53, 0xef]),
    ] {
        let mut other = swap;
        other[at..at + stale.len()].copy_from_slice(stale);
        file.write_all_at(&other, 67584 * 512).unwrap();
        assert_eq!(free::of_disk(&read, 64 << 20, 512).total(), 0, "{case}");
    }
    file.write_all_at(&swap, 67584 * 512).unwrap();
    // A part that reaches behind the disk has no free part.
    assert_eq!(free::of_disk(&read, 40 << 20, 512).total(), 0);
}

#[test]
fn what_cannot_be_captured_is_refused_before_anything_is_sent() {
    let folder = folder();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let to = folder.path().join("out");
    for (values, expected) in [
        ([("SOURCE_DISK", empty.to_str().unwrap()), ("X", "")], "has 0 bytes"),
        ([("SOURCE_DISK", empty.to_str().unwrap()), ("IMG_FORMAT", "vmdk")], "wanted raw.zst or qcow2"),
        ([("SOURCE_DISK", empty.to_str().unwrap()), ("LEVEL", "9")], "wanted a number from 1 to 6"),
    ] {
        let all = [values[0], values[1], ("DEST_URL", to.to_str().unwrap())];
        let error = run(&Variables::of(all)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!to.exists());
    }
}
