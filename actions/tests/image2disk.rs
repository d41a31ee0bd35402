//! image2disk onto a regular file, from a web server that drops and cuts connections, changes the file, or refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod images;

use images::{Answer, DISK, Disk, NO_RETRY, Server, bzip2, gzip, image, lz4, lzma, xz, zstd};
use sha2::{Digest, Sha256, Sha512};
use std::process::Command;

#[test]
fn every_format_arrives_as_the_image_it_was() {
    for (name, packed) in [
        ("disk.img", image()),
        ("disk.img.gz", gzip(&image())),
        ("disk.img.bz2", bzip2(&image())),
        ("disk.img.xz", xz(&image())),
        ("disk.img.zst?token=x", zstd(&image())),
        ("disk.img.lz4", lz4(&image())),
        ("disk.img.lzma", lzma(&image())),
        ("without-suffix", zstd(&image())),
    ] {
        for answer in [Answer::Whole, Answer::Unsized] {
            let (server, disk) = (Server::start(packed.clone(), &[answer]), Disk::of(DISK));
            disk.write(&server.url(name), &[NO_RETRY]).unwrap_or_else(|error| panic!("{name} {answer:?}: {error}"));
            disk.must_hold(&image(), name);
        }
    }
}

#[test]
fn members_and_frames_in_a_row_are_one_image() {
    let (one, two) = (image()[..1_500_000].to_vec(), image()[1_500_000..].to_vec());
    for (name, pack) in [("gz", gzip as fn(&[u8]) -> Vec<u8>), ("bz2", bzip2), ("xz", xz), ("zst", zstd), ("lz4", lz4)] {
        let packed = [pack(&one), pack(&two)].concat();
        let (server, disk) = (Server::start(packed, &[Answer::Whole]), Disk::of(DISK));
        disk.write(&server.url(name), &[NO_RETRY]).unwrap_or_else(|error| panic!("{name}: {error}"));
        disk.must_hold(&image(), name);
    }
    // Each of these frames announces its size.
    let packed = [zstd::bulk::compress(&one, 1).unwrap(), zstd::bulk::compress(&two, 1).unwrap()].concat();
    let (server, disk) = (Server::start(packed, &[Answer::Whole]), Disk::of(DISK));
    disk.write(&server.url("zst"), &[NO_RETRY]).unwrap();
    disk.must_hold(&image(), "zstd with sizes");
}

#[test]
fn a_failure_at_the_start_erases_nothing() {
    // More than is looked at, and less than the first buffer.
    let (server, disk) = (Server::start(gzip(&image()), &[Answer::Short(300_000)]), Disk::of(DISK));
    for error in [disk.write(&server.url("d.gz"), &[NO_RETRY]), disk.dry_run(&server.url("d.gz"), &[NO_RETRY])] {
        let error = error.unwrap_err();
        assert!(error.contains("is damaged or cut off"), "{error}");
        disk.must_be_untouched("cut at its start");
    }
}

#[test]
fn a_file_is_an_image_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.zst");
    std::fs::write(&path, zstd(&image())).unwrap();
    for url in [path.display().to_string(), format!("file://{}", path.display())] {
        let disk = Disk::of(DISK);
        disk.write(&url, &[]).unwrap();
        disk.must_hold(&image(), &url);
    }
}

#[test]
fn a_dropped_connection_is_continued_where_it_stopped() {
    let packed = zstd(&image());
    let script = [Answer::Drop(900_000), Answer::Drop(700_000), Answer::Status(503), Answer::Part];
    let (server, disk) = (Server::start(packed, &script), Disk::of(DISK));
    disk.write(&server.url("disk.zst"), &[]).unwrap();
    disk.must_hold(&image(), "continued");
    let ranges = server.requests();
    assert_eq!(ranges.len(), 4, "{ranges:?}");
    let starts: Vec<u64> =
        ranges[1..].iter().map(|range| range.as_ref().unwrap()[6..].trim_end_matches('-').parse().unwrap()).collect();
    assert!(starts[0] <= 900_000 && starts[0] > 0 && starts[1] > starts[0] && starts[2] == starts[1], "{starts:?}");
}

