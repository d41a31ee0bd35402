//! A site for a storm: servers, each with a boots beside it, on three members of etcd. Each host has a network namespace, so that
//! a program can be killed and a host cut off.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use machine::ports;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use storm::faults::Program;
use storm::ledger::Acknowledged;
use storm::site;

use super::course::{Blow, Served, firewall, losing};
use super::host::{Load, stand_ins};
use super::{Arguments, store};
use crate::command::{Daemon, output, wait_for};
use crate::http;
use crate::namespace::Namespace;

pub const MEMBERS: usize = 3;
const CARD: &str = "lan";
const CLIENTS: u16 = 2379;
const PEERS: u16 = 2380;
const API: u16 = 6443;
/// Where `thimble server` answers, because boots has the usual port.
const HEALTH: u16 = ports::HTTP + 1;
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// After SIGTERM.
const ENDS_WITHIN: Duration = Duration::from_secs(20);
/// Until every server shows what the site knows.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);
/// 32 bytes in base64.
const KEY: &str = "c3Rvcm1zdG9ybXN0b3Jtc3Rvcm1zdG9ybXN0b3JtMTI=\n";

/// A program, and what its processes before this one have used.
#[derive(Default)]
struct Running {
    daemon: Option<Daemon>,
    starts: usize,
    before: Load,
}

impl Running {
    fn load(&self) -> Load {
        self.before.and(Load::of(self.daemon.as_ref()))
    }

    /// By SIGTERM.
    fn end(&mut self) -> Result<()> {
        self.before = self.load();
        let Some(mut daemon) = self.daemon.take() else { return Ok(()) };
        let id = i32::try_from(daemon.id()).context("a process id")?;
        kill(Pid::from_raw(id), Signal::SIGTERM).context("cannot send SIGTERM")?;
        let status = daemon.wait(ENDS_WITHIN)?.context("a program did not end after SIGTERM")?;
        ensure!(status.success(), "a program ended after SIGTERM with {status}");
        Ok(())
    }

    /// By SIGKILL.
    fn kill(&mut self) {
        self.before = self.load();
        self.daemon = None; // its end is part of the drop
    }
}

struct Host {
    number: usize,
    namespace: Namespace,
    folder: PathBuf,
    etcd: Running,
    server: Running,
    boots: Running,
}

pub struct Several {
    thimble: PathBuf,
    /// The program of the first start.
    earlier: PathBuf,
    hosts: Vec<Host>,
    /// How many of the hosts have a server and a boots. All have a member of etcd.
    serving: usize,
    key: PathBuf,
    token: String,
    pin: String,
}

fn address(number: usize) -> Ipv4Addr {
    let [a, b, c, _] = site::HOST.octets();
    Ipv4Addr::new(a, b, c, u8::try_from(10 + number).unwrap_or(u8::MAX))
}

impl Several {
    /// Starts the site. `bridge` is the segment's.
    pub fn start(thimble: &Path, folder: &Path, serving: usize, bridge: &str, arguments: &Arguments) -> Result<Self> {
        ensure!((1..=MEMBERS).contains(&serving), "a site of the storm has 1 to {MEMBERS} servers");
        let key = folder.join("site.key");
        fs::write(&key, KEY).and_then(|()| fs::set_permissions(&key, fs::Permissions::from_mode(0o600))).context("site.key")?;
        let hosts = (1..=MEMBERS).map(|number| Host::prepare(number, folder, bridge, arguments)).collect::<Result<Vec<_>>>()?;
        let (token, pin) = (String::new(), String::new());
        let earlier = arguments.from.as_deref().unwrap_or(thimble);
        let earlier = earlier.canonicalize().with_context(|| format!("there is no program {}", earlier.display()))?;
        let mut site = Self { thimble: thimble.to_owned(), earlier, hosts, serving, key, token, pin };
        for number in 1..=MEMBERS {
            site.begin(Program::Etcd, number)?;
        }
        for number in 1..=MEMBERS {
            site.wait_for("a member of etcd", SocketAddr::new(address(number).into(), CLIENTS), "/health")?;
        }
        for number in 1..=serving {
            site.begin(Program::Server, number)?;
            site.wait_for("a server", SocketAddr::new(address(number).into(), HEALTH), "/healthz")?;
        }
        site.log_in()?;
        for number in 1..=serving {
            site.begin(Program::Boots, number)?;
        }
        for number in 1..=serving {
            site.wait_for("boots", SocketAddr::new(address(number).into(), ports::HTTP), "/files/vmlinuz")?;
        }
        Ok(site)
    }

