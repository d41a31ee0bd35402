//! The file of leases: a JSON object a line, the last one of an address counts. A client has its ACK only after its line is on
//! the disk. Lines that wait at the same time share one sync.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use ::machine::Chain;
use tokio::sync::oneshot;

use super::leases::Lease;

/// The file, below the data folder.
pub const FILE: &str = "dhcp-leases";
/// How many writes wait. With more the store is too slow for the network, and clients ask again.
const WAITING: usize = 1024;
/// The file as it was, if it has lines that are not leases.
pub const KEPT: &str = "dhcp-leases.broken";
/// The file is written anew when it has this many lines more than three for each lease.
const SURPLUS: usize = 1000;

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot {doing} {}, which has the leases of the DHCP pools", path.display())]
    Failed {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another program uses {}; is another thimble running with the same data folder? Give this one its own --data", .0.display())]
    InUse(PathBuf),
}

type Entry = (Vec<Lease>, oneshot::Sender<bool>);

/// Hands leases to the thread that writes them. The thread ends with it.
#[derive(Debug)]
pub struct Journal(mpsc::SyncSender<Entry>);

impl Journal {
    /// Also returns the leases of the file.
    pub fn open(folder: &Path) -> Result<(Self, Vec<Lease>), JournalError> {
        let path = folder.join(FILE);
        let failed = |doing| {
            let path = path.clone();
            move |source| JournalError::Failed { doing, path, source }
        };
        let lock = open(&folder.join(format!("{FILE}.lock"))).map_err(failed("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::InUse(path)),
            Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
        }
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(failed("read"))?,
        };
        let (leases, broken) = read(&bytes);
        if broken > usize::from(is_cut_off(&bytes)) {
            let kept = folder.join(KEPT);
            std::fs::copy(&path, &kept).map_err(failed("copy"))?;
            log::warn!(
                "{}: {broken} lines are not leases, perhaps those of a newer version; they are left out. The file as it was is {}",
                path.display(),
                kept.display()
            );
        } else if broken > 0 {
            log::warn!("{}: the last line is cut off, as after a crash, and is left out", path.display());
        }
        let live: BTreeMap<Ipv4Addr, Lease> = leases.iter().map(|lease| (lease.address, lease.clone())).collect();
        let file = write_anew(folder, &live).and_then(|file| sync_folder(folder).map(|()| file)).map_err(failed("write"))?;
        let writer = Writer {
            folder: folder.to_owned(),
            file,
            lines: live.len(),
            not_before: 0,
            live,
            is_torn: false,
            is_moved: false,
            _lock: lock,
        };
        let (sender, entries) = mpsc::sync_channel(WAITING);
        let spawned = std::thread::Builder::new().name("dhcp leases".to_owned()).spawn(move || writer.run(&entries));
        spawned.map_err(failed("start the thread for"))?;
        Ok((Self(sender), leases))
    }

    /// Waits until the leases are on the disk. Returns false if they are not.
    pub async fn write(&self, leases: Vec<Lease>) -> bool {
        let (done, written) = oneshot::channel();
        self.0.try_send((leases, done)).is_ok() && written.await.unwrap_or(false)
    }
}

/// The last lease of each address, and how many lines are not leases.
#[must_use]
pub fn read(bytes: &[u8]) -> (Vec<Lease>, usize) {
    let (mut live, mut broken) = (BTreeMap::new(), 0);
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice::<Lease>(line) {
            Ok(lease) => _ = live.insert(lease.address, lease),
            Err(_) => broken += 1,
        }
    }
    (live.into_values().collect(), broken)
}

/// Whether a crash can have ended the last line.
fn is_cut_off(bytes: &[u8]) -> bool {
    let last = bytes.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    !last.is_empty() && serde_json::from_slice::<Lease>(last).is_err()
}

