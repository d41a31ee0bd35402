//! A zstd file of many small frames, decoded on as many threads as there are cores. Programs for seekable
//! zstd make such files, and so does pzstd with small parts.
//!
//! The thread that reads cuts the file into frames by their headers and those of their blocks (RFC 8878, section 3.1.1). The frames
//! are decoded by workers and given back in order. A frame that is large, or does not say its size, ends this: from there on one
//! decoder goes through the rest, as for any other file.

use super::format::ZstdHeader;
use std::collections::VecDeque;
use std::io::{self, BufReader, Cursor, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

/// The content of a frame. Some of them are in memory, packed and unpacked.
pub const FRAME_MAX: u64 = 2 << 20;
/// What incompressible data takes.
const PACKED_MAX: usize = FRAME_MAX as usize + (64 << 10);
const WORKERS_MAX: usize = 3;
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const CHECKSUM: usize = 4;

struct Job {
    packed: Vec<u8>,
    content: usize,
    done: SyncSender<io::Result<Vec<u8>>>,
}

/// What comes next in the file.
enum Next {
    Frame {
        packed: Vec<u8>,
        content: usize,
    },
    /// Something for the other decoder, with the bytes that were read of it.
    Other(Vec<u8>),
    End,
}

type Rest<R> = zstd::Decoder<'static, BufReader<io::Chain<Cursor<Vec<u8>>, BufReader<R>>>>;

pub struct Frames<R: Read> {
    /// Until another decoder has it.
    input: Option<BufReader<R>>,
    rest: Option<Box<Rest<R>>>,
    window_log: u32,
    jobs: Sender<Job>,
    waiting: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    in_flight: usize,
    current: Cursor<Vec<u8>>,
    /// What was read of the next frame when it turned out not to be one.
    other: Option<Vec<u8>>,
}

/// Whether the first frame is a small one that says its size.
pub fn is_of_frames(first: &[u8]) -> bool {
    ZstdHeader::parse(first).and_then(|header| header.content).is_some_and(|content| content <= FRAME_MAX)
}

/// Threads that are worth starting. 1 means that none is.
pub fn workers() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get().min(WORKERS_MAX))
}

impl<R: Read> Frames<R> {
    pub fn new(input: R, workers: usize, window_log: u32) -> Self {
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..workers {
            let queue = Arc::clone(&queue);
            // It ends when the sender is dropped.
            thread::spawn(move || work(&queue));
        }
        Self {
            input: Some(BufReader::with_capacity(64 << 10, input)),
            rest: None,
            window_log,
            jobs,
            waiting: VecDeque::new(),
            in_flight: workers.max(2),
            current: Cursor::default(),
            other: None,
        }
    }

    /// Gives the workers frames, as long as there are any.
    fn feed(&mut self) -> io::Result<()> {
        while self.waiting.len() < self.in_flight && self.other.is_none() {
            let Some(input) = &mut self.input else { return Ok(()) };
            match next(input)? {
                Next::End => self.input = None,
                Next::Other(start) => self.other = Some(start),
                Next::Frame { packed, content } => {
                    let (done, result) = sync_channel(1);
                    self.jobs.send(Job { packed, content, done }).map_err(|_| gone())?;
                    self.waiting.push_back(result);
                }
            }
        }
        Ok(())
    }

