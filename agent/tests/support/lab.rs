//! The whole agent as a program, in a mount namespace like the ramdisk's, with a fake server and a fake registry.
#![allow(dead_code)]

use std::path::PathBuf;
use std::process::Stdio;

use proto::ActionResponse;
use proto::action_status_request::StateType::Running;
use tokio::process::{Child, Command};

use crate::registry::{self, Registry};
use crate::server::{Server, action};

/// Agents end each other's actions when they start, so only one may run at a time.
pub static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A mount namespace like the ramdisk's: cgroup2 in its place, memory accounting if the host allows it, and fresh /run and
/// /worker.
const NAMESPACE: &str = r#"
set -e
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
{ echo +memory > /sys/fs/cgroup/cgroup.subtree_control; } 2>/dev/null || true
mount --bind "$STATE" /run
if [ -n "$SIZE" ]; then mkdir -p /run/thimble; mount -t tmpfs -o "size=$SIZE" tmpfs /run/thimble; fi
mkdir -p /worker
if [ -n "$POLICY" ]; then mkdir -p /etc/thimble; mount -t tmpfs none /etc/thimble; echo "$POLICY" > /etc/thimble/policy.json; fi
mount --bind "$STATE/worker" /worker
eval "$BEFORE"
trap '' QUIT HUP INT # as below nohup and in the background, where whoever starts an agent may be
exec $WRAP "$AGENT" run
"#;

pub struct Lab {
    pub server: Server,
    pub registry: Registry,
    pub state: tempfile::TempDir,
    pub image: String,
    _alone: tokio::sync::MutexGuard<'static, ()>,
}

impl Lab {
    pub async fn new() -> Self {
        let alone = ONE_AT_A_TIME.lock().await;
        assert!(
            rustix::process::geteuid().is_root(),
            "real containers need root: run the tests as root, or below `unshare -Urm` with cgroup2 delegated"
        );
        let (server, registry) = (Server::start().await, Registry::start().await);
        let busybox = std::fs::read("/bin/busybox").expect("real containers run busybox: apt-get install busybox-static");
        let image = registry.image(
            "busybox",
            &[(registry::GZIP, busybox_layer(&busybox))],
            r#"{"config":{"Cmd":["/bin/sh"],"Env":["FROM=image"]}}"#,
        );
        // Overlays need a suitable file system below them: a tmpfs, as in the ramdisk.
        let state = tempfile::Builder::new().prefix("agent-").tempdir_in("/dev/shm").unwrap();
        std::fs::create_dir(state.path().join("worker")).unwrap();
        Self { server, registry, state, image, _alone: alone }
    }

    pub fn agent(&self) -> Child {
        self.agent_with_state_of("")
    }

    /// An agent on a machine whose ramdisk has this policy.
    pub fn agent_with_policy(&self, policy: &str) -> Child {
        self.start("", policy, &[])
    }

    /// An agent with these variables. The script has two of them: `BEFORE` changes the namespace, and `WRAP` is a program
    /// that starts the agent.
    pub fn agent_with(&self, variables: &[(&str, &str)]) -> Child {
        self.start("", "", variables)
    }

    /// `size` limits the tmpfs below /run/thimble, in the syntax of mount.
    pub fn agent_with_state_of(&self, size: &str) -> Child {
        self.start(size, "", &[])
    }

