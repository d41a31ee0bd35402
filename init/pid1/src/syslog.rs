//! Sends the machine's lines to the syslog server, from the first line of the boot on: RFC 5424 over UDP.
//!
//! The kernel log keeps the lines until there is a network. The agent sends its lines itself, with the name of the action
//! as MSGID. Their facility in the kernel log shows that they were sent.

use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime};

use log::Level;
use machine::syslog::{self, Message};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::time::{ClockId, clock_gettime};

use crate::kmsg::{Next, Reader, Record};
use crate::ready::Ready;
use crate::service::Facts;
use crate::{PathError, StepError};

/// The server's name may get another address.
const RESOLVE_AGAIN: Duration = Duration::from_secs(300);
const RETRY: Duration = Duration::from_secs(10);
/// The kernel's errors are sent, too: a dying disk or a killed process explains a failed action.
const KERNEL_ERROR: u8 = 3;

pub fn run(facts: &Facts, _: Ready) -> Result<(), StepError> {
    let Some(host) = facts.arguments.syslog_host.clone() else { return Ok(()) };
    let hostname = facts.arguments.machine_id(facts.mac).unwrap_or_default();
    let port = facts.arguments.syslog_port.unwrap_or(syslog::PORT);
    let mut log = Reader::open().map_err(PathError::new("cannot read", "/dev/kmsg"))?;
    let mut sender = Sender { server: Server::find(&host, port), hostname, sequence: None, lost: 0 };
    loop {
        while sender.forward(&mut log)? {}
        wait(&log)?;
        if sender.server.resolved.elapsed() >= RESOLVE_AGAIN {
            sender.server = Server::find(&host, port);
        }
    }
}

fn wait(log: &Reader) -> Result<(), StepError> {
    let timeout = PollTimeout::try_from(RESOLVE_AGAIN).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(log.as_fd(), PollFlags::POLLIN)], timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(PathError::new("cannot wait for", "the kernel log")(error).into()),
    }
}

struct Server {
    socket: UdpSocket,
    address: SocketAddr,
    resolved: Instant,
}

impl Server {
    /// Waits until the server is found. The kernel log keeps the lines meanwhile, and a gap shows if it could not.
    fn find(host: &str, port: u16) -> Self {
        let mut is_reported = false;
        loop {
            match Self::open(host, port) {
                Ok(server) => return server,
                Err(error) if !is_reported => {
                    log::warn!("syslog server {host} cannot be reached: {error}; trying again every {} s", RETRY.as_secs());
                    is_reported = true;
                }
                Err(_) => {}
            }
            std::thread::sleep(RETRY);
        }
    }

    fn open(host: &str, port: u16) -> std::io::Result<Self> {
        let found = (host, port).to_socket_addrs()?.next();
        let address = found.ok_or_else(|| std::io::Error::other("the name has no address"))?;
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address, resolved: Instant::now() })
    }
}

struct Sender {
    server: Server,
    hostname: String,
    /// The sequence number of the last record that was read.
    sequence: Option<u64>,
    /// Lines that the ring or the socket could not take since the last sent line.
    lost: u64,
}

impl Sender {
    /// Sends one record. False if no record is left.
    fn forward(&mut self, log: &mut Reader) -> Result<bool, StepError> {
        match log.read().map_err(PathError::new("cannot read", "/dev/kmsg"))? {
            Next::Nothing => return Ok(false),
            Next::Overrun | Next::Strange => {}
            Next::Record(record) => {
                self.lost += gap(self.sequence, record.sequence);
                self.sequence = Some(record.sequence);
                if let Some(text) = worth_sending(&record) {
                    self.send(record.severity, written_at(record.at), &text);
                }
            }
        }
        Ok(true)
    }

    fn send(&mut self, severity: u8, now: SystemTime, text: &str) {
        if self.lost > 0 {
            let note = format!("{} lines before this one were lost", self.lost);
            if !self.send_one(Level::Warn, now, &note) {
                self.lost += 1;
                return;
            }
            self.lost = 0;
        }
        if !self.send_one(level(severity), now, text) {
            self.lost += 1;
        }
    }

    fn send_one(&self, level: Level, now: SystemTime, text: &str) -> bool {
        let message = Message { level, now, hostname: &self.hostname, text, origin: None };
        self.server.socket.send_to(&syslog::render(&message), self.server.address).is_ok()
    }
}

/// How many records were overwritten before they were read.
fn gap(last: Option<u64>, now: u64) -> u64 {
    now.saturating_sub(last.map_or(now, |last| last.saturating_add(1)))
}

fn worth_sending(record: &Record<'_>) -> Option<String> {
    const KERNEL: u8 = 0;
    match record.ours() {
        Some(_) if record.facility == syslog::FACILITY_LOCAL0 => None,
        Some(text) => Some(text.to_owned()),
        None if record.facility == KERNEL && record.severity <= KERNEL_ERROR => Some(format!("kernel: {}", record.text)),
        None => None,
    }
}

fn level(severity: u8) -> Level {
    match severity {
        0..=3 => Level::Error,
        4 => Level::Warn,
        5 | 6 => Level::Info,
        _ => Level::Debug,
    }
}

/// The time of the line by the current clock, which may have been set since.
fn written_at(since_start: Duration) -> SystemTime {
    let up = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or(since_start);
    let now = SystemTime::now();
    now.checked_sub(up.saturating_sub(since_start)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thimbles_lines_and_the_kernels_errors_are_sent_once() {
        for (case, line, expected) in [
            ("PID 1", "13,1,0,-;thimble: init 0.1.0 started", Some("init 0.1.0 started")),
            ("the agent sends its lines itself", "133,1,0,-;thimble: waiting for work", None),
            ("kernel chatter", "6,1,0,-;Linux version 6.1", None),
            ("a kernel error", "3,1,0,-;I/O error, dev sda", Some("kernel: I/O error, dev sda")),
            ("another program's error", "11,1,0,-;oops", None),
        ] {
            assert_eq!(Record::parse(line).and_then(|record| worth_sending(&record)).as_deref(), expected, "{case}");
        }
    }

    #[test]
    fn overwritten_records_are_counted() {
        assert_eq!((gap(None, 100), gap(Some(5), 6), gap(Some(5), 9), gap(Some(9), 5)), (0, 0, 3, 0));
    }
}
