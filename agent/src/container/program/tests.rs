use super::*;

/// A 64-bit little-endian ELF header with one program header.
fn elf(machine: u16, loader: Option<&str>) -> Vec<u8> {
    let mut bytes = vec![0; 120];
    bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
    bytes[16] = 2;
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes[0x20..0x28].copy_from_slice(&64u64.to_le_bytes());
    bytes[0x36..0x38].copy_from_slice(&56u16.to_le_bytes());
    bytes[0x38..0x3a].copy_from_slice(&1u16.to_le_bytes());
    if let Some(loader) = loader {
        bytes[64..68].copy_from_slice(&3u32.to_le_bytes());
        bytes[72..80].copy_from_slice(&120u64.to_le_bytes());
        bytes.extend(loader.as_bytes());
        bytes.push(0);
    }
    bytes
}

#[test]
fn the_first_bytes_give_the_kind_of_a_file() {
    let loader = "/lib64/ld-linux-x86-64.so.2";
    for (case, bytes, want) in [
        ("a script", b"#!/bin/sh\necho".to_vec(), Kind::Script(b"/bin/sh".to_vec())),
        ("a script with an argument", b"#! /usr/bin/env python3\n".to_vec(), Kind::Script(b"/usr/bin/env".to_vec())),
        ("CR LF", b"#!/bin/sh\r\necho".to_vec(), Kind::Script(b"/bin/sh\r".to_vec())),
        ("no interpreter", b"#!\n".to_vec(), Kind::Script(Vec::new())),
        ("a byte order mark", b"\xef\xbb\xbf#!/bin/sh\n".to_vec(), Kind::Marked),
        ("text", b"echo hello\n".to_vec(), Kind::Other),
        ("nothing", Vec::new(), Kind::Empty),
        ("a static program", elf(62, None), Kind::Elf { machine: 62, loader: None }),
        ("a dynamic one", elf(183, Some(loader)), Kind::Elf { machine: 183, loader: Some(loader.to_owned()) }),
        ("a cut ELF header", b"\x7fELF\x02\x01".to_vec(), Kind::Other),
    ] {
        assert_eq!(Kind::of(&bytes), want, "{case}");
    }
}

#[test]
fn the_running_program_is_recognised() {
    let Kind::Elf { machine, .. } = Kind::of(&head(Path::new("/proc/self/exe")).unwrap()) else { panic!("an ELF file") };
    assert_eq!(machine, this_machine());
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_handled(bytes: Vec<u8>, wide: bool, big: bool) {
        let head = [&[0x7f, b'E', b'L', b'F', if wide { 2 } else { 1 }, if big { 2 } else { 1 }], &*bytes].concat();
        Kind::of(&head);
        Kind::of(&bytes);
    }
}

#[test]
fn what_cannot_run_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let other = if this_machine() == 62 { 183 } else { 62 };
    let place = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let long = elf(this_machine(), Some("/lib/no-such-loader.so.1"));
    for (name, content, mode, want) in [
        (
            "no-interpreter",
            &b"#!/no/python3\n"[..],
            0o755,
            "ENOENT: No such file or directory: its interpreter \"/no/python3\" is not in the image",
        ),
        ("crlf", b"#!/bin/sh\r\necho\r\n", 0o755, "its lines end in CR LF"),
        ("loader", &long, 0o755, "its loader \"/lib/no-such-loader.so.1\" is not in the image"),
        ("other", &elf(other, None), 0o755, "ENOEXEC: Exec format error: it is a program for "),
        ("text", b"echo hello\n", 0o755, "neither a program nor a script"),
        ("empty", b"", 0o755, "the file is empty"),
        ("mark", b"\xef\xbb\xbf#!/bin/sh\n", 0o755, "a byte order mark"),
        ("plain", b"#!/bin/sh\n", 0o644, "EACCES: Permission denied: it is not executable (mode 0644)"),
        ("nameless", b"#!\n", 0o755, "does not name an interpreter"),
    ] {
        let path = place(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let text = become_it(std::slice::from_ref(&path), &[]);
        assert!(text.starts_with(&format!("cannot execute {path:?}: ")) && text.contains(want), "{name}: {text}");
        // Started by its name, through PATH.
        let text = become_it(&[name.to_owned()], &[format!("PATH=/none:{}", folder.path().display())]);
        assert!(text.contains(want), "{name}: {text}");
    }
    std::os::unix::fs::symlink("/no/where", place("link")).unwrap();
    fs::write(place("second"), format!("#!{}\n", place("other"))).unwrap();
    fs::set_permissions(place("second"), fs::Permissions::from_mode(0o755)).unwrap();
    for (args, want) in [
        (vec![place("link")], "it is a link to \"/no/where\", which the image does not have".to_owned()),
        (vec![place("gone")], "the image does not have it".to_owned()),
        (vec![format!("{}/x", place("text"))], format!("{:?} is not a directory", place("text"))),
        (vec![place("second")], "its interpreter is".to_owned()),
        (vec![folder.path().to_string_lossy().into_owned()], "it is a directory".to_owned()),
        (vec!["no-such-name".to_owned()], "it is not in a folder of PATH".to_owned()),
        (vec!["/bin/sh".to_owned(), "\0".to_owned()], "NUL byte".to_owned()),
        (
            vec!["/bin/sh".to_owned(), "x".repeat(300 << 10)],
            "E2BIG: Argument list too long: command and environment have 30".to_owned(),
        ),
        (vec![], "neither the action nor the image says what to run".to_owned()),
    ] {
        let text = become_it(&args, &["PATH=/none".to_owned()]);
        assert!(text.contains(&want), "{want} is missing in {}", text.chars().take(300).collect::<String>());
    }
}
