//! Does what the plan says.

use super::ata::{self, Command, Data};
use super::nvme::{self, Sanitized};
use super::plan::{Facts, Way};
use super::{WipeError, signatures};
use crate::device::Opened;
use crate::{say, sys};
use rustix::fs::{FallocateFlags, OFlags};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two lines of progress, and looks at a disk that sanitizes itself.
const EVERY: Duration = Duration::from_secs(3);
/// Zeros are written in pieces, so that there is progress.
const PIECE: u64 = 64 << 20;
const ZEROS: usize = 1 << 20;
const COMMAND_MS: u32 = 30_000;
const MINUTE_MS: u32 = 60_000;
/// A disk that has never been erased estimates badly.
const ATA_MARGIN: u32 = 3;
const ATA_LEAST_MINUTES: u32 = 30;
/// Longer than the largest disk takes to overwrite itself.
const SANITIZE_MOST: Duration = Duration::from_secs(48 * 3600);

pub fn erase(path: &Path, opened: &Opened, facts: &Facts, way: Way) -> Result<(), WipeError> {
    let write = |source| WipeError::Write { disk: path.to_owned(), source };
    let command = |what, source| WipeError::Command { disk: path.to_owned(), what, source };
    edges(opened, facts).map_err(write)?;
    let (file, size) = (&opened.file, opened.size);
    match way {
        Way::Left => return Ok(()),
        Way::Discard => sys::discard(file, 0, size).map_err(|source| command("discard", source))?,
        Way::SecureDiscard => sys::secure_discard(file, 0, size).map_err(|source| command("secure discard", source))?,
        Way::Zero => zero(opened).map_err(|source| command("writing zeros", source))?,
        Way::Format(_, wanted) => {
            say("formatting; the disk answers when it has done it");
            sys::nvme(file, wanted, &mut []).map_err(|source| command("Format NVM", source))?;
        }
        Way::Sanitize(_, wanted) => {
            sys::nvme(file, wanted, &mut []).map_err(|source| command("Sanitize", source))?;
            sanitized(EVERY, |log| read_log(opened, log)).map_err(|source| command("Sanitize", source))?;
        }
        Way::Ata(wanted) => self_erase(path, opened, wanted)?,
    }
    // What a disk reads as after a discard or a format depends on the disk.
    edges(opened, facts).map_err(write)
}

/// Those of the partitions, and then those of the disk.
fn edges(opened: &Opened, facts: &Facts) -> io::Result<()> {
    // Some MiB through the page cache need no aligned memory.
    let flags = rustix::fs::fcntl_getfl(&opened.file)?.difference(OFlags::DIRECT);
    rustix::fs::fcntl_setfl(&opened.file, flags)?;
    let zeros = vec![0; ZEROS];
    for region in facts.regions.iter().rev() {
        for place in signatures::places(&region.range) {
            let length = usize::try_from(place.end - place.start).unwrap_or(ZEROS);
            opened.file.write_all_at(zeros.get(..length).unwrap_or(&zeros), place.start)?;
        }
    }
    opened.file.sync_all()
}

fn zero(opened: &Opened) -> io::Result<()> {
    let (mut at, mut said) = (0, Instant::now());
    while at < opened.size {
        let length = (opened.size - at).min(PIECE);
        if opened.is_block_device {
            sys::zero_out(&opened.file, at, length)?;
        } else if rustix::fs::fallocate(&opened.file, FallocateFlags::ZERO_RANGE, at, length).is_err() {
            let zeros = vec![0; ZEROS];
            for start in (at..at + length).step_by(ZEROS) {
                let piece = usize::try_from(at + length - start).map_or(ZEROS, |left| left.min(ZEROS));
                opened.file.write_all_at(zeros.get(..piece).unwrap_or(&zeros), start)?;
            }
        }
        at += length;
        if said.elapsed() >= EVERY {
            said = Instant::now();
            say(&machine::status::progress(at, Some(opened.size)));
        }
    }
    opened.file.sync_all()
}

fn read_log(opened: &Opened, log: &mut [u8]) -> io::Result<()> {
    let words = (nvme::SANITIZE_LOG_LENGTH as u32 / 4 - 1) << 16;
    let wanted =
        nvme::Command { opcode: nvme::GET_LOG, namespace: u32::MAX, cdw10: nvme::SANITIZE_LOG | words, timeout_ms: COMMAND_MS };
    sys::nvme(&opened.file, wanted, log)
}

/// Waits until the disk's log says that the operation has ended.
fn sanitized(every: Duration, mut read: impl FnMut(&mut [u8]) -> io::Result<()>) -> io::Result<()> {
    let start = Instant::now();
    loop {
        sleep(every);
        let mut log = [0; nvme::SANITIZE_LOG_LENGTH];
        read(&mut log)?;
        match nvme::sanitized(&log) {
            Some(Sanitized::Done) => return Ok(()),
            Some(Sanitized::Running { percent }) if start.elapsed() < SANITIZE_MOST => say(&format!("{percent}% sanitized")),
            _ => return Err(io::Error::other("the disk reports that the operation has failed or does not end")),
        }
    }
}

/// What unlocks a disk whose erasing did not end.
fn unlocking(path: &Path) -> String {
    let (password, disk) = (ata::PASSWORD, path.display());
    format!("hdparm --security-unlock {password} {disk} && hdparm --security-disable {password} {disk}")
}

