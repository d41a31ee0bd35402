//! A zstd file of many small frames, decoded on as many threads as there are cores. Programs for seekable
//! zstd make such files, and so does pzstd with small parts.
//!
//! The thread that reads cuts the file into frames by their headers and those of their blocks (RFC 8878, section 3.1.1). The frames
//! are decoded by workers and given back in order. A frame that is large, or does not say its size, ends this: from there on one
//! decoder goes through the rest, as for any other file.

use super::buffer::{ALIGNMENT, Buffer};
use super::format::ZstdHeader;
use std::collections::VecDeque;
use std::io::{self, BufReader, Cursor, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use zstd::bulk::Decompressor;

/// The content of a frame. Some of them are in memory, packed and unpacked.
pub const FRAME_MAX: u64 = 2 << 20;
/// What incompressible data takes.
const PACKED_MAX: usize = FRAME_MAX as usize + PACKED_MORE;
const PACKED_MORE: usize = 64 << 10;
const WORKERS_MAX: usize = 3;
/// Frames of this much, packed and unpacked, wait for the reader at most. One may go beyond it.
const WAITING_MAX: usize = 4 << 20;
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const CHECKSUM: usize = 4;

/// Its memory goes round: filled from the file, decoded, read, and filled again.
#[derive(Default)]
struct Frame {
    packed: Vec<u8>,
    content: usize,
    plain: Buffer,
}

impl Frame {
    fn memory(&self) -> usize {
        self.packed.len() + self.content
    }
}

struct Job {
    frame: Frame,
    done: SyncSender<io::Result<Frame>>,
}

/// What comes next in the file.
enum Next {
    Frame(Frame),
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
    waiting: VecDeque<Receiver<io::Result<Frame>>>,
    in_flight: usize,
    /// Bytes of those that wait.
    held: usize,
    /// What is read now, and how much of it was.
    current: Frame,
    at: usize,
    spare: Vec<Frame>,
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
            // One is ready when a worker has work for all of its time.
            in_flight: workers + 1,
            held: 0,
            current: Frame::default(),
            at: 0,
            spare: Vec::new(),
            other: None,
        }
    }

    /// Gives the workers frames, as long as there are any.
    fn feed(&mut self) -> io::Result<()> {
        while self.waiting.len() < self.in_flight && self.held < WAITING_MAX && self.other.is_none() {
            let Some(input) = &mut self.input else { return Ok(()) };
            match next(input, self.spare.pop().unwrap_or_default())? {
                Next::End => self.input = None,
                Next::Other(start) => self.other = Some(start),
                Next::Frame(frame) => {
                    self.held += frame.memory();
                    let (done, result) = sync_channel(1);
                    self.jobs.send(Job { frame, done }).map_err(|_| gone())?;
                    self.waiting.push_back(result);
                }
            }
        }
        Ok(())
    }

    /// Makes the next frame the current one. `false` if none is left.
    fn advance(&mut self) -> io::Result<bool> {
        self.feed()?;
        let Some(result) = self.waiting.pop_front() else { return Ok(false) };
        let mut frame = result.recv().map_err(|_| gone())??;
        self.held -= frame.memory();
        std::mem::swap(&mut self.current, &mut frame);
        self.at = 0;
        self.spare.push(frame);
        self.feed()?;
        Ok(true)
    }

    fn left(&self) -> &[u8] {
        self.current.plain.data().get(self.at..).unwrap_or_default()
    }

    /// Gives a whole frame for an empty buffer, which saves a copy. `false` if the data that comes next is not one of whole blocks.
    pub fn exchange(&mut self, empty: &mut Buffer) -> io::Result<bool> {
        while self.left().is_empty() {
            if self.rest.is_some() || !self.advance()? {
                return Ok(false);
            }
        }
        if self.at > 0 || !self.left().len().is_multiple_of(ALIGNMENT) {
            return Ok(false);
        }
        std::mem::swap(&mut self.current.plain, empty);
        self.current.plain.set_len(0);
        Ok(true)
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
            let got = self.left().read(buffer)?;
            self.at += got;
            if got > 0 || buffer.is_empty() {
                return Ok(got);
            }
            if let Some(rest) = &mut self.rest {
                return rest.read(buffer);
            }
            if self.advance()? {
                continue;
            }
            if self.other.is_none() {
                return Ok(0);
            }
            self.start_rest()?;
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("a thread that decodes has ended")
}