#[test]
fn without_ranges_or_with_another_file_the_write_starts_again() {
    for (case, second) in [("no ranges", Answer::Whole), ("another file", Answer::Changed), ("shorter", Answer::Status(416))] {
        let script = [Answer::Drop(1_900_000), second, Answer::Whole];
        let (server, disk) = (Server::start(image(), &script), Disk::of(DISK));
        disk.write(&server.url("disk.img"), &[]).unwrap_or_else(|error| panic!("{case}: {error}"));
        disk.must_hold(&image(), case);
        assert_eq!(server.requests().len(), 3, "{case}");
        assert_eq!(server.requests()[2], None, "{case}: from the beginning");
    }
}

#[test]
fn a_download_that_ends_early_is_a_failure_and_does_not_boot() {
    for (case, name, packed, answer, expected) in [
        ("a dropped raw image", "d.img", image(), Answer::Drop(1_900_000), "of 2900480"),
        ("a dropped image of unknown length", "d.img", image(), Answer::DropUnsized(1_900_000), "ended after"),
        ("a cut zstd file", "d.zst", zstd(&image()), Answer::Short(1_500_000), "does not decode"),
        ("a cut gzip file", "d.gz", gzip(&image()), Answer::Short(1_500_000), "does not decode"),
        ("a cut bzip2 file", "d.bz2", bzip2(&image()), Answer::Short(1_500_000), "does not decode"),
        ("a cut xz file", "d.xz", xz(&image()), Answer::Short(1_500_000), "does not decode"),
        ("a cut lz4 file", "d.lz4", lz4(&image()), Answer::Short(1_500_000), "does not decode"),
        ("an lz4 file cut between two blocks", "d.lz4", lz4_cut(&image()), Answer::Whole, "does not decode"),
        ("a cut lzma file", "d.lzma", lzma(&image()), Answer::Short(1_500_000), "does not decode"),
        ("an image that ends in a sector", "d.gz", gzip(&image()[..2_900_000]), Answer::Whole, "not whole sectors"),
    ] {
        let (server, disk) = (Server::start(packed, &[answer]), Disk::of(DISK));
        let error = disk.write(&server.url(name), &[NO_RETRY]).expect_err(case);
        assert!(error.contains(expected), "{case}: {error}");
        disk.must_not_boot(case);
    }
}

#[test]
fn the_disks_old_content_survives_an_image_that_cannot_be_had() {
    for (case, answer, name, expected) in [
        ("not found", Answer::Status(404), "d.img", "the server answers 404"),
        ("server error", Answer::Status(500), "d.img", "answers 500"),
        ("an error page", Answer::Short(20), "d.img.zst", "its name says zstd, but its first bytes do not"),
        ("an empty file", Answer::Short(0), "d.img", "is empty"),
        ("a size that is not of sectors", Answer::Short(2_900_000), "d.img", "not whole sectors"),
    ] {
        let file = match case {
            "an empty file" => Vec::new(),
            "a size that is not of sectors" => image(),
            _ => vec![b'<'; 100],
        };
        let (server, disk) = (Server::start(file, &[answer]), Disk::of(DISK));
        let error = disk.write(&server.url(name), &[NO_RETRY]).expect_err(case);
        assert!(error.contains(expected), "{case}: {error}");
        disk.must_be_untouched(case);
    }
}

/// What a web server or a mistake gives in place of a disk image. Each also comes packed.
#[test]
fn what_is_not_a_disk_image_is_refused_by_name_and_nothing_is_erased() {
    let mut tar = tar_of("disk.img");
    tar.resize(10 << 10, 0);
    for (case, content, expected) in [
        ("a login page", b"<!DOCTYPE html><form>password</form>".to_vec(), "is an HTML page"),
        ("a JSON answer", b"{\"error\":\"denied\"}".to_vec(), "is a JSON document"),
        ("one byte", vec![0], "is shorter than a sector"),
        ("a tar archive", tar, "is a tar archive. give the URL of the disk image in it"),
        ("a VMDK", [&b"KDMV"[..], &[0; 1020]].concat(), "is a VMDK image. convert it: qemu-img convert"),
        ("gzip in it", gzip(&image()), "is gzip data. its content is compressed once more"),
        ("zeros", vec![0; 1 << 20], "is zeros at the start"),
        ("noise", image()[1024..1 << 20].to_vec(), "is without a partition table"),
    ] {
        for (packing, name, packed) in [
            ("raw", "d", content.clone()),
            ("zstd", "d.zst", zstd(&content)),
            ("xz", "d.xz", xz(&content)),
            ("lz4", "d", lz4(&content)),
        ] {
            if case == "gzip in it" && packing == "raw" {
                continue; // then it is a packed image
            }
            let (server, disk) = (Server::start(packed, &[Answer::Whole]), Disk::of(DISK));
            let error = disk.write(&server.url(name), &[NO_RETRY]).expect_err(case);
            assert!(error.contains(expected) && error.contains("Nothing was erased"), "{case}, {packing}: {error}");
            assert!(packing == "raw" || error.contains(&format!("after unpacking {packing}")), "{case}, {packing}: {error}");
            disk.must_be_untouched(case);
        }
    }
}

