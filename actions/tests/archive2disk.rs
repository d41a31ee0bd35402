//! archive2disk on ext4, with tar as its peer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod loops;

use actions::archive2disk;
use actions::variables::Variables;
use loops::{Look, Loop, alone, is_there, must, tree};
use std::error::Error;
use std::path::Path;
use std::process::Command;

const MIB: u64 = 1 << 20;

fn run(disk: &Loop, archive: &Path, more: &[(&str, &str)]) -> Result<(), String> {
    let mut all = [
        ("ARCHIVE_URL", archive.to_str().unwrap()),
        ("DEST_DISK", disk.name()),
        ("FS_TYPE", "ext4"),
        ("INSECURE_NO_TARFILE_CHECKSUM_VERIFICATION", "true"),
        ("A", ""),
        ("B", ""),
    ];
    all.iter_mut().skip(3).zip(more).for_each(|(place, value)| *place = *value);
    archive2disk::run(&Variables::of(all)).map_err(|error| {
        let causes = std::iter::successors(error.source(), |cause| (*cause).source()).map(ToString::to_string);
        std::iter::once(error.to_string()).chain(causes).collect::<Vec<_>>().join(": ")
    })
}

/// A tree with everything that an archive of a system has.
const TREE: &str = r#"
    mkdir -p etc usr/bin 'odd name' deep/a/b dev
    echo text > etc/hostname; chown 7:8 etc/hostname; chmod 4751 etc/hostname
    ln etc/hostname usr/bin/hard
    ln -s ../etc/hostname usr/bin/soft; ln -s /absolute/nowhere usr/bin/dangling
    truncate -s 3M deep/sparse; printf middle | dd of=deep/sparse bs=1 seek=1500000 conv=notrunc status=none
    head -c 3000000 /dev/urandom > deep/a/b/random
    mknod dev/null c 1 3; mknod dev/disk b 8 0; mkfifo deep/pipe
    setfattr -n user.comment -v hello deep/a/b/random || true
    setcap cap_net_raw+ep usr/bin/hard 2>/dev/null || true
    chmod 1777 'odd name'; chmod 2750 deep/a
    long=$(printf 'x%.0s' $(seq 120)); mkdir -p "$long/$long"; echo deep > "$long/$long/$long"
    touch -d '2001-02-03 04:05:06.789 UTC' etc deep/a/b/random
"#;

