//! What a transfer sends: a file, or several behind each other.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

#[derive(Debug)]
pub struct Content {
    /// Each file, and where it begins.
    files: Vec<(u64, File)>,
    size: u64,
}

impl Content {
    /// The sizes are those of now. A file that shrinks later is an error when it is read.
    pub fn of(files: impl IntoIterator<Item = File>) -> io::Result<Self> {
        let mut content = Self { files: Vec::new(), size: 0 };
        for file in files {
            let begins = content.size;
            content.size = begins.saturating_add(file.metadata()?.len());
            content.files.push((begins, file));
        }
        Ok(content)
    }

    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The file, if it is only one.
    pub fn single(&self) -> Option<&File> {
        if let [(_, file)] = self.files.as_slice() { Some(file) } else { None }
    }

    /// Fills the buffer from this offset on.
    pub fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let ends = self.files.iter().skip(1).map(|(begins, _)| *begins).chain([self.size]);
        let (mut rest, mut at) = (buffer, at);
        for ((begins, file), end) in self.files.iter().zip(ends) {
            let length = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX).min(rest.len());
            let (part, behind) = rest.split_at_mut(length);
            if !part.is_empty() {
                file.read_exact_at(part, at.saturating_sub(*begins))?;
            }
            at += length as u64;
            rest = behind;
        }
        if rest.is_empty() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn several_files_read_as_one() {
        let file = |text: &str| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file
        };
        let content = Content::of(["abc", "", "d", "efgh"].map(file)).unwrap();
        assert!(content.size() == 8 && content.single().is_none());
        for at in 0..8 {
            for length in 0..=8 - at {
                let mut buffer = vec![0; length];
                content.read_exact_at(&mut buffer, at as u64).unwrap();
                assert_eq!(buffer, b"abcdefgh"[at..at + length], "{at} {length}");
            }
        }
        for (at, length) in [(0, 9), (8, 1), (u64::MAX, 1)] {
            assert!(content.read_exact_at(&mut vec![0; length], at).is_err(), "{at} {length}");
        }
        let one = Content::of([file("x")]).unwrap();
        assert!(one.single().is_some());
        one.single().unwrap().set_len(0).unwrap();
        assert!(one.read_exact_at(&mut [0], 0).is_err(), "it has shrunk");
    }
}