    fn start_rest(&mut self) -> io::Result<()> {
        if let (Some(start), Some(input)) = (self.other.take(), self.input.take()) {
            let mut rest = zstd::Decoder::new(Cursor::new(start).chain(input))?;
            rest.window_log_max(self.window_log)?;
            self.rest = Some(Box::new(rest));
        }
        Ok(())
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let got = self.current.read(buffer)?;
            if got > 0 || buffer.is_empty() {
                return Ok(got);
            }
            if let Some(rest) = &mut self.rest {
                return rest.read(buffer);
            }
            self.feed()?;
            match self.waiting.pop_front() {
                Some(result) => self.current = Cursor::new(result.recv().map_err(|_| gone())??),
                None if self.other.is_some() => self.start_rest()?,
                None => return Ok(0),
            }
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("a thread that decodes has ended")
}

fn work(queue: &Mutex<Receiver<Job>>) {
    let Ok(mut decoder) = zstd::bulk::Decompressor::new() else { return };
    loop {
        let job = match queue.lock() {
            Ok(queue) => queue.recv(),
            Err(_) => return,
        };
        let Ok(Job { packed, content, done }) = job else { return };
        let plain = decoder.decompress(&packed, content).and_then(|plain| {
            if plain.len() == content { Ok(plain) } else { Err(io::Error::other("a frame is shorter than it says")) }
        });
        drop(packed);
        let _ = done.send(plain); // fails only if the reader has ended
    }
}

fn next(input: &mut impl Read) -> io::Result<Next> {
    loop {
        let mut bytes = Vec::new();
        if !more(input, &mut bytes, MAGIC.len())? {
            return Ok(if bytes.is_empty() { Next::End } else { Next::Other(bytes) });
        }
        if bytes == MAGIC {
            return frame(input, bytes);
        }
        // A skippable frame, such as the table of seekable files.
        let skippable = matches!(bytes.as_slice(), [0x50..=0x5f, 0x2a, 0x4d, 0x18]);
        if !skippable || !more(input, &mut bytes, 4)? {
            return Ok(Next::Other(bytes));
        }
        let length = bytes.get(4..).map_or(0, little_endian);
        let skipped = io::copy(&mut input.take(length), &mut io::sink())?;
        if skipped < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn frame(input: &mut impl Read, mut bytes: Vec<u8>) -> io::Result<Next> {
    if !more(input, &mut bytes, 1)? {
        return Ok(Next::Other(bytes));
    }
    let descriptor = bytes.last().copied().unwrap_or(0);
    let single = descriptor & 0x20 != 0;
    let size = match descriptor >> 6 {
        0 => usize::from(single),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    // A frame with a dictionary is for the other decoder, which refuses it.
    let is_plain = descriptor & 3 == 0 && more(input, &mut bytes, usize::from(!single) + size)?;
    let content = ZstdHeader::parse(&bytes).and_then(|header| header.content).filter(|content| *content <= FRAME_MAX);
    let Some(content) = content.filter(|_| is_plain).and_then(|content| usize::try_from(content).ok()) else {
        return Ok(Next::Other(bytes));
    };
    loop {
        let start = bytes.len();
        if !more(input, &mut bytes, 3)? {
            return Ok(Next::Other(bytes));
        }
        let header = bytes.get(start..).map_or(0, little_endian);
        let length = match header >> 1 & 3 {
            1 => 1,
            _ => usize::try_from(header >> 3).unwrap_or(usize::MAX),
        };
        if start.saturating_add(length) > PACKED_MAX || !more(input, &mut bytes, length)? {
            return Ok(Next::Other(bytes));
        }
        if header & 1 == 1 {
            break;
        }
    }
    if descriptor & 4 != 0 && !more(input, &mut bytes, CHECKSUM)? {
        return Ok(Next::Other(bytes));
    }
    Ok(Next::Frame { packed: bytes, content })
}

/// `false` at the end of the file, with what there was.
fn more(input: &mut impl Read, bytes: &mut Vec<u8>, length: usize) -> io::Result<bool> {
    let got = input.take(length as u64).read_to_end(bytes)?;
    Ok(got == length)
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at / 7 % 251) as u8).collect()
    }

    fn packed(data: &[u8], frame: usize) -> Vec<u8> {
        data.chunks(frame).flat_map(|piece| zstd::bulk::compress(piece, 1).unwrap()).collect()
    }

    fn decoded(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        Frames::new(packed, 2, 23).read_to_end(&mut plain).map(|_| plain)
    }

    #[test]
    fn frames_come_back_in_order_whatever_lies_between_them() {
        let data = content(5_000_000);
        let small = packed(&data, 300_000);
        let skippable = [&[0x51, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let unsized_frame = zstd::encode_all(&data[..], 1).unwrap();
        for (case, file, expected) in [
            ("many frames", small.clone(), data.clone()),
            ("one frame", packed(&data[..1000], 1000), data[..1000].to_vec()),
            ("noise does not shrink", packed(&noise(3_000_000), 1 << 20), noise(3_000_000)),
            ("a table at the end", [&small[..], &skippable].concat(), data.clone()),
            ("a table in front", [&skippable[..], &small].concat(), data.clone()),
            ("a frame of unknown size", [&small[..], &unsized_frame].concat(), [&data[..], &data].concat()),
            ("and small ones behind it", [&small[..], &unsized_frame, &small].concat(), [&data[..], &data, &data].concat()),
            ("a large frame", [&small[..], &packed(&data, data.len())].concat(), [&data[..], &data].concat()),
            ("an empty frame", [&packed(&[], 1)[..], &zstd::bulk::compress(&[], 1).unwrap(), &small].concat(), data.clone()),
            ("nothing", Vec::new(), Vec::new()),
        ] {
            assert!(decoded(&file).unwrap_or_else(|error| panic!("{case}: {error}")) == expected, "{case}");
        }
        assert!(is_of_frames(&small[..64]) && !is_of_frames(&unsized_frame[..64]));
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1u64;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(length)
        .collect()
    }

    #[test]
    fn a_cut_file_is_an_error() {
        let file = packed(&content(2_000_000), 300_000);
        for length in [1, 3, 5, 12, file.len() / 2, file.len() - 1] {
            assert!(decoded(&file[..length]).is_err(), "{length}");
        }
        assert!(decoded(&[&file[..], b"garbage"].concat()).is_err(), "what is not a frame");
        assert!(decoded(&[&file[..], &[0x51, 0x2a, 0x4d, 0x18, 255, 255, 255, 255]].concat()).is_err(), "a cut table");
    }
}
