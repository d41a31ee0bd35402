//! `thimble up` on the segment. The lab starts it, kills it, queries it and sends it objects, like an operator.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api::paths::{APPLY, object};
use api::{paths, ramdisk};
use machine::ports;
use model::{Hardware, Kind, ObjectName, WorkflowAction, WorkflowState};
use serde::de::DeserializeOwned;

use crate::command::{Daemon, wait_for};
use crate::kit::Kit;
use crate::setup::Setup;
use crate::{http, segment};

pub const HTTP: SocketAddr = SocketAddr::V4(SocketAddrV4::new(segment::HOST, ports::HTTP));
pub const GRPC: SocketAddr = SocketAddr::V4(SocketAddrV4::new(segment::HOST, ports::GRPC));
const STARTS_WITHIN: Duration = Duration::from_secs(30);
/// Of the API, below the provisioner's folder.
const SOCKET: &str = "api.sock";
/// The image's name below `/files/`.
pub const IMAGE: &str = "debian.raw.zst";

#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The address of the workflow service in the agents' arguments, if it differs from the server's.
    pub grpc_authority: Option<String>,
    pub kernel_args: String,
    /// Another kernel and ramdisk instead of the cloud kit.
    pub kit: Option<Kit>,
    /// Whether boots is silent about DHCP on the segment. Another server may answer.
    pub no_dhcp: bool,
    /// Whether the kit's driver packs are beside its ramdisk.
    pub packs: bool,
    /// boots knows that the ramdisk is Thimble's, so its machines speak TLS.
    pub tls: bool,
    /// The settings file of a host that serves machines by IPv6 alone, at the segment's IPv6 address.
    pub only_ipv6: Option<&'static str>,
}

pub struct Provisioner {
    daemon: Option<Daemon>,
    thimble: PathBuf,
    folder: PathBuf,
    options: Options,
}

impl Provisioner {
    pub fn start(setup: &Setup, folder: &Path, options: Options) -> Result<Self> {
        let files = folder.join("files");
        fs::create_dir_all(&files).with_context(|| format!("cannot make {}", files.display()))?;
        let kit = options.kit.as_ref().unwrap_or(&setup.cloud);
        for (from, name) in [(&kit.kernel, "vmlinuz"), (&kit.initrd, "initramfs.cpio.zst"), (&setup.disk_zst, IMAGE)] {
            // They are hard links, because boots does not follow a link out of its folder.
            fs::hard_link(from, files.join(name)).with_context(|| format!("cannot link {}", from.display()))?;
        }
        if options.tls {
            let about = kit.initrd.with_file_name(ramdisk::ABOUT);
            fs::hard_link(&about, files.join(ramdisk::ABOUT)).with_context(|| format!("cannot link {}", about.display()))?;
        }
        for pack in if options.packs { kit.packs()? } else { Vec::new() } {
            let name = pack.file_name().unwrap_or_default();
            fs::hard_link(&pack, files.join(name)).with_context(|| format!("cannot link {}", pack.display()))?;
        }
        let mut provisioner = Self { daemon: None, thimble: setup.thimble.clone(), folder: folder.to_owned(), options };
        provisioner.up()?;
        Ok(provisioner)
    }

