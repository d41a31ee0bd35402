//! Memory that is aligned for direct disk access.

/// Covers every logical block size in use.
pub const ALIGNMENT: usize = 4096;

/// `capacity` bytes that begin at a multiple of `ALIGNMENT`. The first `len` of them count.
#[derive(Debug, Default)]
pub struct Buffer {
    memory: Vec<u8>,
    start: usize,
    capacity: usize,
    len: usize,
}

impl Buffer {
    pub fn new(capacity: usize) -> Self {
        let memory = vec![0; capacity + ALIGNMENT];
        // The vector never grows, so its address stays.
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { memory, start, capacity, len: 0 }
    }

    pub fn data(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    /// The whole capacity, to be filled.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.capacity]
    }

    /// Makes room for this much, without keeping what it has.
    pub fn reserve(&mut self, capacity: usize) {
        if self.capacity < capacity {
            *self = Self::new(capacity);
        }
    }

    pub fn set_len(&mut self, len: usize) {
        self.len = len.min(self.capacity);
    }

    /// Copies as much of `data` to `at` as fits before the end, and says how much that was.
    pub fn put(&mut self, at: usize, data: &[u8]) -> usize {
        let at = at.min(self.len);
        let taken = data.len().min(self.len - at);
        self.memory[self.start + at..self.start + at + taken].copy_from_slice(&data[..taken]);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_begins_at_an_aligned_address() {
        for capacity in [1, 4096, 524_288] {
            let mut buffer = Buffer::new(capacity);
            assert_eq!(buffer.space().as_ptr().align_offset(ALIGNMENT), 0);
            assert_eq!(buffer.space().len(), capacity);
        }
    }

    #[test]
    fn data_beyond_the_end_is_not_taken() {
        let mut buffer = Buffer::new(8);
        buffer.set_len(4);
        assert_eq!(buffer.put(1, b"abcd"), 3);
        assert_eq!(buffer.put(9, b"x"), 0);
        assert_eq!(buffer.data(), b"\0abc");
    }
}