#[test]
fn a_system_is_unpacked_as_tar_does_it_from_every_compression() {
    let _alone = alone();
    if !is_there("xz", "xz-utils") || !is_there("zstd", "zstd") || !is_there("bzip2", "bzip2") {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let (source, by_tar) = (work.path().join("source"), work.path().join("by-tar"));
    std::fs::create_dir(&source).unwrap();
    std::fs::create_dir(&by_tar).unwrap();
    must(Command::new("sh").args(["-euc", TREE]).current_dir(&source));
    for (name, compression) in [
        ("root.tar", "--format=gnu"),
        ("root.tar.gz", "--gzip"),
        ("root.tar.xz", "--xz"),
        ("root.tar.zst", "--zstd"),
        ("root.tar.bz2", "--bzip2"),
    ] {
        let Some(disk) = Loop::ext4(64 * MIB) else { return };
        let archive = work.path().join(name);
        let mut pack = Command::new("tar");
        pack.args(["--create", "--sparse", "--numeric-owner", compression]);
        if name != "root.tar" {
            pack.args(["--format=pax", "--xattrs", "--xattrs-include=*"]);
        }
        must(pack.arg("--file").arg(&archive).arg("--directory").arg(&source).arg("."));
        let _ = std::fs::remove_dir_all(&by_tar);
        std::fs::create_dir(&by_tar).unwrap();
        let mut peer = Command::new("tar");
        peer.args(["--extract", "--preserve-permissions", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--same-owner"]);
        must(peer.arg("--file").arg(&archive).arg("--directory").arg(&by_tar));
        run(&disk, &archive, &[]).unwrap();
        let look = Look::at(&disk.device);
        let (own, peers) = (tree(look.path()), tree(&by_tar));
        assert_eq!(own, peers, "{name}");
        let sparse = std::fs::metadata(look.path().join("deep/sparse")).unwrap();
        assert!(std::os::unix::fs::MetadataExt::blocks(&sparse) < 1000, "holes stay holes");
    }
}

#[test]
fn nothing_leaves_the_folder() {
    let _alone = alone();
    let Some(disk) = Loop::ext4(16 * MIB) else { return };
    let work = tempfile::tempdir().unwrap();
    let archive = work.path().join("evil.tar");
    let mut tar = tar_of(&[
        ("evil/outside", b'2', work.path().to_str().unwrap(), ""),
        ("evil/outside/by-link", b'0', "", "1"),
        ("../../../../../../up", b'0', "", "2"),
        ("/absolute", b'0', "", "3"),
        ("hard", b'1', "../../../../../../etc/passwd", ""),
    ]);
    tar.extend([0; 1024]);
    std::fs::write(&archive, &tar).unwrap();
    let result = run(&disk, &archive, &[("INSECURE_NO_TARFILE_CHECKSUM_VERIFICATION", "true"), ("DEST_PATH", "/into/here")]);
    let error = result.unwrap_err();
    assert!(error.contains("hard"), "a hard link to what the target does not have: {error}");
    let look = Look::at(&disk.device);
    let inside = look.path().join("into/here");
    assert_eq!(std::fs::read_to_string(inside.join("up")).unwrap(), "2");
    assert_eq!(std::fs::read_to_string(inside.join("absolute")).unwrap(), "3");
    let names: Vec<_> = std::fs::read_dir(work.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["evil.tar"], "the link did not lead out");
}

/// Headers of ustar, as any program could write them.
fn tar_of(entries: &[(&str, u8, &str, &str)]) -> Vec<u8> {
    let mut all = Vec::new();
    for (name, kind, link, content) in entries {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        for at in [108, 116] {
            header[at..at + 8].copy_from_slice(b"0000000\0");
        }
        header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        header[136..148].copy_from_slice(b"00000000000\0");
        header[148..156].copy_from_slice(b"        ");
        header[156] = *kind;
        header[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        all.extend(header);
        all.extend(content.as_bytes());
        all.resize(all.len().next_multiple_of(512), 0);
    }
    all
}

#[test]
fn the_checksum_is_that_of_the_archive_in_each_usual_form() {
    let _alone = alone();
    let Some(disk) = Loop::ext4(16 * MIB) else { return };
    let work = tempfile::tempdir().unwrap();
    let (plain, packed) = (work.path().join("a.tar"), work.path().join("a.tar.gz"));
    let mut tar = tar_of(&[("file", b'0', "", "content")]);
    let to_its_end = [&tar[..], &[0; 1024]].concat();
    tar.resize(10240, 0); // GNU tar's padding
    std::fs::write(&plain, &tar).unwrap();
    must(Command::new("gzip").args(["--keep", "--no-name"]).arg(&plain));
    let end = work.path().join("end.tar");
    std::fs::write(&end, to_its_end).unwrap();
    let sum = |program: &str, file: &Path| {
        let text = must(Command::new(program).arg(file));
        format!("{}:{}", program.strip_suffix("sum").unwrap(), text.split(' ').next().unwrap())
    };
    for (case, archive, checksum) in [
        ("the file", &plain, sum("sha256sum", &plain)),
        ("the packed file", &packed, sum("sha256sum", &packed)),
        ("what is packed, by another algorithm", &packed, sum("sha512sum", &plain)),
        ("up to the archive's end, as upstream has it", &packed, sum("sha256sum", &end)),
    ] {
        run(&disk, archive, &[("TARFILE_CHECKSUM", &checksum)]).unwrap_or_else(|error| panic!("{case}: {error}"));
    }
    let wrong = format!("sha256:{}", "0".repeat(64));
    let error = run(&disk, &packed, &[("TARFILE_CHECKSUM", &wrong)]).unwrap_err();
    assert!(error.contains("TARFILE_CHECKSUM is 000") && error.contains("make the file system on DEST_DISK"), "{error}");
}

#[test]
fn what_is_not_an_archive_is_refused_before_anything_is_written() {
    let _alone = alone();
    let Some(disk) = Loop::ext4(16 * MIB) else { return };
    let before = std::fs::read(&disk.file).unwrap();
    let work = tempfile::tempdir().unwrap();
    for (name, content, expected) in [
        ("login", b"<html><body>Please log in</body></html>".to_vec(), "not a tar archive but an HTML page"),
        ("disk.qcow2", [&b"QFI\xfb"[..], &[0; 600]].concat(), "not a tar archive but a qcow2 image"),
        ("root.tar.gz", b"not gzip".to_vec(), "its name says gzip"),
        ("empty.tar", Vec::new(), "not a tar archive but empty"),
    ] {
        let path = work.path().join(name);
        std::fs::write(&path, content).unwrap();
        let error = run(&disk, &path, &[]).unwrap_err();
        assert!(error.contains(expected), "{name}: {error}");
        assert!(std::fs::read(&disk.file).unwrap() == before, "{name}");
    }
}

#[test]
fn a_full_file_system_and_a_cut_archive_are_named() {
    let _alone = alone();
    let Some(disk) = Loop::ext4(16 * MIB) else { return };
    let work = tempfile::tempdir().unwrap();
    let big = "x".repeat(20 << 20);
    let archive = work.path().join("big.tar");
    std::fs::write(&archive, tar_of(&[("big", b'0', "", &big)])).unwrap();
    let error = run(&disk, &archive, &[]).unwrap_err();
    assert!(error.contains("not enough room") && error.contains("bytes of the file system are free"), "{error}");
    std::fs::write(&archive, &tar_of(&[("file", b'0', "", &big[..4000])])[..2000]).unwrap();
    let error = run(&disk, &archive, &[]).unwrap_err();
    assert!(error.contains("its end in the middle of a file"), "{error}");
}
