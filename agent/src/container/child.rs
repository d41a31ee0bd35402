//! The child that owns one container. Only this file uses libcontainer. The child is a fork of the launcher, so it has no
//! second thread, no runtime and no other container.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use nix::mount::{MsFlags, mount};
use nix::sys::wait::{WaitStatus, waitpid};
use oci_spec::runtime::Spec;

use super::note::Note;
use super::{cgroup, complaints, program, seccomp};
use machine::Chain;

/// The folder of libcontainer's state. It is in the bundle, so removing the bundle removes both.
pub const STATE: &str = "state";

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot {0}")]
    System(&'static str, #[source] io::Error),
    #[error("cannot {0} the container")]
    Library(&'static str, #[source] Box<libcontainer::error::LibcontainerError>),
    #[error("the container has no process")]
    NoProcess,
    #[error("cannot wait for the action's process")]
    Wait(#[source] nix::Error),
}

/// The channels from the container to the agent.
pub struct Streams {
    pub notes: File,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

pub fn main(bundle: &Path, id: &str, streams: Streams) {
    let Streams { notes, stdout, stderr } = streams;
    let last = match attach(stdout, stderr).and_then(|()| run(bundle, id, &notes)) {
        Ok(exited) => exited,
        Err(failure) => Note::Failed(Chain(&failure).to_string()),
    };
    tell(&notes, &last);
}

/// Puts the descriptors in their places and closes the originals, so that the pipes end with the action.
fn attach(stdout: OwnedFd, stderr: OwnedFd) -> Result<(), Failure> {
    let system = |what| move |e: rustix::io::Errno| Failure::System(what, e.into());
    rustix::stdio::dup2_stdout(stdout).map_err(system("attach the output"))?;
    rustix::stdio::dup2_stderr(stderr).map_err(system("attach the output"))
}

/// If the agent is gone, it cleans up at its next start.
fn tell(mut notes: &File, note: &Note) {
    let _ = notes.write_all(&note.line());
}

fn run(bundle: &Path, id: &str, notes: &File) -> Result<Note, Failure> {
    let system = |what| move |e: rustix::io::Errno| Failure::System(what, e.into());
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(system("adopt orphans"))?;
    let complaints = notes.try_clone().map_err(|e| Failure::System("copy a descriptor", e))?;
    complaints::heard(move |text| tell(&complaints, &Note::Library(text)));
    let mut container = create(bundle, id, notes)?;
    let pid = container.pid().ok_or(Failure::NoProcess)?;
    tell(notes, &Note::Started { pid: pid.as_raw() });
    let result = container.start().map_err(|e| Failure::Library("start", Box::new(e)));
    let exited = result.and_then(|()| wait(nix::unistd::Pid::from_raw(pid.as_raw()))).map(|code| {
        let oom_kills = cgroup::oom_kills(&cgroup::of(id));
        Note::Exited { code, oom_kills }
    });
    // The agent removes the cgroup with its processes, and the state with the bundle. A host with cgroups version 1 has
    // more of them, which libcontainer removes.
    if !cgroup::of(id).exists()
        && let Err(error) = container.delete(true)
    {
        tell(notes, &Note::Library(format!("delete: {}", Chain(&error))));
    }
    exited
}

fn create(bundle: &Path, id: &str, notes: &File) -> Result<Container, Failure> {
    let library = |e| Failure::Library("create", Box::new(e));
    let system = |what| move |e: io::Error| Failure::System(what, e);
    let state = bundle.join(STATE);
    std::fs::create_dir_all(&state).map_err(system("create the state directory"))?;
    // The library needs descriptors above 2, and closes them in the container.
    let above = |fd: &dyn AsFd| -> Result<OwnedFd, Failure> {
        rustix::io::fcntl_dupfd_cloexec(fd.as_fd(), 3).map_err(|e| Failure::System("copy a descriptor", e.into()))
    };
    let null = File::open("/dev/null").map_err(system("open /dev/null"))?;
    let notes = Arc::new(notes.try_clone().map_err(system("copy a descriptor"))?);
    ContainerBuilder::new(id.to_owned(), SyscallType::default())
        .with_root_path(state)
        .map_err(library)?
        .with_executor(Program { notes })
        .with_stdin(above(&null)?)
        .with_stdout(above(&io::stdout())?)
        .with_stderr(above(&io::stderr())?)
        .validate_id()
        .map_err(library)?
        .as_init(bundle)
        .with_systemd(false)
        .with_detach(true)
        .build()
        .map_err(library)
}

fn wait(pid: nix::unistd::Pid) -> Result<i32, Failure> {
    loop {
        match waitpid(pid, None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(128 + signal as i32),
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(Failure::Wait(error)),
        }
    }
}

/// Mounts the machine's real devices on `/dev`, or confines an action that is not privileged.
///
/// A bind of `/dev` in the specification fails, because the library insists on making nodes there. This runs in the
/// container's mount namespace, after the root has changed and before the action's program.
#[derive(Clone)]
struct Program {
    /// Closed when the program starts, like every descriptor above 2.
    notes: Arc<File>,
}

impl Executor for Program {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        // The library has already reported that the container runs, so an error from it would be lost.
        let text = start(spec);
        tell(&self.notes, &Note::NotStarted(text.clone()));
        Err(ExecutorError::Other(text))
    }

    /// The kernel checks the program, and only once.
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        Ok(())
    }

    /// The program gets its environment at its start, in the specification's order.
    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}

/// Returns only if it fails.
fn start(spec: &Spec) -> String {
    let Some(process) = spec.process() else { return "the specification has no process".to_owned() };
    let confined = process.no_new_privileges() == Some(true);
    if !confined && let Err(error) = devices() {
        return format!("cannot mount the devices: {error}");
    }
    if let Err(error) = crate::sys::default_signals() {
        return format!("cannot restore the signals: {error}");
    }
    if confined && let Err(error) = seccomp::confine() {
        return format!("cannot filter system calls: {error}");
    }
    let words = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    program::become_it(&words(process.args()), &words(process.env()))
}

fn devices() -> Result<(), nix::Error> {
    let put = |kind: &str, target: &str, flags, data: Option<&str>| mount(Some(kind), target, Some(kind), flags, data);
    put("devtmpfs", "/dev", MsFlags::MS_NOSUID, None)?;
    for directory in ["/dev/pts", "/dev/shm"] {
        let _ = std::fs::create_dir(directory); // it exists already, or the mount below reports the reason
    }
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    put("devpts", "/dev/pts", quiet, Some("newinstance,ptmxmode=0666,mode=0620"))?;
    put("tmpfs", "/dev/shm", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=1777"))
}
