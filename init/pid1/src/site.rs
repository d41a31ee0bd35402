//! Finds this machine in the table of its site, which an ISO image for many machines has. The kernel arguments in its row count
//! as if the boot loader had given them, but those of the boot loader win.
//!
//! UUID and serial number are known at once. The MAC addresses are known when drivers are loaded, so the network client looks
//! for them.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use cmdline::HwAddr;
use machine::site::{Answer, Found, Identity, find, serial};
use machine::{Chain, files};

/// After a NIC has appeared, others may follow. Two of them may have different rows, which must be noticed before either is
/// used.
const SETTLE: Duration = Duration::from_secs(1);
/// What one read of the table takes.
const PIECE: usize = 4096;

/// The outcome of a look at the table.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// The arguments of every machine, and those of the row.
    pub words: String,
    /// Whether there is no row yet. A MAC address may still find one.
    pub is_open: bool,
}

/// Looks by UUID and serial number, and says what it has found.
pub fn look_by_firmware(root: &Path) -> Looked {
    let Some(table) = open(root) else { return Looked::default() };
    let identity = identity(root);
    let Some(answer) = answer(table, &identity) else { return Looked::default() };
    let looked = Looked { is_open: answer.found == Found::Nobody, words: words(&answer) };
    if looked.is_open {
        let (rows, has) = (answer.rows, said(&identity));
        log::info!(
            "{} has {rows} machines, but none with what this machine has: {has}. The MAC addresses come next",
            files::SITE
        );
    } else {
        say(&answer, &identity);
    }
    looked
}

/// The words of the row with this MAC address, and those of every machine. PID 1 looks again for what the network client has
/// found, so that no text comes from it.
pub fn words_by_mac(root: &Path, mac: HwAddr) -> Option<String> {
    let answer = answer(open(root)?, &Identity { macs: vec![mac], ..Identity::default() })?;
    matches!(answer.found, Found::Machine { .. }).then(|| words(&answer))
}

/// The table takes memory, and is needed once.
pub fn forget(root: &Path) {
    if let Err(error) = fs::remove_file(files::below(root, files::SITE))
        && error.kind() != io::ErrorKind::NotFound
    {
        log::warn!("cannot remove {}: {error}", files::SITE);
    }
}

/// The search by MAC address, until it has found a row.
#[derive(Default)]
pub struct Search {
    seen: Vec<HwAddr>,
    /// When to look, since an address was new.
    due: Option<Instant>,
    has_looked: bool,
}

/// What the network client does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Wait,
    /// It asks by DHCP, and goes on looking at new NICs.
    AskByDhcp,
    /// This address found the row with these words.
    Use(HwAddr, String),
}

impl Search {
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes the addresses of all NICs that exist now.
    pub fn turn(&mut self, root: &Path, macs: impl Iterator<Item = HwAddr>, now: Instant) -> Next {
        let before = self.seen.len();
        for mac in macs {
            if !self.seen.contains(&mac) {
                self.seen.push(mac);
            }
        }
        if self.seen.len() > before {
            self.due = Some(now + SETTLE);
        }
        if self.due.is_some_and(|due| due <= now) {
            (self.due, self.has_looked) = (None, true);
            if let Some(found) = self.look(root) {
                return found;
            }
        }
        if self.has_looked { Next::AskByDhcp } else { Next::Wait }
    }

    fn look(&self, root: &Path) -> Option<Next> {
        let mut identity = identity(root);
        let by_mac = Identity { macs: self.seen.clone(), ..Identity::default() };
        let answer = answer(open(root)?, &by_mac)?;
        identity.macs.clone_from(&self.seen);
        say(&answer, &identity);
        let Found::Machine { row, .. } = &answer.found else { return None };
        let mac = row.macs.iter().find(|mac| self.seen.contains(mac))?;
        Some(Next::Use(*mac, words(&answer)))
    }
}

fn open(root: &Path) -> Option<File> {
    match File::open(files::below(root, files::SITE)) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            log::error!("cannot open the table of machines {}: {error}", files::SITE);
            None
        }
    }
}

fn answer(table: File, identity: &Identity) -> Option<Answer> {
    match find(BufReader::with_capacity(PIECE, table), identity) {
        Ok(answer) => {
            if answer.unreadable > 0 {
                log::warn!("{} lines of {} cannot be read; make the ISO image again", answer.unreadable, files::SITE);
            }
            Some(answer)
        }
        Err(error) => {
            log::error!("the table of machines {} cannot be used: {}", files::SITE, Chain(&error));
            None
        }
    }
}

fn words(answer: &Answer) -> String {
    match &answer.found {
        Found::Machine { row, .. } => format!("{} {}", answer.everyone, row.arguments),
        Found::Several { .. } | Found::Nobody => answer.everyone.clone(),
    }
}

fn say(answer: &Answer, identity: &Identity) {
    match &answer.found {
        Found::Machine { key, row } => {
            log::info!("this machine is {}, one of {} machines of its site, by its {key}", row.name, answer.rows);
        }
        Found::Several { key, names: [one, other] } => log::error!(
            "this machine is {one} or {other}: both have its {key} in {}, so neither is used, and it asks by DHCP. It has {}. \
             Correct their Hardware, and make the ISO image again",
            files::SITE,
            said(identity)
        ),
        Found::Nobody => log::warn!(
            "this machine is none of the {} machines of its site, so it asks by DHCP. It has {}. Add one of these to its \
             Hardware, and make the ISO image again",
            answer.rows,
            said(identity)
        ),
    }
}

