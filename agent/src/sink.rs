//! Where our lines go: the kernel log (every console shows it) or stderr, and best effort to a syslog server.
//!
//! Nothing here blocks on the network and nothing here can fail the work: what cannot be written is counted.

mod kmsg;
pub mod rfc5424;

use std::fs::File;
use std::io::Write;
use std::net::{ToSocketAddrs, UdpSocket};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::settings::{LogTarget, Settings};
use rfc5424::Message;

/// An action's line, for the structured data that lets one action be followed on the server.
#[derive(Debug, Clone, Copy)]
pub struct ActionLine<'a> {
    pub workflow: &'a str,
    pub action: &'a str,
    pub stream: &'a str,
}

struct Sink {
    kmsg: Option<File>,
    syslog: Option<UdpSocket>,
    hostname: String,
    lost: AtomicU64,
}

static SINK: OnceLock<Sink> = OnceLock::new();

/// From here on `log` and [`action_line`] reach their destinations. A second call changes nothing.
pub fn install(settings: &Settings) {
    let sink = Sink {
        kmsg: (settings.log == LogTarget::Kmsg).then(kmsg::open).flatten(),
        syslog: settings.syslog_host.as_deref().and_then(|host| connect(host, settings.syslog_port)),
        hostname: settings.id.clone(),
        lost: AtomicU64::new(0),
    };
    let without = settings.syslog_host.as_ref().filter(|_| sink.syslog.is_none());
    if SINK.set(sink).is_ok() && log::set_logger(&Front).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    if let Some(host) = without {
        log::warn!("syslog server {host} cannot be reached by that name or address: going on without it");
    }
}

/// One line that an action wrote.
pub fn action_line(origin: ActionLine<'_>, text: &str) {
    if let Some(sink) = SINK.get() {
        sink.write(Level::Info, &format!("A| {text}"), Some(origin));
    }
}

fn connect(host: &str, port: u16) -> Option<UdpSocket> {
    let address = (host, port).to_socket_addrs().ok()?.next()?;
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect(address).ok()?;
    Some(socket)
}

impl Sink {
    fn write(&self, level: Level, text: &str, origin: Option<ActionLine<'_>>) {
        match &self.kmsg {
            Some(file) => {
                for record in kmsg::records(level, text) {
                    let _ = (&*file).write_all(&record); // the kernel log is the last resort: there is nowhere to complain
                }
            }
            None => {
                let _ = std::io::stderr().write_all(format!("thimble: {text}\n").as_bytes()); // in one piece
            }
        }
        if let Some(socket) = &self.syslog {
            self.send(socket, level, text, origin);
        }
    }

    fn send(&self, socket: &UdpSocket, level: Level, text: &str, origin: Option<ActionLine<'_>>) {
        let now = SystemTime::now();
        let message = Message { level, now, hostname: &self.hostname, text, origin };
        if socket.send(&rfc5424::render(&message)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let text = format!("{lost} lines before this one did not leave the machine");
            let note = Message { level: Level::Warn, now, hostname: &self.hostname, text: &text, origin: None };
            let _ = socket.send(&rfc5424::render(&note));
        }
    }
}

struct Front;

impl Log for Front {
    /// Libraries may say what goes wrong; their milestones are not ours.
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
    fn the_syslog_server_is_spoken_to_on_the_port_given() {
        for (host, peer) in [("127.0.0.1", "127.0.0.1:5514"), ("::1", "[::1]:5514")] {
            let socket = connect(host, 5514).and_then(|socket| socket.peer_addr().ok());
            assert_eq!(socket.map(|peer| peer.to_string()).as_deref(), Some(peer));
        }
    }
}
