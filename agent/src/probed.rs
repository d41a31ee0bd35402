//! An action starts when the machine's disks are present. Drivers load while the network is set up and the image is pulled,
//! so a disk that an action names may appear a moment later. Images do not wait for it, because other environments load
//! every driver before they start an agent.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::action::Action;
use machine::{Milestone, files, milestones};

/// The limit from the start of `/init`. Some controllers need that long to find their disks, and `/init` logs the driver.
const DRIVERS_WITHIN: Duration = Duration::from_secs(60);
/// The limit after the drivers, for USB and for controllers that search for disks after their driver has finished.
const DISKS_WITHIN: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(50);

/// `root` is `/`, except in tests.
pub struct ProbedDevices {
    root: PathBuf,
}

impl Default for ProbedDevices {
    fn default() -> Self {
        Self { root: PathBuf::from("/") }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Lacks {
    Nothing,
    Drivers,
    Disk(PathBuf),
}

impl ProbedDevices {
    /// Returns when `action` has what it needs, or when the limit has passed. The caller handles cancellation.
    pub async fn is_ready_for(&self, action: &Action) {
        let disks = disks_of(action);
        let began = Instant::now();
        let age = self.age();
        let mut told = BTreeSet::new();
        loop {
            let (what, rest) = match self.lacks(&disks) {
                Lacks::Nothing => return,
                Lacks::Drivers => ("the drivers".to_owned(), DRIVERS_WITHIN.checked_sub(age + began.elapsed())),
                Lacks::Disk(disk) => (disk.display().to_string(), self.patience(began)),
            };
            let Some(rest) = rest else {
                log::warn!("{}: {what} did not appear; starting without it", action.title());
                return;
            };
            if told.insert(what.clone()) {
                log::info!("{}: waiting for {what} (at most {} s)", action.title(), rest.as_secs().max(1));
            }
            sleep(POLL).await;
        }
    }

    fn lacks(&self, disks: &BTreeSet<PathBuf>) -> Lacks {
        let missing = disks.iter().find(|disk| !self.path(disk).exists());
        let Ok(boot) = fs::read_to_string(files::below(&self.root, files::BOOT)) else { return Lacks::Nothing }; // this is not Thimble's /init
        match missing {
            None if !disks.is_empty() => Lacks::Nothing,
            _ if Milestone::Drivers.at(&boot).is_none() => Lacks::Drivers,
            Some(disk) => Lacks::Disk(disk.clone()),
            None => Lacks::Nothing,
        }
    }

    /// How long `/init` has been running. A driver that hangs delays only the first action.
    fn age(&self) -> Duration {
        let boot = fs::read_to_string(files::below(&self.root, files::BOOT)).unwrap_or_default();
        Milestone::Init.at(&boot).map_or(Duration::ZERO, |began| milestones::now().saturating_sub(began))
    }

    /// A disk that is missing long after the boot is either made by the action, or does not exist.
    fn patience(&self, began: Instant) -> Option<Duration> {
        let boot = fs::read_to_string(files::below(&self.root, files::BOOT)).unwrap_or_default();
        let loaded = Milestone::Packs.at(&boot).or_else(|| Milestone::Drivers.at(&boot));
        let since_drivers = loaded.map(|at| milestones::now().saturating_sub(at));
        DISKS_WITHIN.checked_sub(since_drivers.unwrap_or_else(|| began.elapsed()))
    }

    fn path(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// The disks that the environment and the command of the action name.
fn disks_of(action: &Action) -> BTreeSet<PathBuf> {
    let texts = action.environment.entries().iter().chain(&action.command).chain(&action.volumes);
    let is_of_path = |c: char| c.is_ascii_alphanumeric() || "/-_.:@+".contains(c);
    let words = texts.flat_map(|text| text.split(move |c| !is_of_path(c)));
    let paths = words.filter_map(|word| word.find("/dev/").and_then(|at| word.get(at..)));
    paths.filter_map(whole_disk).collect()
}

/// The disk that belongs to the name of a disk or a partition. `None` if it is not a disk of the machine, or is named by
/// its content.
fn whole_disk(path: &str) -> Option<PathBuf> {
    let name = path.strip_prefix("/dev/")?;
    // A colon ends a name, as in Docker's bind strings.
    if let Some(link) = name.strip_prefix("disk/by-id/").or_else(|| name.strip_prefix("disk/by-path/")) {
        return (!link.is_empty() && !link.contains('/')).then(|| without_part(path, "-part"));
    }
    let name = name.split(':').next().unwrap_or(name);
    let path = &format!("/dev/{name}");
    let letters = ["sd", "vd", "xvd", "hd"].into_iter().find_map(|kind| name.strip_prefix(kind));
    let rest = letters.map(|rest| rest.trim_end_matches(|c: char| c.is_ascii_digit()));
    if rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_lowercase())) {
        return Some(path.trim_end_matches(|c: char| c.is_ascii_digit()).into());
    }
    let numbered = name.strip_prefix("nvme").is_some_and(|rest| rest.contains('n')) || name.starts_with("mmcblk");
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (numbered && plain).then(|| without_part(path, "p"))
}

/// Removes `part` and a number from the end.
fn without_part(path: &str, part: &str) -> PathBuf {
    let rest = path.trim_end_matches(|c: char| c.is_ascii_digit());
    let disk = if rest.len() < path.len() { rest.strip_suffix(part) } else { None };
    disk.unwrap_or(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(environment: &[&str], command: &[&str]) -> Action {
        let wire = proto::ActionResponse {
            workflow_id: Some("w".into()),
            task_id: Some("t".into()),
            action_id: Some("a".into()),
            environment: environment.iter().map(|&text| text.into()).collect(),
            command: command.iter().map(|&text| text.into()).collect(),
            ..Default::default()
        };
        Action::from_wire(wire).unwrap()
    }

    #[test]
    fn disks_are_recognised_by_their_names_and_their_partitions() {
        for (text, expected) in [
            ("DEST_DISK=/dev/sda", Some("/dev/sda")),
            ("DEST_DISK=/dev/sdab12", Some("/dev/sdab")),
            ("/dev/vda1", Some("/dev/vda")),
            ("/dev/nvme0n1p2", Some("/dev/nvme0n1")),
            ("/dev/nvme10n1", Some("/dev/nvme10n1")),
            ("/dev/nvme0", None),
            ("/dev/mmcblk0p1", Some("/dev/mmcblk0")),
            ("/dev/mmcblk1", Some("/dev/mmcblk1")),
            ("/dev/disk/by-id/ata-QEMU_1-part3", Some("/dev/disk/by-id/ata-QEMU_1")),
            ("/dev/disk/by-path/pci-0000:00:04.0-part1", Some("/dev/disk/by-path/pci-0000:00:04.0")),
            ("/dev/sdb:/dev/target:rw", Some("/dev/sdb")),
            ("/dev/disk/by-label/root", None),
            ("/dev/disk/by-id/", None),
            ("/dev/shm:/dev/shm", None),
            ("/dev/sd", None),
            ("/dev/sdA", None),
            ("/dev/console", None),
            ("/dev/", None),
            ("/development/sda", None),
        ] {
            let found: Vec<PathBuf> = disks_of(&action(&[text], &[])).into_iter().collect();
            assert_eq!(found, expected.map(PathBuf::from).into_iter().collect::<Vec<_>>(), "{text}");
        }
        let script = action(&["PARTS=/dev/sda1,/dev/sdb2"], &["sh", "-c", "mkfs.ext4 \"/dev/sdc\"; dd of=/dev/sdb"]);
        assert_eq!(disks_of(&script), ["/dev/sda", "/dev/sdb", "/dev/sdc"].map(PathBuf::from).into());
    }

    #[test]
    fn missing_disks_depend_on_the_drivers_and_the_names_in_the_action() {
        let folder = tempfile::tempdir().unwrap();
        let machine = ProbedDevices { root: folder.path().to_owned() };
        let here = BTreeSet::from([PathBuf::from("/dev/sda")]);
        let late = BTreeSet::from([PathBuf::from("/dev/sda"), PathBuf::from("/dev/sdb")]);
        fs::create_dir(folder.path().join("dev")).unwrap();
        fs::write(folder.path().join("dev/sda"), "").unwrap();
        assert_eq!(machine.lacks(&late), Lacks::Nothing, "on an ordinary host the agent does not wait for disks");

        let boot = files::below(&machine.root, files::BOOT);
        fs::create_dir_all(boot.parent().unwrap()).unwrap();
        fs::write(&boot, "init\t900\n").unwrap();
        assert_eq!(machine.lacks(&here), Lacks::Nothing, "every named disk is present");
        assert_eq!((machine.lacks(&late), machine.lacks(&BTreeSet::new())), (Lacks::Drivers, Lacks::Drivers));

        fs::write(&boot, "init\t900\ndrivers\t1900\n").unwrap();
        assert_eq!(machine.lacks(&BTreeSet::new()), Lacks::Nothing);
        assert_eq!(machine.lacks(&late), Lacks::Disk("/dev/sdb".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_when_the_disk_appears_or_the_limit_has_passed() {
        let folder = tempfile::tempdir().unwrap();
        let machine = ProbedDevices { root: folder.path().to_owned() };
        fs::create_dir(folder.path().join("dev")).unwrap();
        let boot = files::below(&machine.root, files::BOOT);
        fs::create_dir_all(boot.parent().unwrap()).unwrap();
        let needs = action(&["DEST_DISK=/dev/sda"], &[]);

        fs::write(&boot, Milestone::Drivers.line(Duration::from_millis(1))).unwrap();
        let began = Instant::now();
        machine.is_ready_for(&needs).await;
        assert!(began.elapsed() < Duration::from_secs(1), "the boot was long ago");

        fs::write(&boot, Milestone::Drivers.line(milestones::now())).unwrap();
        let comes = async {
            sleep(Duration::from_secs(2)).await;
            fs::write(folder.path().join("dev/sda"), "").unwrap();
        };
        let began = Instant::now();
        tokio::join!(machine.is_ready_for(&needs), comes);
        assert!((2..3).contains(&began.elapsed().as_secs()));

        fs::remove_file(folder.path().join("dev/sda")).unwrap();
        fs::write(&boot, Milestone::Init.line(milestones::now())).unwrap();
        let began = Instant::now();
        machine.is_ready_for(&needs).await;
        assert!((60..62).contains(&began.elapsed().as_secs()), "a driver that hangs delays the machine only up to the limit");

        fs::write(&boot, "init\t1\n").unwrap();
        let began = Instant::now();
        machine.is_ready_for(&needs).await;
        assert!(began.elapsed() < Duration::from_secs(1), "and it does not delay later actions");
    }
}
