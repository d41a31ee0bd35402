//! Reading an archive piece by piece, so that it need not be in memory as a whole.

use std::io::{self, Read};

use crate::{S_IFDIR, S_IFREG, TRAILER, checked};

const MAGIC: &[u8; 6] = b"070701";
const FIELDS: usize = 13;
const DIGITS: usize = 8;
/// The kernel's limit for a path.
const LONGEST_NAME: u32 = 4096;
const S_IFMT: u32 = 0o170_000;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read the archive")]
    Io(#[from] io::Error),
    #[error("member {0} of the archive does not begin as newc wants it")]
    Header(usize),
    #[error("member {number} of the archive has a name of {length} bytes")]
    NameLength { number: usize, length: u32 },
    #[error("\"{0}\" in the archive is not a path without . and ..")]
    Path(String),
    #[error("{0} in the archive is neither a file nor a folder")]
    Kind(String),
    #[error("the archive has more than {0} bytes of files")]
    Large(u64),
}

/// What a member of an archive is.
pub enum Unpacked<'a> {
    Folder,
    File(&'a mut dyn Read),
}

/// Calls `found` with the path of every folder and file, in the archive's order. The path has no slash at its beginning, and no
/// `..`. Whatever `found` leaves of a file is skipped.
///
/// # Errors
/// If the archive is damaged, has something else than files and folders, or more than `most` bytes of files.
pub fn read<E: From<ReadError>>(
    mut archive: impl Read,
    most: u64,
    mut found: impl FnMut(&str, Unpacked<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut left = most;
    for number in 1.. {
        let header = header(&mut archive, number)?;
        let name = name(&mut archive, number, header.name)?;
        if name == TRAILER {
            break;
        }
        let path = checked(&name).map_err(|_| ReadError::Path(name.clone()))?;
        left = left.checked_sub(header.size.into()).ok_or(ReadError::Large(most))?;
        let mut content = (&mut archive).take(header.size.into());
        match header.mode & S_IFMT {
            S_IFDIR => found(path, Unpacked::Folder)?,
            S_IFREG => found(path, Unpacked::File(&mut content))?,
            _ => return Err(ReadError::Kind(path.to_owned()).into()),
        }
        io::copy(&mut content, &mut io::sink()).map_err(ReadError::Io)?;
        if content.limit() > 0 {
            return Err(ReadError::Io(io::ErrorKind::UnexpectedEof.into()).into());
        }
        skip(&mut archive, header.size)?;
    }
    Ok(())
}

struct Head {
    mode: u32,
    size: u32,
    name: u32,
}

fn header(archive: &mut impl Read, number: usize) -> Result<Head, ReadError> {
    let mut bytes = [0; MAGIC.len() + FIELDS * DIGITS];
    archive.read_exact(&mut bytes)?;
    let (magic, fields) = bytes.split_at(MAGIC.len());
    let field = |index: usize| -> Option<u32> {
        let digits = fields.chunks(DIGITS).nth(index)?;
        // `from_str_radix` would take a sign.
        let plain = digits.iter().all(u8::is_ascii_hexdigit);
        u32::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| plain)?, 16).ok()
    };
    let read = || Some(Head { mode: field(1)?, size: field(6)?, name: field(11)? });
    let head = read().filter(|_| magic == MAGIC).ok_or(ReadError::Header(number))?;
    match head.name {
        1..=LONGEST_NAME => Ok(head),
        length => Err(ReadError::NameLength { number, length }),
    }
}

/// The name with its padding. Header and name together end at a multiple of four.
fn name(archive: &mut impl Read, number: usize, length: u32) -> Result<String, ReadError> {
    let mut bytes = vec![0; length as usize];
    archive.read_exact(&mut bytes)?;
    skip(archive, (MAGIC.len() + FIELDS * DIGITS) as u32 + length)?;
    if bytes.pop() != Some(0) {
        return Err(ReadError::Header(number));
    }
    String::from_utf8(bytes).map_err(|error| ReadError::Path(String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Skips the padding after so many bytes.
fn skip(archive: &mut impl Read, after: u32) -> Result<(), ReadError> {
    let padding = (4 - after % 4) % 4;
    let mut bytes = [0; 3];
    Ok(archive.read_exact(bytes.get_mut(..padding as usize).unwrap_or_default())?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Archive, Node};
    use proptest::prelude::*;

    fn files(bytes: &[u8], most: u64) -> Result<BTreeMap<String, Vec<u8>>, ReadError> {
        let mut files = BTreeMap::new();
        read(bytes, most, |path, member| {
            if let Unpacked::File(content) = member {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes)?;
                files.insert(path.to_owned(), bytes);
            }
            Ok::<_, ReadError>(())
        })?;
        Ok(files)
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(contents in proptest::collection::btree_map("[a-c]{1,3}(/[d-f]{1,3})?", ".{0,9}", 0..9)) {
            let mut archive = Archive::new(0);
            let mut expected = BTreeMap::new();
            for (path, content) in contents {
                if archive.add(&path, 0o644, Node::File(content.clone().into_bytes())).is_ok() {
                    expected.insert(path, content.into_bytes());
                }
            }
            prop_assert_eq!(files(&archive.to_bytes().unwrap(), 1000).unwrap(), expected);
        }
    }

    #[test]
    fn a_damaged_or_foreign_archive_is_refused_by_name() {
        let mut archive = Archive::new(0);
        archive.add("lib/a.ko", 0o644, Node::File(b"12345".to_vec())).unwrap();
        let whole = archive.to_bytes().unwrap();
        archive.add("link", 0o777, Node::Symlink("/etc".into())).unwrap();
        let text = String::from_utf8(whole.clone()).unwrap();
        let outside = text.replace("lib/a.ko", "../a.kox").into_bytes();
        let signed = text.replacen("000041ED", "+00041ED", 1).into_bytes();
        for (bytes, most, expected) in [
            (archive.to_bytes().unwrap(), 100, "link in the archive is neither a file nor a folder"),
            (outside, 100, "\"../a.kox\" in the archive is not a path without . and .."),
            (whole.clone(), 4, "the archive has more than 4 bytes of files"),
            (whole[..300].to_vec(), 100, "cannot read the archive"),
            (b"070702".repeat(40), 100, "member 1 of the archive does not begin as newc wants it"),
            (signed, 100, "member 1 of the archive does not begin as newc wants it"),
            (Vec::new(), 100, "cannot read the archive"),
        ] {
            assert_eq!(files(&bytes, most).unwrap_err().to_string(), expected);
        }
        assert_eq!(files(&whole, 5).unwrap(), [("lib/a.ko".to_owned(), b"12345".to_vec())].into());
    }
}
