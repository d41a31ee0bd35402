use super::*;
use std::process::Command;

fn block(kind: u8, name: &str, edit: impl FnOnce(&mut [u8; BLOCK])) -> Vec<u8> {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, b"00000000000\0");
    put(136, b"00000000000\0");
    put(156, &[kind]);
    edit(&mut header);
    seal(&mut header);
    header.to_vec()
}

fn seal(header: &mut [u8; BLOCK]) {
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

fn size(bytes: usize) -> impl Fn(&mut [u8; BLOCK]) {
    move |header| header[124..136].copy_from_slice(format!("{bytes:011o}\0").as_bytes())
}

fn content(text: &[u8]) -> Vec<u8> {
    let mut padded = text.to_vec();
    padded.resize(text.len().next_multiple_of(BLOCK), 0);
    padded
}

fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut text = Vec::new();
    for (key, value) in records {
        let body = key.len() + value.len() + 3;
        let length = (1..).find(|length: &usize| body + length.to_string().len() == *length).unwrap();
        text.extend(format!("{length} {key}=").as_bytes());
        text.extend(*value);
        text.push(b'\n');
    }
    [block(b'x', "pax", size(text.len())), content(&text)].concat()
}

fn all(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, ArchiveError> {
    let mut archive = Archive::new(bytes);
    let mut found = Vec::new();
    while let Some(entry) = archive.next_entry()? {
        let mut text = vec![0; 4096];
        let count = archive.fill_content(&mut text)?;
        text.truncate(count);
        found.push((entry, text));
    }
    Ok(found)
}

#[test]
fn numbers_have_two_forms_and_any_padding() {
    for (field, want) in [
        (&b"0000644\0"[..], Some(0o644)),
        (b"   644 \0", Some(0o644)),
        (b"644     ", Some(0o644)),
        (b"\0\0\0\0\0\0\0\0", Some(0)),
        (b"12\0garbage", Some(0o12)),
        (b"99999999", None),
        (b"-1\0", None),
        (b"+1\0", None),
        (b"\x80\0\0\0\0\0\x01\0", Some(256)),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
        (b"\xff\xff\xff\xff\xff\xff\xff\0", Some(-256)),
        (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
    ] {
        assert_eq!(header::number(field), want, "{field:?}");
    }
}

#[test]
fn old_archives_have_folders_that_end_in_a_slash_and_links_with_a_size() {
    let archive = [
        block(0, "etc/", |_| {}),
        block(0, "file", size(3)),
        content(b"abc"),
        block(b'7', "contiguous", size(3)),
        content(b"def"),
        block(b'1', "hard", |header| {
            size(1 << 20)(header); // the size of its target
            header[157..161].copy_from_slice(b"file");
        }),
        block(b'0', "after/", |_| {}),
    ];
    let found = all(&archive.concat()).unwrap(); // without zeros at the end
    let kinds: Vec<_> = found.iter().map(|(entry, text)| (entry.kind, text.as_slice())).collect();
    let empty = &b""[..];
    let want =
        [(Kind::Directory, empty), (Kind::File, b"abc"), (Kind::File, b"def"), (Kind::HardLink, empty), (Kind::File, empty)];
    assert_eq!(kinds, want);
    assert_eq!(found[3].0.link, PathBuf::from("file"));
}

#[test]
fn extended_headers_are_read_by_length_and_the_last_of_several_wins() {
    let capability = b"\x01\0\0\x02\x0a\n\0\0\0\n\0\0"; // some bytes look like line ends
    let archive = [
        block(b'g', "global", size(0)),
        pax(&[("path", b"lost")]),
        pax(&[
            ("path", "lang/ü".as_bytes()),
            ("size", b"3"),
            ("uid", b"4294967301"),
            ("gid", b"7"),
            ("mtime", b"-1.5"),
            ("mtime", b"-2.25"),
            ("uname", b""),
            ("linkpath", b""),
            ("SCHILY.xattr.security.capability", capability),
            ("VENDOR.thing", b"\0"),
        ]),
        block(b'0', "short", size(0)),
        content(b"xyz"),
        block(b'L', "././@LongLink", size(4)),
        content(b"ab\0c"),
        block(b'2', "short", |header| header[157..160].copy_from_slice(b"tgt")),
    ];
    let found = all(&archive.concat()).unwrap();
    let entry = &found[0].0;
    assert_eq!((entry.path.to_str(), entry.size, entry.uid, entry.gid), (Some("lang/ü"), 3, 5, 7));
    assert_eq!(entry.mtime, Time { seconds: -3, nanoseconds: 750_000_000 });
    assert_eq!(entry.xattrs, [("security.capability".into(), capability.to_vec())]);
    assert_eq!(found[0].1, b"xyz");
    assert_eq!((found[1].0.path.to_str(), found[1].0.link.to_str()), (Some("ab"), Some("tgt")));
}

#[test]
fn archives_that_go_refuses_are_refused() {
    let file = block(b'0', "file", size(600));
    let damaged = |at: usize| {
        let mut bytes = [file.clone(), content(&[7; 600])].concat();
        bytes[at] ^= 1;
        bytes
    };
    let sparse = |map: &[u8]| {
        let records: [(&str, &[u8]); 3] = [("GNU.sparse.map", map), ("GNU.sparse.numblocks", b"2"), ("GNU.sparse.size", b"1000")];
        [pax(&records), block(b'0', "sparse", size(4)), content(b"abcd")].concat()
    };
    for (case, bytes, want) in [
        ("a wrong checksum", damaged(0), "a header with a wrong checksum"),
        ("a header that is cut", file[..300].to_vec(), "its end in the middle of a header"),
        ("content that is cut", [file.clone(), vec![7; 599]].concat(), "its end in the middle of a file"),
        (
            "an extended header without a length",
            [block(b'x', "x", size(4)), content(b"abc\n"), file.clone()].concat(),
            "extended header",
        ),
        ("a name with a NUL", [pax(&[("path", b"a\0b")]), file.clone()].concat(), "extended header"),
        ("a map out of order", sparse(b"10,2,0,2"), "parts overlap"),
        ("a map beyond the end", sparse(b"0,2,999,2"), "parts overlap"),
        ("a map with more content than the archive", sparse(b"0,2,4,4"), "parts overlap"),
        ("a map that lacks a number", sparse(b"0,2,4"), "with an invalid map"),
        (
            "endless headers",
            [pax(&[("comment", &[b'x'; 600])]).repeat(2000), file.clone()].concat(),
            "take more than 1048576 bytes",
        ),
        ("text", b"<html>".repeat(200), "header with a wrong checksum"),
    ] {
        let error = all(&bytes).unwrap_err().to_string();
        assert!(error.contains(want), "{case}: {error}");
    }
    assert_eq!(all(b"").unwrap(), [], "an empty stream is an empty archive");
    assert_eq!(all(&pax(&[("path", b"lost")])).unwrap(), [], "Go reads no entries from this, too");
    assert_eq!(all(&[vec![0; 1024], b"garbage".to_vec()].concat()).unwrap(), [], "bytes after the end are ignored");
}

/// Archives from GNU tar, which introduced the forms.
#[test]
fn sparse_files_of_all_four_forms_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let text: Vec<u8> = (0..40u8).map(|n| b'a' + n % 26).collect();
    {
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::create(folder.path().join("sparse")).unwrap();
        for n in 0..40u64 {
            file.write_all_at(&text, (n * 3 + 1) << 16).unwrap();
        }
        file.set_len(16 << 20).unwrap();
    }
    for form in [
        "--format=gnu",
        "--format=posix --sparse-version=0.0",
        "--format=posix --sparse-version=0.1",
        "--format=posix --sparse-version=1.0",
    ] {
        let mut tar = Command::new("tar");
        tar.args(form.split(' ')).args(["--sparse", "-cf", "-", "sparse"]).current_dir(folder.path());
        let Ok(output) = tar.output() else { return println!("skipped: tar is not installed") };
        assert!(output.status.success() && output.stdout.len() < 1 << 20, "{form}");
        let mut archive = Archive::new(output.stdout.as_slice());
        let entry = archive.next_entry().unwrap().unwrap();
        assert_eq!((entry.path.to_str(), entry.size), (Some("sparse"), 16 << 20), "{form}");
        let parts = entry.parts.unwrap();
        assert!(parts.iter().filter(|part| part.length > 0).count() == 40, "{form}: {parts:?}");
        for part in parts {
            let mut content = vec![0; usize::try_from(part.length).unwrap()];
            archive.fill_content(&mut content).unwrap();
            assert!(content.is_empty() || content.starts_with(&text), "{form}");
        }
        assert_eq!(archive.next_entry().unwrap(), None, "{form}");
    }
}
