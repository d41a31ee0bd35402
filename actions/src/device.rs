//! A disk or partition: finds it by its path or its properties, waits for it, opens it, and rereads its partitions.

mod mapper;
mod read;

pub use mapper::device as mapped;
pub use read::{Source, forget, open_to_read};

use crate::disks::{self, Disk};
use crate::selector::{self, NotOne, Selector};
use crate::variables::{VariableError, Variables, unusable, unusable_because};
use crate::{say, sys};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A partition appears when the kernel has read the table, a SCSI disk when its bus was scanned.
pub const APPEARS_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
/// A program that only probes a partition closes it soon.
const BUSY_LIMIT: Duration = Duration::from_secs(10);

/// Two looks at the disks must give the same one.
const SETTLED: Duration = Duration::from_millis(500);
/// Drivers find disks one after the other. A better match may appear until none has appeared for this long.
const QUIET: Duration = Duration::from_secs(10);
/// Since the kernel started. SAS disks that spin up appear late, and until then nothing shows that they will.
const SPUN_UP: Duration = Duration::from_secs(45);

/// How long a selector waits.
#[derive(Debug, Clone, Copy)]
struct Waits {
    /// For a disk that matches.
    limit: Duration,
    /// Before a choice counts: while the disks are the same, and since the kernel started.
    quiet: Duration,
    uptime: Duration,
}

impl Waits {
    fn of(selector: &Selector, limit: Duration) -> Self {
        // Another disk does not change which one has this serial number.
        let (quiet, uptime) = if selector.is_identity() { (SETTLED, Duration::ZERO) } else { (QUIET, SPUN_UP) };
        Self { limit, quiet, uptime }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("DiskNotFound: {0}")]
    NotOne(#[from] NotOne),
    #[error(
        "DiskNotFound: {path} did not appear within {} s; this machine has {disks}. \
         Is it the right disk, and has its partition table been written?",
        .limit.as_secs()
    )]
    Absent { path: PathBuf, limit: Duration, disks: String },
    #[error("{0} is neither a block device nor a regular file")]
    NotADisk(PathBuf),
    #[error("{0} is in use: it or a partition of it is mounted, or belongs to RAID or LVM")]
    Busy(PathBuf),
    #[error("cannot open {path} for writing")]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot open {path}")]
    OpenToRead {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot read {path} at byte {at}")]
    Read {
        path: PathBuf,
        at: u64,
        #[source]
        source: io::Error,
    },
    #[error("the kernel refuses to read the partition table of {path} again")]
    Reread {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// How a variable names a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    Path(PathBuf),
    Selector(Selector),
}

impl Named {
    /// A path, or `disk:` and the terms of a [`Selector`].
    ///
    /// # Errors
    /// A missing variable, a relative path, or a wrong term.
    pub fn read(variables: &Variables, name: &'static str) -> Result<Self, VariableError> {
        let text = variables.required(name)?.to_str().unwrap_or_default();
        if text.starts_with(selector::PREFIX) { Self::of(name, text) } else { Ok(Self::Path(variables.absolute_path(name)?)) }
    }

    /// One of several in a variable.
    ///
    /// # Errors
    /// A relative path, or a wrong term.
    pub fn of(name: &'static str, text: &str) -> Result<Self, VariableError> {
        match text.strip_prefix(selector::PREFIX) {
            Some(terms) => Selector::parse(terms).map(Self::Selector).map_err(|error| unusable_because(name, text, &error)),
            None if text.starts_with('/') => Ok(Self::Path(PathBuf::from(text))),
            None => Err(unusable(name, text, "a path that begins with /, or disk: and terms")),
        }
    }

    /// Waits until the device is there, and gives its path.
    ///
    /// # Errors
    /// A device that does not appear, and a selector that no disk or several disks match.
    pub fn appear(&self, limit: Duration) -> Result<PathBuf, DeviceError> {
        let path = self.resolve(limit)?;
        wait_for(&path, limit).map(|()| path)
    }

    /// Its path, whether it is there or not: a partition of a disk that will get its table later.
    ///
    /// # Errors
    /// A selector that no disk or several disks match.
    pub fn resolve(&self, limit: Duration) -> Result<PathBuf, DeviceError> {
        let (shown, path) = match self {
            Self::Path(path) => match mapper::device(Path::new("/"), path) {
                Some(device) if !path.exists() => (path.display().to_string(), device),
                _ => return Ok(path.clone()),
            },
            Self::Selector(selector) => (selector.to_string(), PathBuf::from(select(selector, Path::new("/"), limit)?)),
        };
        say(&format!("{shown} is {}", path.display()));
        Ok(path)
    }
}

/// What one look at the disks leads to.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Chosen(String),
    Refused(NotOne),
    WaitFor(String),
    /// It is there, and is taken if the next look finds it, too.
    Again,
}

