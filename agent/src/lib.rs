//! Runs workflow actions as OCI containers, one at a time: asks for an action, reports RUNNING, executes, and reports until
//! accepted.
//!
//! The same program has two roles. `run` is the agent itself. `launcher` is hidden: a process with a single thread that
//! forks the owner of each container. libcontainer clones, which is not safe in a process with threads.

mod action;
mod ahead;
mod attributes;
mod background;
mod bundle;
mod cancel;
mod container;
mod docker_socket;
mod execute;
mod gen1;
mod heartbeat;
mod host;
mod journal;
mod leftovers;
mod memory;
pub mod offline;
mod outbox;
mod outcome;
mod packs;
mod policy;
mod power;
mod probed;
mod proc;
mod report;
mod role;
mod rootfs;
mod runtime;
#[cfg(feature = "containerd")]
mod runtime_containerd;
mod scratch;
mod settings;
mod sink;
mod space;
mod status;
mod sys;
mod transport;
mod worker;

use std::error::Error;
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use machine::Chain;
use machine::{Milestone, exit, files};
use tokio::signal::unix::SignalKind;
use tokio::sync::Mutex;

pub use policy::BadPolicy;

use execute::{Folders, Runner};
use journal::Journal;
use oci::registry::{Client, Limits, Patience};
use oci::{Puller, embedded, store::Store};
use role::Role;
use runtime::Runtime;
use scratch::Scratch;
use settings::{RuntimeChoice, Settings, Source};
use transport::{Connection, Transport};
use worker::Worker;

/// One thread unpacks, one resolves names, and one waits until a cgroup is empty.
const BLOCKING_THREADS: usize = 4;

/// The registry settings from the agent's variables and `/etc/thimble/registries.json`, for another program on the same
/// host.
///
/// # Errors
/// If one of the settings is wrong.
pub fn registries() -> Result<oci::registry::Settings, settings::Mistakes> {
    let no_server = ["-workflow", "none"].map(OsString::from);
    Ok(Settings::read(&no_server, |name| std::env::var(name).ok())?.registries)
}

/// Checks whether an agent understands this policy, for a builder of ramdisks.
///
/// # Errors
/// The line, and what is wrong there.
pub fn check_policy_form(text: &[u8]) -> Result<(), BadPolicy> {
    policy::Policy::parse(text).map(drop)
}

/// Like `check_policy_form`, and also checks whether the keys can be used. They must be in the policy, or at their paths on
/// this host.
///
/// # Errors
/// Names the key.
pub fn check_policy(text: &[u8]) -> Result<(), BadPolicy> {
    policy::Policy::parse(text)?.keys().map(drop)
}

/// A function that reads a workflow file.
pub type Load = fn(&Path) -> Result<Vec<proto::ActionResponse>, String>;

/// The agent's `main`. `args` do not include the program's name.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    main_with(args, offline::read_json)
}

/// Like `main`, with a reader of workflow files that supports more than JSON.
pub fn main_with(args: impl Iterator<Item = OsString>, load: Load) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    sys::no_backtraces_in_errors();
    match role::choose(&args) {
        Ok(Role::Run(flags)) => ExitCode::from(run(&flags, load)),
        Ok(Role::Launcher) => container::launcher::main(),
        Ok(Role::Version) => {
            println!("thimble agent {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Ok(Role::Help) => {
            print!("{}", settings::help());
            ExitCode::SUCCESS
        }
        Err(unknown) => {
            complain(&unknown);
            ExitCode::from(exit::USAGE)
        }
    }
}

/// The reason why the agent cannot work.
type CannotWork = Box<dyn Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct Doing {
    what: String,
    #[source]
    source: CannotWork,
}

fn doing<T, E: Into<CannotWork>>(what: impl Into<String>, result: Result<T, E>) -> Result<T, CannotWork> {
    result.map_err(|source| Doing { what: what.into(), source: source.into() }.into())
}

/// Prints an error before there is a log, in one write. stderr may be the kernel log, where each write is a separate
/// record.
fn complain(what: &dyn std::fmt::Display) {
    let _ = std::io::stderr().write_all(format!("thimble: agent: {what}\n").as_bytes());
}

fn run(flags: &[OsString], load: Load) -> u8 {
    let settings = match Settings::read(flags, |name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(mistakes) => {
            complain(&mistakes);
            return exit::USAGE;
        }
    };
    let script = match &settings.source {
        Source::Grpc => None,
        Source::File(path) => match load(path) {
            Ok(actions) => Some(offline::Script::new(actions)),
            Err(mistake) => {
                complain(&mistake);
                return exit::USAGE;
            }
        },
    };
    sys::be_frugal_with_memory();
    let _ = std::fs::write("/proc/self/oom_score_adj", "-500"); // only root may do this; when memory runs out, the action is killed first
    sink::install(&settings);
    Milestone::Agent.reached();
    match serve(&settings, script) {
        Ok(code) => code,
        Err(error) => {
            log::error!("the agent cannot work: {}", Chain(error.as_ref()));
            exit::FAILED
        }
    }
}

