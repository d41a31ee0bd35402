//! Tar archives in all common forms: V7, ustar, star, GNU and PAX, with the three sparse forms of GNU tar.
//!
//! What counts as an archive and what as damaged follows Go's `archive/tar`, which containerd and umoci use. An entry is
//! read in constant memory: its headers have a limit, and its content goes through [`Read`].

mod header;
mod pax;
mod sparse;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use header::{Format, Header};
pub use header::{Kind, Time};
use pax::Records;
pub use sparse::Part;

const BLOCK: usize = 512;
/// The most bytes for the long names, extended attributes and sparse maps of one entry. They are held in memory, and can be
/// huge once decompressed.
pub const HEADERS_MAX: u64 = 1 << 20;
/// The most bytes of skipped content. It takes no memory but takes time. One compressed kilobyte can expand to a megabyte
/// of it.
pub const SKIPPED_MAX: u64 = 64 << 30;

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("cannot read the archive after byte {at}")]
    Read {
        at: u64,
        #[source]
        source: io::Error,
    },
    #[error("it is not a tar archive, or it is damaged: {what} before byte {at}")]
    Malformed { what: &'static str, at: u64 },
    #[error("the headers of one entry take more than {HEADERS_MAX} bytes")]
    Headers,
    #[error("more than {SKIPPED_MAX} bytes of it do not belong to a file")]
    Skipped,
}

/// An archive's description of one file, directory, link or device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    pub path: PathBuf,
    /// The target of a link.
    pub link: PathBuf,
    /// The permissions, with the set-id and sticky bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    /// The major and minor number.
    pub device: (u32, u32),
    /// The size of the file in bytes, holes included.
    pub size: u64,
    pub xattrs: Vec<(OsString, Vec<u8>)>,
    /// The positions of the content, if it is not the whole file.
    pub parts: Option<Vec<Part>>,
}

/// The entries in order, and as [`Read`] the content of the latest one.
pub struct Archive<R> {
    stream: R,
    at: u64,
    /// How many bytes of the entry's content are left to read, and how many of the padding after it.
    content: u64,
    padding: u64,
    skipped: u64,
    /// How many bytes the headers of the next entry may still take.
    allowance: u64,
}

impl<R: Read> Archive<R> {
    pub fn new(stream: R) -> Self {
        Self { stream, at: 0, content: 0, padding: 0, skipped: 0, allowance: HEADERS_MAX }
    }

