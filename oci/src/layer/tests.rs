use super::*;
use crate::fake_registry::{digest, gzip, tar, zstd};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

fn descriptor(bytes: &[u8]) -> Descriptor {
    Descriptor::of(&digest(bytes).parse().unwrap(), bytes.len() as u64)
}

fn plenty() -> Free {
    Free::of_memory(1 << 30)
}

fn unpack_all(layers: &[Vec<u8>]) -> (tempfile::TempDir, Result<(), LayerError>) {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("rootfs")).unwrap();
    let unpack_one = |bytes: &Vec<u8>| unpack(bytes.as_slice(), &descriptor(bytes), &root.path().join("rootfs"), &mut plenty);
    let result = layers.iter().try_for_each(unpack_one);
    (root, result)
}

fn text(root: &tempfile::TempDir, path: &str) -> Option<String> {
    fs::read_to_string(root.path().join("rootfs").join(path)).ok()
}

#[test]
fn every_compression_gives_the_same_files() {
    let plain =
        tar(&[("etc/", ""), ("etc/name", "thimble"), ("bin/tool", "x"), ("bin/link -> tool", ""), ("bin/hard = bin/tool", "")]);
    // Two gzip members form one stream. pigz and estargz write such files.
    let (head, tail) = plain.split_at(700);
    let members = [gzip(head), gzip(tail), gzip(b"")].concat();
    // zstd:chunked has a frame for each file. Everything else is in skippable frames (RFC 8878, 3.1.2), including the end.
    let skip = |text: &[u8]| [&0x184d_2a50_u32.to_le_bytes()[..], &(text.len() as u32).to_le_bytes(), text].concat();
    let chunked = [zstd(head), skip(b"{}"), zstd(tail), skip(&[7; 100_000]), skip(b"GnUlInUx")].concat();
    for (case, bytes) in [
        ("plain", plain.clone()),
        ("gzip", gzip(&plain)),
        ("zstd", zstd(&plain)),
        ("gzip members", members),
        ("zstd:chunked", chunked),
    ] {
        let (root, result) = unpack_all(&[bytes]);
        result.unwrap();
        assert_eq!(text(&root, "etc/name").as_deref(), Some("thimble"), "{case}");
        assert_eq!(text(&root, "bin/link").as_deref(), Some("x"), "{case}");
        let metadata = fs::metadata(root.path().join("rootfs/bin/hard")).unwrap();
        assert_eq!((metadata.nlink(), metadata.permissions().mode() & 0o7777, metadata.mtime()), (2, 0o755, 1_000_000), "{case}");
    }
}

#[test]
fn whiteouts_hide_lower_layers_but_not_their_own_layer() {
    let below = tar(&[
        ("a/", ""),
        ("a/old", "1"),
        ("a/sub/", ""),
        ("a/sub/deep", "1"),
        ("b/", ""),
        ("b/gone", "1"),
        ("b/stays", "1"),
        ("dir/", ""),
        ("dir/x", "1"),
    ]);
    let above = tar(&[
        ("a/new", "2"),
        ("a/.wh..wh..opq", ""),
        ("a/sub/", ""),
        ("a/sub/fresh", "2"),
        ("b/.wh.gone", ""),
        (".wh.dir", ""),
        (".wh.nothing", ""),
    ]);
    let (root, result) = unpack_all(&[below, gzip(&above)]);
    result.unwrap();
    for (path, want) in [
        ("a/new", Some("2")),
        ("a/old", None),
        ("a/sub/deep", None),
        ("a/sub/fresh", Some("2")),
        ("b/gone", None),
        ("b/stays", Some("1")),
        ("dir/x", None),
        ("a/.wh..wh..opq", None),
    ] {
        assert_eq!(text(&root, path).as_deref(), want, "{path}");
    }
}