fn tar_of(name: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), "x").unwrap();
    let output = Command::new("tar").args(["-cf", "-", name]).current_dir(folder.path()).output().unwrap();
    output.stdout
}

#[test]
fn the_operator_can_have_anything_written_as_it_is() {
    let noise = image()[1024..1_000_001].to_vec();
    for (case, name, content, expected, compressed) in [
        ("noise", "d", noise.clone(), noise.clone(), ""),
        ("packed noise", "d.zst", zstd(&noise), noise.clone(), ""),
        ("packed data that stays packed", "d.gz", gzip(&noise), gzip(&noise), "false"),
    ] {
        let (server, disk) = (Server::start(content, &[Answer::Whole]), Disk::of(DISK));
        disk.write(&server.url(name), &[("IMG_FORMAT", "raw"), ("COMPRESSED", compressed)]).unwrap();
        disk.must_hold(&expected, case);
    }
    let (server, disk) = (Server::start(gzip(&image()), &[Answer::Whole]), Disk::of(DISK));
    let error = disk.write(&server.url("d.gz"), &[("COMPRESSED", "false")]).unwrap_err();
    assert!(error.contains("It is gzip data"), "{error}");
    disk.must_be_untouched("COMPRESSED=false");
}

#[test]
fn a_download_that_begins_again_and_is_refused_does_not_say_that_nothing_was_erased() {
    let script = [Answer::Drop(1_900_000), Answer::Whole, Answer::Short(0)];
    let (server, disk) = (Server::start(image(), &script), Disk::of(DISK));
    let error = disk.write(&server.url("d.img"), &[]).unwrap_err();
    assert!(error.contains("is empty. The disk was left without its first MiB"), "{error}");
    disk.must_not_boot("empty at the second time");
}

#[test]
fn an_image_larger_than_the_disk_is_refused_with_both_numbers() {
    for (case, name, packed, erased) in [
        ("raw, known by its length", "d.img", image(), false),
        ("zstd, known by its header", "d.zst", zstd_sized(&image()), false),
        ("gzip, seen when it comes", "d.gz", gzip(&image()), true),
    ] {
        let (server, disk) = (Server::start(packed, &[Answer::Whole]), Disk::of(2 << 20));
        let error = disk.write(&server.url(name), &[]).expect_err(case);
        assert!(error.contains("DEST_DISK") && error.contains("2097152"), "{case}: {error}");
        if erased {
            assert!(error.contains("at least"), "{case}: {error}");
            disk.must_not_boot(case);
        } else {
            assert!(error.contains("2900480"), "{case}: {error}");
            disk.must_be_untouched(case);
        }
    }
}

