//! One thread fetches and decodes, and the caller's thread writes. Buffers go round between them.

use super::ahead;
use super::buffer::Buffer;
use super::format::Format;
use super::patience::Patience;
use super::progress::Progress;
use super::reader::{Event, Opened, Reader, judge};
use super::source::Tally;
use super::table::{self, Adapted, Disk};
use super::target::Target;
use super::writer::Writer;
use super::{ImageError, Settings};
use crate::say;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

const CHUNK: usize = 512 << 10;
/// One is filled, one is written, and one waits.
const BUFFERS: usize = 3;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totals {
    pub read: u64,
    pub written: u64,
    /// `qcow2 in zstd`
    pub format: String,
    /// The partition that grew.
    pub grown: Option<u32>,
}

/// What is known before the first byte is erased.
pub struct Plan {
    pub content: &'static str,
    pub size: Option<u64>,
    pub format: String,
    /// What will be changed in the partition table.
    pub notes: Vec<String>,
}

/// An image that has begun, is an image, and fits.
struct Begun {
    opened: Opened,
    /// Those after `opened` that are here already: at least one.
    events: VecDeque<Event>,
    notes: Vec<String>,
    inbox: Receiver<Event>,
    empties: SyncSender<Buffer>,
    tally: Arc<Tally>,
}

/// How much of the start has every usual partition table in it.
const TABLE: u64 = 32 << 10;

/// Does everything but the writing.
pub fn plan<T: Target>(settings: &Settings, target: &T, patience: &Patience) -> Result<Plan, ImageError> {
    let Begun { opened, mut events, notes, .. } = begin(settings, target, patience)?;
    if let Some(Event::Failed { error, .. }) = events.pop_back() {
        return Err(error);
    }
    let Opened { format, qcow2, size, content, .. } = opened;
    Ok(Plan { content: content.unwrap_or("its start comes later in the file"), size, format: named(qcow2, format), notes })
}

/// Starts the reading thread, which ends when the channels close.
fn begin<T: Target>(settings: &Settings, target: &T, patience: &Patience) -> Result<Begun, ImageError> {
    let tally = Arc::new(Tally::default());
    let (events, inbox) = sync_channel(BUFFERS + 2);
    let (empties, pool) = sync_channel(BUFFERS);
    for _ in 0..BUFFERS {
        let _ = empties.send(Buffer::new(CHUNK)); // the channel has room for all of them
    }
    let reader = Reader { settings: settings.clone(), patience: patience.clone(), tally: tally.clone(), events, pool };
    // The thread is not joined. If the disk fails, a reader that waits for the network must not delay the report.
    thread::spawn(move || reader.run());
    let opened = match inbox.recv() {
        Ok(Event::Opened(opened)) => opened,
        Ok(Event::Failed { error, .. }) => return Err(error),
        _ => return Err(ImageError::ReaderGone),
    };
    if let Some(size) = opened.size.filter(|size| *size > target.size()) {
        return Err(target.too_large(size, true));
    }
    let event = inbox.recv().map_err(|_| ImageError::ReaderGone)?;
    let start = match &event {
        Event::Data { at: 0, buffer } if buffer.data().len() > opened.start.len() => buffer.data(),
        _ => &opened.start,
    };
    // A part of a table would look like a damaged one.
    if !opened.qcow2 || start.len() as u64 >= opened.size.unwrap_or(u64::MAX).min(TABLE) {
        // On a copy, to find what does not fit before anything is erased.
        let adapted = adapt(settings, &mut start.to_vec(), opened.size, target.disk())?;
        let mut events = VecDeque::from([event]);
        ahead::fetch(&adapted.converted, &mut events, &inbox, &empties, CHUNK)?;
        if let Some((number, problem)) = ahead::problem(&adapted.converted, &events, target.disk().sector) {
            return Err(target.unfit(number, problem));
        }
        return Ok(Begun { opened, events, notes: adapted.notes, inbox, empties, tally });
    }
    Ok(Begun { opened, events: VecDeque::from([event]), notes: Vec::new(), inbox, empties, tally })
}

/// Writes the image once, from its first byte. Nothing is erased before the image has begun, is an image, and fits.
/// `erased` becomes true with the first byte that is erased.
pub fn write<T: Target>(
    settings: &Settings,
    target: &mut T,
    patience: &mut Patience,
    progress: &mut Progress,
    erased: &mut bool,
) -> Result<Totals, ImageError> {
    let Begun { opened, mut events, inbox, empties, tally, .. } = begin(settings, target, patience)?;
    if let Some(Event::Failed { error, patience: left }) = events.pop_back_if(|event| matches!(event, Event::Failed { .. })) {
        if let Some(left) = left {
            *patience = left;
        }
        return Err(error);
    }
    let disk = target.disk();
    *erased = true;
    let mut writer = Writer::begin(target, settings.discard)?;
    loop {
        let next = events.pop_front().map_or_else(|| inbox.recv(), Ok);
        match next.map_err(|_| ImageError::ReaderGone)? {
            Event::Data { at, buffer } => {
                writer.write(at, buffer.data())?;
                let _ = empties.try_send(buffer); // fails only if the reader has ended
                let total = Some(tally.total.load(Ordering::Relaxed)).filter(|total| *total > 0);
                progress.report(tally.read.load(Ordering::Relaxed), total, Instant::now());
            }
            Event::Zeros { at, length } => writer.zeros(at, length)?,
            Event::End { digest } => {
                if opened.content.is_none() {
                    judge(settings, opened.format, writer.head())?;
                }
                writer.settle()?;
                verify(settings, digest)?;
                let end = writer.end();
                let adapted = adapt(settings, writer.head_mut(), Some(end), disk)?;
                adapted.notes.iter().for_each(|note| say(note));
                writer.convert(&adapted.converted, disk.sector)?;
                let written = writer.finish(&adapted)?;
                let read = tally.read.load(Ordering::Relaxed);
                progress.complete(read);
                return Ok(Totals { read, written, format: named(opened.qcow2, opened.format), grown: adapted.grown });
            }
            Event::Failed { error, patience: left } => {
                if let Some(left) = left {
                    *patience = left;
                }
                return Err(error);
            }
            Event::Opened { .. } => return Err(ImageError::ReaderGone),
        }
    }
}

fn named(qcow2: bool, packed: Format) -> String {
    match (qcow2, packed) {
        (true, Format::Raw) => "qcow2".to_owned(),
        (true, packed) => format!("qcow2 in {packed}"),
        (false, packed) => packed.to_string(),
    }
}

fn adapt(settings: &Settings, head: &mut [u8], image: Option<u64>, disk: Disk) -> Result<Adapted, ImageError> {
    if settings.as_it_is && settings.grow.is_none() {
        return Ok(Adapted::default());
    }
    let adapted = table::adapt(head, image, disk, settings.grow);
    adapted.map_err(|source| ImageError::Table { url: settings.url.clone(), disk: settings.disk.clone(), source })
}

fn verify(settings: &Settings, digest: Option<String>) -> Result<(), ImageError> {
    let Some(expected) = &settings.checksum else { return Ok(()) };
    let found = digest.unwrap_or_else(|| "none".into());
    if expected.digits == found {
        return Ok(());
    }
    Err(ImageError::Checksum { variable: expected.variable, expected: expected.digits.clone(), found })
}
