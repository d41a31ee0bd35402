//! What the agent needs from the host before it takes work: folders that only it can read, and cgroup v2.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{Mode, statfs};

use crate::rootfs;

const CGROUP: &str = "/sys/fs/cgroup";
const CGROUP2_MAGIC: i64 = 0x6367_7270;

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("cannot create {0}")]
    Create(PathBuf, #[source] io::Error),
    #[error("cannot make {0} private")]
    Private(PathBuf, #[source] io::Error),
    #[error("{path} belongs to user {owner}, who could change what the agent runs: choose another folder, or `chown root` it")]
    Foreign { path: PathBuf, owner: u32 },
    #[error(
        "actions need cgroup v2 at {CGROUP}, this host has another version there, and the agent cannot mount v2 itself: start \
         the host with systemd.unified_cgroup_hierarchy=1, or the agent as root with CAP_SYS_ADMIN"
    )]
    Cgroup(#[source] nix::Error),
}

/// Resets the umask, because images and containers are for many users, whatever mask the agent was started with.
pub fn forget_mask() {
    rustix::process::umask(Mode::from_raw_mode(0o022));
}

/// Makes a folder that other users of the machine cannot enter, because an image may have programs with setuid bits.
pub fn private_folder(path: &Path) -> Result<(), HostError> {
    let create = |error| HostError::Create(path.to_owned(), error);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(create)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(create(error)),
    }
    let wrong = |error| HostError::Private(path.to_owned(), error);
    let found = fs::metadata(path).map_err(wrong)?;
    if !found.is_dir() {
        return Err(create(io::ErrorKind::NotADirectory.into()));
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(HostError::Foreign { path: path.to_owned(), owner: found.uid() });
    }
    if found.mode() & 0o077 != 0 {
        log::warn!(
            "{} was open to other users of the machine (mode {:o}); it is closed to them now",
            path.display(),
            found.mode() & 0o7777
        );
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(wrong)?;
    }
    Ok(())
}

/// Writes a file that only the agent can read. An older file may have had another mode.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    if file.metadata()?.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    file.write_all(content)
}

/// Call this while the program has one thread. Only this program and its children see the mount, and the host does not.
pub fn need_cgroup2() -> Result<(), HostError> {
    if has_cgroup2(Path::new(CGROUP)) {
        return Ok(());
    }
    own_cgroup2().map_err(HostError::Cgroup)?;
    log::info!(
        "this host has no cgroup v2 at {CGROUP}; the agent has mounted one for itself, and limits of actions may not hold"
    );
    Ok(())
}

fn has_cgroup2(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.f_type == CGROUP2_MAGIC)
}

fn own_cgroup2() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    // Only this mount point becomes private. Later mounts of the host, and shared volumes, still propagate.
    let point = rootfs::mount_point(Path::new(CGROUP)).map_err(|_| nix::Error::ENOENT)?;
    mount(None::<&str>, &point, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    mount(Some("cgroup2"), CGROUP, Some("cgroup2"), flags, None::<&str>)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_folder_becomes_private_even_if_it_was_open_before() {
        let root = tempfile::tempdir().unwrap();
        let (new, old) = (root.path().join("a/new"), root.path().join("old"));
        fs::create_dir(&old).unwrap();
        fs::set_permissions(&old, Permissions::from_mode(0o755)).unwrap();
        for path in [&new, &old] {
            private_folder(path).unwrap();
            assert_eq!(mode(path), 0o700, "{}", path.display());
        }
        fs::write(root.path().join("file"), "").unwrap();
        assert!(matches!(private_folder(&root.path().join("file")), Err(HostError::Create(..))));
    }

    #[test]
    fn a_folder_of_another_user_is_refused_by_name() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: only root can give a folder away");
        }
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(root.path(), Some(1000), None).unwrap();
        let error = private_folder(root.path()).unwrap_err().to_string();
        assert!(error.contains("belongs to user 1000") && error.contains(&*root.path().to_string_lossy()), "{error}");
    }

    #[test]
    fn a_private_file_is_private_even_if_it_was_not() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("journal");
        fs::write(&path, "a longer text").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        write_private(&path, b"short").unwrap();
        assert_eq!((mode(&path), fs::read(&path).unwrap()), (0o600, b"short".to_vec()));
    }
}