    /// Starts it (again) with the same data and waits until it is healthy.
    pub fn up(&mut self) -> Result<()> {
        let mut command = Command::new(&self.thimble);
        command.arg("up").arg("--data").arg(self.data()).arg("--files").arg(self.files());
        // Other labs of this host have theirs. Its whole path may be longer than that of a socket can be.
        command.current_dir(&self.folder).arg("--socket").arg(Path::new(".").join(SOCKET));
        let interface = if self.options.no_dhcp { "lo" } else { segment::BRIDGE };
        match self.options.only_ipv6 {
            Some(settings) => {
                let file = self.folder.join("thimble.yaml");
                fs::write(&file, settings).with_context(|| format!("cannot write {}", file.display()))?;
                command.args(["--address6", &segment::HOST6.to_string(), "--interface", interface, "--config"]).arg(file);
            }
            None => {
                _ = command.args(["--address", &segment::HOST.to_string(), "--interface", interface, "--router-advertisements"])
            }
        }
        command.args(["--kernel", "vmlinuz", "--initrd", "initramfs.cpio.zst"]);
        command.args(["--insecure-registries", &format!("{}:5000,10.0.2.2:5000", segment::HOST)]);
        command.arg("--kernel-args").arg(format!("console=ttyS0 {}", self.options.kernel_args));
        if let Some(authority) = &self.options.grpc_authority {
            command.args(["--grpc-authority", authority]);
        }
        let mut daemon = Daemon::start(&mut command, &self.log())?;
        wait_for("thimble up to be healthy", STARTS_WITHIN, || {
            daemon.check()?;
            Ok(http::get(HTTP, "/healthz").ok().filter(|response| response.status == 200))
        })?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Sends SIGKILL, so it has no time to shut down.
    pub fn kill(&mut self) {
        self.daemon = None;
    }

    /// Serves a file as `/files/NAME`, by a hard link, and returns its URL.
    pub fn serve(&self, file: &Path, name: &str) -> Result<String> {
        match fs::hard_link(file, self.files().join(name)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(error).with_context(|| format!("cannot link {}", file.display()))
            }
            _ => Ok(self.url(name)),
        }
    }

    /// The URL of a served file.
    pub fn url(&self, name: &str) -> String {
        format!("http://{HTTP}/files/{name}")
    }

    /// The folder that boots serves.
    pub fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    /// The folder of the server's data, with its certificate authority.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The API's, for root.
    pub fn socket(&self) -> PathBuf {
        self.folder.join(SOCKET)
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join("thimble.log")
    }

    /// The lines of its log that contain all of `words`.
    pub fn log_lines(&self, words: &[&str]) -> Vec<String> {
        let bytes = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        text.lines().filter(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned).collect()
    }

    pub fn apply(&self, yaml: &str) -> Result<()> {
        match self.try_apply(yaml)? {
            (200, _) => Ok(()),
            (status, text) => bail!("the server refused the objects ({status}): {text}"),
        }
    }

    /// The status and the text of the answer to an apply.
    pub fn try_apply(&self, yaml: &str) -> Result<(u16, String)> {
        let headers = [("Content-Type", "application/yaml")];
        let answer = http::request(self.socket().as_path(), "POST", APPLY, &headers, yaml.as_bytes())?;
        Ok((answer.status, answer.text()))
    }

    pub fn hardware(&self, name: &str) -> Result<Hardware> {
        get(&self.socket(), &object(Kind::Hardware, &ObjectName::new("default", name)))
    }

    pub fn workflow(&self, name: &str) -> Result<Workflow> {
        workflow(&self.socket(), name)
    }

    /// The server's data about a machine.
    pub fn machine(&self, mac: &str) -> Result<api::Machine> {
        get(&self.socket(), &paths::machine(mac))
    }

    /// What the machine asked while it booted, a line each.
    pub fn explained(&self, mac: &str) -> Result<String> {
        let history: api::BootHistory = get(&self.socket(), &paths::machine_boots(mac))?;
        Ok(history.steps.iter().map(|step| format!("{}\n", step.step)).collect())
    }

    /// Waits until the workflow has ended.
    pub fn wait_ended(&self, name: &str, limit: Duration) -> Result<Workflow> {
        wait_for(&format!("workflow {name} to end"), limit, || {
            let workflow = self.workflow(name)?;
            Ok(["SUCCESS", "FAILED", "TIMEOUT"].contains(&workflow.state()).then_some(workflow))
        })
        .with_context(|| format!("its state is: {}", self.workflow(name).map_or_else(|e| e.to_string(), |w| w.status())))
    }

    pub fn wait_action(&self, workflow: &str, action: &str, state: &str, limit: Duration) -> Result<()> {
        wait_for(&format!("action {action} of {workflow} to be {state}"), limit, || {
            let workflow = self.workflow(workflow)?;
            Ok(workflow.action(action).is_some_and(|action| action.state.as_str() == state).then_some(()))
        })
    }