/// As in images of Docker's first years: `.wh..wh.plnk` holds the files that have several names.
#[test]
fn hard_links_through_the_folders_of_aufs_are_made_and_the_folders_are_not_kept() {
    let layer = tar(&[
        ("a/", ""),
        (".wh..wh.aufs", ""),
        (".wh..wh.orph/", ""),
        (".wh..wh.orph/lost", "x"),
        (".wh..wh.plnk/", ""),
        (".wh..wh.plnk/68.4289", "twice"),
        ("a/one = .wh..wh.plnk/68.4289", ""),
        ("two = /.wh..wh.plnk/68.4289", ""),
        ("a/.wh..wh.x", ""),
    ]);
    let (root, result) = unpack_all(&[layer]);
    result.unwrap();
    assert_eq!((text(&root, "a/one").as_deref(), text(&root, "two").as_deref()), (Some("twice"), Some("twice")));
    assert_eq!(fs::metadata(root.path().join("rootfs/two")).unwrap().nlink(), 2);
    let mut left: Vec<_> = fs::read_dir(root.path().join("rootfs")).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["a", "two"]);
}

#[test]
fn a_zstd_frame_that_ends_early_is_an_error_and_frames_may_be_empty() {
    let plain = tar(&[("a", &"text".repeat(9000))]);
    let whole = zstd(&plain);
    for end in [6, whole.len() / 2, whole.len() - 1] {
        let (_root, result) = unpack_all(&[whole[..end].to_vec()]);
        let error = machine::Chain(&result.unwrap_err()).to_string();
        assert!(error.contains("in the middle of a zstd frame"), "{end} bytes: {error}");
    }
    let (root, result) = unpack_all(&[[zstd(b""), whole.clone(), zstd(b"")].concat()]);
    result.unwrap();
    assert_eq!(text(&root, "a").map(|text| text.len()), Some(36_000));
    let (_root, result) = unpack_all(&[[whole, b"garbage".to_vec()].concat()]);
    result.unwrap();
    let (_root, result) = unpack_all(&[[zstd(&plain[..700]), b"garbage".to_vec()].concat()]);
    let error = machine::Chain(&result.unwrap_err()).to_string();
    assert!(error.contains("Unknown frame descriptor"), "{error}");
}

#[test]
fn kinds_replace_each_other_between_layers() {
    let below = tar(&[("x/", ""), ("x/f", "1"), ("y", "file"), ("z -> y", "")]);
    let above = tar(&[("x", "now a file"), ("y/", ""), ("y/f", "2"), ("z/", ""), ("z/f", "3")]);
    let (root, result) = unpack_all(&[below, above]);
    result.unwrap();
    assert_eq!(text(&root, "x").as_deref(), Some("now a file"));
    assert_eq!((text(&root, "y/f").as_deref(), text(&root, "z/f").as_deref()), (Some("2"), Some("3")));
    assert!(!fs::symlink_metadata(root.path().join("rootfs/z")).unwrap().is_symlink());
}

#[test]
fn no_entry_leaves_the_image() {
    for (case, entries, inside) in [
        ("a path upwards", vec![("../escaped", "x")], "escaped"),
        ("a path upwards in the middle", vec![("a/../../../escaped", "x")], "escaped"),
        ("an absolute path", vec![("/escaped", "x")], "escaped"),
        ("a hard link upwards", vec![("secret", "x"), ("a = ../secret", "")], "a"),
        ("a hard link with an absolute path", vec![("secret", "x"), ("a = /secret", "")], "a"),
    ] {
        let (root, result) = unpack_all(&[tar(&entries)]);
        result.unwrap();
        assert_eq!(text(&root, inside).as_deref(), Some("x"), "{case}");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "{case}");
    }
    // Links may point anywhere. Writing through them stays inside.
    let (root, result) = unpack_all(&[tar(&[("up -> ..", ""), ("up/escaped", "x"), ("abs -> /", ""), ("abs/inside", "y")])]);
    result.unwrap();
    assert!(!root.path().join("escaped").exists() && !Path::new("/inside").exists());
    assert_eq!((text(&root, "escaped").as_deref(), text(&root, "inside").as_deref()), (Some("x"), Some("y")));
    // A whiteout through a link does not remove anything outside.
    let (root, _) = unpack_all(&[]);
    fs::write(root.path().join("secret"), "kept").unwrap();
    let bytes = tar(&[("up -> ..", ""), ("up/.wh.secret", "")]);
    unpack(bytes.as_slice(), &descriptor(&bytes), &root.path().join("rootfs"), &mut plenty).unwrap();
    assert!(root.path().join("secret").exists());
}