fn said(identity: &Identity) -> String {
    let uuid = identity.uuid.map_or_else(|| "no usable UUID".to_owned(), |uuid| format!("UUID {uuid}"));
    let serial =
        identity.serial.as_ref().map_or_else(|| "no usable serial number".to_owned(), |text| format!("serial number {text}"));
    let mut text = format!("{uuid}, {serial}");
    if !identity.macs.is_empty() {
        let macs: Vec<String> = identity.macs.iter().map(HwAddr::to_string).collect();
        text += &format!(", MAC addresses {}", macs.join(", "));
    }
    text
}

/// The board's serial number is for a system whose maker has not set one. A chassis may hold several systems, so its number
/// does not count.
fn identity(root: &Path) -> Identity {
    let dmi = |name: &str| fs::read_to_string(root.join("sys/class/dmi/id").join(name)).ok();
    let of_firmware = |name| serial(&dmi(name)?);
    Identity {
        uuid: dmi("product_uuid").and_then(|text| text.parse().ok()),
        serial: of_firmware("product_serial").or_else(|| of_firmware("board_serial")),
        macs: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACS: [HwAddr; 3] = [HwAddr([2, 0, 0, 0, 0, 1]), HwAddr([2, 0, 0, 0, 0, 2]), HwAddr([2, 0, 0, 0, 0, 3])];
    const TABLE: &str = "thimble-site 1\tgrpc_authority=10.0.0.1:42113\n\
        a\t4c4c4544-0042-3510-8052-b4c04f384832\t-\t-\tworker_id=a\n\
        b\t-\tBOARD7\t-\tworker_id=b\n\
        c\t-\t-\t02:00:00:00:00:01\tworker_id=c\n\
        d\t-\t-\t02:00:00:00:00:02\tworker_id=d\n";

    fn machine(uuid: &str, product: &str, board: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let dmi = root.path().join("sys/class/dmi/id");
        fs::create_dir_all(&dmi).unwrap();
        for (name, text) in [("product_uuid", uuid), ("product_serial", product), ("board_serial", board)] {
            fs::write(dmi.join(name), format!("{text}\n")).unwrap();
        }
        fs::create_dir_all(root.path().join("etc/thimble")).unwrap();
        fs::write(root.path().join("etc/thimble/site"), TABLE).unwrap();
        root
    }

    #[test]
    fn firmware_says_which_machine_it_is() {
        const DELL: &str = "4C4C4544-0042-3510-8052-B4C04F384832";
        for (case, uuid, product, board, words, is_open) in [
            ("by UUID", DELL, "X1", "X2", " worker_id=a", false),
            ("the maker has set the board's number alone", "Not Settable", "Default string", "board7", " worker_id=b", false),
            ("a board in another system", "Not Settable", "X1", "BOARD7", "", true),
            ("neither", "Not Settable", "", "", "", true),
        ] {
            let root = machine(uuid, product, board);
            let words = format!("grpc_authority=10.0.0.1:42113{words}");
            assert_eq!(look_by_firmware(root.path()), Looked { words, is_open }, "{case}");
        }
    }

    #[test]
    fn a_ramdisk_without_a_table_has_no_words() {
        let root = machine("", "", "");
        fs::write(root.path().join("etc/thimble/site"), "of a later version\n").unwrap();
        assert_eq!(look_by_firmware(root.path()), Looked::default());
        forget(root.path());
        forget(root.path());
        assert_eq!(look_by_firmware(root.path()), Looked::default());
    }

    #[test]
    fn a_mac_counts_once_no_other_nic_has_appeared_for_a_second() {
        let (root, start) = (machine("", "", ""), Instant::now());
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let [c, d, stranger] = MACS;
        let use_c = Next::Use(c, "grpc_authority=10.0.0.1:42113 worker_id=c".to_owned());
        for (case, turns) in [
            ("no NIC yet", vec![(0, vec![], Next::Wait), (60_000, vec![], Next::Wait)]),
            ("one NIC", vec![(0, vec![c], Next::Wait), (999, vec![c], Next::Wait), (1000, vec![c], use_c)]),
            (
                "two NICs of different rows",
                vec![(0, vec![c], Next::Wait), (900, vec![c, d], Next::Wait), (1900, vec![c, d], Next::AskByDhcp)],
            ),
            (
                "the right NIC comes late",
                vec![
                    (0, vec![stranger], Next::Wait),
                    (1000, vec![stranger], Next::AskByDhcp),
                    (9000, vec![stranger, d], Next::AskByDhcp),
                    (10_000, vec![stranger, d], Next::Use(d, "grpc_authority=10.0.0.1:42113 worker_id=d".to_owned())),
                ],
            ),
        ] {
            let mut search = Search::default();
            for (time, macs, expected) in turns {
                assert_eq!(search.turn(root.path(), macs.into_iter(), at(time)), expected, "{case} after {time} ms");
            }
        }
        assert_eq!(words_by_mac(root.path(), c).as_deref(), Some("grpc_authority=10.0.0.1:42113 worker_id=c"));
        assert_eq!(words_by_mac(root.path(), stranger), None);
    }
}