    /// The boot script that iPXE would get.
    pub fn script(&self, mac: &str) -> Result<String> {
        let answer = http::get(HTTP, &format!("/ipxe/script/{mac}/auto.ipxe"))?;
        if answer.status != 200 {
            bail!("the boot script of {mac} answered {}: {}", answer.status, answer.text());
        }
        Ok(answer.text())
    }

    /// The kernel arguments in the boot script.
    pub fn kernel_arguments(&self, mac: &str) -> Result<String> {
        let script = self.script(mac)?;
        kernel_arguments(&script).with_context(|| format!("the boot script of {mac} does not start a kernel:\n{script}"))
    }
}

/// The state of an action in the server with this socket, or a sentence if the server does not answer.
pub fn action_state(socket: &Path, workflow: &str, action: &str) -> String {
    match self::workflow(socket, workflow) {
        Ok(workflow) => workflow.action(action).map_or("nothing", |action| action.state.as_str()).to_owned(),
        Err(error) => format!("nothing: {error:#}"),
    }
}

fn workflow(socket: &Path, name: &str) -> Result<Workflow> {
    get(socket, &object(Kind::Workflow, &ObjectName::new("default", name))).map(Workflow)
}

fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T> {
    let answer = http::get(socket, path)?;
    if answer.status != 200 {
        bail!("GET {path} answered {}: {}", answer.status, answer.text());
    }
    serde_json::from_slice(&answer.body).with_context(|| format!("cannot read the answer to GET {path}"))
}

fn kernel_arguments(script: &str) -> Option<String> {
    let line = script.lines().find_map(|line| line.trim().strip_prefix("kernel "))?;
    let words = line.split_whitespace().skip_while(|word| !word.contains("://")).skip(1);
    let words: Vec<&str> =
        words.take_while(|word| !matches!(*word, "||" | "&&")).filter(|word| !word.starts_with("initrd=")).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// A Workflow as the API shows it.
#[derive(Debug)]
pub struct Workflow(model::Workflow);

impl Workflow {
    pub fn state(&self) -> &'static str {
        self.0.status.state.map_or("", WorkflowState::as_str)
    }

    /// The complete status as JSON, for messages.
    pub fn status(&self) -> String {
        serde_json::to_string(&self.0.status).unwrap_or_default()
    }

    pub fn action(&self, name: &str) -> Option<&WorkflowAction> {
        self.actions().find(|action| action.name == name)
    }

    /// The action that did not succeed, with its message.
    pub fn failure(&self) -> String {
        let ended = self.actions().find(|action| ["FAILED", "TIMEOUT"].contains(&action.state.as_str()));
        ended.map_or_else(|| self.status(), |action| format!("action {}: {}", action.name, action.message))
    }

    /// How long each action took, as the server has it.
    pub fn durations(&self) -> String {
        let each = self.actions().map(|action| format!("{} {}", action.name, action.execution_duration));
        each.collect::<Vec<_>>().join(", ")
    }

    fn actions(&self) -> impl Iterator<Item = &WorkflowAction> {
        self.0.status.tasks.iter().flat_map(|task| &task.actions)
    }

    pub fn message(&self, action: &str) -> &str {
        self.action(action).map_or("", |action| &action.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_arguments_come_from_the_boot_script() {
        let script = "#!ipxe\nkernel http://10.77.0.1:7080/files/vmlinuz initrd=i.zst console=ttyS0 worker_id=x && goto have_kernel ||\nboot\n";
        assert_eq!(kernel_arguments(script).as_deref(), Some("console=ttyS0 worker_id=x"));
        let named = "kernel --name k http://10.77.0.1/vmlinuz quiet\n";
        assert_eq!(kernel_arguments(named).as_deref(), Some("quiet"));
        assert_eq!(kernel_arguments("#!ipxe\nexit\n"), None);
    }
}
