//! Runs one action on this machine: pull, make the bundle, run the container, clean up. A failure here does not stop the
//! agent.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Mutex, RwLock};

mod failure_files;
mod prepare;

use crate::action::{Action, Wishes};
use crate::ahead::Ahead;
use crate::bundle;
use crate::cancel::{Cancel, Stop};
use crate::container::{End, Ended, Order};
use crate::docker_socket::{self, Deferred};
use crate::memory;
use crate::outbox::Outbox;
use crate::outcome::{Outcome, Phase, Reason};
use crate::policy::Policy;
use crate::probed::ProbedDevices;
use crate::rootfs;
use crate::runtime::Runtime;
use crate::scratch::Scratch;
use crate::sink;
use crate::space;
use crate::status;
use crate::sys;
use crate::worker::Execute;
use machine::Chain;
use machine::syslog::ActionLine;
use machine::{Milestone, milestones};
use oci::store::{Held, Image};
use oci::{NoSpace, PullError, Puller, Resource};
use prepare::{Place, Prepared};

/// The limit for removing what one action wrote.
const REMOVAL_LIMIT: Duration = Duration::from_secs(60);

/// The folders of an agent.
#[derive(Debug, Clone)]
pub struct Folders {
    pub state: PathBuf,
}

impl Folders {
    pub fn images(&self) -> PathBuf {
        self.state.join("images")
    }

    pub fn containers(&self) -> PathBuf {
        self.state.join("containers")
    }

    /// Named volumes of all workflows.
    pub fn volumes(&self) -> PathBuf {
        self.state.join("volumes")
    }

    /// The folder that the actions of one workflow share for named volumes.
    pub fn volumes_of(&self, workflow: &str) -> PathBuf {
        let clean: String = workflow.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
        let digest = oci::Digest::of(workflow.as_bytes());
        let clean: String = clean.chars().take(48).collect();
        self.volumes().join(format!("{clean}-{}", digest.hex().chars().take(12).collect::<String>()))
    }
}

pub struct Runner {
    /// Shared with the pull of the next image.
    pub puller: Arc<Mutex<Puller>>,
    pub pulls_ahead: bool,
    pub outbox: Arc<Outbox>,
    pub ahead: Option<Ahead>,
    pub folders: Folders,
    /// Variables of the machine for its actions.
    pub given: Arc<[String]>,
    pub policy: Policy,
    pub runtime: Arc<Runtime>,
    /// A disk that lends memory takes all images with it in the end, so no action may be in the background meanwhile.
    pub alone: Arc<RwLock<()>>,
    /// Its actions are in the background.
    pub beside: bool,
}

impl Execute for Runner {
    async fn execute(&mut self, action: &Action, start: SystemTime, cancel: &Cancel) -> Outcome {
        // This comes before everything else, so that a refusal is reported as one.
        let wishes = match self.allow(action) {
            Ok(wishes) => wishes,
            Err(refused) => return Outcome { start, stop: SystemTime::now(), failure: Some(refused), tail: Vec::new() },
        };
        let stop = Stop::new(action.timeout, cancel);
        let _with_others = if self.beside { Some(Arc::clone(&self.alone).read_owned().await) } else { None };
        if let Some(deferred) = docker_socket::deferred(action) {
            let failure = match deferred {
                Ok(deferred) => self.prepare_deferred(action, &deferred, &stop).await.err(),
                Err(why) => Some(Reason::CouldNotStart(why.to_string())),
            };
            return Outcome { start, stop: SystemTime::now(), failure, tail: Vec::new() };
        }
        let (result, cost) = memory::watched(self.run(action, &wishes, &stop)).await;
        log::info!("agent memory: {cost}");
        let (failure, tail) = match result {
            Ok(ran) => (ran.said.or_else(|| verdict(&ran.ended.end, ran.memory)), ran.ended.tail),
            Err(reason) => (Some(reason), Vec::new()),
        };
        if failure.is_some() {
            self.ahead = None; // after a failure no next action comes
        }
        Outcome { start, stop: SystemTime::now(), failure, tail }
    }

    fn refuses(&self, action: &Action) -> Option<Reason> {
        self.allow(action).err()
    }

    fn beside(&self) -> Self {
        Self {
            puller: Arc::clone(&self.puller),
            pulls_ahead: false,
            outbox: Arc::clone(&self.outbox),
            ahead: None,
            folders: self.folders.clone(),
            given: Arc::clone(&self.given),
            policy: self.policy.clone(),
            runtime: Arc::clone(&self.runtime),
            alone: Arc::clone(&self.alone),
            beside: true,
        }
    }
}

/// A container that ran.
struct Ran {
    ended: Ended,
    /// How many bytes it was allowed.
    memory: Option<u64>,
    /// The reason of its failure, as the action wrote it.
    said: Option<Reason>,
}