fn work(queue: &Mutex<Receiver<Job>>) {
    let Ok(mut decoder) = Decompressor::new() else { return };
    loop {
        let job = match queue.lock() {
            Ok(queue) => queue.recv(),
            Err(_) => return,
        };
        let Ok(Job { mut frame, done }) = job else { return };
        let decoded = decode(&mut decoder, &mut frame).map(|()| frame);
        let _ = done.send(decoded); // fails only if the reader has ended
    }
}

fn decode(decoder: &mut Decompressor<'_>, frame: &mut Frame) -> io::Result<()> {
    let Frame { packed, content, plain } = frame;
    plain.reserve(*content);
    let got = decoder.decompress_to_buffer(packed, plain.space())?;
    plain.set_len(got);
    if got == *content { Ok(()) } else { Err(io::Error::other("a frame has not the size that it says")) }
}

fn next(input: &mut impl Read, memory: Frame) -> io::Result<Next> {
    let Frame { packed: mut bytes, plain, .. } = memory;
    loop {
        bytes.clear();
        if !more(input, &mut bytes, MAGIC.len())? {
            return Ok(if bytes.is_empty() { Next::End } else { Next::Other(bytes) });
        }
        if bytes == MAGIC {
            return frame(input, bytes, plain);
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

fn frame(input: &mut impl Read, mut bytes: Vec<u8>, plain: Buffer) -> io::Result<Next> {
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
    // At once, because memory that grows in steps is in pieces afterwards. What is not filled costs nothing.
    bytes.reserve_exact(content + (content >> 8) + PACKED_MORE);
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
    Ok(Next::Frame(Frame { packed: bytes, content, plain }))
}

/// `false` at the end of the file, with what there was.
fn more(input: &mut impl Read, bytes: &mut Vec<u8>, length: usize) -> io::Result<bool> {
    bytes.reserve_exact(length);
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

    /// As image2disk reads: whole frames where that is possible.
    fn exchanged(packed: &[u8]) -> (Vec<u8>, usize) {
        let mut frames = Frames::new(packed, 2, 23);
        let (mut plain, mut whole, mut buffer) = (Vec::new(), 0, Buffer::new(ALIGNMENT));
        loop {
            let is_whole = frames.exchange(&mut buffer).unwrap();
            if !is_whole {
                let got = oci::archive::fill(&mut frames, buffer.space()).unwrap();
                buffer.set_len(got);
            }
            if buffer.data().is_empty() {
                return (plain, whole);
            }
            assert!(plain.len().is_multiple_of(ALIGNMENT), "{}", plain.len());
            plain.extend_from_slice(buffer.data());
            whole += usize::from(is_whole);
        }
    }

    #[test]
    fn whole_frames_are_exchanged_for_empty_buffers() {
        let data = content(5 << 20);
        let (even, odd) = (packed(&data, 1 << 20), packed(&data, 300_000));
        let unsized_frame = zstd::encode_all(&data[..], 1).unwrap();
        let twice = [&data[..], &data].concat();
        for (case, file, expected, whole) in [
            ("frames of whole blocks", even.clone(), &data, 5),
            ("frames of other sizes", odd.clone(), &data, 0),
            ("a frame of unknown size behind them", [&even[..], &unsized_frame].concat(), &twice, 5),
            ("an empty frame in front", [packed(&[0; 0], 1), zstd::bulk::compress(&[], 1).unwrap(), even].concat(), &data, 5),
            ("nothing", Vec::new(), &Vec::new(), 0),
        ] {
            let (plain, count) = exchanged(&file);
            assert!(plain == *expected, "{case}");
            assert_eq!(count, whole, "{case}");
        }
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
