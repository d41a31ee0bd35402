//! Actions as tasks of the host's containerd. Pull, root file system and specification come from the agent, so an action
//! means the same as in the ramdisk. containerd's shim owns the process, and `ctr -n tinkerbell task ls` shows it.
//!
//! The image is not put into containerd's store. containerd sees a container without a snapshot, whose root is mounted
//! already. So it must share the agent's mount namespace, as two services of one host do.

mod calls;
mod pipes;
mod specification;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::timeout;
use tonic::Code;

use crate::container::{self, End, Ended, GRACE, Order, cgroup};
use crate::outcome::Phase;
use calls::{Calls, Refused};
use machine::Chain;
use pipes::Pipes;

/// Starting runc and its shim takes some tenths of a second. A daemon that hangs must not block the agent.
const START_LIMIT: Duration = Duration::from_secs(60);
/// If a daemon is restarted (by an update of the host), its shims keep running, and it finds its tasks again.
const ABSENCE: Duration = Duration::from_secs(120);
const RECONNECT: Duration = Duration::from_millis(500);

pub struct Containerd {
    socket: PathBuf,
    namespace: String,
}

impl Containerd {
    pub fn new(socket: &Path, namespace: &str) -> Self {
        Self { socket: socket.to_owned(), namespace: namespace.to_owned() }
    }

    /// Runs the container. A container that could not be made is a result. A daemon that does not answer is an error.
    pub async fn run(&self, order: &Order<'_>) -> io::Result<Ended> {
        let specification = specification::for_runc(&fs::read(order.bundle.join("config.json"))?)?;
        let calls = self.connect().await?;
        let pipes = Pipes::open(order)?;
        let name = container_name(order.id);
        let started = timeout(START_LIMIT, self.start(&calls, &name, &specification, &pipes));
        let end = match order.stop.unless(Phase::Starting, started).await {
            Err(reason) => End::Stopped(reason),
            Ok(Ok(Ok(()))) => self.wait(&calls, &name, order).await,
            Ok(Ok(Err(refused))) => End::CouldNotStart(refused.to_string()),
            Ok(Err(_)) => {
                End::CouldNotStart(format!("containerd did not start the container within {} s", START_LIMIT.as_secs()))
            }
        };
        let oom_kills = cgroup::oom_kills(&cgroup::of(order.id));
        self.remove(&name).await;
        let tail = pipes.finish().await;
        container::dissolve(cgroup::of(order.id)).await;
        let end = match end {
            End::Exited { code, .. } => End::Exited { code, oom_kills },
            other => other,
        };
        Ok(Ended { end, tail })
    }

    async fn connect(&self) -> io::Result<Calls> {
        let unreachable = |error: Refused| io::Error::other(format!("containerd at {}: {error}", self.socket.display()));
        Calls::connect(&self.socket, &self.namespace).await.map_err(unreachable)
    }

    async fn start(&self, calls: &Calls, name: &str, specification: &[u8], pipes: &Pipes) -> Result<(), Refused> {
        calls.create(name, specification).await?;
        calls.create_task(name, &pipes.stdout, &pipes.stderr).await?;
        let mut answer = calls.start(name).await;
        // A daemon that goes away before it answers may have started the action already.
        while let Err(refused) = &answer
            && refused.is_connection()
        {
            log::warn!("containerd did not answer to the start of {name} ({refused}); looking whether it runs");
            tokio::time::sleep(RECONNECT).await;
            answer = self.begun(name).await;
        }
        answer
    }

    /// Starts the process if it has not begun.
    async fn begun(&self, name: &str) -> Result<(), Refused> {
        let calls = Calls::connect(&self.socket, &self.namespace).await?;
        if calls.has_begun(name).await? {
            return Ok(());
        }
        // Its shim may just be at it.
        let Err(refused) = calls.start(name).await else { return Ok(()) };
        if calls.has_begun(name).await? { Ok(()) } else { Err(refused) }
    }