/// The frame ends after a whole block, without its end mark.
fn lz4_cut(data: &[u8]) -> Vec<u8> {
    let frame = lz4(data);
    let mut at = 7;
    while at < 1_500_000 {
        let length = u32::from_le_bytes(frame[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
        at += 4 + length as usize;
    }
    frame[..at].to_vec()
}

fn zstd_sized(data: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(data, 1).unwrap()
}

#[test]
fn a_checksum_is_over_what_was_downloaded() {
    let packed = zstd(&image());
    let right = hex::encode(Sha256::digest(&packed));
    let script = [Answer::Drop(900_000), Answer::Part];
    let (server, disk) = (Server::start(packed.clone(), &script), Disk::of(DISK));
    disk.write(&server.url("d.zst"), &[("IMG_SHA256", &right)]).unwrap();
    disk.must_hold(&image(), "right, over a dropped connection");

    let wrong = "0".repeat(64);
    let (server, disk) = (Server::start(packed, &[Answer::Whole]), Disk::of(DISK));
    let error = disk.write(&server.url("d.zst"), &[("IMG_SHA256", &wrong)]).unwrap_err();
    assert!(error.contains(&wrong) && error.contains(&right), "{error}");
    disk.must_not_boot("wrong");

    let list = Server::start(format!("{right}  d.zst\n").into_bytes(), &[Answer::Whole]);
    for (case, name, expected) in
        [("in a list", "d.zst", None), ("not in the list", "e.zst", Some("has no SHA-256 or SHA-512 of e.zst"))]
    {
        let (server, disk) = (Server::start(zstd(&image()), &[Answer::Whole]), Disk::of(DISK));
        match (disk.write(&server.url(name), &[("IMG_CHECKSUM", &list.url("SHA256SUMS"))]), expected) {
            (Ok(()), None) => disk.must_hold(&image(), case),
            (Err(error), Some(words)) if error.contains(words) => disk.must_be_untouched(case),
            (result, _) => panic!("{case}: {result:?}"),
        }
    }

    let long = format!("sha512:{}", hex::encode(Sha512::digest(image())));
    let (server, disk) = (Server::start(image(), &[Answer::Whole]), Disk::of(DISK));
    disk.write(&server.url("d"), &[("IMG_CHECKSUM", &long)]).unwrap();
    disk.must_hold(&image(), "sha512");
}

#[test]
fn a_list_of_checksums_must_be_signed_by_the_operators_key() {
    let folder = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let text = format!("{}  d.zst\n", hex::encode(Sha256::digest(zstd(&image()))));
    std::fs::write(folder.path().join("list"), &text).unwrap();
    openssl("genpkey -algorithm ed25519 -out key");
    openssl("pkey -in key -pubout -out pub");
    openssl("pkeyutl -sign -rawin -inkey key -in list -out sig");
    let signature = std::fs::read(folder.path().join("sig")).unwrap();
    let key = std::fs::read_to_string(folder.path().join("pub")).unwrap();
    let list = Server::start(text.into_bytes(), &[Answer::Whole]).url("SHA256SUMS");
    for (case, signature, right) in [("right", signature.clone(), true), ("of nothing", vec![7; 64], false)] {
        let (server, disk) = (Server::start(zstd(&image()), &[Answer::Whole]), Disk::of(DISK));
        let beside = Server::start(signature, &[Answer::Whole]).url("x.sig");
        let signed = [("IMG_CHECKSUM", list.as_str()), ("IMG_CHECKSUM_KEY", &key), ("IMG_CHECKSUM_SIGNATURE", &beside)];
        let result = disk.write(&server.url("d.zst"), &signed);
        if right {
            result.unwrap();
            disk.must_hold(&image(), case);
        } else {
            let error = result.unwrap_err();
            assert!(error.contains("has not signed the list") && error.contains(&beside), "{error}");
            disk.must_be_untouched(case);
        }
    }
    let disk = Disk::of(DISK);
    let error = disk.write("/d", &[("IMG_CHECKSUM_KEY", &key)]).unwrap_err();
    assert!(error.contains("with the URL of the list that the key has signed"), "{error}");
}

#[test]
fn a_server_that_is_down_is_named() {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let disk = Disk::of(DISK);
    let error = disk.write(&format!("http://127.0.0.1:{port}/d.img"), &[NO_RETRY]).unwrap_err();
    assert!(error.contains(&format!("cannot reach http://127.0.0.1:{port}/d.img")), "{error}");
    disk.must_be_untouched("down");
}

#[test]
fn a_dry_run_finds_what_a_run_would_refuse_and_writes_nothing() {
    for (case, content, size, expected) in [
        ("an image", zstd(&image()), DISK, None),
        ("a page", b"<html>".to_vec(), DISK, Some("is an HTML page")),
        ("too large", image(), 2 << 20, Some("the image has 2900480 bytes")),
    ] {
        let (server, disk) = (Server::start(content, &[Answer::Whole]), Disk::of(size));
        let result = disk.dry_run(&server.url("d"), &[NO_RETRY]);
        match expected {
            None => assert_eq!(result, Ok(()), "{case}"),
            Some(words) => assert!(result.as_ref().is_err_and(|error| error.contains(words)), "{case}: {result:?}"),
        }
        disk.must_be_untouched(case);
    }
}