/// With more lines the file is written anew.
fn limit(live: &BTreeMap<Ipv4Addr, Lease>) -> usize {
    3 * live.len() + SURPLUS
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn line(lease: &Lease) -> Vec<u8> {
    let mut line = serde_json::to_vec(lease).unwrap_or_default(); // plain values cannot fail
    line.push(b'\n');
    line
}

/// A new file with one line for each lease replaces the old one. The folder has to be synced before it counts.
fn write_anew(folder: &Path, live: &BTreeMap<Ipv4Addr, Lease>) -> io::Result<File> {
    let (path, new) = (folder.join(FILE), folder.join(format!("{FILE}.new")));
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = open(&new)?;
    file.write_all(&live.values().flat_map(line).collect::<Vec<u8>>())?;
    file.sync_all()?;
    std::fs::rename(&new, &path)?;
    Ok(file)
}

struct Writer {
    folder: PathBuf,
    file: File,
    live: BTreeMap<Ipv4Addr, Lease>,
    lines: usize,
    /// It could not be written anew, and is not tried again before it has so many lines.
    not_before: usize,
    /// The file is a new one, and its folder is not synced yet.
    is_moved: bool,
    /// A write failed half-way, so the next one begins a new line.
    is_torn: bool,
    _lock: File,
}

impl Writer {
    fn run(mut self, entries: &mpsc::Receiver<Entry>) {
        let mut failing = false;
        while let Ok(first) = entries.recv() {
            let (mut leases, mut waiting) = (Vec::new(), Vec::new());
            for (more, done) in std::iter::once(first).chain(entries.try_iter().take(WAITING)) {
                leases.extend(more);
                waiting.push(done);
            }
            let written = self.append(&leases);
            match &written {
                Ok(()) if failing => log::info!("DHCP: leases are written again"),
                Err(error) if !failing => log::error!(
                    "DHCP: cannot write {}: {}; clients of the pools get no address until it can be written",
                    self.folder.join(FILE).display(),
                    Chain(error)
                ),
                _ => {}
            }
            failing = written.is_err();
            for done in waiting {
                let _ = done.send(!failing); // the client may have gone
            }
        }
    }

    fn append(&mut self, leases: &[Lease]) -> io::Result<()> {
        if self.is_moved {
            sync_folder(&self.folder)?;
            self.is_moved = false;
        }
        let mut bytes = if self.is_torn { vec![b'\n'] } else { Vec::new() };
        bytes.extend(leases.iter().flat_map(line));
        self.is_torn = true;
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        self.is_torn = false;
        self.lines += leases.len();
        self.live.extend(leases.iter().map(|lease| (lease.address, lease.clone())));
        if self.lines > limit(&self.live).max(self.not_before) {
            self.shorten();
        }
        Ok(())
    }

    /// All leases are on the disk already, so a failure stops nobody. It is tried again after so many more lines.
    fn shorten(&mut self) {
        match write_anew(&self.folder, &self.live) {
            Ok(file) => {
                (self.file, self.lines, self.not_before, self.is_moved) = (file, self.live.len(), 0, true);
            }
            Err(error) => {
                self.not_before = self.lines + SURPLUS;
                log::warn!(
                    "DHCP: cannot write a shorter {}: {}; it grows on, and no lease is lost",
                    self.folder.join(FILE).display(),
                    Chain(&error)
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::Mac;

    use super::*;
    use crate::dhcp::pool::leases::State;

    fn lease(last: u8, until: u64) -> Lease {
        let address = Ipv4Addr::new(192, 0, 2, last);
        Lease { address, mac: Mac::new([2, 0, 0, 0, 0, last]), id: Some("ff00".to_owned()), state: State::Bound, since: 1, until }
    }

    #[tokio::test]
    async fn a_lease_that_was_acknowledged_is_there_after_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, found) = Journal::open(folder.path()).unwrap();
        assert!(found.is_empty());
        for written in [lease(1, 100), lease(2, 100), lease(1, 200)] {
            assert!(journal.write(vec![written]).await);
        }
        // What a crash leaves: the file without any end of the process, and half a line.
        let bytes = std::fs::read(folder.path().join(FILE)).unwrap();
        let crashed = tempfile::tempdir().unwrap();
        std::fs::write(crashed.path().join(FILE), [&bytes[..], b"{\"address\":\"192.0.2.3\",\"mac\":\"02:00"].concat()).unwrap();
        let (after, found) = Journal::open(crashed.path()).unwrap();
        assert_eq!(found, [lease(1, 200), lease(2, 100)]);
        assert!(after.write(vec![lease(3, 300)]).await);
        assert_eq!(
            read(&std::fs::read(crashed.path().join(FILE)).unwrap()),
            (vec![lease(1, 200), lease(2, 100), lease(3, 300)], 0)
        );
    }

    #[tokio::test]
    async fn the_file_is_written_anew_before_it_grows() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(folder.path()).unwrap();
        for batch in 0..50 {
            assert!(journal.write((0..100).map(|number| lease(1, batch * 100 + number)).collect()).await);
        }
        let bytes = std::fs::read(folder.path().join(FILE)).unwrap();
        assert!(bytes.split(|byte| *byte == b'\n').count() <= SURPLUS + 4, "{}", bytes.len());
        assert_eq!(read(&bytes).0, [lease(1, 4999)]);
    }

    #[tokio::test]
    async fn leases_are_acknowledged_while_the_file_cannot_be_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(folder.path()).unwrap();
        let in_the_way = folder.path().join(format!("{FILE}.new"));
        std::fs::create_dir(&in_the_way).unwrap();
        let batch = |batch: u64| (0..100).map(|number| lease(1, batch * 100 + number)).collect();
        for number in 0..30 {
            assert!(journal.write(batch(number)).await, "it is on the disk");
        }
        let read_all = || read(&std::fs::read(folder.path().join(FILE)).unwrap());
        assert_eq!(read_all(), (vec![lease(1, 2999)], 0));
        std::fs::remove_dir(&in_the_way).unwrap();
        for number in 30..60 {
            assert!(journal.write(batch(number)).await);
        }
        let bytes = std::fs::read(folder.path().join(FILE)).unwrap();
        assert!(bytes.split(|byte| *byte == b'\n').count() <= SURPLUS + 104, "it is tried again");
        assert_eq!(read_all(), (vec![lease(1, 5999)], 0));
    }

    #[test]
    fn lines_of_another_version_are_not_erased() {
        let (good, cut) = (line(&lease(1, 2)), &b"{\"address\":\"192.0.2.3\""[..]);
        let newer = br#"{"address":"192.0.2.2","mac":"02:00:00:00:00:02","state":"bound","since":1,"until":2,"zone":"a"}"#;
        let unknown = b"{\"address\":\"192.0.2.4\",\"state\":\"promised\"}\n";
        assert_eq!(read(newer).1, 0, "a field more is no reason to lose a lease");
        for (case, bytes, is_kept) in [
            ("whole", good.clone(), false),
            ("cut off by a crash", [&good[..], cut].concat(), false),
            ("a line of a newer version", [&good[..], unknown].concat(), true),
            ("both", [unknown, &good[..], cut].concat(), true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(FILE), &bytes).unwrap();
            let (journal, found) = Journal::open(folder.path()).unwrap();
            assert_eq!(found, [lease(1, 2)], "{case}");
            assert_eq!(std::fs::read(folder.path().join(KEPT)).ok(), is_kept.then_some(bytes), "{case}");
            drop(journal);
        }
    }

    #[tokio::test]
    async fn two_programs_do_not_write_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(folder.path()).unwrap();
        let error = Journal::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("another program uses") && error.contains("--data"), "{error}");
        drop(journal);
    }

    #[test]
    fn what_is_not_a_lease_is_counted_and_left_out() {
        let good = line(&lease(1, 2));
        let bytes = [&b"nonsense\n\xff\n{}\n"[..], &good, b"\n{\"address\":\"x\"}"].concat();
        assert_eq!(read(&bytes), (vec![lease(1, 2)], 4));
    }
}