fn serve(settings: &Settings, script: Option<offline::Script>) -> Result<u8, CannotWork> {
    host::forget_mask();
    if settings.runtime == RuntimeChoice::Libcontainer {
        host::need_cgroup2()?;
    }
    let policy = policy::Policy::read(Path::new(policy::FILE))?;
    let folders = Folders { state: settings.state.clone() };
    for folder in [Path::new(files::RUN), &folders.state, &folders.containers(), &folders.images(), &folders.volumes()] {
        host::private_folder(folder)?;
    }
    let _alone = alone(Path::new(files::AGENT_LOCK))?;
    let made_by = Runtime::new(&settings.runtime);
    // One thread runs everything but unpacking. The machine may have one processor, and each thread costs memory.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING_THREADS).build()?;
    runtime.block_on(made_by.end_leftovers());
    leftovers::remove(&folders.containers());
    let store = Store::open(&folders.images())?;
    if let Some(scratch) = Scratch::left_over(&folders.state) {
        scratch.give_back(&store, &folders.state);
    }
    let client = doing("cannot set up the registry client", Client::new(&settings.registries, Limits::default()))?;
    let embedded = embedded::Embedded {
        when: settings.embedded,
        folder: settings.images.clone(),
        disk: settings
            .image_disk
            .then(|| embedded::Disk { link: embedded::disk::BY_LABEL.into(), mount_point: settings.state.join("embedded") }),
    };
    let puller = Puller::new(client, store, Patience::default(), space::free).trusting(policy.keys()?).with(embedded);
    let outbox = Arc::new(outbox::Outbox::default());
    let (connection, journal) = endpoints(settings, script, &outbox)?;
    let output = connection.output(&settings.id);
    let worker = Worker {
        agent: settings.id.clone(),
        connection,
        journal,
        power: power::Requests::below(Path::new(files::WORKER)),
        attributes: if settings.detect_attributes { attributes::Known::here() } else { attributes::Known::nothing() },
        backoff_max: settings.backoff_max,
        execute: Runner {
            puller: Arc::new(Mutex::new(puller)),
            pulls_ahead: settings.pull_ahead,
            outbox,
            ahead: None,
            folders: folders.clone(),
            given: settings::given(&settings.registries).into(),
            policy,
            runtime: Arc::new(made_by),
            alone: Arc::default(),
            beside: false,
        },
    };
    let code = runtime.block_on(async {
        tokio::spawn(heartbeat::beat());
        if let Some(output) = output {
            tokio::spawn(output);
        }
        let work = async {
            packs::add(Path::new("/"), &settings.packs).await;
            worker.run().await
        };
        tokio::select! {
            code = work => Some(code),
            () = asked_to_end() => None,
        }
    });
    let code = code.unwrap_or_else(|| {
        log::info!("asked to end, so the running action is stopped");
        runtime.block_on(Runtime::new(&settings.runtime).end_leftovers());
        leftovers::remove(&folders.containers());
        if let (Some(scratch), Ok(store)) = (Scratch::left_over(&folders.state), Store::open(&folders.images())) {
            scratch.give_back(&store, &folders.state);
        }
        exit::STOP
    });
    runtime.shutdown_background(); // a thread that hangs must not delay the end
    Ok(code)
}

/// A signal that stops the agent also stops its action. The journal still says that the action was running.
async fn asked_to_end() {
    let stream = |kind| tokio::signal::unix::signal(kind);
    let (Ok(mut term), Ok(mut int)) = (stream(SignalKind::terminate()), stream(SignalKind::interrupt())) else {
        return std::future::pending().await; // in that case the signal ends the process at once
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// The journal must not survive a reboot. Otherwise a reboot that an action asked for would happen twice. A workflow file
/// starts from the beginning each time, so its journal is removed.
fn endpoints(
    settings: &Settings,
    script: Option<offline::Script>,
    outbox: &Arc<outbox::Outbox>,
) -> Result<(Transport, Journal), CannotWork> {
    if let Some(script) = script {
        let path = Path::new(files::OFFLINE_JOURNAL);
        let _ = std::fs::remove_file(path); // usually it does not exist, and a remaining file is overwritten
        return Ok((Transport::File(script), Journal::open(path)));
    }
    let connection =
        doing(format!("cannot use the server {}", settings.authority), Connection::new(settings))?.with_output(outbox);
    Ok((connection.into(), Journal::open(Path::new(files::JOURNAL))))
}

/// Agents end each other's actions when they start, so a machine may have only one.
fn alone(path: &Path) -> Result<File, CannotWork> {
    let file = doing(format!("cannot create {}", path.display()), File::create(path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(format!("another agent runs on this machine (it holds {})", path.display()).into()),
        Err(TryLockError::Error(error)) => doing(format!("cannot lock {}", path.display()), Err(error)),
    }
}

#[cfg(test)]
#[path = "../tests/support/gen1.rs"]
mod fake_old_server;
#[cfg(test)]
#[path = "../../oci/tests/support/registry.rs"]
mod fake_registry;
#[cfg(test)]
#[path = "../tests/support/server.rs"]
mod fake_server;
