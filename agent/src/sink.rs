//! The destinations of the agent's lines: the kernel log (which every console shows) or stderr, and a syslog server as a
//! best effort.
//!
//! Nothing here blocks on the network or makes work fail. Lines that cannot be written are counted.

mod kmsg;

use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use log::{Level, LevelFilter, Log, Metadata, Record};
use machine::kernel_log::{self, OUTPUT};
use machine::syslog::{self, ActionLine, Message};

use crate::settings::{LogTarget, Settings};

/// How often a syslog server's name is looked up until it has an address.
const RETRY: Duration = Duration::from_secs(10);

struct Sink {
    kmsg: Option<File>,
    /// The syslog server, once its address is known.
    syslog: Option<OnceLock<Syslog>>,
    hostname: String,
    lost: AtomicU64,
}

static SINK: OnceLock<Sink> = OnceLock::new();

/// After this call `log` and [`action_line`] reach their destinations. A second call does nothing.
pub fn install(settings: &Settings) {
    let syslog = settings.syslog_host.as_deref().map(|host| Syslog::find(host, settings.syslog_port));
    let missing = syslog.as_ref().and_then(|found| found.as_ref().err()).map(ToString::to_string);
    let sink = Sink {
        kmsg: (settings.log == LogTarget::Kmsg).then(kmsg::open).flatten(),
        syslog: syslog.map(|found| found.map_or_else(|_| OnceLock::new(), OnceLock::from)),
        hostname: settings.id.clone(),
        lost: AtomicU64::new(0),
    };
    if SINK.set(sink).is_err() {
        return;
    }
    if log::set_logger(&Front).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    if let (Some(error), Some(host)) = (missing, settings.syslog_host.clone()) {
        log::warn!("syslog server {host} cannot be found: {error}; trying again every {} s", RETRY.as_secs());
        let port = settings.syslog_port;
        let search = std::thread::Builder::new().name("syslog".to_owned()).spawn(move || keep_looking(&host, port));
        if let Err(error) = search {
            log::warn!("continuing without the syslog server: {error}");
        }
    }
}

fn keep_looking(host: &str, port: u16) {
    let Some(place) = SINK.get().and_then(|sink| sink.syslog.as_ref()) else { return };
    while place.get().is_none() {
        std::thread::sleep(RETRY);
        if let Ok(found) = Syslog::find(host, port) {
            let _ = place.set(found);
            log::info!("found syslog server {host}");
        }
    }
}

/// Logs one line that an action wrote.
pub fn action_line(origin: ActionLine<'_>, text: &str) {
    if let Some(sink) = SINK.get() {
        sink.write(Level::Info, &format!("{OUTPUT}{text}"), Some(origin));
    }
}

/// The socket is not connected, because a connected socket keeps its source address, which changes with the network.
struct Syslog {
    socket: UdpSocket,
    server: SocketAddr,
}

impl Syslog {
    fn find(host: &str, port: u16) -> io::Result<Self> {
        let found = (host, port).to_socket_addrs()?.next();
        let server = found.ok_or_else(|| io::Error::other("the name has no address"))?;
        let socket = UdpSocket::bind(if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, server })
    }

    fn send(&self, message: &Message<'_>) -> io::Result<usize> {
        self.socket.send_to(&syslog::render(message), self.server)
    }
}

impl Sink {
    fn write(&self, level: Level, text: &str, origin: Option<ActionLine<'_>>) {
        match &self.kmsg {
            Some(file) => {
                for record in kmsg::records(level, text) {
                    let _ = kernel_log::write(file, record.as_bytes()); // a failure to write the kernel log cannot be logged
                }
            }
            None => {
                let _ = std::io::stderr().write_all(format!("thimble: {text}\n").as_bytes()); // in one write
            }
        }
        if let Some(syslog) = &self.syslog {
            self.send(syslog.get(), level, text, origin);
        }
    }

    fn send(&self, syslog: Option<&Syslog>, level: Level, text: &str, origin: Option<ActionLine<'_>>) {
        let now = SystemTime::now();
        let message = Message { level, now, hostname: &self.hostname, text, origin };
        let Some(syslog) = syslog.filter(|syslog| syslog.send(&message).is_ok()) else {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let text = format!("{lost} lines before this one were not sent");
            let note = Message { level: Level::Warn, now, hostname: &self.hostname, text: &text, origin: None };
            let _ = syslog.send(&note);
        }
    }
}

struct Front;

impl Log for Front {
    /// Libraries may log what goes wrong, but not their milestones.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn || metadata.target().starts_with("agent")
    }

    fn log(&self, record: &Record<'_>) {
        if let (true, Some(sink)) = (self.enabled(record.metadata()), SINK.get()) {
            sink.write(record.level(), &record.args().to_string(), None);
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_syslog_server_gets_lines_on_the_given_port() {
        for host in ["127.0.0.1", "::1"] {
            let server = UdpSocket::bind((host, 0)).unwrap();
            server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let syslog = Syslog::find(host, server.local_addr().unwrap().port()).unwrap();
            let now = SystemTime::UNIX_EPOCH;
            syslog.send(&Message { level: Level::Info, now, hostname: "m1", text: "hello", origin: None }).unwrap();
            let mut packet = [0; 500];
            let (length, _) = server.recv_from(&mut packet).unwrap();
            assert!(String::from_utf8_lossy(&packet[..length]).ends_with("hello"), "{host}");
        }
    }

    #[test]
    fn a_server_without_a_route_is_kept_for_later() {
        assert_eq!(Syslog::find("192.0.2.1", 514).unwrap().server.to_string(), "192.0.2.1:514");
        assert!(Syslog::find("no such name", 514).is_err());
    }
}