    /// Waits for the task, or stops it at the limit or on request.
    async fn wait(&self, calls: &Calls, name: &str, order: &Order<'_>) -> End {
        let reason = match order.stop.unless(Phase::Running, self.exit(calls, name)).await {
            Ok(end) => return end,
            Err(reason) => reason,
        };
        for (signal, everyone) in [(order.signal, false), (Signal::KILL, true)] {
            if let Err(refused) = self.signal(name, signal, everyone).await {
                log::warn!("cannot send {signal:?} to container {name}: {refused}");
            }
            if timeout(GRACE, self.exit(calls, name)).await.is_ok() {
                return End::Stopped(reason);
            }
        }
        log::error!("container {name} does not end; continuing without it");
        End::Stopped(reason)
    }

    async fn signal(&self, name: &str, signal: Signal, everyone: bool) -> Result<(), Refused> {
        Calls::connect(&self.socket, &self.namespace).await?.kill(name, signal, everyone).await
    }

    async fn exit(&self, calls: &Calls, name: &str) -> End {
        let mut answer = calls.wait(name).await;
        let mut patience = ABSENCE;
        loop {
            match answer {
                Ok(code) => return End::Exited { code, oom_kills: 0 },
                Err(refused) if refused.is_connection() && !patience.is_zero() => {
                    if patience == ABSENCE {
                        log::warn!("containerd does not answer ({refused}); waiting for it while the action continues");
                    }
                }
                Err(refused) => return End::CouldNotStart(format!("containerd lost the action: {refused}")),
            }
            tokio::time::sleep(RECONNECT).await;
            patience = patience.saturating_sub(RECONNECT);
            answer = match Calls::connect(&self.socket, &self.namespace).await {
                Ok(calls) => calls.wait(name).await,
                Err(refused) => Err(refused),
            };
        }
    }

    /// The action's result is already known. A container that cannot be removed stays until the agent starts again.
    async fn remove(&self, name: &str) {
        let removed = async { Calls::connect(&self.socket, &self.namespace).await?.remove(name).await };
        match timeout(START_LIMIT, removed).await {
            Ok(Ok(())) => {}
            Ok(Err(refused)) => log::warn!("cannot remove container {name} from containerd: {refused}"),
            Err(_) => log::warn!("containerd does not remove container {name}; continuing without that"),
        }
    }

    pub async fn end_leftovers(&self) {
        let ended = async {
            let calls = Calls::connect(&self.socket, &self.namespace).await?;
            for name in calls.ours().await? {
                calls.remove(&name).await?;
                log::warn!("ended the processes that were still running in container {name}");
            }
            Ok::<(), Refused>(())
        };
        match timeout(START_LIMIT, ended).await {
            Ok(Ok(())) => {}
            Ok(Err(refused)) => {
                log::warn!("containerd at {}: {refused}; its containers are not looked at", self.socket.display())
            }
            Err(_) => log::warn!("containerd at {} does not answer; its containers are not looked at", self.socket.display()),
        }
    }
}

/// containerd needs letters, digits and single separators between them, 76 characters at most.
fn container_name(id: &str) -> String {
    let parts = id.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    let name = parts.collect::<Vec<_>>().join("-");
    if name.is_empty() { "action".to_owned() } else { name.chars().take(70).collect::<String>().trim_end_matches('-').to_owned() }
}

impl Refused {
    fn is_connection(&self) -> bool {
        match self {
            Self::Connect(_) => true,
            Self::Call(_, status) => matches!(status.code(), Code::Unavailable | Code::Cancelled) || status_is_local(status),
        }
    }
}

/// The client made this status itself, because the stream broke.
fn status_is_local(status: &tonic::Status) -> bool {
    std::error::Error::source(status).is_some()
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "cannot connect: {}", Chain(error.as_ref())),
            Self::Call(what, status) => write!(f, "cannot {what}: {}", status.message()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_containerd_accepts() {
        for (id, name) in [("01ABC-19f", "01ABC-19f"), ("---a-b--x", "a-b-x"), ("--", "action")] {
            assert_eq!(container_name(id), name, "{id}");
        }
        assert!(container_name(&"x-".repeat(100)).len() <= 76);
    }
}
