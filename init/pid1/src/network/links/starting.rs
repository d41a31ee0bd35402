//! Links whose driver is still starting them. The kernel shows a link while its driver is still probing, and some drivers
//! crash if the link is brought up before the end. Linux 6.1's e100 allocates memory after it has shown the link. Without
//! that memory it crashes and never releases the network lock, for which every other driver then waits. Other systems do
//! not have this problem, because udev is slow. The end of probing is the device's `bind` event.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use devices::uevent::{Action, Uevent};

use super::link::Link;
use crate::devices::socket::{MESSAGE_MAX, Received, Uevents};

/// For drivers that show a link without an event of its device. After this time the link is used anyway.
const LIMIT: Duration = Duration::from_secs(2);

pub struct Starting {
    events: Option<Uevents>,
    /// Devices that got their driver since this process listens, as paths below `/sys`.
    bound: BTreeSet<String>,
    /// The awaited links by interface index.
    awaited: BTreeMap<u32, Awaited>,
    finished: BTreeSet<u32>,
    /// Links of the first check are older than this process.
    is_first: bool,
}

struct Awaited {
    device: String,
    since: Instant,
}

impl Starting {
    /// Call this before the first check of the links.
    pub fn open() -> Self {
        let events = Uevents::open().inspect_err(|error| {
            log::warn!("cannot hear when drivers are ready: {error}; each link is used {} s after it appears", LIMIT.as_secs());
        });
        Self::new(events.ok())
    }

    fn new(events: Option<Uevents>) -> Self {
        Self { events, bound: BTreeSet::new(), awaited: BTreeMap::new(), finished: BTreeSet::new(), is_first: true }
    }

    /// Whether an awaited link may have become ready.
    pub fn hear(&mut self) -> bool {
        let mut buffer = [0; MESSAGE_MAX];
        let mut news = false;
        while let Some(events) = &self.events {
            match events.receive(&mut buffer) {
                Received::Message(length) => {
                    let event = buffer.get(..length).and_then(Uevent::parse);
                    news |= event.is_some_and(|event| self.heard(&event));
                }
                Received::Overrun => news = true, // the time limit covers lost events
                Received::Nothing => break,
            }
        }
        news
    }

    fn heard(&mut self, event: &Uevent<'_>) -> bool {
        match event.action {
            Action::Bind => {
                self.bound.insert(event.devpath.to_owned());
                self.awaited.values().any(|awaited| awaited.device == event.devpath)
            }
            Action::Unbind | Action::Remove => {
                self.bound.remove(event.devpath);
                false
            }
            Action::Add | Action::Change => false,
        }
    }

    /// Removes the links that must not be brought up yet.
    pub fn leave_out(&mut self, sysfs: &Path, links: &mut Vec<Link>, now: Instant) {
        self.hear();
        let there: BTreeSet<u32> = links.iter().map(|link| link.index).collect();
        self.finished.retain(|index| there.contains(index));
        self.awaited.retain(|index, _| there.contains(index));
        links.retain(|link| self.is_finished(sysfs, link, now));
        self.is_first = false;
    }

    fn is_finished(&mut self, sysfs: &Path, link: &Link, now: Instant) -> bool {
        if self.finished.contains(&link.index) {
            return true;
        }
        let finished = match device(sysfs, &link.name) {
            None => true, // a bond or a VLAN has no device
            Some(device) => {
                let old = self.is_first && !is_driver_starting(sysfs, &link.name);
                old || self.bound.contains(&device) || {
                    let awaited = self.awaited.entry(link.index).or_insert(Awaited { device, since: now });
                    now >= awaited.since + LIMIT
                }
            }
        };
        if finished {
            self.awaited.remove(&link.index);
            self.finished.insert(link.index);
        }
        finished
    }

    pub fn due(&self) -> Option<Instant> {
        self.awaited.values().map(|awaited| awaited.since + LIMIT).min()
    }

    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.events.as_ref().map(AsFd::as_fd)
    }
}

/// The path of the link's device in events.
fn device(sysfs: &Path, link: &str) -> Option<String> {
    let path = fs::canonicalize(sysfs.join(link).join("device")).ok()?;
    let path = path.to_str()?;
    path.find("/devices/").and_then(|at| path.get(at..)).map(str::to_owned)
}