    /// The next entry, or `None` at the end. Unread content of the previous one is skipped.
    ///
    /// # Errors
    /// If the stream fails, or is not a tar archive.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        self.allowance = HEADERS_MAX;
        let (mut records, mut name, mut link) = (Records::default(), None, None);
        loop {
            self.pass_over()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.size().ok_or_else(|| self.malformed("a size that is not a number"))?;
            match header.kind_byte() {
                b'x' => {
                    let text = self.special(size)?;
                    records = pax::parse(&text).ok_or_else(|| self.malformed("an invalid extended header"))?;
                }
                // A global header concerns all entries that follow. As in containerd, it is ignored.
                b'g' => drop(self.special(size)?),
                b'L' => name = Some(self.special(size)?),
                b'K' => link = Some(self.special(size)?),
                _ => return self.entry(&header, records, name, link).map(Some),
            }
        }
    }

    fn entry(
        &mut self,
        header: &Header,
        mut records: Records,
        name: Option<Vec<u8>>,
        link: Option<Vec<u8>>,
    ) -> Result<Entry, ArchiveError> {
        let numbers = header.numbers().ok_or_else(|| self.malformed("a header with a field that is not a number"))?;
        let mut path = name.map(until_nul).or(records.path.take()).unwrap_or_else(|| header.name());
        let kind = header.kind(&path);
        let size = records.size.unwrap_or(numbers.size);
        self.content = if kind.has_content() { size } else { 0 };
        self.padding = padding(self.content);
        let mut entry = Entry {
            kind,
            path: PathBuf::new(),
            link: path_of(&link.map(until_nul).or(records.link.take()).unwrap_or_else(|| header.link())),
            mode: numbers.mode,
            uid: records.uid.map_or(numbers.uid, header::id),
            gid: records.gid.map_or(numbers.gid, header::id),
            mtime: records.mtime.unwrap_or(numbers.mtime),
            device: numbers.device,
            size: if kind == Kind::File { size } else { 0 },
            xattrs: std::mem::take(&mut records.xattrs),
            parts: None,
        };
        if header.kind_byte() == b'S' {
            let (size, parts) = self.old_sparse(header)?;
            (entry.size, entry.parts) = (size, Some(parts));
        } else if let Some(version) = records.sparse.version()
            && kind == Kind::File
        {
            path = records.sparse.name.take().unwrap_or(path);
            entry.size = records.sparse.size.unwrap_or(size);
            let parts = match version {
                sparse::Version::InHeaders => records.sparse.parts(),
                sparse::Version::InContent => self.map_in_content()?,
            };
            entry.parts = Some(parts.ok_or_else(|| self.malformed("a sparse file with an invalid map"))?);
        }
        if let Some(parts) = &entry.parts
            && !sparse::is_valid(parts, entry.size, self.content)
        {
            return Err(self.malformed("a sparse file whose parts overlap or go beyond its end"));
        }
        entry.path = path_of(&path);
        Ok(entry)
    }

    /// GNU tar's oldest form. The map begins in the header and continues in blocks after it.
    fn old_sparse(&mut self, header: &Header) -> Result<(u64, Vec<Part>), ArchiveError> {
        let wrong = "a sparse file with an invalid map";
        if header.format() != Format::Gnu {
            return Err(self.malformed("a sparse file of another format than GNU's"));
        }
        let (size, mut parts) = header.sparse().ok_or_else(|| self.malformed(wrong))?;
        let mut more = header.has_more_sparse();
        while more {
            self.allow(BLOCK as u64)?;
            let mut block = [0; BLOCK];
            if self.fill(&mut block)? < BLOCK {
                return Err(self.malformed("its end"));
            }
            more = sparse::from_block(&block, &mut parts).ok_or_else(|| self.malformed(wrong))?;
        }
        Ok((size, parts))
    }

    /// Form 1.0: decimal numbers, one per line, in whole blocks before the content.
    fn map_in_content(&mut self) -> Result<Option<Vec<Part>>, ArchiveError> {
        let mut map = sparse::Lines::default();
        while !map.is_whole() {
            self.allow(BLOCK as u64)?;
            let mut block = [0; BLOCK];
            let filled = self.fill_from_content(&mut block)?;
            if filled < BLOCK || !map.add(&block) {
                return Ok(None);
            }
        }
        Ok(map.parts())
    }

    fn fill_from_content(&mut self, block: &mut [u8; BLOCK]) -> Result<usize, ArchiveError> {
        if self.content < BLOCK as u64 {
            return Ok(0);
        }
        let filled = self.fill(block)?;
        self.content -= filled as u64;
        Ok(filled)
    }

    /// The next header. Zeros end an archive. So does the end of the stream, because some tools write no zeros.
    fn header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let mut block = [0; BLOCK];
        match self.fill(&mut block)? {
            0 => return Ok(None),
            BLOCK if block.iter().all(|byte| *byte == 0) => return Ok(None),
            BLOCK => {}
            _ => return Err(self.malformed("its end in the middle of a header")),
        }
        self.allow(BLOCK as u64)?;
        Header::new(block).map(Some).ok_or_else(|| self.malformed("a header with a wrong checksum"))
    }

    /// The content of a special entry, which describes the next one.
    fn special(&mut self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        self.allow(size)?;
        let mut text = vec![0; usize::try_from(size).map_err(|_| ArchiveError::Headers)?];
        if self.fill(&mut text)? < text.len() {
            return Err(self.malformed("its end in the middle of a header"));
        }
        self.padding = padding(size);
        Ok(text)
    }

    fn allow(&mut self, bytes: u64) -> Result<(), ArchiveError> {
        self.allowance = self.allowance.checked_sub(bytes).ok_or(ArchiveError::Headers)?;
        Ok(())
    }

    fn pass_over(&mut self) -> Result<(), ArchiveError> {
        let padding = std::mem::take(&mut self.padding);
        self.skipped = self.skipped.saturating_add(self.content);
        if self.skipped > SKIPPED_MAX {
            return Err(ArchiveError::Skipped);
        }
        let mut left = self.content.saturating_add(padding);
        self.content = 0;
        let mut buffer = [0; 2 << 10]; // each entry clears it, mostly for its padding only
        while left > 0 {
            let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let filled = self.fill(buffer.get_mut(..wanted).unwrap_or_default())?;
            left -= filled as u64;
            // Like Go, this allows an archive to end in the padding of its last entry.
            if filled < wanted {
                return if left <= padding { Ok(()) } else { Err(self.malformed("its end in the middle of a file")) };
            }
        }
        Ok(())
    }

    /// Fills the buffer. It gets less only at the end of the stream.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        let filled = fill(&mut self.stream, buffer).map_err(|source| ArchiveError::Read { at: self.at, source })?;
        self.at += filled as u64;
        Ok(filled)
    }

    fn malformed(&self, what: &'static str) -> ArchiveError {
        ArchiveError::Malformed { what, at: self.at }
    }

    /// Fills the buffer with content of the entry. It gets less only at the end of the content.
    ///
    /// # Errors
    /// If the stream fails, or ends before the content.
    pub fn fill_content(&mut self, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        let wanted = buffer.len().min(usize::try_from(self.content).unwrap_or(usize::MAX));
        let filled = self.fill(buffer.get_mut(..wanted).unwrap_or_default())?;
        self.content -= filled as u64;
        if filled < wanted { Err(self.malformed("its end in the middle of a file")) } else { Ok(filled) }
    }
}

/// Fills the buffer. It gets less only at the end of the stream.
pub fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn until_nul(mut text: Vec<u8>) -> Vec<u8> {
    if let Some(end) = text.iter().position(|byte| *byte == 0) {
        text.truncate(end);
    }
    text
}

fn path_of(text: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(text))
}
