//! Small files that programs expect, unless the ramdisk has them. The network service rewrites `/etc/resolv.conf`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::boot::Boot;
use crate::{PathError, StepError};

const ETC: &[(&str, &str)] = &[
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("etc/nsswitch.conf", "hosts: files dns\n"),
    ("etc/passwd", "root:x:0:0:root:/:/sbin/nologin\n"),
    ("etc/group", "root:x:0:\n"),
    ("etc/resolv.conf", "# no network yet\n"),
];

/// devtmpfs has none of these links, and shells and libcontainer need them.
const LINKS: &[(&str, &str)] = &[
    ("dev/fd", "/proc/self/fd"),
    ("dev/stdin", "/proc/self/fd/0"),
    ("dev/stdout", "/proc/self/fd/1"),
    ("dev/stderr", "/proc/self/fd/2"),
];

pub fn write(_: &mut Boot) -> Result<(), StepError> {
    Ok(write_below(Path::new("/"))?)
}

fn write_below(root: &Path) -> Result<(), PathError> {
    let absent = |path: &Path| fs::symlink_metadata(path).is_err();
    let etc = root.join("etc");
    fs::create_dir_all(&etc).map_err(PathError::new("cannot make", &etc))?;
    for (name, content) in ETC {
        let path = root.join(name);
        if absent(&path) {
            fs::write(&path, content).map_err(PathError::new("cannot write", &path))?;
        }
    }
    for (name, target) in LINKS {
        let path = root.join(name);
        if absent(&path) {
            symlink(target, &path).map_err(PathError::new("cannot link", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_ramdisk_stay_and_the_rest_is_written_once() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        fs::create_dir_all(root.path().join("dev")).unwrap();
        fs::write(root.path().join("etc/hosts"), "10.0.0.1 registry\n").unwrap();
        for _ in 0..2 {
            write_below(root.path()).unwrap();
        }
        assert_eq!(fs::read_to_string(root.path().join("etc/hosts")).unwrap(), "10.0.0.1 registry\n");
        assert!(fs::read_to_string(root.path().join("etc/group")).unwrap().starts_with("root:"));
        assert_eq!(fs::read_link(root.path().join("dev/stderr")).unwrap(), Path::new("/proc/self/fd/2"));
    }
}