/// An action that ended before it was stopped keeps its result.
fn verdict(end: &End, limit: Option<u64>) -> Option<Reason> {
    match end {
        End::Exited { code: 0, .. } => None,
        End::Exited { code, oom_kills: 1.. } => Some(Reason::OomKilled { exit_code: *code, limit }),
        End::Exited { code, .. } => Some(Reason::NonZeroExit { exit_code: *code }),
        End::Stopped(reason) => Some(reason.clone()),
        End::CouldNotStart(text) => Some(Reason::CouldNotStart(text.clone())),
    }
}

impl Runner {
    /// Fails now rather than later, while the server still waits for a result.
    async fn prepare_deferred(&mut self, action: &Action, deferred: &Deferred, stop: &Stop) -> Result<(), Reason> {
        match deferred {
            Deferred::Power(power) => {
                let (title, what) = (action.title(), power.what());
                log::info!("{title}: it asks Docker's socket for {what}, which follows the acknowledgement");
            }
            Deferred::Run(later) => {
                log::info!(
                    "{}: it asks Docker's socket to run {}, which follows the acknowledgement",
                    action.title(),
                    later.image
                );
                self.policy.check_image(&later.image).map_err(Reason::Policy)?;
                self.pull(&later.image, stop).await?;
            }
        }
        Ok(())
    }

    /// What the action gets, if the machine's policy allows it.
    fn allow(&self, action: &Action) -> Result<Wishes, Reason> {
        let wishes = action.environment.wishes().map_err(|bad| Reason::CouldNotStart(bad.to_string()))?;
        self.policy.admit(action, wishes).map_err(Reason::Policy)
    }

    async fn pull(&mut self, image: &str, stop: &Stop) -> Result<(Image, Held), Reason> {
        let ahead = self.ahead.take().filter(|ahead| ahead.is_of(image));
        let pull = async {
            let mut puller = self.puller.lock().await;
            drop(ahead); // what it pulls is whole now
            let image = puller.pull(image).await?;
            let held = puller.store().hold(&image);
            Ok::<_, PullError>((image, held))
        };
        let pulled = stop.unless(Phase::Pulling, pull).await;
        sys::give_free_memory_back();
        pulled?.map_err(|error| Reason::from(&error))
    }

    /// Pulls the next image, unless a disk extends the memory: giving the disk back removes all images.
    fn pull_ahead(&mut self, action: &Action, wishes: &Wishes) {
        let may = |image: &String| self.pulls_ahead && wishes.scratch.is_none() && self.policy.check_image(image).is_ok();
        let next = action.next_image.as_ref().filter(|image| may(image));
        self.ahead = next.map(|image| Ahead::begin(&self.puller, image));
    }

    async fn await_disks(&self, action: &Action, stop: &Stop) -> Result<(), Reason> {
        stop.unless(Phase::AwaitingDisks, ProbedDevices::default().is_ready_for(action)).await
    }

    /// Runs the action, with the scratch disk if the action names one.
    async fn run(&mut self, action: &Action, wishes: &Wishes, stop: &Stop) -> Result<Ran, Reason> {
        let mut _alone = None;
        if wishes.scratch.is_some() {
            if self.beside {
                let why = "an action in the background cannot have a disk lend its memory: that ends with all images on it";
                return Err(Reason::CouldNotStart(why.to_owned()));
            }
            self.await_disks(action, stop).await?;
            _alone = Some(stop.unless(Phase::AwaitingDisks, Arc::clone(&self.alone).write_owned()).await?);
        }
        let lend = |disk: &PathBuf| Scratch::lend(disk, &self.folders.state);
        let scratch = wishes.scratch.as_ref().map(lend).transpose();
        let scratch = scratch.map_err(|error| Reason::CouldNotStart(Chain(&error).to_string()))?;
        let result = self.run_here(action, wishes, stop).await;
        if let Some(scratch) = scratch {
            scratch.give_back(self.puller.lock().await.store(), &self.folders.state);
        }
        result
    }

    async fn run_here(&mut self, action: &Action, wishes: &Wishes, stop: &Stop) -> Result<Ran, Reason> {
        log::info!("{}: pulling {}", action.title(), action.image);
        status::pulling(action);
        let (image, _held) = self.pull(&action.image, stop).await?;
        self.await_disks(action, stop).await?;
        self.pull_ahead(action, wishes);
        let id = unique(&action.id);
        let directory = self.folders.containers().join(&id);
        let place = Place { folders: self.folders.clone(), id, directory, given: self.given.clone() };
        let result = match self.prepare(&place, action, wishes, &image, stop).await {
            Ok(prepared) => self.contain(action, &image, &place, prepared, stop).await,
            Err(reason) => Err(reason),
        };
        remove(place.directory).await;
        result
    }

