//! Real members of etcd on loopback, for tests. They end when this is dropped.

use std::fmt;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Address;

/// For a member to listen. A machine of the suite may be busy.
const START: Duration = Duration::from_secs(60);
/// What the docs tell an operator to set.
pub const LIMITS: &[&str] = &["--max-txn-ops=16384", "--max-request-bytes=10485760"];

pub struct Cluster {
    members: Vec<Member>,
    _folder: TempDir,
}

struct Member {
    client: u16,
    arguments: Vec<String>,
    log: PathBuf,
    process: Option<Child>,
}

/// Why there are no members.
#[derive(Debug)]
pub struct Missing(String);

impl fmt::Display for Missing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Cluster {
    /// Starts so many members with empty data.
    ///
    /// # Errors
    /// When the program `etcd` is missing or does not start.
    pub fn start(count: usize, more: &[&str]) -> Result<Self, Missing> {
        let missing = |reason: io::Error| Missing(format!("etcd cannot be started (Debian's etcd-server): {reason}"));
        let folder = tempfile::tempdir().map_err(missing)?;
        let ports = free_ports(2 * count).map_err(missing)?;
        let (clients, peers) = ports.split_at(count);
        let all =
            (0..count).zip(peers).map(|(index, port)| format!("m{index}=http://127.0.0.1:{port}")).collect::<Vec<_>>().join(",");
        let members = (0..count).zip(clients.iter().zip(peers));
        let members = members.map(|(index, (client, peer))| Member::new(index, (*client, *peer), &all, folder.path(), more));
        let mut cluster = Self { members: members.collect(), _folder: folder };
        for index in 0..count {
            cluster.begin(index).map_err(missing)?;
        }
        (0..count).try_for_each(|index| cluster.listens(index).map_err(missing))?;
        Ok(cluster)
    }

    /// Where they are, with this prefix.
    #[must_use]
    pub fn address(&self, prefix: &str) -> Address {
        let members = self.members.iter().map(|member| format!("127.0.0.1:{}", member.client)).collect();
        Address { members, prefix: prefix.to_owned() }
    }

    /// Starts a member that has ended, with its data.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&mut self, index: usize) -> io::Result<()> {
        self.begin(index)?;
        self.listens(index)
    }

    fn begin(&mut self, index: usize) -> io::Result<()> {
        let Some(member) = self.members.get_mut(index) else { return Ok(()) };
        let log = std::fs::File::create(&member.log)?;
        let mut command = Command::new("etcd");
        command.args(&member.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        member.process = Some(command.spawn()?);
        Ok(())
    }

    fn listens(&mut self, index: usize) -> io::Result<()> {
        let Some(member) = self.members.get_mut(index) else { return Ok(()) };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", member.client)).is_err() {
            let ended = member.process.as_mut().is_none_or(|process| !matches!(process.try_wait(), Ok(None)));
            if ended || begun.elapsed() > START {
                let log = std::fs::read_to_string(&member.log).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                return Err(io::Error::other(format!("a member does not listen: {}", last.join("; "))));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends a member at once, as a power cut does.
    pub fn kill(&mut self, index: usize) {
        if let Some(mut process) = self.members.get_mut(index).and_then(|member| member.process.take()) {
            let _ = process.kill(); // an error only means that it has ended
            let _ = process.wait();
        }
    }

    /// Makes a member stand still (`STOP`), or go on (`CONT`). Its connections stay open.
    ///
    /// # Errors
    /// When `kill` cannot be run.
    pub fn signal(&self, index: usize, signal: &str) -> io::Result<()> {
        let Some(process) = self.members.get(index).and_then(|member| member.process.as_ref()) else { return Ok(()) };
        Command::new("kill").arg(format!("-{signal}")).arg(process.id().to_string()).status().map(drop)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        (0..self.members.len()).for_each(|index| self.kill(index));
    }
}

impl Member {
    fn new(index: usize, (client, peer): (u16, u16), all: &str, folder: &Path, more: &[&str]) -> Self {
        let scheme = if more.contains(&"--cert-file") { "https" } else { "http" };
        let (client_url, peer_url) = (format!("{scheme}://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let data = folder.join(format!("m{index}"));
        let mut arguments = vec!["--name".to_owned(), format!("m{index}"), "--data-dir".to_owned(), data.display().to_string()];
        for (option, value) in [
            ("--listen-client-urls", client_url.as_str()),
            ("--advertise-client-urls", &client_url),
            ("--listen-peer-urls", &peer_url),
            ("--initial-advertise-peer-urls", &peer_url),
            ("--initial-cluster", all),
            ("--heartbeat-interval", "50"),
            ("--election-timeout", "500"),
            ("--logger", "zap"),
        ] {
            arguments.extend([option.to_owned(), value.to_owned()]);
        }
        arguments.extend(more.iter().map(|&option| option.to_owned()));
        Self { client, arguments, log: folder.join(format!("m{index}.log")), process: None }
    }
}

/// Ports that were free just now.
fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<Vec<_>>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
