//! Reads a qcow2 file's clusters in the order of the file, in bounded memory.
//!
//! A heap holds what is known and not yet read, ordered by its place in the file: first the tables of the second level, and
//! with each table that is read, its clusters. If too many clusters wait, further tables are put off.

use super::{Compression, Header, PLACE, Qcow2Error, SUBCLUSTER_BITS};
use flate2::{Decompress, FlushDecompress};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use zstd::stream::raw::{DParameter, InBuffer, Operation, OutBuffer};

/// Entries of 24 bytes. One table more may join them.
const WAITING_MAX: usize = 64 << 10;
/// As many as a table without subclusters can add.
const ADDED_MAX: usize = 256 << 10;
/// Tables are read in pieces of this size.
const PIECE: usize = 4096;
const SECTOR: u64 = 512;
/// The largest cluster has 2 MiB.
const WINDOW_LOG: u32 = 22;

/// The image's file, read forwards from a position.
pub trait File {
    type Error;
    fn seek(&mut self, to: u64) -> Result<(), Self::Error>;
    /// Fills the buffer, or as much as there is before the file's end.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error>;
    /// The error for a file that contradicts itself.
    fn damaged(&self, error: Qcow2Error) -> Self::Error;
}

/// Takes the disk's content, each byte once, in any order.
pub trait Sink<E> {
    /// Some memory for what comes at this place.
    fn space(&mut self, at: u64) -> Result<&mut [u8], E>;
    /// This much of it was filled.
    fn filled(&mut self, length: usize) -> Result<(), E>;
    fn zeros(&mut self, at: u64, length: u64) -> Result<(), E>;
}

/// Something in the file. The order of the fields makes the place in the file the heap's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    place: u64,
    kind: Kind,
}

/// Units are clusters or subclusters, and count from the start of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Table(u32),
    Units { first: u64, count: u32 },
    Packed { cluster: u64, length: u32 },
}

/// Neighbours of one kind in a table, which belong together.
#[derive(Default)]
struct Runs {
    data: Option<Piece>,
    /// First unit and count.
    empty: Option<(u64, u64)>,
}

struct Walk<'w, F, S> {
    header: Header,
    file: &'w mut F,
    sink: &'w mut S,
    heap: BinaryHeap<Reverse<Piece>>,
    tables_waiting: usize,
    put_off: Vec<Piece>,
    packed: Packed,
    unpacker: Unpacker,
}

/// The last compressed cluster with its place. The next one may begin inside of its last sector.
#[derive(Default)]
struct Packed {
    place: u64,
    data: Vec<u8>,
    plain: Vec<u8>,
}

/// # Errors
/// Those of the file and the sink, and a damaged image.
pub fn walk<F: File, S: Sink<F::Error>>(header: Header, file: &mut F, sink: &mut S) -> Result<(), F::Error> {
    let (heap, put_off, packed) = (BinaryHeap::new(), Vec::new(), Packed::default());
    let unpacker = Unpacker::new(header.compression);
    let mut walk = Walk { header, file, sink, heap, tables_waiting: 0, put_off, packed, unpacker };
    walk.first_table()?;
    loop {
        while let Some(Reverse(piece)) = walk.heap.pop() {
            walk.take(piece)?;
        }
        // What was put off lies behind the position now, so it needs a jump.
        let Some(piece) = walk.put_off.pop() else { return Ok(()) };
        walk.tables_waiting += 1;
        walk.table(piece)?;
    }
}

