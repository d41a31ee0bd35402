//! Syslog by TCP over real sockets: both framings, shares of senders, and places of connections.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use api::BootStep;
use boots::syslog::{Intake, Message, serve_stream};
use boots::{Events, LogSink};
use model::Mac;
use support::{Fixed, KNOWN, LIMIT};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

type Line = (Option<Mac>, IpAddr, String, String);

#[derive(Debug, Default)]
struct Lines(Mutex<Vec<Line>>);

impl LogSink for Lines {
    fn take(&self, mac: Option<Mac>, address: IpAddr, message: &Message) {
        self.0.lock().unwrap().push((mac, address, message.tag.clone(), message.text.clone()));
    }

    fn step(&self, _: Mac, _: BootStep) {}
}

struct Host {
    address: SocketAddr,
    lines: Arc<Lines>,
    shutdown: CancellationToken,
}

impl Host {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, lines, shutdown) = (listener.local_addr().unwrap(), Arc::new(Lines::default()), CancellationToken::new());
        let events = Events::new().with_sink(Arc::clone(&lines) as Arc<dyn LogSink>);
        let intake = Arc::new(Intake::new(Arc::new(Fixed::default()), events));
        tokio::spawn(serve_stream(listener, intake, shutdown.clone()));
        Self { address, lines, shutdown }
    }

    async fn connect(&self, last: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0))).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    async fn until(&self, mut is_there: impl FnMut(&[Line]) -> bool) {
        let wait = async {
            while !is_there(&self.lines.0.lock().unwrap()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, wait).await.expect("the lines did not come in time");
    }
}

#[tokio::test]
async fn lines_by_tcp_are_filed_under_their_machine() {
    let host = Host::start().await;
    let mut known = host.connect(1).await;
    known.write_all(b"<13>1 - m1 counted - - - one\n12 <13>tag: two29 <34>1 - m1 su").await.unwrap();
    known.write_all(b" - - - in pieces").await.unwrap();
    let mut other = host.connect(9).await;
    other.write_all(b"<13>x: cut o").await.unwrap();
    drop(other);
    host.until(|lines| lines.len() == 4).await;
    let mut lines = host.lines.0.lock().unwrap().clone();
    lines.sort_by_key(|(mac, ..)| mac.is_none());
    let (own, others) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 9]));
    let line = |mac, address, tag: &str, text: &str| (mac, address, tag.to_owned(), text.to_owned());
    assert_eq!(
        lines,
        [
            line(Some(KNOWN), own, "counted", "one"),
            line(Some(KNOWN), own, "tag", "two"),
            line(Some(KNOWN), own, "su", "in pieces"),
            line(None, others, "x", "cut o"),
        ]
    );
    host.shutdown.cancel();
}

#[tokio::test]
async fn a_flood_by_tcp_waits_and_pushes_out_nothing_of_another_sender() {
    let host = Host::start().await;
    let mut flood = host.connect(9).await;
    let (mut reading, mut writing) = flood.split();
    let line = format!("<13>flood: {}\n", "x".repeat(1000));
    let flooding = async {
        loop {
            writing.write_all(line.as_bytes()).await.unwrap();
        }
    };
    let machine = async {
        let is_flood = |(_, _, tag, _): &&Line| tag == "flood";
        host.until(|lines| lines.iter().filter(is_flood).count() > 3600).await;
        let mut known = host.connect(1).await;
        known.write_all(b"<13>m1: here\n").await.unwrap();
        host.until(|lines| lines.iter().any(|(_, _, tag, text)| tag == "m1" && text == "here")).await;
        let bytes: usize = host.lines.0.lock().unwrap().iter().filter(is_flood).map(|(_, _, _, text)| text.len()).sum();
        assert!(bytes < 8 << 20, "it sent {bytes} bytes: more than its share");
    };
    tokio::select! {
        () = flooding => unreachable!(),
        () = machine => {}
        _ = reading.read_u8() => panic!("the connection was closed"),
    }
    host.shutdown.cancel();
}

#[tokio::test]
async fn an_unknown_sender_has_few_connections_and_leaves_those_of_machines() {
    let host = Host::start().await;
    let mut held = Vec::new();
    for number in 0..8 {
        let mut stream = host.connect(9).await;
        stream.write_all(format!("<13>n: {number}\n").as_bytes()).await.unwrap();
        held.push(stream);
        host.until(|lines| lines.len() == number + 1).await;
    }
    let mut ninth = host.connect(9).await;
    let closed = tokio::time::timeout(LIMIT, ninth.read_u8()).await.expect("it stays open");
    assert!(closed.is_err());
    let mut machines = Vec::new();
    for number in 0..64 {
        let mut stream = host.connect(1).await;
        stream.write_all(b"<13>m: x\n").await.unwrap();
        machines.push(stream);
        host.until(|lines| lines.len() == 9 + number).await;
    }
    drop(held);
    let again = async {
        loop {
            let mut stream = host.connect(9).await;
            let _ = stream.write_all(b"<13>again: x\n").await; // it may be closed already
            if tokio::time::timeout(std::time::Duration::from_millis(50), stream.read_u8()).await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, again).await.expect("a closed connection gives its place back");
    host.shutdown.cancel();
}
