//! The identifier of this server, which clients name to say whose address they have. It stays the same for ever (RFC 8415, 11).

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::rand::{GetRandomFlags, getrandom};

/// Below the data folder.
const FILE: &str = "dhcp6-duid";
/// A UUID (RFC 6355).
const UUID: [u8; 2] = [0, 4];
const LENGTH: usize = 18;

#[derive(Debug, thiserror::Error)]
pub enum DuidError {
    #[error("cannot keep the identifier of the DHCPv6 server in {path}", path = .path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} does not have the 36 hexadecimal digits of a DUID; delete it, and boots makes a new one", path = .0.display())]
    Broken(PathBuf),
}

/// The identifier in the folder. The first use makes it. Without a folder it holds until the end of the process.
///
/// # Errors
/// If the file cannot be read, written, or understood.
pub fn open(folder: Option<&Path>) -> Result<Vec<u8>, DuidError> {
    let path = folder.map(|folder| folder.join(FILE)).unwrap_or_default();
    let failed = |source| DuidError::File { path: path.clone(), source };
    if folder.is_none() {
        return made().map_err(failed);
    }
    match fs::read_to_string(&path) {
        Ok(text) => parsed(text.trim()).ok_or(DuidError::Broken(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let duid = made().map_err(failed)?;
            let text: String = duid.iter().map(|byte| format!("{byte:02x}")).collect();
            write(&path, &text).map_err(failed)?;
            Ok(duid)
        }
        Err(error) => Err(failed(error)),
    }
}

/// A cut of the power leaves the whole file, or none.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs::File::create(&new)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(new, path)
}

fn made() -> io::Result<Vec<u8>> {
    let mut uuid = [0; 16];
    let filled = getrandom(&mut uuid[..], GetRandomFlags::empty())?;
    if filled != uuid.len() {
        return Err(io::Error::other("the kernel gives no random bytes"));
    }
    uuid[6] = uuid[6] & 0x0f | 0x40; // random (RFC 9562, 5.4)
    uuid[8] = uuid[8] & 0x3f | 0x80;
    Ok([&UUID[..], &uuid].concat())
}

fn parsed(text: &str) -> Option<Vec<u8>> {
    let (digits, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.iter().map(byte).collect::<Option<Vec<u8>>>().filter(|duid| duid.len() == LENGTH && duid.starts_with(&UUID))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identifier_stays_the_same_and_a_broken_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(Some(folder.path())).unwrap();
        assert_eq!(first.len(), LENGTH);
        assert_eq!(open(Some(folder.path())).unwrap(), first);
        assert_ne!(open(None).unwrap(), first);
        fs::write(folder.path().join(FILE), "0004zz").unwrap();
        assert!(open(Some(folder.path())).unwrap_err().to_string().contains("delete it"));
    }
}