/// The looks so far.
struct Choice<'s> {
    selector: &'s Selector,
    waits: Waits,
    start: Instant,
    seen: Vec<Disk>,
    changed: Instant,
}

impl<'s> Choice<'s> {
    fn new(selector: &'s Selector, waits: Waits, now: Instant) -> Self {
        Self { selector, waits, start: now, seen: Vec::new(), changed: now }
    }

    /// An unknown uptime counts as a long one.
    fn look(&mut self, disks: Vec<Disk>, uptime: Option<Duration>, now: Instant) -> Look {
        if disks != self.seen {
            (self.seen, self.changed) = (disks, now);
        }
        let Waits { limit, quiet, uptime: enough } = self.waits;
        let is_quiet = now.duration_since(self.changed) >= quiet && uptime.is_none_or(|uptime| uptime >= enough);
        match self.selector.choose(&self.seen) {
            Ok(disk) if is_quiet => Look::Chosen(self.selector.path(disk)),
            // A disk that is still to come may be the only smallest one.
            Err(error @ NotOne::Several { .. }) if is_quiet => Look::Refused(error),
            Err(error @ NotOne::None { .. }) if now.duration_since(self.start) >= limit => Look::Refused(error),
            Err(NotOne::None { .. }) => {
                Look::WaitFor(format!("a disk that matches {} (at most {} s)", self.selector, limit.as_secs()))
            }
            _ if self.selector.is_identity() => Look::Again,
            _ => Look::WaitFor(format!(
                "further disks: until none has appeared for {} s, and {} s after the kernel started",
                quiet.as_secs(),
                enough.as_secs()
            )),
        }
    }
}

fn select(selector: &Selector, root: &Path, limit: Duration) -> Result<String, DeviceError> {
    let mut choice = Choice::new(selector, Waits::of(selector, limit), Instant::now());
    let mut said = String::new();
    loop {
        match choice.look(disks::table(root), uptime(root), Instant::now()) {
            Look::Chosen(path) => return Ok(path),
            Look::Refused(error) => return Err(error.into()),
            Look::WaitFor(what) if what != said => {
                say(&format!("waiting for {what}"));
                said = what;
            }
            Look::WaitFor(_) | Look::Again => {}
        }
        sleep(SETTLED);
    }
}

/// Since the kernel started. `None` without `/proc`.
fn uptime(root: &Path) -> Option<Duration> {
    let text = std::fs::read_to_string(root.join("proc/uptime")).ok()?;
    Duration::try_from_secs_f64(text.split(' ').next()?.parse().ok()?).ok()
}

/// Waits until `path` exists, and says so if that takes time.
pub fn wait_for(path: &Path, limit: Duration) -> Result<(), DeviceError> {
    let start = Instant::now();
    if !path.exists() {
        say(&format!("waiting for {} to appear (at most {} s)", path.display(), limit.as_secs()));
    }
    while !path.exists() {
        if start.elapsed() >= limit {
            return Err(DeviceError::Absent { path: path.to_owned(), limit, disks: disks::list(&disks::table(Path::new("/"))) });
        }
        sleep(POLL);
    }
    Ok(())
}

/// The path of a partition: `/dev/sda1`, `/dev/nvme0n1p1`. A link such as those below `/dev/disk` is followed first.
pub fn partition(disk: &Path, number: u32) -> PathBuf {
    let disk = std::fs::canonicalize(disk).unwrap_or_else(|_| disk.to_owned());
    let text = disk.to_string_lossy();
    let separator = if text.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
    PathBuf::from(format!("{text}{separator}{number}"))
}

#[derive(Debug)]
pub struct Opened {
    pub file: File,
    pub size: u64,
    /// The logical sector size; 512 for a file.
    pub sector: u64,
    /// Writes bypass the page cache and must be aligned.
    pub direct: bool,
    pub is_block_device: bool,
}

