//! The folder of what must survive a restart. It is for its owner only, and so is everything secret in it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("cannot {doing} {}", .path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the data folder {} is shared by everyone on this host; give a folder of its own (--data)", .0.display())]
    Shared(PathBuf),
    #[error("{} belongs to uid {owner}, and this process is uid {user}; run `chown -R {user} {}` once", .path.display(), .path.display())]
    OfAnother { path: PathBuf, owner: u32, user: u32 },
}

/// Makes the folder if it is missing, and takes it from everyone but its owner. Earlier versions left it and the store
/// readable. Returns whether something was changed.
///
/// # Errors
/// If it belongs to another user, is shared, or cannot be made.
pub fn take_over(folder: &Path, secrets: &[&str]) -> Result<bool, FolderError> {
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| FolderError::Io { doing, path, source }
    };
    fs::create_dir_all(folder).map_err(failed("make the data folder", folder))?;
    let mut changed = restrict(folder, 0o700)?;
    for file in secrets.iter().map(|name| folder.join(name)).filter(|path| path.exists()) {
        changed |= restrict(&file, 0o600)?;
    }
    Ok(changed)
}

/// Whether the permissions had to be changed.
fn restrict(path: &Path, mode: u32) -> Result<bool, FolderError> {
    let failed = |doing| move |source| FolderError::Io { doing, path: path.to_owned(), source };
    let is = fs::metadata(path).map_err(failed("look at"))?;
    if is.is_dir() && is.mode() & 0o1000 != 0 {
        return Err(FolderError::Shared(path.to_owned()));
    }
    let user = rustix::process::geteuid().as_raw();
    if is.uid() != user && user != 0 {
        return Err(FolderError::OfAnother { path: path.to_owned(), owner: is.uid(), user });
    }
    if is.mode() & 0o777 & !mode == 0 {
        return Ok(false);
    }
    fs::set_permissions(path, fs::Permissions::from_mode(is.mode() & mode)).map_err(failed("restrict"))?;
    Ok(true)
}

/// Replaces a file in one piece. The content is on the disk before the name is. If root does it, the owner of the folder
/// owns the file, because the server may run as that user.
///
/// # Errors
/// When the folder cannot be written.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new); // what a crash has left may have other permissions
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if rustix::process::geteuid().is_root() {
        let owner = fs::metadata(folder)?;
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn the_folder_of_an_older_version_is_taken_from_everyone_else() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("thimble");
        fs::create_dir(&folder).unwrap();
        let store = folder.join("thimble.redb");
        fs::write(&store, "x").unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&store, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(take_over(&folder, &["thimble.redb", "absent"]).unwrap());
        assert_eq!((mode(&folder), mode(&store)), (0o700, 0o600));
        assert!(!take_over(&folder, &["thimble.redb"]).unwrap(), "nothing is left to do");
    }

    #[test]
    fn a_missing_folder_is_made_for_its_owner() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a/b");
        take_over(&folder, &[]).unwrap();
        assert_eq!(mode(&folder), 0o700);
    }

    #[test]
    fn a_shared_folder_stays_as_it_is() {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        let error = take_over(place.path(), &[]).unwrap_err();
        assert!(matches!(error, FolderError::Shared(_)) && error.to_string().contains("--data"), "{error}");
        assert_eq!(mode(place.path()), 0o1777);
    }

    #[test]
    fn a_file_that_root_replaces_belongs_to_the_user_of_the_server() {
        let place = tempfile::tempdir().unwrap();
        if std::os::unix::fs::chown(place.path(), Some(12345), Some(12346)).is_err() {
            eprintln!("skipped: only root, with all users, can give a folder to another user");
            return;
        }
        let path = place.path().join("tokens.json");
        replace(&path, b"{}", 0o600).unwrap();
        let is = fs::metadata(&path).unwrap();
        assert_eq!((is.uid(), is.gid(), mode(&path)), (12345, 12346, 0o600));
    }

    #[test]
    fn a_file_is_replaced_with_its_permissions() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("key");
        fs::write(path.with_extension("new"), "left by a crash").unwrap();
        replace(&path, b"one", 0o600).unwrap();
        replace(&path, b"two", 0o600).unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("two", 0o600));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }
}
