//! EFI variables as files of efivarfs: four bytes of attributes, then the value. The kernel protects most of them from being
//! changed by accident with the immutable flag.

use rustix::fs::{IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags};
use rustix::mount::MountFlags;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// `EFI_GLOBAL_VARIABLE`
pub const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Non-volatile, for boot services and at run time.
pub const ATTRIBUTES: u32 = 7;
/// No variable is as large. Firmware has 32 to 64 KiB for a variable and less than 1 MiB for all.
const VALUE_MAX: u64 = 1 << 20;
const FIRMWARE: &str = "/sys/firmware/efi";
const PLACE: &str = "/sys/firmware/efi/efivars";

#[derive(Debug, thiserror::Error)]
pub enum EfivarsError {
    #[error("this machine was not started by UEFI firmware: /sys/firmware/efi does not exist")]
    NoFirmware,
    #[error("cannot mount efivarfs at {PLACE}: is the driver efivarfs in the ramdisk, and is the action privileged?")]
    Mount(#[source] io::Error),
    #[error("cannot read the EFI variable {name}")]
    Read {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot write the EFI variable {name}{}", hint(.source))]
    Write {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("the EFI variable {0} is cut off")]
    Short(String),
}

fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOSPC) => " (the firmware has no space left: delete entries)",
        Some(libc::EACCES | libc::EPERM) => " (the firmware refuses it: its signature may be wrong, or too old)",
        Some(libc::EINVAL) => " (the firmware does not accept this value)",
        Some(libc::EROFS) => " (efivarfs is mounted read-only, or the firmware does not allow changes at run time)",
        _ => "",
    }
}

#[derive(Debug)]
pub struct Efivars {
    folder: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    pub attributes: u32,
    pub data: Vec<u8>,
}

impl Efivars {
    /// `folder` is the place of efivarfs if it is another one than usual, as libefivar takes it from `EFIVARFS_PATH`.
    pub fn open(folder: Option<&Path>) -> Result<Self, EfivarsError> {
        if let Some(folder) = folder {
            return Ok(Self { folder: folder.to_owned() });
        }
        if !Path::new(FIRMWARE).is_dir() {
            return Err(EfivarsError::NoFirmware);
        }
        let is_mounted = fs::read_dir(PLACE).is_ok_and(|mut entries| entries.next().is_some());
        if !is_mounted {
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            rustix::mount::mount("efivarfs", PLACE, "efivarfs", flags, None)
                .map_err(|errno| EfivarsError::Mount(errno.into()))?;
        }
        Ok(Self { folder: PLACE.into() })
    }

    fn path(&self, name: &str, vendor: &str) -> PathBuf {
        self.folder.join(format!("{name}-{vendor}"))
    }

    /// `None` if there is no such variable.
    pub fn read(&self, name: &str, vendor: &str) -> Result<Option<Value>, EfivarsError> {
        let mut bytes = Vec::new();
        let read = fs::File::open(self.path(name, vendor)).and_then(|file| file.take(VALUE_MAX).read_to_end(&mut bytes));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(EfivarsError::Read { name: name.to_owned(), source }),
        }
        let (attributes, data) = bytes.split_at_checked(4).ok_or_else(|| EfivarsError::Short(name.to_owned()))?;
        let attributes = u32::from_le_bytes(attributes.try_into().unwrap_or_default());
        Ok(Some(Value { attributes, data: data.to_vec() }))
    }

    pub fn write(&self, name: &str, vendor: &str, value: &Value) -> Result<(), EfivarsError> {
        let path = self.path(name, vendor);
        let bytes = [&value.attributes.to_le_bytes()[..], &value.data].concat();
        let written = with_changes_allowed(&path, || {
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true);
            // A plain file, in a test or a copy, must not keep the end of a longer value. efivarfs replaces the value.
            let mut file = options.truncate(!is_efivarfs(&self.folder)).open(&path)?;
            // The kernel takes a value only in one piece.
            if file.write(&bytes)? < bytes.len() {
                return Err(io::ErrorKind::WriteZero.into());
            }
            Ok(())
        });
        written.map_err(|source| EfivarsError::Write { name: name.to_owned(), source })
    }

    pub fn delete(&self, name: &str, vendor: &str) -> Result<(), EfivarsError> {
        let path = self.path(name, vendor);
        match with_changes_allowed(&path, || fs::remove_file(&path)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(EfivarsError::Write { name: name.to_owned(), source }),
            _ => Ok(()),
        }
    }

    /// The names of the vendor's variables, sorted.
    pub fn names(&self, vendor: &str) -> Result<Vec<String>, EfivarsError> {
        let entries = fs::read_dir(&self.folder).map_err(|source| EfivarsError::Read { name: "list".to_owned(), source })?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> =
            names.filter_map(|name| Some(name.strip_suffix(vendor)?.strip_suffix('-')?.to_owned())).take(4096).collect();
        names.sort();
        Ok(names)
    }
}