/// Opens a disk exclusively. A regular file counts as a disk of its size.
pub fn open(path: &Path) -> Result<Opened, DeviceError> {
    let failed = |source: io::Error| match rustix::io::Errno::from_io_error(&source) {
        Some(rustix::io::Errno::BUSY) => DeviceError::Busy(path.to_owned()),
        _ => DeviceError::Open { path: path.to_owned(), source },
    };
    let kind = std::fs::metadata(path).map_err(failed)?.file_type();
    if !kind.is_block_device() && !kind.is_file() {
        return Err(DeviceError::NotADisk(path.to_owned()));
    }
    // On a block device, O_EXCL refuses while a file system, RAID or LVM holds it.
    let exclusive = if kind.is_block_device() { OFlags::EXCL } else { OFlags::empty() };
    let open = |flags: OFlags| OpenOptions::new().read(true).write(true).custom_flags(flags.bits() as i32).open(path);
    let (mut file, direct) = match open(exclusive | OFlags::DIRECT) {
        Ok(file) => (file, true),
        // tmpfs and some others do not have direct access
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => (open(exclusive).map_err(failed)?, false),
        Err(error) => return Err(failed(error)),
    };
    let size = file.seek(SeekFrom::End(0)).map_err(failed)?;
    let sector = if kind.is_block_device() { rustix::fs::ioctl_blksszget(&file).map_or(512, u64::from) } else { 512 };
    Ok(Opened { file, size, sector, direct, is_block_device: kind.is_block_device() })
}

