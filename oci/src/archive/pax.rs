//! Extended headers: records of the form `LENGTH KEY=VALUE
//! `. A value may have any bytes, so the length decides.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::header::Time;
use super::sparse::Claims;

/// What the records say about the next entry.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<i64>,
    pub gid: Option<i64>,
    pub mtime: Option<Time>,
    pub xattrs: Vec<(OsString, Vec<u8>)>,
    pub sparse: Claims,
}

/// If several records have the same key, the last one counts.
pub(super) fn parse(mut text: &[u8]) -> Option<Records> {
    let mut records = Records::default();
    while !text.is_empty() {
        let (key, value, rest) = record(text)?;
        records.take(key, value)?;
        text = rest;
    }
    Some(records)
}

fn record(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = text.iter().position(|byte| *byte == b' ')?;
    let length: usize = decimal(text.get(..blank)?)?;
    let body = text.get(blank + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (body.get(..equals)?, body.get(equals + 1..)?);
    let wrong = key.is_empty() || key.contains(&0) || (is_name(key) && value.contains(&0));
    (!wrong).then_some((key, value, text.get(length..)?))
}

/// The kernel would cut a name at a NUL.
fn is_name(key: &[u8]) -> bool {
    matches!(key, b"path" | b"linkpath" | b"GNU.sparse.name")
}

impl Records {
    /// An empty value means that the value in the main header counts.
    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            let name = OsStr::from_bytes(name);
            self.xattrs.retain(|(known, _)| known != name);
            self.xattrs.push((name.to_owned(), value.to_vec()));
        } else if let Some(claim) = key.strip_prefix(b"GNU.sparse.") {
            self.sparse.take(claim, value)?;
        } else if !value.is_empty() {
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(decimal(value)?),
                b"uid" => self.uid = Some(decimal(value)?),
                b"gid" => self.gid = Some(decimal(value)?),
                b"mtime" => self.mtime = Some(time(value)?),
                _ => {}
            }
        }
        Some(())
    }
}

pub(super) fn decimal<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds with any number of digits after the point. They are negative before 1970.
fn time(text: &[u8]) -> Option<Time> {
    let mut halves = text.splitn(2, |byte| *byte == b'.');
    let (whole, part) = (halves.next()?, halves.next().unwrap_or_default());
    if !part.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = part.iter().chain(std::iter::repeat(&b'0')).take(9);
    let nanoseconds = digits.fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    let seconds: i64 = decimal(whole)?;
    Some(match nanoseconds {
        1.. if whole.starts_with(b"-") => Time { seconds: seconds.checked_sub(1)?, nanoseconds: 1_000_000_000 - nanoseconds },
        _ => Time { seconds, nanoseconds },
    })
}