fn self_erase(path: &Path, opened: &Opened, erase: ata::Erase) -> Result<(), WipeError> {
    let failed = |source| WipeError::Ata { disk: path.to_owned(), unlocking: unlocking(path), source };
    say(&format!(
        "the disk gets the password {} for the erasing. If that is interrupted, the disk is locked by it; to unlock it: {}",
        ata::PASSWORD,
        unlocking(path)
    ));
    ask(erase, |command, data, limit| sys::ata(&opened.file, &command.block(), command.data(), data, limit)).map_err(failed)
}

fn ask(erase: ata::Erase, mut take: impl FnMut(Command, &mut [u8], u32) -> io::Result<()>) -> io::Result<()> {
    let mut send = |command: Command, timeout_ms: u32| {
        let mut password = ata::password(command, erase.enhanced);
        take(command, if command.data() == Data::None { &mut [] } else { &mut password }, timeout_ms)
    };
    send(Command::SetPassword, COMMAND_MS)?;
    let limit = erase.minutes.saturating_mul(ATA_MARGIN).max(ATA_LEAST_MINUTES).saturating_mul(MINUTE_MS);
    say("erasing; the disk answers when it has done it");
    let erased = send(Command::ErasePrepare, COMMAND_MS).and_then(|()| send(Command::EraseUnit, limit));
    if erased.is_err() {
        // A disk that keeps the password is locked after the next start. The first error is the one to report.
        let _ = send(Command::DisablePassword, COMMAND_MS);
    }
    erased
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk as ACS-4 has it (4.20 and 7.47 to 7.53), on the other side of SAT's pass-through: no emulator has one.
    #[derive(Default)]
    struct FakeDisk {
        password: Option<Vec<u8>>,
        prepared: bool,
        erased: Option<u8>,
        /// It aborts SECURITY ERASE UNIT.
        refuses: bool,
        /// Its power fails within SECURITY ERASE UNIT.
        dies: bool,
        dead: bool,
    }

    impl FakeDisk {
        fn take(&mut self, command: Command, data: &[u8]) -> io::Result<()> {
            let (block, aborted) = (command.block(), || io::Error::other("aborted"));
            let has_data = matches!(block[14], 0xf1 | 0xf4 | 0xf6);
            assert_eq!((block[0], data.len(), block[6]), (0x85, 512 * usize::from(has_data), u8::from(has_data)));
            let prepared = std::mem::take(&mut self.prepared);
            let given = data.get(2..34).map(<[u8]>::to_vec);
            let is_right = given.is_some() && given == self.password;
            match block[14] {
                _ if self.dead => return Err(io::ErrorKind::NotConnected.into()),
                0xf1 => self.password = given,
                0xf3 => self.prepared = true,
                0xf4 if self.dies => {
                    self.dead = true;
                    return Err(io::ErrorKind::NotConnected.into());
                }
                0xf4 if prepared && is_right && !self.refuses => (self.password, self.erased) = (None, Some(data[0] & 2)),
                0xf6 if is_right => self.password = None,
                _ => return Err(aborted()),
            }
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_erases_itself_keeps_no_password_unless_its_power_fails() {
        for (case, disk, enhanced, expected) in [
            ("normal", FakeDisk::default(), false, (true, Some(0), false)),
            ("enhanced", FakeDisk::default(), true, (true, Some(2), false)),
            ("refused", FakeDisk { refuses: true, ..FakeDisk::default() }, true, (false, None, false)),
            ("no power", FakeDisk { dies: true, ..FakeDisk::default() }, true, (false, None, true)),
        ] {
            let (mut disk, mut limits) = (disk, Vec::new());
            let done = ask(ata::Erase { enhanced, minutes: 200 }, |command, data, limit| {
                limits.push(limit);
                disk.take(command, data)
            });
            assert_eq!((done.is_ok(), disk.erased, disk.password.is_some()), expected, "{case}");
            assert_eq!(limits.iter().max(), Some(&(600 * MINUTE_MS)), "{case}: three times its own estimate");
        }
    }

    #[test]
    fn a_sanitize_operation_is_waited_for_and_its_failure_is_one() {
        let state = |status: u8| move |log: &mut [u8]| log[2] = status;
        for (case, states, expected) in
            [("ends", vec![2, 2, 1], (true, 3)), ("fails", vec![2, 3, 1], (false, 2)), ("gone", vec![2], (false, 2))]
        {
            let mut asked = 0;
            let done = sanitized(Duration::ZERO, |log| {
                asked += 1;
                let status = states.get(asked - 1).ok_or(io::ErrorKind::NotConnected)?;
                state(*status)(log);
                Ok(())
            });
            assert_eq!((done.is_ok(), asked), expected, "{case}");
        }
    }

    #[test]
    fn a_failed_erase_says_how_the_disk_is_unlocked() {
        // A file takes no ATA command, as a disk that fails.
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, [7; 4096]).unwrap();
        let opened = crate::device::open(file.path()).unwrap();
        let error = self_erase(file.path(), &opened, ata::Erase { enhanced: true, minutes: 2 }).unwrap_err().to_string();
        let disk = file.path().display();
        let command = format!("hdparm --security-unlock thimble {disk} && hdparm --security-disable thimble {disk}");
        assert!(error.contains("its data is not") && error.ends_with(&command), "{error}");
    }
}
