//! Which drivers are needed, loading and loaded, and what the log says about them.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cmdline::Arguments;
use devices::alias::Wanted;
use devices::catalogue::Catalogue;
use devices::module::ModuleName;
use devices::plan::{Rank, Schedule};
use devices::policy::{Policy, is_missed, requested};
use machine::{Chain, Milestone, files};
use rustix::io::Errno;

use super::jobs::{Job, Jobs};
use super::orphans;
use crate::modules::{ModuleError, NoTree, Tree};

/// A driver that takes longer to start its devices is named in the log, and no longer counts as running.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many drivers run in addition to one per processor. Most of them wait for their hardware.
const MORE: usize = 2;

pub struct Drivers {
    tree: Option<Arc<Tree>>,
    policy: Arc<Policy>,
    /// Modaliases since the last search, and names of requested modules.
    aliases: Vec<String>,
    names: Vec<String>,
    /// Hashes of what was searched already. Drivers come and go with their device, but their names do not.
    searched: BTreeSet<u64>,
    hasher: RandomState,
    schedule: Schedule,
    at_once: usize,
    running: Vec<Running>,
    failed: usize,
    loaded: usize,
    started: Instant,
    coldplugged: bool,
}

struct Running {
    name: ModuleName,
    since: Instant,
    is_named: bool,
}

impl Drivers {
    pub fn new(arguments: &Arguments) -> Self {
        let tree = Tree::of_this_kernel().inspect_err(|error| match error {
            NoTree::None(_) => log::info!("{error}"),
            NoTree::OtherKernel { .. } => log::error!("{error}"),
        });
        let tree = tree.ok().map(Arc::new);
        let mut names = tree.as_ref().map(|tree| tree.always()).unwrap_or_default();
        names.extend(requested(arguments));
        Self {
            tree,
            policy: Arc::new(Policy::new(arguments)),
            aliases: Vec::new(),
            names,
            searched: BTreeSet::new(),
            hasher: RandomState::new(),
            schedule: Schedule::default(),
            at_once: std::thread::available_parallelism().map_or(1, usize::from).saturating_add(MORE),
            running: Vec::new(),
            failed: 0,
            loaded: 0,
            started: Instant::now(),
            coldplugged: false,
        }
    }

    /// Adds the modaliases of devices.
    pub fn want(&mut self, aliases: impl IntoIterator<Item = String>) {
        let new = aliases.into_iter().filter(|alias| self.searched.insert(self.hasher.hash_one(alias)));
        self.aliases.extend(new);
    }

    /// Starts what can be started now.
    pub fn start(&mut self, jobs: &Jobs) {
        let Some(tree) = self.tree.clone() else { return };
        if !(self.aliases.is_empty() && self.names.is_empty()) {
            self.plan(&tree);
        }
        while self.running.iter().filter(|running| !running.is_named).count() < self.at_once {
            let Some(module) = self.schedule.start_next() else { return };
            self.running.push(Running { name: module.name.clone(), since: Instant::now(), is_named: false });
            let hurry = self.coldplugged || module.rank == Rank::Network;
            jobs.start(Job::Load { tree: Arc::clone(&tree), module, policy: Arc::clone(&self.policy), hurry });
        }
    }

    fn plan(&mut self, tree: &Tree) {
        let lists = tree.lists();
        let catalogue = Catalogue::new(&lists);
        let found = catalogue.find(&Wanted::new(std::mem::take(&mut self.aliases)), &self.policy);
        for denied in &found.denied {
            log::info!("module {denied} is not loaded, because the deny list names it");
        }
        let mut modules = found.modules;
        for name in std::mem::take(&mut self.names) {
            let named = catalogue.named(&name);
            if named.is_empty() && !catalogue.is_builtin(&name) && is_missed(&name) {
                log::warn!("module {name} is requested but is not in the ramdisk");
            }
            modules.extend(named);
        }
        self.schedule.add(catalogue.plan(modules));
    }

    pub fn loaded(&mut self, name: &ModuleName, result: Result<(), ModuleError>, took: Duration) {
        self.schedule.finished(name);
        self.running.retain(|running| running.name != *name);
        match result {
            Ok(()) => self.loaded += 1,
            Err(error @ ModuleError::Refused(Errno::NODEV)) => log::debug!("module {name}: {}", Chain(&error)), // it found no hardware of its kind
            Err(error) => {
                self.failed += 1;
                log::warn!("module {name}: {}", Chain(&error));
            }
        }
        if took >= PATIENCE {
            log::warn!("module {name} took {} s", took.as_secs());
        }
    }

    /// When to check the running drivers.
    pub fn due(&self) -> Option<Instant> {
        self.running.iter().filter(|running| !running.is_named).map(|running| running.since + PATIENCE).min()
    }

    pub fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    pub fn report(&mut self, now: Instant) {
        for running in self.running.iter_mut().filter(|running| !running.is_named && running.since + PATIENCE <= now) {
            running.is_named = true;
            let behind: Vec<&str> = self.schedule.behind(&running.name).into_iter().map(ModuleName::as_str).collect();
            let waiting = if behind.is_empty() { String::new() } else { format!("; {} wait for it", behind.join(", ")) };
            log::warn!("module {} is still starting its devices after {} s{waiting}", running.name, PATIENCE.as_secs());
        }
        let nothing_wanted = self.tree.is_none() || self.aliases.is_empty() && self.names.is_empty();
        if !self.coldplugged && nothing_wanted && self.running.iter().all(|running| running.is_named) {
            self.coldplugged = true;
            self.summary();
        }
    }

    fn summary(&self) {
        Milestone::Drivers.reached(); // actions that need disks wait for this
        let Some(tree) = &self.tree else { return };
        let failed = if self.failed > 0 { format!(", {} failed (see above)", self.failed) } else { String::new() };
        log::info!("drivers: {} modules loaded{failed} in {} ms", self.loaded, self.started.elapsed().as_millis());
        let orphans = orphans::find(Path::new(super::SYSFS));
        if orphans.is_empty() {
            return;
        }
        let lists = tree.lists();
        let catalogue = Catalogue::new(&lists);
        let has_packs = Path::new(files::PACKS).exists();
        for orphan in orphans {
            let found = catalogue.find(&Wanted::new([orphan.modalias.clone()]), &self.policy);
            if let Some(reason) = orphans::reason(&found, has_packs) {
                log::info!("no driver for {orphan}: {reason}");
            }
        }
    }
}