fn is_efivarfs(folder: &Path) -> bool {
    rustix::fs::statfs(folder).is_ok_and(|file_system| file_system.f_type == 0xde5e_81e4) // <linux/magic.h>
}

/// Takes the immutable flag off, and puts it back if the file is still there.
fn with_changes_allowed(path: &Path, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let open = || rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let flags = open().and_then(ioctl_getflags).ok().filter(|flags| flags.contains(IFlags::IMMUTABLE));
    if let Some(flags) = flags {
        ioctl_setflags(open()?, flags.difference(IFlags::IMMUTABLE))?;
    }
    let changed = change();
    if let (Some(flags), Ok(file)) = (flags, open()) {
        let _ = ioctl_setflags(file, flags); // protection only: the change counts
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_written_read_and_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let variables = Efivars::open(Some(folder.path())).unwrap();
        assert_eq!(variables.read("BootOrder", GLOBAL).unwrap(), None);
        for data in [vec![1, 0, 2, 0], vec![3, 0]] {
            let value = Value { attributes: ATTRIBUTES, data };
            variables.write("BootOrder", GLOBAL, &value).unwrap();
            assert_eq!(variables.read("BootOrder", GLOBAL).unwrap(), Some(value));
        }
        assert_eq!(variables.names(GLOBAL).unwrap(), ["BootOrder"]);
        variables.delete("BootOrder", GLOBAL).unwrap();
        variables.delete("BootOrder", GLOBAL).unwrap();
        assert_eq!(variables.names(GLOBAL).unwrap(), Vec::<String>::new());
        fs::write(folder.path().join(format!("X-{GLOBAL}")), [1, 2]).unwrap();
        assert!(variables.read("X", GLOBAL).unwrap_err().to_string().contains("is cut off"));
    }

    #[test]
    fn a_protected_variable_is_changed_and_protected_again() {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap(); // a disk: tmpfs has not always flags
        let variables = Efivars::open(Some(folder.path())).unwrap();
        let value = |data: u8| Value { attributes: ATTRIBUTES, data: vec![data] };
        variables.write("X", GLOBAL, &value(1)).unwrap();
        let open = || fs::File::open(folder.path().join(format!("X-{GLOBAL}"))).unwrap();
        let flags = match ioctl_getflags(open()) {
            Ok(flags) if ioctl_setflags(open(), flags | IFlags::IMMUTABLE).is_ok() => flags,
            _ => return eprintln!("SKIPPED: no immutable files here"),
        };
        variables.write("X", GLOBAL, &value(2)).unwrap();
        assert_eq!(variables.read("X", GLOBAL).unwrap(), Some(value(2)));
        assert_eq!(ioctl_getflags(open()).unwrap(), flags | IFlags::IMMUTABLE);
        variables.delete("X", GLOBAL).unwrap();
    }
}