#[test]
fn wrong_content_is_a_mismatch_even_if_it_unpacks() {
    let bytes = tar(&[("a", "1")]);
    let mut promised = descriptor(&bytes);
    promised.digest = Digest::of(b"something else");
    let root = tempfile::tempdir().unwrap();
    for stream in [bytes.clone(), gzip(&bytes), b"\x1f\x8bgarbage".to_vec()] {
        let result = unpack(stream.as_slice(), &promised, root.path(), &mut plenty);
        assert!(matches!(result, Err(LayerError::Mismatch { .. })), "{result:?}");
    }
    let garbage = b"\x1f\x8bgarbage".to_vec();
    let result = unpack(garbage.as_slice(), &descriptor(&garbage), root.path(), &mut plenty);
    assert!(matches!(result, Err(LayerError::Archive(_))), "garbage with the right digest is still not an archive: {result:?}");
}

#[test]
fn a_layer_that_exceeds_the_budget_is_stopped() {
    let bytes = gzip(&tar(&[("text", &"x".repeat(40 << 20))]));
    let root = tempfile::tempdir().unwrap();
    let mut asked = 0;
    let mut budget = || {
        asked += 1;
        Free::of_memory(20 << 20)
    };
    // The budget has 20 MiB at every query, and 40 MiB pass. Then it has nothing left.
    unpack(bytes.as_slice(), &descriptor(&bytes), root.path(), &mut budget).unwrap();
    assert!(asked > 5, "queried {asked} times");
    let result = unpack(bytes.as_slice(), &descriptor(&bytes), root.path(), &mut || Free::of_memory(1 << 20));
    assert!(matches!(result, Err(LayerError::NoSpace(_))), "{result:?}");
}

#[test]
fn a_window_larger_than_the_limit_is_refused() {
    let packed = |plain: &[u8], window_log| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window_log).unwrap();
        std::io::Write::write_all(&mut encoder, plain).unwrap();
        encoder.finish().unwrap()
    };
    let plain = tar(&[("a", "1")]);
    // The decoder finds the larger window at once, or while it reads the rest of an entry.
    let (first, rest) = plain.split_at(700);
    for (case, bytes, refused) in [
        ("that of zstd -19", packed(&plain, 23), false),
        ("a larger one", packed(&plain, 24), true),
        ("a larger one in the second frame", [packed(first, 20), packed(rest, 27)].concat(), true),
    ] {
        let (_root, result) = unpack_all(&[bytes]);
        assert_eq!(matches!(result, Err(LayerError::Window)), refused, "{case}: {result:?}");
        assert_eq!(result.is_ok(), !refused, "{case}");
    }
}

#[test]
fn endless_headers_do_not_fill_the_memory() {
    let huge = vec![b'a'; 64 << 20];
    for kind in [tar::EntryType::XHeader, tar::EntryType::GNULongName] {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(huge.len() as u64);
        header.set_cksum();
        builder.append(&header, huge.as_slice()).unwrap();
        let (_root, result) = unpack_all(&[gzip(&builder.into_inner().unwrap())]);
        let Err(LayerError::Archive(error)) = result else { panic!("{result:?}") };
        assert!(error.to_string().contains("take more than 1048576 bytes"), "{error}");
    }
}

#[test]
fn an_entry_of_an_unknown_kind_is_skipped_at_any_size() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::new(b'V'));
    header.set_path("volume").unwrap();
    header.set_mode(0o644);
    header.set_size(3 << 20);
    header.set_cksum();
    builder.append(&header, vec![0; 3 << 20].as_slice()).unwrap();
    let mut bytes = builder.into_inner().unwrap();
    bytes.truncate(bytes.len() - 1024); // the end of the archive
    bytes.extend(tar(&[("after", "2")]));
    let (root, result) = unpack_all(&[bytes]);
    result.unwrap();
    assert_eq!(text(&root, "after").as_deref(), Some("2"));
}

#[test]
fn a_pipe_has_the_permissions_of_the_archive_under_any_umask() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Fifo);
    header.set_size(0);
    header.set_mode(0o666);
    header.set_path("pipe").unwrap();
    header.set_cksum();
    builder.append(&header, std::io::empty()).unwrap();
    let (root, result) = unpack_all(&[builder.into_inner().unwrap()]);
    result.unwrap();
    let metadata = fs::symlink_metadata(root.path().join("rootfs/pipe")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o666);
}

