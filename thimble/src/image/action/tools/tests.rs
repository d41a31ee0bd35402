//! Layers of small packages.

use super::*;
use std::io::Write;

/// A package as dpkg-deb lays it out.
fn package(folder: &Path, name: &str, files: &[(&str, EntryType, &str)]) -> PathBuf {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, kind, content) in files {
        let mut header = Header::new_gnu();
        header.set_mode(0o4755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_entry_type(*kind);
        match kind {
            EntryType::Regular => {
                header.set_size(content.len() as u64);
                tar.append_data(&mut header, path, content.as_bytes()).unwrap();
            }
            EntryType::Directory => {
                header.set_size(0);
                tar.append_data(&mut header, path, std::io::empty()).unwrap();
            }
            _ => {
                header.set_size(0);
                tar.append_link(&mut header, path, content).unwrap();
            }
        }
    }
    let data = tar.into_inner().unwrap();
    let path = folder.join(name);
    let mut file = File::create(&path).unwrap();
    file.write_all(b"!<arch>\n").unwrap();
    for (member, bytes) in [("debian-binary", &b"2.0\n"[..]), ("data.tar", &data)] {
        writeln!(file, "{member:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, 100_644, bytes.len()).unwrap();
        file.write_all(bytes).unwrap();
        if bytes.len() % 2 == 1 {
            file.write_all(b"\n").unwrap();
        }
    }
    path
}

/// Paths with kind, mode and the target of links.
fn listed(layer: &Layer) -> Vec<(String, EntryType, u32, String)> {
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(&layer.blob.bytes[..]));
    let listed = tar.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        assert_eq!(entry.header().mtime().unwrap(), 0);
        let link = entry.link_name().unwrap().map(|link| link.display().to_string()).unwrap_or_default();
        let path = entry.path().unwrap().display().to_string();
        (path.trim_end_matches('/').to_owned(), entry.header().entry_type(), entry.header().mode().unwrap(), link)
    });
    listed.collect()
}

#[test]
fn packages_become_one_merged_tree_with_the_actions_on_its_path() {
    use EntryType::{Directory, Link, Regular, Symlink};
    let folder = tempfile::tempdir().unwrap();
    package(
        folder.path(),
        "a_1_amd64.deb",
        &[
            ("./sbin", Directory, ""),
            ("./sbin/mkfs.ext4", Regular, "program"),
            ("./sbin/a-hard", Link, "./sbin/mkfs.ext4"),
            ("./usr/share/doc/a/copyright", Regular, "text"),
        ],
    );
    package(folder.path(), "b_1_amd64.deb", &[("./lib64/ld.so", Symlink, "/lib/ld.so"), ("./usr/sbin", Directory, "")]);
    std::fs::write(folder.path().join("Packages"), "not a package").unwrap();
    let once = layer(&[folder.path().to_owned()], Architecture::Amd64).unwrap();
    assert_eq!(once, layer(&[folder.path().to_owned()], Architecture::Amd64).unwrap());
    let all = listed(&once);
    let find = |path: &str| all.iter().find(|row| row.0 == path).map(|row| (row.1, row.2, row.3.as_str()));
    assert_eq!(find("usr/sbin/mkfs.ext4"), Some((Regular, 0o755, "")), "without setuid");
    assert_eq!(find("usr/sbin/a-hard"), Some((Link, 0o755, "usr/sbin/mkfs.ext4")));
    assert_eq!(find("sbin"), Some((Symlink, 0o755, "usr/sbin")));
    assert_eq!(find("usr/lib64/ld.so").map(|row| row.2), Some("/lib/ld.so"));
    assert_eq!(find("usr/local/bin/rootio").map(|row| row.2), Some("../../../actions"));
    assert_eq!(find("usr/share/doc/a/copyright"), None);
    let place = |path: &str| all.iter().position(|row| row.0 == path).unwrap();
    assert!(place("usr/sbin/a-hard") > place("usr/sbin/mkfs.ext4"), "a hard link comes after its target");
}

#[test]
fn keys_are_made_without_a_dictionary_that_only_a_script_would_make() {
    let folder = tempfile::tempdir().unwrap();
    let has = |program: &str| {
        let package = package(folder.path(), "a.deb", &[(program, EntryType::Regular, "program")]);
        let path = "etc/security/pwquality.conf.d/50-no-dictionary.conf";
        listed(&layer(&[package], Architecture::Amd64).unwrap()).iter().any(|row| row.0 == path)
    };
    assert_eq!((has("./usr/bin/pwmake"), has("./usr/bin/other")), (true, false));
}

#[test]
fn what_cannot_become_a_layer_is_refused() {
    use EntryType::{Fifo, Regular, Symlink};
    let folder = tempfile::tempdir().unwrap();
    let refused = |packages: &[PathBuf]| format!("{:#}", layer(packages, Architecture::Amd64).unwrap_err());
    assert!(refused(&[folder.path().to_owned()]).contains("--tools names no Debian package"));
    let a = package(folder.path(), "a.deb", &[("./bin/x", Regular, "1")]);
    let b = package(folder.path(), "b.deb", &[("./usr/bin/x", Regular, "2")]);
    assert!(refused(&[a, b]).contains("usr/bin/x is in a.deb and in b.deb"));
    let fifo = package(folder.path(), "f.deb", &[("./run/f", Fifo, "x")]);
    assert!(refused(&[fifo]).contains("run/f is of the kind"));
    let mut arm = vec![0; 4096];
    arm[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (arm[16], arm[18]) = (2, 183);
    let error = of_this(&arm, Path::new("usr/bin/y"), Architecture::Amd64).unwrap_err().to_string();
    assert_eq!(error, "usr/bin/y is for arm64, and the actions are for amd64");
    of_this(&arm, Path::new("usr/lib/grub/y.mod"), Architecture::Amd64).unwrap();
    let circular = package(folder.path(), "c.deb", &[("./usr/bin/z", Symlink, "/bin/z")]);
    assert!(listed(&layer(&[circular], Architecture::Amd64).unwrap()).iter().all(|row| row.0 != "usr/bin/z"));
    std::fs::write(folder.path().join("n.deb"), "no package").unwrap();
    assert!(refused(&[folder.path().join("n.deb")]).contains("it is not a Debian package"));
}