/// Makes new partitions appear. For a partition or a file the kernel reads no table, which is not an error.
pub fn reread_partitions(path: &Path, disk: &File) -> Result<(), DeviceError> {
    let start = Instant::now();
    loop {
        let Err(source) = sys::reread_partitions(disk) else { return Ok(()) };
        match rustix::io::Errno::from_io_error(&source) {
            Some(rustix::io::Errno::INVAL | rustix::io::Errno::NOTTY) => return Ok(()),
            Some(rustix::io::Errno::BUSY) if start.elapsed() < BUSY_LIMIT => sleep(POLL),
            _ => return Err(DeviceError::Reread { path: path.to_owned(), source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_never_appears_is_named() {
        let error = wait_for(Path::new("/dev/does-not-exist1"), Duration::from_millis(1)).unwrap_err();
        assert!(
            error.to_string().starts_with("DiskNotFound: /dev/does-not-exist1 did not appear within 0 s; this machine has "),
            "{error}"
        );
    }

    #[test]
    fn a_device_that_appears_later_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vda1");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wait_for(&path, APPEARS_WITHIN));
            std::fs::write(&path, "").unwrap();
            waiting.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_device_is_named_by_its_path_or_its_properties() {
        let read =
            |text: &str| Named::read(&Variables::of([("DEST_DISK", text)]), "DEST_DISK").map_err(|error| error.to_string());
        assert_eq!(read("/dev/vda"), Ok(Named::Path("/dev/vda".into())));
        assert!(matches!(read("disk:smallest,transport=nvme"), Ok(Named::Selector(_))));
        for (text, expected) in [
            ("vda", "wanted a path that begins with /"),
            ("disk:colour=red", "DEST_DISK=\"disk:colour=red\" is not usable: \"colour=red\" is not a term"),
            ("", "DEST_DISK is not set"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    fn put(root: &Path, name: &str, serial: &str, size: &str) {
        let disk = root.join("sys/block").join(name);
        std::fs::create_dir_all(&disk).unwrap();
        std::fs::write(disk.join("serial"), serial).unwrap();
        std::fs::write(disk.join("size"), size).unwrap();
    }

    #[test]
    fn a_disk_that_appears_later_is_found_by_its_properties() {
        let root = tempfile::tempdir().unwrap();
        let selector = Selector::parse("serial=A1").unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| select(&selector, root.path(), APPEARS_WITHIN));
            put(root.path(), "sda", "A1", "8");
            assert_eq!(waiting.join().unwrap().unwrap(), "/dev/sda");
        });
        let gone = select(&Selector::parse("serial=B1").unwrap(), root.path(), Duration::ZERO).unwrap_err().to_string();
        assert!(gone.starts_with("DiskNotFound: no disk matches disk:serial=B1; this machine has /dev/sda"), "{gone}");
    }

    fn disks<const N: usize>(sizes: [u64; N]) -> Vec<Disk> {
        ('a'..).zip(sizes).map(|(letter, size)| Disk { name: format!("sd{letter}"), size, ..Disk::default() }).collect()
    }

    #[test]
    fn a_choice_among_disks_waits_until_no_disk_has_appeared_for_some_time() {
        for (terms, first, all, path) in [
            ("largest", disks([8, 16]), disks([8, 16, 32]), "/dev/sdc"),
            ("smallest", disks([16, 16]), disks([16, 16, 8]), "/dev/sdc"),
        ] {
            let selector = Selector::parse(terms).unwrap();
            let start = Instant::now();
            let at = |seconds| start + Duration::from_secs(seconds);
            let mut choice = Choice::new(&selector, Waits::of(&selector, APPEARS_WITHIN), start);
            for (seconds, disks, expected) in
                [(2, &first, None), (11, &first, None), (11, &all, None), (20, &all, None), (21, &all, Some(path.to_owned()))]
            {
                let look = choice.look(disks.clone(), Some(SPUN_UP), at(seconds));
                let expected = expected.map_or(
                    Look::WaitFor(
                        "further disks: until none has appeared for 10 s, and 45 s after the kernel started".to_owned(),
                    ),
                    Look::Chosen,
                );
                assert_eq!(look, expected, "{terms} at {seconds} s");
            }
        }
    }

    #[test]
    fn a_disk_that_is_named_is_taken_at_once() {
        let selector = Selector::parse("name=sdb").unwrap();
        let start = Instant::now();
        let mut choice = Choice::new(&selector, Waits::of(&selector, APPEARS_WITHIN), start);
        assert!(matches!(choice.look(disks([8]), None, start), Look::WaitFor(_)));
        assert_eq!(choice.look(disks([8, 8]), Some(SETTLED), start), Look::Again);
        assert_eq!(choice.look(disks([8, 8]), Some(SETTLED), start + SETTLED), Look::Chosen("/dev/sdb".to_owned()));
    }

    #[test]
    fn equal_disks_are_refused_when_no_other_one_comes() {
        let selector = Selector::parse("smallest").unwrap();
        let start = Instant::now();
        let mut choice = Choice::new(&selector, Waits::of(&selector, APPEARS_WITHIN), start);
        assert!(matches!(choice.look(disks([8, 8]), None, start), Look::WaitFor(_)));
        assert!(matches!(choice.look(disks([8, 8]), None, start + QUIET), Look::Refused(NotOne::Several { .. })));
        assert!(matches!(choice.look(Vec::new(), None, start + APPEARS_WITHIN), Look::Refused(NotOne::None { .. })));
    }

    #[test]
    fn a_choice_among_disks_waits_for_disks_that_spin_up() {
        let selector = Selector::parse("smallest").unwrap();
        let start = Instant::now();
        let mut choice = Choice::new(&selector, Waits::of(&selector, APPEARS_WITHIN), start);
        choice.look(disks([8]), None, start);
        let almost = SPUN_UP - Duration::from_millis(10);
        assert!(matches!(choice.look(disks([8]), Some(almost), start + SPUN_UP), Look::WaitFor(_)));
        assert_eq!(choice.look(disks([8]), Some(SPUN_UP), start + SPUN_UP), Look::Chosen("/dev/sda".to_owned()));
    }

    #[test]
    fn the_uptime_is_the_kernels() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(uptime(root.path()), None);
        std::fs::create_dir(root.path().join("proc")).unwrap();
        std::fs::write(root.path().join("proc/uptime"), "44.50 80.02\n").unwrap();
        assert_eq!(uptime(root.path()), Some(Duration::from_millis(44_500)));
    }

    #[test]
    fn only_what_names_one_disk_is_chosen_at_once() {
        for (terms, quiet) in [("serial=A1", SETTLED), ("wwn=0x5,largest", SETTLED), ("serial=A*", QUIET), ("name!=sda", QUIET)] {
            let selector = Selector::parse(terms).unwrap();
            assert_eq!(Waits::of(&selector, APPEARS_WITHIN).quiet, quiet, "{terms}");
        }
        let selector = Selector::parse("transport=nvme").unwrap();
        assert_eq!(Waits::of(&selector, APPEARS_WITHIN).uptime, SPUN_UP);
    }

    #[test]
    fn a_folder_is_no_disk() {
        let error = open(Path::new("/dev")).unwrap_err();
        assert_eq!(error.to_string(), "/dev is neither a block device nor a regular file");
        assert!(matches!(open(Path::new("/dev/null")), Err(DeviceError::NotADisk(_))));
    }
}