    fn start(&self, size: &str, policy: &str, variables: &[(&str, &str)]) -> Child {
        Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", NAMESPACE])
            .env("STATE", self.state.path())
            .env("SIZE", size)
            .env("POLICY", policy)
            .env("BEFORE", "")
            .env("WRAP", "")
            .env("AGENT", std::env::var("AGENT_UNDER_TEST").unwrap_or_else(|_| env!("CARGO_BIN_EXE_agent").to_owned()))
            .env("WORKER_ID", "02:00:00:00:00:01")
            .env("TINKERBELL_GRPC_AUTHORITY", self.server.address.to_string())
            .env("THIMBLE_LOG", "stderr")
            .envs(variables.iter().copied())
            .stderr(Stdio::from(std::fs::File::options().create(true).append(true).open(self.log()).unwrap()))
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Whether the kernel can limit the memory of this agent's actions.
    pub fn limits_memory(agent: &Child) -> bool {
        let control = format!("/proc/{}/root/sys/fs/cgroup/cgroup.subtree_control", agent.id().unwrap());
        std::fs::read_to_string(control).unwrap().split_whitespace().any(|controller| controller == "memory")
    }

    pub fn log(&self) -> PathBuf {
        self.state.path().join("log")
    }

    pub fn text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// An image of busybox with this configuration, and these entries in a separate layer.
    pub fn image(&self, name: &str, config: &str, entries: &[(&str, &str)]) -> String {
        let busybox = std::fs::read("/bin/busybox").expect("apt-get install busybox-static");
        let layers = [(registry::GZIP, busybox_layer(&busybox)), (registry::TAR, registry::tar(entries))];
        self.registry.image(name, &layers, &format!(r#"{{"config":{config}}}"#))
    }

    /// An image of busybox with any content that a tar archive can have.
    pub fn odd_image(&self, name: &str, config: &str, fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> String {
        let busybox = std::fs::read("/bin/busybox").expect("apt-get install busybox-static");
        let mut odd = tar::Builder::new(Vec::new());
        fill(&mut odd);
        let layers = [(registry::GZIP, busybox_layer(&busybox)), (registry::TAR, odd.into_inner().unwrap())];
        self.registry.image(name, &layers, &format!(r#"{{"config":{config}}}"#))
    }

    pub fn shell(&self, id: &str, script: &str) -> ActionResponse {
        ActionResponse { command: vec!["/bin/sh".into(), "-c".into(), script.into()], ..action(id, &self.image) }
    }

    /// Waits until `done` is true.
    pub async fn until(&self, what: &str, done: impl Fn() -> bool) {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        while !done() {
            assert!(tokio::time::Instant::now() < deadline, "waited 60 s for {what}\n{}", self.text());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Runs one action until its final report.
    pub async fn run(&self, wire: ActionResponse) -> proto::ActionStatusRequest {
        let id = wire.action_id.clone().unwrap();
        self.server.push(wire);
        self.ended(&id).await
    }

    /// The final report of an action.
    pub async fn ended(&self, id: &str) -> proto::ActionStatusRequest {
        let id = Some(id.to_owned());
        let ended =
            |reports: &[proto::ActionStatusRequest]| reports.iter().any(|r| r.action_id == id && r.action_state() != Running);
        let log = self.text();
        let reports = self.server.until(&format!("the end of {id:?}\n{log}"), ended).await;
        reports.into_iter().find(|r| r.action_id == id && r.action_state() != Running).unwrap()
    }

    /// Checks that an action left nothing behind.
    pub fn assert_clean(&self) {
        let left: Vec<_> = std::fs::read_dir(self.state.path().join("thimble/containers")).unwrap().collect();
        assert!(left.is_empty(), "containers left: {left:?}\n{}", self.text());
    }
}

/// A file, link, FIFO or directory. For a link `content` is the target.
pub fn entry(archive: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, mode: u32, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(0);
    if kind == tar::EntryType::Symlink {
        return archive.append_link(&mut header, path, std::str::from_utf8(content).unwrap()).unwrap();
    }
    header.set_size(content.len() as u64);
    header.set_cksum();
    archive.append_data(&mut header, path, content).unwrap();
}

pub fn busybox_layer(busybox: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(busybox.len() as u64);
    header.set_cksum();
    builder.append_data(&mut header, "bin/busybox", busybox).unwrap();
    for name in [
        "sh", "sleep", "cat", "ls", "touch", "yes", "head", "dd", "mount", "id", "mknod", "umount", "grep", "env", "sort",
        "stat", "wc",
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        builder.append_link(&mut header, format!("bin/{name}"), "busybox").unwrap();
    }
    registry::gzip(&builder.into_inner().unwrap())
}
