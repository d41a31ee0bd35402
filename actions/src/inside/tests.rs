//! Writing into a folder that stands for an installed root.

use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

fn me() -> Ownership {
    Ownership { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw() }
}

fn write(root: &Path, path: &str) -> Result<(), InsideError> {
    Root::open(root)?.write(Path::new(path), b"text", me(), 0o640, 0o750)
}

#[test]
fn a_file_and_its_folders_get_owner_and_permissions() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let before = fs::metadata(root.path().join("etc")).unwrap().permissions();
    write(root.path(), "/etc/a/b/file").unwrap();
    let at = |path: &str| fs::metadata(root.path().join(path)).unwrap();
    assert_eq!(fs::read(root.path().join("etc/a/b/file")).unwrap(), b"text");
    assert_eq!(at("etc/a/b/file").permissions().mode() & 0o7777, 0o640);
    assert_eq!(at("etc/a").permissions().mode() & 0o7777, 0o750);
    assert_eq!(at("etc").permissions(), before, "a folder that was there stays as it was");
    assert_eq!(at("etc/a/b/file").uid(), me().uid);
}

#[test]
fn a_longer_old_file_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("hostname"), "a much longer name").unwrap();
    write(root.path(), "/hostname").unwrap();
    assert_eq!(fs::read(root.path().join("hostname")).unwrap(), b"text");
}

#[test]
fn symlinks_lead_to_places_inside_the_target() {
    let outside = tempfile::tempdir().unwrap();
    for link_to in [outside.path().to_str().unwrap(), "../../../../../../../..", "/"] {
        let root = tempfile::tempdir().unwrap();
        let inside = root.path().join(link_to.trim_start_matches('/'));
        if link_to.len() > 1 && !link_to.starts_with('.') {
            fs::create_dir_all(&inside).unwrap();
        }
        symlink(link_to, root.path().join("link")).unwrap();
        write(root.path(), "/link/file").unwrap();
        let place = if link_to.starts_with('.') { root.path().to_owned() } else { inside };
        assert_eq!(fs::read(place.join("file")).unwrap(), b"text", "{link_to}");
        assert!(!outside.path().join("file").exists(), "{link_to}");
    }
}

#[test]
fn a_link_at_the_end_is_followed_inside_too() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("run")).unwrap();
    symlink("/run/resolv.conf", root.path().join("resolv.conf")).unwrap();
    write(root.path(), "/resolv.conf").unwrap();
    assert_eq!(fs::read(root.path().join("run/resolv.conf")).unwrap(), b"text");
}

#[test]
fn what_cannot_be_written_is_named() {
    let root = tempfile::tempdir().unwrap();
    symlink("/gone", root.path().join("dangling")).unwrap();
    symlink("/gone/file", root.path().join("file-link")).unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    for (path, expected) in [
        ("relative", "relative must be an absolute path"),
        ("/etc/../../x", "without .."),
        ("/etc/", "must be an absolute path to a file"),
        ("/", "must be an absolute path to a file"),
        ("/dangling/x", "/dangling is a symlink to a path that the target does not have"),
        ("/file-link", "/file-link is a symlink to a path that the target does not have"),
        ("/file/x", "cannot open the folder /file in the target"),
    ] {
        let error = write(root.path(), path).unwrap_err().to_string();
        assert!(error.contains(expected), "{path}: {error}");
    }
}

#[test]
fn what_is_there_is_seen_through_links_inside_and_links_are_made_once() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("usr/sbin")).unwrap();
    fs::write(root.path().join("usr/sbin/tool"), "").unwrap();
    symlink("/usr/sbin", root.path().join("sbin")).unwrap();
    symlink("/proc/self", root.path().join("outside")).unwrap();
    let inside = Root::open(root.path()).unwrap();
    assert!(inside.has("/sbin/tool") && inside.has("/sbin") && !inside.has("/sbin/other") && !inside.has("/outside"));
    for _ in 0..2 {
        inside.link("/usr/sbin/tool", Path::new("/etc/wants/tool"), me()).unwrap();
    }
    assert_eq!(fs::read_link(root.path().join("etc/wants/tool")).unwrap(), Path::new("/usr/sbin/tool"));
}