/// A module that is starting probes the existing devices.
fn is_driver_starting(sysfs: &Path, link: &str) -> bool {
    let state = fs::read_to_string(sysfs.join(link).join("device/driver/module/initstate"));
    state.is_ok_and(|state| state.trim() == "coming") // a built-in driver has no state
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::links::link;
    use cmdline::Arguments;
    use std::os::unix::fs::symlink;

    const CARD: &str = "/devices/pci0000:00/0000:00:02.0";

    /// A machine with one card's link, a bond, and a driver whose module is in this state.
    struct Simulation {
        root: tempfile::TempDir,
        starting: Starting,
        now: Instant,
    }

    impl Simulation {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join("net")).unwrap();
            let machine = Self { root, starting: Starting::new(None), now: Instant::now() };
            machine.add("bond0", "7");
            machine
        }

        fn add(&self, name: &str, index: &str) {
            let link = self.root.path().join("net").join(name);
            fs::create_dir(&link).unwrap();
            for (attribute, value) in [("type", "1"), ("ifindex", index), ("address", "02:00:00:00:00:01"), ("flags", "0x1002")] {
                fs::write(link.join(attribute), value).unwrap();
            }
        }

        fn add_card(&self, module: &str) {
            let device = self.root.path().join(&CARD[1..]);
            fs::create_dir_all(device.join("driver/module")).unwrap();
            fs::write(device.join("driver/module/initstate"), format!("{module}\n")).unwrap();
            self.add("eth0", "2");
            symlink(device, self.root.path().join("net/eth0/device")).unwrap();
        }

        fn remove_card(&self) {
            fs::remove_dir_all(self.root.path().join("net/eth0")).unwrap();
        }

        fn hear(&mut self, action: Action) -> bool {
            self.starting.heard(&Uevent { action, devpath: CARD, subsystem: "pci", modalias: None, devname: None })
        }

        fn links(&mut self, after_ms: u64) -> Vec<String> {
            let sysfs = self.root.path().join("net");
            let mut links = link::scan(&sysfs, &Arguments::default());
            self.starting.leave_out(&sysfs, &mut links, self.now + Duration::from_millis(after_ms));
            links.into_iter().map(|link| link.name).collect()
        }
    }

    #[test]
    fn a_link_is_left_alone_until_its_driver_has_finished_probing() {
        let mut machine = Simulation::new();
        assert_eq!(machine.links(0), ["bond0"], "a link without a device does not wait for a driver");
        machine.add_card("live");
        assert_eq!(machine.links(100), ["bond0"]);
        assert_eq!(machine.starting.due(), Some(machine.now + Duration::from_millis(100) + LIMIT));
        assert!(!machine.hear(Action::Add) && machine.hear(Action::Bind), "only the end of probing counts");
        assert_eq!(machine.links(200), ["eth0", "bond0"]);
        assert_eq!(machine.starting.due(), None);
        machine.hear(Action::Unbind);
        assert_eq!(machine.links(300), ["eth0", "bond0"], "its driver is ready");
        machine.remove_card();
        assert_eq!(machine.links(400), ["bond0"]);
        machine.add_card("live");
        assert_eq!(machine.links(500), ["bond0"], "plugged in again, its driver probes again");
    }

    #[test]
    fn the_end_of_probing_may_come_before_the_first_check_of_the_link() {
        let mut machine = Simulation::new();
        machine.links(0);
        assert!(!machine.hear(Action::Bind), "no link waits for it yet");
        machine.add_card("live");
        assert_eq!(machine.links(100), ["eth0", "bond0"]);
    }

    #[test]
    fn a_driver_that_never_reports_its_end_gets_two_seconds() {
        let mut machine = Simulation::new();
        machine.links(0);
        machine.add_card("live");
        assert_eq!(machine.links(100), ["bond0"]);
        assert_eq!(machine.links(2099), ["bond0"]);
        assert_eq!(machine.links(2100), ["eth0", "bond0"]);
    }

    #[test]
    fn links_of_the_first_check_are_used_at_once_unless_their_module_is_just_starting() {
        for (module, expected) in [("live", &["eth0", "bond0"][..]), ("coming", &["bond0"])] {
            let mut machine = Simulation::new();
            machine.add_card(module);
            assert_eq!(machine.links(0), expected, "{module}");
        }
    }
}
