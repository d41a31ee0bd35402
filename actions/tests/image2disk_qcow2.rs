//! qcow2 images of qemu-img, through a web server with and without ranges.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod images;

use images::{Answer, DISK, Disk, NO_RETRY, Server, gzip, image};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::process::Command;

/// `false` without qemu-img.
fn tool(program: &str, arguments: &[&str], folder: &Path) -> bool {
    match Command::new(program).args(arguments).current_dir(folder).output() {
        Ok(output) => {
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            true
        }
        Err(error) => {
            eprintln!("SKIPPED: {program}: {error}; apt-get install qemu-utils");
            false
        }
    }
}

/// The content as qemu-img packs it.
fn qcow2(content: &[u8], options: &[&str]) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("raw"), content).unwrap();
    let arguments = [&["convert", "-f", "raw", "-O", "qcow2"], options, &["raw", "q"]].concat();
    tool("qemu-img", &arguments, folder.path()).then(|| std::fs::read(folder.path().join("q")).unwrap())
}

/// The same disk after a snapshot: the table that counts is behind the data that it names.
fn out_of_order(content: &[u8]) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("raw"), content).unwrap();
    let made = tool("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", "raw", "q"], folder.path())
        && tool("qemu-img", &["snapshot", "-c", "before", "q"], folder.path())
        && tool("qemu-io", &["-f", "qcow2", "-c", "write -s raw 0 64k", "q"], folder.path());
    made.then(|| std::fs::read(folder.path().join("q")).unwrap())
}

#[test]
fn a_qcow2_image_is_written_as_the_disk_that_it_holds_in_one_request() {
    for options in [
        &[][..],
        &["-c"],
        &["-c", "-o", "compression_type=zstd"],
        &["-o", "compat=0.10,cluster_size=4096"],
        &["-o", "extended_l2=on"],
    ] {
        let Some(file) = qcow2(&image(), options) else { return };
        let sum = hex::encode(Sha256::digest(&file));
        for (name, served, variables) in [
            ("d.qcow2", file.clone(), &[NO_RETRY][..]),
            ("d.img", file.clone(), &[NO_RETRY, ("IMG_SHA256", &sum)]),
            ("d.qcow2.gz", gzip(&file), &[NO_RETRY]),
        ] {
            let (server, disk) = (Server::start(served, &[Answer::Whole]), Disk::of(DISK));
            disk.write(&server.url(name), variables).unwrap_or_else(|error| panic!("{name} {options:?}: {error}"));
            disk.must_hold(&image(), name);
            assert_eq!(server.requests().len(), 1, "{name} {options:?}");
        }
    }
}

#[test]
fn an_image_out_of_order_is_read_by_ranges_or_refused() {
    // One more than the gap that is read over.
    let mut content = image();
    content.resize(5 << 20, 7);
    let Some(file) = out_of_order(&content) else { return };
    let sum = hex::encode(Sha256::digest(&file));
    let (server, disk) = (Server::start(file.clone(), &[Answer::Part]), Disk::of(8 << 20));
    disk.write(&server.url("d.qcow2"), &[NO_RETRY]).unwrap();
    disk.must_hold(&content, "by ranges");
    assert!(server.requests().len() > 1, "{:?}", server.requests());

    let dropped = [Answer::Part, Answer::Drop(700_000), Answer::Status(503), Answer::Part];
    let (server, disk) = (Server::start(file.clone(), &dropped), Disk::of(8 << 20));
    disk.write(&server.url("d.qcow2"), &[]).unwrap();
    disk.must_hold(&content, "after a dropped connection");

    for (case, served, answer, variables, expected) in [
        ("without ranges", file.clone(), Answer::Whole, &[NO_RETRY][..], "the server does not serve ranges"),
        ("with a checksum", file.clone(), Answer::Part, &[("IMG_SHA256", &sum)], "its checksum is over the file in order"),
        ("packed", gzip(&file), Answer::Part, &[NO_RETRY], "it is compressed as a whole"),
    ] {
        let (server, disk) = (Server::start(served, &[answer]), Disk::of(8 << 20));
        let error = disk.write(&server.url("d"), variables).expect_err(case);
        assert!(error.contains(expected) && error.contains("qemu-img convert -O qcow2"), "{case}: {error}");
        assert!(std::fs::read(&disk.path).unwrap()[..512] != image()[..512], "{case}: nothing that boots");
    }
}

#[test]
fn a_changed_or_cut_qcow2_image_does_not_boot() {
    let mut content = image();
    content.resize(5 << 20, 7);
    let Some(file) = out_of_order(&content) else { return };
    let (server, disk) = (Server::start(file, &[Answer::Part, Answer::Changed]), Disk::of(8 << 20));
    let error = disk.write(&server.url("d.qcow2"), &[NO_RETRY]).unwrap_err();
    assert!(error.contains("the server has another file now"), "{error}");

    let Some(file) = qcow2(&image(), &["-c"]) else { return };
    let (server, disk) = (Server::start(file.clone(), &[Answer::Short(file.len() - 70_000)]), Disk::of(DISK));
    let error = disk.write(&server.url("d.qcow2"), &[NO_RETRY]).unwrap_err();
    assert!(error.contains("does not decode") || error.contains("is cut off"), "{error}");
    disk.must_not_boot("cut");
}

#[test]
fn a_start_that_comes_last_and_is_no_disk_image_does_not_boot() {
    let mut content = image();
    content.resize(5 << 20, 7);
    content[..512].fill(0xff);
    let Some(file) = out_of_order(&content) else { return };
    let (server, disk) = (Server::start(file, &[Answer::Part]), Disk::of(8 << 20));
    let error = disk.write(&server.url("d.qcow2"), &[NO_RETRY]).unwrap_err();
    assert!(error.contains("without a partition table") && error.contains("left without its first MiB"), "{error}");
    assert!(!error.contains("Nothing was erased"), "{error}");
    disk.must_not_boot("late");
}

#[test]
fn what_a_qcow2_image_holds_is_looked_at_before_anything_is_erased() {
    for (case, content, size, expected) in [
        ("zeros", vec![0; 2 << 20], DISK, "zeros at the start"),
        ("noise and zeros", [&image()[1024..1024 + (64 << 10)], &[0; 1984 << 10]].concat(), DISK, "without a partition table"),
        ("noise", image()[1024..1024 + (1 << 20)].to_vec(), DISK, "without a partition table"),
        ("a large disk", image(), 2 << 20, "the image has 2900480 bytes"),
    ] {
        let Some(file) = qcow2(&content, &[]) else { return };
        let (server, disk) = (Server::start(file, &[Answer::Whole]), Disk::of(size));
        let error = disk.write(&server.url("d"), &[NO_RETRY]).expect_err(case);
        assert!(error.contains(expected), "{case}: {error}");
        disk.must_be_untouched(case);
    }
    let Some(file) = qcow2(&image(), &[]) else { return };
    let (server, disk) = (Server::start(file, &[Answer::Whole]), Disk::of(DISK));
    let error = disk.write(&server.url("d"), &[NO_RETRY, ("GROW", "3")]).unwrap_err();
    assert!(error.contains("it has no partition 3"), "{error}");
    disk.must_be_untouched("its table, behind zeros in the file");
    let Some(refused) = qcow2(&image(), &["-B", "raw", "-F", "raw"]) else { return };
    let (server, disk) = (Server::start(refused, &[Answer::Whole]), Disk::of(DISK));
    let error = disk.write(&server.url("d"), &[NO_RETRY]).unwrap_err();
    assert!(error.contains("has a backing file"), "{error}");
    disk.must_be_untouched("with a backing file");
}
