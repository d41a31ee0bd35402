//! The file systems of a partition table that is converted to the disk's sectors, as far as the start of the image has them. What
//! does not fit the disk is refused before anything is erased.

use super::ImageError;
use super::buffer::Buffer;
use super::reader::Event;
use super::table::{Part, fat};
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender};

/// Partitions that begin in front of this are looked at. In images of distributions it is the EFI system partition.
const AHEAD: u64 = 8 << 20;
/// Of a partition: the reserved area of FAT32 with some more.
const AREA: u64 = 64 << 10;
/// A qcow2 image may have its parts in another order.
const EVENTS_MAX: usize = 256;

/// Fetches as much of the image as has the starts of these partitions. It stays in memory.
pub fn fetch(
    parts: &[Part],
    events: &mut VecDeque<Event>,
    inbox: &Receiver<Event>,
    empties: &SyncSender<Buffer>,
    chunk: usize,
) -> Result<(), ImageError> {
    let Some(until) = parts.iter().map(|part| part.start).filter(|start| *start < AHEAD).max() else { return Ok(()) };
    let (mut end, mut held) = (end(events.back()), 0);
    while let Some(reached) = end.filter(|reached| *reached < until + AREA && held < AHEAD && events.len() < EVENTS_MAX) {
        // In place of the one that waits here.
        let _ = empties.try_send(Buffer::new(chunk));
        let event = inbox.recv().map_err(|_| ImageError::ReaderGone)?;
        end = self::end(Some(&event)).map(|next| next.max(reached));
        held += if let Event::Data { buffer, .. } = &event { buffer.data().len() as u64 } else { 0 };
        events.push_back(event);
    }
    Ok(())
}

/// Where the data of an event ends. `None` if no data follows.
fn end(event: Option<&Event>) -> Option<u64> {
    match event? {
        Event::Data { at, buffer } => Some(at + buffer.data().len() as u64),
        Event::Zeros { at, length } => Some(at.saturating_add(*length)),
        Event::Opened(_) | Event::End { .. } | Event::Failed { .. } => None,
    }
}

/// The first partition that the disk cannot have, with the reason.
pub fn problem(parts: &[Part], events: &VecDeque<Event>, sector: u64) -> Option<(u32, String)> {
    parts.iter().find_map(|part| {
        let area = area(events, part.start);
        (area.len() >= fat::START).then(|| fat::problem(&area, sector)).flatten().map(|problem| (part.number, problem))
    })
}

/// What is known from this place on.
fn area(events: &VecDeque<Event>, start: u64) -> Vec<u8> {
    let mut area = Vec::new();
    loop {
        let next = start + area.len() as u64;
        let left = AREA.saturating_sub(area.len() as u64);
        let follows = |at: u64, length: u64| at <= next && next - at < length;
        let more = events.iter().find_map(|event| match event {
            Event::Data { at, buffer } if follows(*at, buffer.data().len() as u64) => {
                let data = buffer.data().get((next - at) as usize..).unwrap_or_default();
                Some(data.get(..left as usize).unwrap_or(data).to_vec())
            }
            Event::Zeros { at, length } if follows(*at, *length) => Some(vec![0; left.min(length - (next - at)) as usize]),
            _ => None,
        });
        match more {
            Some(more) if left > 0 => area.extend(more),
            _ => return area,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(at: u64, bytes: &[u8]) -> Event {
        let mut buffer = Buffer::new(bytes.len());
        buffer.set_len(bytes.len());
        buffer.put(0, bytes);
        Event::Data { at, buffer }
    }

    #[test]
    fn what_is_known_of_a_partition_may_come_in_parts_and_out_of_order() {
        let events = VecDeque::from([
            data(0, &[1; 1000]),
            data(3000, &[3; 1000]),
            Event::Zeros { at: 2000, length: 1000 },
            data(1000, &[2; 1000]),
        ]);
        for (case, start, expected) in [
            ("all of it", 500, [vec![1; 500], vec![2; 1000], vec![0; 1000], vec![3; 1000]].concat()),
            ("the last part", 3999, vec![3]),
            ("behind it", 4000, Vec::new()),
        ] {
            assert_eq!(area(&events, start), expected, "{case}");
        }
        assert_eq!(area(&VecDeque::from([Event::Zeros { at: 0, length: u64::MAX }]), 7).len() as u64, AREA);
    }

    #[test]
    fn a_partition_that_begins_late_is_not_waited_for() {
        let (sender, inbox) = std::sync::mpsc::sync_channel(4);
        let (empties, _pool) = std::sync::mpsc::sync_channel(4);
        for at in [1000, 2000, AREA] {
            sender.send(data(at, &[0; 1000])).unwrap();
        }
        let part = |start| Part { number: 1, start, end: start + 1 };
        for (starts, count) in [([AHEAD, AHEAD + 1], 1), ([900, AHEAD], 4)] {
            let mut events = VecDeque::from([data(0, &[0; 1000])]);
            fetch(&starts.map(part), &mut events, &inbox, &empties, 1000).unwrap();
            assert_eq!(events.len(), count, "{starts:?}");
        }
    }
}
