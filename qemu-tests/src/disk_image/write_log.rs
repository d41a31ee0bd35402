//! What a machine has written to its disk, in order, and what of it remains after a power cut. QEMU's blklogwrites makes the log,
//! in the format of Linux's dm-log-writes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
/// A disk writes so much as a whole or not at all.
const ATOM: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    at: u64,
    length: u64,
    flags: u64,
    /// Where its data begins in the log.
    data: u64,
}

pub struct WriteLog {
    file: File,
    entries: Vec<Entry>,
}

impl WriteLog {
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let entries = entries(&file).with_context(|| format!("cannot read the log {}", path.display()))?;
        Ok(Self { file, entries })
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Gives the disk what it has after a power cut behind this many entries. What was flushed is there. `keeps` says for each
    /// later piece whether it reached the disk in time.
    pub fn replay(&self, disk: &Path, until: usize, mut keeps: impl FnMut() -> bool) -> Result<()> {
        let failed = || format!("cannot write {}", disk.display());
        let file = File::options().write(true).open(disk).with_context(failed)?;
        let all = self.entries.get(..until).unwrap_or(&self.entries);
        let flushed = all.iter().rposition(|entry| entry.flags & FLUSH != 0).map_or(0, |last| last + 1);
        for (index, entry) in all.iter().enumerate() {
            // A discard promises nothing of what the disk then holds, so the old content may stay.
            if entry.flags & DISCARD != 0 {
                continue;
            }
            let is_safe = index < flushed || entry.flags & FUA != 0;
            let mut data = vec![0; usize::try_from(entry.length)?];
            self.file.read_exact_at(&mut data, entry.data).context("the log ends within a write")?;
            for (piece, place) in data.chunks(ATOM).zip((entry.at..).step_by(ATOM)) {
                if is_safe || keeps() {
                    file.write_all_at(piece, place).with_context(failed)?;
                }
            }
        }
        Ok(())
    }
}

fn entries(file: &File) -> Result<Vec<Entry>> {
    let numbers = |at: u64| -> Result<[u64; 4]> {
        let mut bytes = [0; 32];
        file.read_exact_at(&mut bytes, at).context("it ends too early")?;
        let mut numbers = [0; 4];
        for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
            *number = u64::from_le_bytes(bytes.try_into()?);
        }
        Ok(numbers)
    };
    let [magic, version, count, sector] = numbers(0)?;
    // QEMU writes the header behind the first entry, and tells the machine only then. So nothing had been acknowledged yet.
    if [magic, version, count, sector] == [0; 4] {
        return Ok(Vec::new());
    }
    let sector = sector & 0xffff_ffff;
    ensure!((magic, version) == (MAGIC, VERSION) && sector > 0, "it is not a log of writes");
    let mut at = sector;
    let mut entries = Vec::new();
    for _ in 0..count {
        let [first, sectors, flags, _] = numbers(at)?;
        let length = sectors * sector;
        entries.push(Entry { at: first * sector, length, flags, data: at + sector });
        at += sector + if flags & DISCARD == 0 { length } else { 0 };
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const MIB: usize = 1 << 20;

    /// The log of QEMU's own program.
    fn logged(folder: &Path, commands: &[&str]) -> WriteLog {
        let (disk, log) = (folder.join("written"), folder.join("log"));
        std::fs::write(&disk, vec![0; 4 * MIB]).unwrap();
        File::create(&log).unwrap();
        let child = |name: &str, file: &Path| format!("{name}.driver=file,{name}.filename={}", file.display());
        let mut write = Command::new("qemu-io");
        let words = format!("driver=blklogwrites,log-super-update-interval=1,{},{}", child("file", &disk), child("log", &log));
        write.args(["--cache", "writeback", "--image-opts", &words]);
        write.args(commands.iter().flat_map(|command| ["-c", *command]));
        crate::command::effect(&mut write).unwrap();
        WriteLog::open(&log).unwrap()
    }

    fn after(log: &WriteLog, folder: &Path, until: usize, keeps: bool) -> Vec<u8> {
        let disk = folder.join("replayed");
        std::fs::write(&disk, vec![0xee; 4 * MIB]).unwrap();
        log.replay(&disk, until, || keeps).unwrap();
        [0, MIB, 2 * MIB, 3 * MIB].map(|at| std::fs::read(&disk).unwrap()[at + 4096]).to_vec()
    }

    #[test]
    fn what_was_flushed_is_there_and_the_rest_may_be() {
        let folder = tempfile::tempdir().unwrap();
        let commands =
            ["write -P 1 0 64k", "write -z 1M 64k", "flush", "write -P 3 2M 64k", "discard 0 64k", "write -P 4 3M 64k"];
        let log = logged(folder.path(), &commands);
        let flush = log.entries.iter().position(|entry| entry.flags & FLUSH != 0).unwrap();
        assert_eq!(flush, 2);
        for (case, until, keeps, expected) in [
            ("before the flush, all lost", 2, false, [0xee; 4]),
            ("before the flush, all kept", 2, true, [1, 0, 0xee, 0xee]),
            ("just flushed", 3, false, [1, 0, 0xee, 0xee]),
            ("behind it, all lost", 6, false, [1, 0, 0xee, 0xee]),
            ("behind it, all kept", 6, true, [1, 0, 3, 4]),
        ] {
            assert_eq!(after(&log, folder.path(), until, keeps), expected, "{case}");
        }
    }

    #[test]
    fn a_part_of_a_write_may_be_lost() {
        let folder = tempfile::tempdir().unwrap();
        let log = logged(folder.path(), &["write -P 7 0 12k"]);
        let (disk, mut turn) = (folder.path().join("replayed"), 0);
        std::fs::write(&disk, vec![0xee; 12 << 10]).unwrap();
        let keeps = || {
            turn += 1;
            turn != 2
        };
        log.replay(&disk, 1, keeps).unwrap(); // behind it comes the flush of the program's end
        let read = std::fs::read(&disk).unwrap();
        assert_eq!([read[4095], read[4096], read[8191], read[8192]], [7, 0xee, 0xee, 7]);
    }

    #[test]
    fn a_log_that_ends_before_its_header_was_written_is_empty() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [[0; 512], [7; 512]].concat()).unwrap();
        assert_eq!(WriteLog::open(file.path()).unwrap().len(), 0);
    }

    #[test]
    fn what_is_no_log_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(WriteLog::open(file.path()).is_err());
        std::fs::write(file.path(), [7; 4096]).unwrap();
        let error = format!("{:#}", WriteLog::open(file.path()).err().unwrap());
        assert!(error.contains("not a log of writes"), "{error}");
    }
}