impl<F: File, S: Sink<F::Error>> Walk<'_, F, S> {
    fn first_table(&mut self) -> Result<(), F::Error> {
        let covered = self.header.bytes_of_a_table();
        self.file.seek(self.header.tables_at)?;
        let mut entries = Entries::new(self.header.tables());
        while let Some((index, entry)) = entries.next(self.file)? {
            match entry & PLACE {
                0 => {
                    let at = index * covered;
                    self.sink.zeros(at, covered.min(self.header.size - at))?;
                }
                place => {
                    self.check_place(place)?;
                    self.tables_waiting += 1;
                    self.heap.push(Reverse(Piece { place, kind: Kind::Table(index as u32) }));
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, piece: Piece) -> Result<(), F::Error> {
        match piece.kind {
            Kind::Table(_) if self.heap.len() > self.tables_waiting + WAITING_MAX => {
                self.tables_waiting -= 1;
                self.put_off.push(piece);
                Ok(())
            }
            Kind::Table(_) => self.table(piece),
            Kind::Units { first, count } => self.units(piece.place, first, count),
            Kind::Packed { cluster, length } => self.packed(piece.place, cluster, length),
        }
    }

    fn table(&mut self, piece: Piece) -> Result<(), F::Error> {
        let Kind::Table(index) = piece.kind else { return Ok(()) };
        self.tables_waiting -= 1;
        let Header { cluster_bits, size, version, subclusters, .. } = self.header;
        let first = u64::from(index) * self.header.clusters_of_a_table();
        let count = (size.div_ceil(self.header.cluster()) - first).min(self.header.clusters_of_a_table());
        let room = self.heap.len() + ADDED_MAX;
        self.file.seek(piece.place)?;
        let mut entries = Entries::new(count * self.header.numbers_of_an_entry());
        let mut runs = Runs::default();
        for cluster in first..first + count {
            let Some((_, entry)) = entries.next(self.file)? else { break };
            let parts = if subclusters { entries.next(self.file)?.map(|(_, parts)| parts) } else { None };
            let (packed, place) = (entry & 1 << 62 != 0, entry & PLACE);
            if self.heap.len() > room {
                let what = "is in so many pieces that they take too much memory";
                return Err(self.file.damaged(Qcow2Error::Unsupported { what }));
            }
            if packed {
                self.zeros(runs.empty.take())?;
                self.heap.push(Reverse(packed_piece(entry, cluster_bits, cluster)));
                continue;
            }
            self.check_place(place)?;
            match parts {
                Some(parts) => self.subclusters(&mut runs, cluster, place, parts)?,
                None => {
                    let is_zero = place == 0 || version >= 3 && entry & 1 != 0;
                    self.unit(&mut runs, cluster, (!is_zero).then_some(place))?;
                }
            }
        }
        self.heap.extend(runs.data.map(Reverse));
        self.zeros(runs.empty)
    }

    /// Below bit 32 is what the file has of a cluster, and above it what reads as zeros.
    fn subclusters(&mut self, runs: &mut Runs, cluster: u64, place: u64, parts: u64) -> Result<(), F::Error> {
        let (has, zeros) = (parts as u32, (parts >> 32) as u32);
        if has & zeros != 0 || has != 0 && place == 0 {
            return Err(self.file.damaged(Qcow2Error::Damaged("a subcluster is in two states at once")));
        }
        let bits = self.header.unit_bits();
        for part in 0..1 << SUBCLUSTER_BITS {
            let unit = (cluster << SUBCLUSTER_BITS) + part;
            if unit << bits >= self.header.size {
                break;
            }
            self.unit(runs, unit, (has >> part & 1 == 1).then_some(place + (part << bits)))?;
        }
        Ok(())
    }

    /// `None` reads as zeros.
    fn unit(&mut self, runs: &mut Runs, unit: u64, place: Option<u64>) -> Result<(), F::Error> {
        let Some(place) = place else {
            runs.empty = Some(runs.empty.map_or((unit, 1), |(start, count)| (start, count + 1)));
            return Ok(());
        };
        self.zeros(runs.empty.take())?;
        runs.data = match runs.data {
            Some(Piece { place: start, kind: Kind::Units { first, count } })
                if first + u64::from(count) == unit && start + (u64::from(count) << self.header.unit_bits()) == place =>
            {
                Some(Piece { place: start, kind: Kind::Units { first, count: count + 1 } })
            }
            other => {
                self.heap.extend(other.map(Reverse));
                Some(Piece { place, kind: Kind::Units { first: unit, count: 1 } })
            }
        };
        Ok(())
    }

    fn check_place(&self, place: u64) -> Result<(), F::Error> {
        if place.is_multiple_of(self.header.cluster()) {
            return Ok(());
        }
        Err(self.file.damaged(Qcow2Error::Damaged("a table names a place inside of a cluster")))
    }

    /// Bytes of the disk from this unit on, at most `count` units of 2^`bits` bytes.
    fn range(&self, first: u64, count: u64, bits: u32) -> (u64, u64) {
        let at = first << bits;
        (at, (count << bits).min(self.header.size.saturating_sub(at)))
    }

    fn zeros(&mut self, units: Option<(u64, u64)>) -> Result<(), F::Error> {
        let Some((first, count)) = units else { return Ok(()) };
        let (at, length) = self.range(first, count, self.header.unit_bits());
        self.sink.zeros(at, length)
    }

    fn units(&mut self, place: u64, first: u64, count: u32) -> Result<(), F::Error> {
        self.file.seek(place)?;
        let (mut at, mut left) = self.range(first, u64::from(count), self.header.unit_bits());
        while left > 0 {
            let space = self.sink.space(at)?;
            let length = space.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let space = space.get_mut(..length).unwrap_or_default();
            let got = self.file.fill(space)?;
            if got < length {
                return Err(self.file.damaged(Qcow2Error::Damaged("it is cut off")));
            }
            self.sink.filled(length)?;
            (at, left) = (at + length as u64, left - length as u64);
        }
        Ok(())
    }

    fn packed(&mut self, place: u64, cluster: u64, length: u32) -> Result<(), F::Error> {
        let Packed { place: start, data, .. } = &mut self.packed;
        let length = length as usize;
        let known = place.checked_sub(*start).and_then(|skip| usize::try_from(skip).ok()).filter(|skip| *skip < data.len());
        match known {
            Some(skip) => drop(data.drain(..skip)),
            None => data.clear(),
        }
        *start = place;
        let kept = data.len();
        if kept < length {
            self.file.seek(place + kept as u64)?;
            data.resize(length, 0);
            let got = self.file.fill(data.get_mut(kept..).unwrap_or_default())?;
            data.truncate(kept + got);
        }
        let (mut at, left) = self.range(cluster, 1, self.header.cluster_bits);
        let plain = &mut self.packed.plain;
        plain.resize(self.header.cluster() as usize, 0);
        let packed = self.packed.data.get(..length).unwrap_or(&self.packed.data);
        self.unpacker.unpack(packed, plain).map_err(|error| self.file.damaged(error))?;
        let mut rest = plain.get(..left as usize).unwrap_or(plain);
        while !rest.is_empty() {
            let space = self.sink.space(at)?;
            let length = space.len().min(rest.len());
            let (now, later) = rest.split_at(length);
            space.get_mut(..length).unwrap_or_default().copy_from_slice(now);
            self.sink.filled(length)?;
            (at, rest) = (at + length as u64, later);
        }
        Ok(())
    }
}

/// The entry of a compressed cluster: below bit `x` its place, and from there to bit 61 the sectors after its first one.
fn packed_piece(entry: u64, cluster_bits: u32, cluster: u64) -> Piece {
    let x = 62 - (cluster_bits - 8);
    let place = entry & ((1 << x) - 1);
    let sectors = (entry & ((1 << 62) - 1)) >> x;
    let length = (sectors + 1) * SECTOR - place % SECTOR;
    // At most two clusters, which are 4 MiB.
    Piece { place, kind: Kind::Packed { cluster, length: length as u32 } }
}

/// One decoder for all clusters.
enum Unpacker {
    Deflate(Box<Decompress>),
    Zstd(Box<zstd::stream::raw::Decoder<'static>>),
    /// The decoder has no memory.
    None,
}

impl Unpacker {
    fn new(compression: Compression) -> Self {
        match compression {
            Compression::Deflate => Self::Deflate(Box::new(Decompress::new(false))),
            Compression::Zstd => {
                let decoder = zstd::stream::raw::Decoder::new().and_then(|mut decoder| {
                    decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
                    Ok(decoder)
                });
                decoder.map_or(Self::None, |decoder| Self::Zstd(Box::new(decoder)))
            }
        }
    }

    /// The sectors hold more than the packed data, so a decoder is done when the cluster is full.
    fn unpack(&mut self, packed: &[u8], plain: &mut [u8]) -> Result<(), Qcow2Error> {
        const DAMAGED: Qcow2Error = Qcow2Error::Damaged("a compressed cluster does not decode");
        let unpacked = match self {
            Self::Deflate(decoder) => {
                decoder.reset(false);
                decoder.decompress(packed, plain, FlushDecompress::Finish).map_err(|_| DAMAGED)?;
                decoder.total_out() as usize
            }
            Self::Zstd(decoder) => {
                decoder.reinit().map_err(|_| DAMAGED)?;
                let mut input = InBuffer::around(packed);
                let mut output = OutBuffer::around(&mut *plain);
                loop {
                    let before = (input.pos(), output.pos());
                    let left = decoder.run(&mut input, &mut output).map_err(|_| DAMAGED)?;
                    if left == 0 || (input.pos(), output.pos()) == before {
                        break output.pos();
                    }
                }
            }
            Self::None => 0,
        };
        if unpacked == plain.len() { Ok(()) } else { Err(DAMAGED) }
    }
}

/// Reads a table's entries, numbers of eight bytes, piece by piece.
struct Entries {
    count: u64,
    next: u64,
    piece: Vec<u8>,
}

impl Entries {
    fn new(count: u64) -> Self {
        Self { count, next: 0, piece: Vec::new() }
    }

    fn next<F: File>(&mut self, file: &mut F) -> Result<Option<(u64, u64)>, F::Error> {
        const CUT: Qcow2Error = Qcow2Error::Damaged("a table is cut off");
        if self.next == self.count {
            return Ok(None);
        }
        let offset = (self.next as usize * 8) % PIECE;
        if offset == 0 {
            let left = (self.count - self.next).saturating_mul(8);
            self.piece.resize(left.min(PIECE as u64) as usize, 0);
            if file.fill(&mut self.piece)? < self.piece.len() {
                return Err(file.damaged(CUT));
            }
        }
        let entry = super::number(&self.piece, offset, 8).ok_or_else(|| file.damaged(CUT))?;
        self.next += 1;
        Ok(Some((self.next - 1, entry)))
    }
}