    /// A token of one server is one of all.
    fn log_in(&mut self) -> Result<()> {
        let data = self.host(1)?.folder.join("server");
        let mut create = Command::new(&self.earlier);
        let line = output(create.args(["token", "create", "--role", "boots", "--data"]).arg(data))?;
        let mut words = line.split_whitespace();
        let token = words.next().and_then(|word| word.strip_prefix("THIMBLE_TOKEN="));
        let pin = words.skip_while(|word| *word != "--ca-sha256").nth(1);
        (self.token, self.pin) =
            (token.context("no token in the line")?.to_owned(), pin.context("no pin in the line")?.to_owned());
        Ok(())
    }

    fn host(&self, number: usize) -> Result<&Host> {
        self.hosts.get(number.wrapping_sub(1)).with_context(|| format!("there is no host {number}"))
    }

    fn running(&mut self, program: Program, number: usize) -> Result<&mut Running> {
        let serving = self.serving;
        let host = self.hosts.get_mut(number.wrapping_sub(1)).with_context(|| format!("there is no host {number}"))?;
        Ok(match program {
            Program::Etcd => &mut host.etcd,
            Program::Server | Program::Boots if number > serving => bail!("host {number} has no {program:?}"),
            Program::Server => &mut host.server,
            Program::Boots => &mut host.boots,
        })
    }

    fn wait_for(&mut self, what: &str, at: SocketAddr, path: &str) -> Result<()> {
        wait_for(&format!("{what} at {at} to answer"), STARTS_WITHIN, || {
            self.check()?;
            Ok(http::get(at, path).ok().filter(|response| response.status == 200))
        })
        .map(drop)
    }

    /// Starts a program (again) with its data.
    fn begin(&mut self, program: Program, number: usize) -> Result<()> {
        let host = self.host(number)?;
        let (mut command, log) = match program {
            Program::Etcd => (host.etcd(), "etcd.log"),
            Program::Server => (self.server(host), "server.log"),
            Program::Boots => (self.boots(host), "boots.log"),
        };
        let daemon = Daemon::start(&mut command, &host.folder.join(log))?;
        let running = self.running(program, number)?;
        (running.daemon, running.starts) = (Some(daemon), running.starts + 1);
        Ok(())
    }

    fn each_server(&self, before: &str, port: u16) -> String {
        let all: Vec<String> = (1..=self.serving).map(|number| format!("{before}{}:{port}", address(number))).collect();
        all.join(",")
    }

    /// The first start has the earlier version.
    fn version(&self, running: &Running) -> &Path {
        if running.starts == 0 { &self.earlier } else { &self.thimble }
    }

    fn server(&self, host: &Host) -> Command {
        let members: Vec<String> = (1..=MEMBERS).map(|number| format!("{}:{CLIENTS}", address(number))).collect();
        let mut command = host.namespace.command(self.version(&host.server));
        command
            .arg("server")
            .current_dir(&host.folder)
            .args(["--socket", "./api.sock", "--data"])
            .arg(host.folder.join("server"));
        command.args(["--address", &address(host.number).to_string(), "--grpc-authority", &self.each_server("", ports::GRPC)]);
        command.args(["--store", &format!("etcd://{}/storm", members.join(",")), "--site-key"]).arg(&self.key);
        command
    }

    fn boots(&self, host: &Host) -> Command {
        let mut command = host.namespace.command(self.version(&host.boots));
        command.arg("boots").current_dir(&host.folder).env("THIMBLE_TOKEN", &self.token);
        command.args(["--server", &self.each_server("https://", API), "--ca-sha256", &self.pin]);
        command.args(["--address", &address(host.number).to_string(), "--interface", CARD]);
        for (flag, name) in [("--data", "boots"), ("--files", "files"), ("--nbp", "nbp")] {
            command.arg(flag).arg(host.folder.join(name));
        }
        command.args(["--kernel", "vmlinuz", "--initrd", "initramfs.cpio.zst"]);
        command
    }

