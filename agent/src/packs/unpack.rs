//! Unpacks a pack into the machine's root, as the kernel would have done.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use cpio::{ReadError, Unpacked};

/// The largest pack of a standard kernel has 20 MB of modules and firmware.
const LARGEST: u64 = 256 << 20;

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error(transparent)]
    Archive(#[from] ReadError),
    #[error("it is not compressed by zstd")]
    Zstd(#[source] io::Error),
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
}

/// How many files it had. What was written before an error stays: a driver without its list is not found.
pub fn into(root: &Path, bytes: &[u8]) -> Result<usize, UnpackError> {
    let archive = zstd::Decoder::with_buffer(bytes).map_err(UnpackError::Zstd)?;
    let mut count = 0;
    cpio::read(archive, LARGEST, |path, member| {
        let path = root.join(path);
        let written = match member {
            Unpacked::Folder => fs::create_dir_all(&path),
            Unpacked::File(content) => {
                count += 1;
                File::create(&path).and_then(|mut file| io::copy(content, &mut file)).map(drop)
            }
        };
        written.map_err(|source| UnpackError::Write { path, source })
    })?;
    Ok(count)
}
