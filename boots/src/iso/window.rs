//! Replaces the placeholder in a range of an image, whatever pieces the image comes in. Pure.

use std::sync::LazyLock;

use cmdline::PLACEHOLDER;
use memchr::memmem::Finder;

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(PLACEHOLDER));
/// A placeholder may begin so many bytes before a range, or end so many behind it.
const MARGIN: usize = PLACEHOLDER.len() - 1;

/// The bytes `start..end` of an image, made from a slightly larger range of it.
pub struct Window {
    text: String,
    start: u64,
    end: u64,
    /// What is not certain yet, and where it lies.
    held: Vec<u8>,
    at: u64,
    /// How many placeholders it has replaced.
    pub replaced: usize,
}

impl Window {
    /// `text` is as long as the placeholder. The image has `size` bytes.
    #[must_use]
    pub fn new(text: String, start: u64, end: u64) -> Self {
        Self { text, start, end, held: Vec::new(), at: start.saturating_sub(MARGIN as u64), replaced: 0 }
    }

    /// What has to be read of an image of this size.
    #[must_use]
    pub fn needs(&self, size: u64) -> std::ops::Range<u64> {
        self.at..self.end.saturating_add(MARGIN as u64).min(size)
    }

    /// Takes the next bytes of what it needs, and gives those of the range that are certain.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(found) = self.held.get(from..).and_then(|rest| FINDER.find(rest)) {
            from += found + PLACEHOLDER.len();
            if let Some(place) = self.held.get_mut(from - PLACEHOLDER.len()..from) {
                place.copy_from_slice(self.text.as_bytes());
                self.replaced += 1;
            }
        }
        self.release(self.held.len().saturating_sub(MARGIN))
    }

    /// The rest, when all it needs was given.
    pub fn finish(&mut self) -> Vec<u8> {
        self.release(self.held.len())
    }

    fn release(&mut self, certain: usize) -> Vec<u8> {
        let rest = self.held.split_off(certain);
        let mut out = std::mem::replace(&mut self.held, rest);
        let (first, last) = (self.at, self.at + certain as u64);
        self.at = last;
        let cut = |at: u64| usize::try_from(at.clamp(first, last) - first).unwrap_or(0);
        out.truncate(cut(self.end));
        out.drain(..cut(self.start).min(out.len()));
        out
    }
}

/// Whether the bytes have a placeholder.
#[must_use]
pub fn has_placeholder(bytes: &[u8]) -> bool {
    FINDER.find(bytes).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        format!("{:<1024}", "worker_id=m1 x=y")
    }

    /// An image with placeholders at these places.
    fn image(size: usize, places: &[usize]) -> (Vec<u8>, Vec<u8>) {
        let mut source: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let mut patched = source.clone();
        for place in places {
            source[*place..place + 1024].copy_from_slice(PLACEHOLDER.as_bytes());
            patched[*place..place + 1024].copy_from_slice(text().as_bytes());
        }
        (source, patched)
    }

    fn read(source: &[u8], start: usize, end: usize, piece: usize) -> Vec<u8> {
        let mut window = Window::new(text(), start as u64, end as u64);
        let needs = window.needs(source.len() as u64);
        let needed = &source[needs.start as usize..needs.end as usize];
        let mut out: Vec<u8> = needed.chunks(piece).flat_map(|piece| window.push(piece)).collect();
        out.extend(window.finish());
        out
    }

    #[test]
    fn every_range_is_that_of_the_patched_image() {
        let (source, patched) = image(8000, &[0, 2000, 3024, 6976]);
        let edges = [0, 1, 500, 1023, 1024, 1999, 2000, 2001, 3023, 3024, 3500, 4047, 4048, 5000, 6975, 6976, 7999];
        for piece in [1, 7, 1023, 1024, 4096, 8000] {
            for start in edges {
                for end in edges.iter().map(|edge| edge + 1).filter(|end| *end > start) {
                    let found = read(&source, start, end, piece);
                    assert!(found == patched[start..end], "{start}..{end} in pieces of {piece}");
                }
            }
        }
    }

    #[test]
    fn a_part_of_a_placeholder_stays_as_it_is() {
        let (mut source, _) = image(4000, &[1000]);
        source[1000] = b'!';
        assert_eq!(read(&source, 0, 4000, 64), source);
        let (source, _) = image(4000, &[1000]);
        assert_eq!(read(&source[..1500], 0, 1500, 64), source[..1500], "cut off by the end of the image");
    }

    #[test]
    fn placeholders_are_counted() {
        let (source, _) = image(8000, &[100, 3000]);
        let mut window = Window::new(text(), 0, 8000);
        let _ = window.push(&source);
        assert_eq!(window.replaced, 2);
        assert!(has_placeholder(&source) && !has_placeholder(&source[..1000]));
    }
}