#[test]
fn whiteouts_mean_the_same_at_every_position_in_the_archive() {
    let below = tar(&[("a/", ""), ("a/sub/", ""), ("a/sub/old", "1"), ("a/other", "1"), ("b/", ""), ("b/old", "1"), ("c", "1")]);
    let entries = [
        ("a/sub/new", "2"),
        ("a/.wh..wh..opq", ""),
        ("b/new", "2"),
        (".wh.b", ""),
        ("c", "2"),
        (".wh.c", ""),
        ("d -> a", ""),
        (".wh.d", ""),
    ];
    let mut turned = entries;
    turned.reverse();
    for (case, entries) in [("whiteouts last", entries), ("whiteouts first", turned)] {
        let (root, result) = unpack_all(&[below.clone(), tar(&entries)]);
        result.unwrap();
        for (path, want) in [
            ("a/sub/new", Some("2")), // its directory has no entry
            ("a/sub/old", None),
            ("a/other", None),
            ("b/new", Some("2")),
            ("b/old", None),
            ("c", Some("2")),
        ] {
            assert_eq!(text(&root, path).as_deref(), want, "{case}: {path}");
        }
    }
}

#[test]
fn zeros_are_holes_and_take_no_memory() {
    let content = format!("{}end{}", "\0".repeat(20 << 20), "\0".repeat(1 << 20));
    let bytes = gzip(&tar(&[("sparse", &content)]));
    let root = tempfile::tempdir().unwrap();
    unpack(bytes.as_slice(), &descriptor(&bytes), root.path(), &mut || Free::of_memory(64 << 10)).unwrap();
    let metadata = fs::metadata(root.path().join("sparse")).unwrap();
    assert_eq!(metadata.len(), content.len() as u64);
    assert!(metadata.blocks() * 512 < 128 << 10, "{} blocks", metadata.blocks());
    assert!(fs::read(root.path().join("sparse")).unwrap() == content.as_bytes());
}

#[test]
fn inodes_are_counted_and_the_error_names_what_runs_out() {
    let files: Vec<(String, String)> = (0..30_000).map(|number| (format!("f{number}"), "small".to_owned())).collect();
    let entries: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let bytes = tar(&entries);
    let enough = Free { inodes: 31_000, ..plenty() };
    for (case, room, want) in [
        ("too few inodes", Free { inodes: 20_000, ..enough }, Some((Resource::Inodes, 20_001, 20_000))),
        // Each file takes a page and an inode, whatever it contains.
        (
            "enough memory for the text, but not for its pages",
            Free { memory: 64 << 20, ..enough },
            Some((Resource::Memory, 67_108_864 + 4096, 67_108_864)),
        ),
        ("a small file system", Free { disk: 64 << 20, ..enough }, Some((Resource::Disk, 67_108_864 + 4096, 67_108_864))),
        ("enough", enough, None),
    ] {
        let root = tempfile::tempdir_in("/dev/shm").unwrap();
        // What was taken is no longer free at the next query.
        let mut asked = 0;
        let mut budget = || {
            let files = asked * (ASK_EVERY / (INODE + PAGE));
            asked += 1;
            let left = |all: u64| all.saturating_sub(files * (INODE + PAGE));
            Free { memory: left(room.memory), disk: left(room.disk), inodes: room.inodes - files }
        };
        let result = unpack(bytes.as_slice(), &descriptor(&bytes), root.path(), &mut budget);
        let short = match result {
            Ok(()) => None,
            Err(LayerError::NoSpace(short)) => Some(short),
            Err(error) => panic!("{case}: {error}"),
        };
        let want = want.map(|(resource, needed, free)| NoSpace { resource, needed, free });
        match (short, want) {
            (Some(short), Some(want)) => {
                assert_eq!(short.resource, want.resource, "{case}: {short}");
                assert!(short.needed > short.free && short.needed.abs_diff(want.needed) < want.needed / 100, "{case}: {short}");
            }
            (short, want) => assert_eq!(short, want, "{case}"),
        }
    }
}

#[test]
fn formats_that_images_do_not_use_are_named() {
    for (head, want) in [(&b"BZh9"[..], "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x04\x22\x4d\x18", "lz4")] {
        let (_root, result) = unpack_all(&[head.to_vec()]);
        let error = result.unwrap_err().to_string();
        assert_eq!(error, format!("it is compressed with {want}: pack it with gzip or zstd"));
    }
}