    /// This runs on a separate thread, so that the agent still reacts to the server and to signals, whatever the image
    /// contains.
    async fn prepare(
        &self,
        place: &Place,
        action: &Action,
        wishes: &Wishes,
        image: &Image,
        stop: &Stop,
    ) -> Result<Prepared, Reason> {
        let work = {
            let (place, action, wishes, image) = (place.clone(), action.clone(), wishes.clone(), image.clone());
            move || prepare::bundle(&place, &action, &wishes, &image)
        };
        match stop.unless(Phase::Preparing, tokio::task::spawn_blocking(work)).await? {
            Ok(prepared) => prepared.map_err(|failure| self.prepare_reason(&failure)),
            Err(error) => Err(Reason::CouldNotStart(format!("the preparation ended without a result: {error}"))),
        }
    }

    async fn contain(
        &self,
        action: &Action,
        image: &Image,
        place: &Place,
        prepared: Prepared,
        stop: &Stop,
    ) -> Result<Ran, Reason> {
        log::info!("{}: running", action.title());
        status::running(action);
        let name = action.name.clone();
        let lines = move |stream: &str, text: &str| {
            sink::action_line(ActionLine { action: &name, stream }, text);
            status::output(text);
        };
        let order = Order {
            bundle: &place.directory,
            id: &place.id,
            stop,
            signal: bundle::stop_signal(&image.config),
            owner: prepared.owner,
            lines: Arc::new(lines),
            every: Arc::new(self.outbox.of(action)),
        };
        let is_first = Milestone::Action.reached();
        let ended = self.runtime.run(&order).await;
        if is_first {
            log::info!("boot: {}", milestones::summary()); // after the start, so that the action does not wait for the console
        }
        let ended = ended.map_err(|e| self.io_reason("run the container", &e))?;
        let said = match ended.end {
            End::Exited { code, oom_kills: 0 } if code != 0 => failure_files::read(&place.directory.join("rootfs"), code),
            _ => None,
        };
        Ok(Ran { ended, memory: prepared.memory, said })
    }

    fn prepare_reason(&self, failure: &prepare::Failure) -> Reason {
        match failure {
            prepare::Failure::Io { what, source } => self.io_reason(what, source),
            prepare::Failure::Overlay(rootfs::RootfsError::Create { source, .. }) => {
                self.io_reason("prepare the root file system", source)
            }
            _ => Reason::CouldNotStart(Chain(failure).to_string()),
        }
    }

    fn io_reason(&self, what: &str, error: &io::Error) -> Reason {
        match error.kind() {
            io::ErrorKind::StorageFull => {
                let (state, resource) = (&self.folders.state, space::exhausted(&self.folders.state));
                let needed = if resource == Resource::Inodes { 1 } else { 1 << 20 };
                let numbers = NoSpace { resource, needed, free: space::free(state).of(resource) };
                Reason::no_space(format!("cannot {what}: it"), numbers, state)
            }
            _ => Reason::CouldNotStart(format!("cannot {what}: {}", Chain(error))),
        }
    }
}

/// What an action wrote may be large and deep, so the wait for its removal has a limit.
async fn remove(directory: PathBuf) {
    let work = tokio::task::spawn_blocking({
        let directory = directory.clone();
        move || rootfs::remove(&directory)
    });
    let left = match tokio::time::timeout(REMOVAL_LIMIT, work).await {
        Ok(Ok(Ok(()))) => return,
        Ok(Ok(Err(error))) => error.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it takes longer than {} s", REMOVAL_LIMIT.as_secs()),
    };
    log::warn!("cannot remove {}: {left}; its memory stays in use until the agent restarts", directory.display());
}

/// A unique name for one execution, so that leftover state does not stop the next attempt.
fn unique(action: &str) -> String {
    let clean: String = action.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(48).collect();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{clean}-{:x}", now.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_become_reasons() {
        let timeout = Reason::Timeout { limit: Duration::from_secs(9), phase: Phase::Running };
        for (end, want) in [
            (End::Exited { code: 0, oom_kills: 0 }, None),
            (End::Exited { code: 0, oom_kills: 1 }, None),
            (End::Exited { code: 7, oom_kills: 0 }, Some(Reason::NonZeroExit { exit_code: 7 })),
            (End::Exited { code: 137, oom_kills: 2 }, Some(Reason::OomKilled { exit_code: 137, limit: Some(1 << 20) })),
            (End::Stopped(timeout.clone()), Some(timeout)),
            (End::Stopped(Reason::Cancelled("w".into())), Some(Reason::Cancelled("w".into()))),
            (End::CouldNotStart("x".into()), Some(Reason::CouldNotStart("x".into()))),
        ] {
            assert_eq!(verdict(&end, Some(1 << 20)), want);
        }
    }

    #[test]
    fn names_of_executions_are_safe_for_files_and_cgroups() {
        let name = unique("../a b/ü");
        assert!(name.starts_with("---a-b--") && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{name}");
    }
}