    /// The socket of the first server.
    pub fn socket(&self) -> Result<PathBuf> {
        Ok(self.host(1)?.socket())
    }

    /// What each program has used, by its name.
    pub fn loads(&self) -> Vec<(String, Load)> {
        let named = |host: &Host| {
            [("server", &host.server), ("boots", &host.boots), ("etcd", &host.etcd)]
                .map(|(name, running)| (format!("{name} {}", host.number), running.load()))
        };
        self.hosts.iter().flat_map(named).filter(|(_, load)| load.peak_mib > 0.0).collect()
    }

    /// What an acknowledgement promised and a server does not show. Every server has some time to see what the site knows.
    pub fn lost(&mut self, acknowledged: &[Acknowledged]) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for number in 1..=self.serving {
            self.wait_for("a server", SocketAddr::new(address(number).into(), HEALTH), "/healthz")?;
            let socket = self.host(number)?.socket();
            let mut lost = None;
            let _ = wait_for("a server to show everything", SHOWN_WITHIN, || {
                lost = store::lost(&socket, acknowledged)?;
                Ok(lost.is_none().then_some(()))
            }); // what is missing then is said
            all.extend(lost.map(|lost| format!("server {number}: {lost}")));
        }
        Ok(all)
    }
}

impl Served for Several {
    fn strike(&mut self, blow: Blow) -> Result<()> {
        match blow {
            Blow::Kill(program, number) => self.running(program, number)?.kill(),
            Blow::End(program, number) => self.running(program, number)?.end()?,
            Blow::Start(program, number) => self.begin(program, number)?,
            Blow::CutOff(number) => {
                let port = self.host(number)?.namespace.port(CARD);
                firewall(&mut Command::new("nft"), &losing(&table(number), &port, 1.0))?;
            }
            Blow::Join(number) => firewall(&mut Command::new("nft"), &format!("delete table netdev {}", table(number)))?,
            other => bail!("{other:?} is for one host: leave out --hosts"),
        }
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        let programs = self.hosts.iter_mut().flat_map(|host| [&mut host.etcd, &mut host.server, &mut host.boots]);
        programs.filter_map(|running| running.daemon.as_mut()).try_for_each(Daemon::check)
    }
}

fn table(number: usize) -> String {
    format!("cut{number}")
}

impl Host {
    fn prepare(number: usize, folder: &Path, bridge: &str, arguments: &Arguments) -> Result<Self> {
        let folder = folder.join(format!("host{number}"));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        stand_ins(&folder, arguments)?;
        let namespace = Namespace::start(&folder, &format!("host{number}"))?;
        namespace.plug(CARD, bridge)?;
        namespace.ip(&format!("addr add {}/{} dev {CARD}", address(number), site::PREFIX))?;
        namespace.ip(&format!("route add {} via {} dev {CARD}", site::MACHINES, site::GATE))?;
        let (etcd, server, boots) = Default::default();
        Ok(Self { number, namespace, folder, etcd, server, boots })
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("api.sock")
    }

    fn etcd(&self) -> Command {
        let url = |number: usize, port: u16| format!("http://{}:{port}", address(number));
        let all: Vec<String> = (1..=MEMBERS).map(|number| format!("m{number}={}", url(number, PEERS))).collect();
        let (clients, peers) = (url(self.number, CLIENTS), url(self.number, PEERS));
        let mut command = self.namespace.command("etcd");
        for (flag, value) in [
            ("--name", format!("m{}", self.number).as_str()),
            ("--listen-client-urls", &clients),
            ("--advertise-client-urls", &clients),
            ("--listen-peer-urls", &peers),
            ("--initial-advertise-peer-urls", &peers),
            ("--initial-cluster", &all.join(",")),
            ("--max-txn-ops", "16384"),
            ("--max-request-bytes", "10485760"),
            ("--logger", "zap"),
        ] {
            command.args([flag, value]);
        }
        command.arg("--data-dir").arg(self.folder.join("etcd"));
        command
    }
}
