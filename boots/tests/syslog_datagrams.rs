//! Syslog by UDP over real sockets: who a sender is may take seconds to find out, and nobody else waits for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use api::BootStep;
use boots::syslog::{Intake, Message};
use boots::{BootInterface, Events, LogSink, MachineSource, SourceFuture};
use model::Mac;
use support::{Fixed, KNOWN, LIMIT, machine};
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

const SLOW: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 5, 9));
const SLOW_MAC: Mac = Mac::new([2, 0, 0, 0, 9, 9]);

#[derive(Debug, Default)]
struct Lines(Mutex<Vec<(Option<Mac>, String)>>);

impl LogSink for Lines {
    fn take(&self, mac: Option<Mac>, _: IpAddr, message: &Message) {
        self.0.lock().unwrap().push((mac, message.text.clone()));
    }

    fn step(&self, _: Mac, _: BootStep) {}
}

impl Lines {
    async fn until(&self, count: usize) -> Vec<(Option<Mac>, String)> {
        let wait = async {
            loop {
                let lines = self.0.lock().unwrap().clone();
                if lines.len() >= count {
                    return lines;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, wait).await.expect("the lines did not come in time")
    }
}

/// It answers about one address only when it may.
struct Slow(Fixed, Arc<Semaphore>);

impl MachineSource for Slow {
    fn machine(&self, mac: Mac) -> SourceFuture<'_> {
        self.0.machine(mac)
    }

    fn machine_at(&self, address: IpAddr) -> SourceFuture<'_> {
        if address != SLOW {
            return self.0.machine_at(address);
        }
        Box::pin(async {
            let _may = self.1.acquire().await;
            Ok(Some(BootInterface { mac: SLOW_MAC, ..machine(KNOWN) }))
        })
    }
}

#[tokio::test]
async fn a_sender_that_is_looked_up_holds_up_nobody_and_keeps_the_order_of_its_lines() {
    let (lines, may, shutdown) = (Arc::new(Lines::default()), Arc::new(Semaphore::new(0)), CancellationToken::new());
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let events = Events::new().with_sink(Arc::clone(&lines) as Arc<dyn LogSink>);
    let intake = Arc::new(Intake::new(Arc::new(Slow(Fixed::default(), Arc::clone(&may))), events));
    tokio::spawn(boots::syslog::serve(socket, intake, shutdown.clone()));
    let slow = UdpSocket::bind((SLOW, 0)).await.unwrap();
    for text in ["first", "second"] {
        slow.send_to(format!("<13>tag: {text}").as_bytes(), address).await.unwrap();
    }
    let quick = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    quick.send_to(b"<13>tag: of another", address).await.unwrap();
    assert_eq!(lines.until(1).await, [(Some(KNOWN), "of another".to_owned())]);
    may.add_permits(1);
    let all = lines.until(3).await;
    assert_eq!(all[1..], [(Some(SLOW_MAC), "first".to_owned()), (Some(SLOW_MAC), "second".to_owned())]);
    shutdown.cancel();
}
