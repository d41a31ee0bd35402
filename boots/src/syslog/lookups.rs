//! Senders whose machine is being looked up, which may take seconds. Their first datagrams wait, and those of others do not.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use model::Mac;
use tokio::task::JoinSet;

use super::intake::Intake;

/// The most that run at once, and the bytes that wait for one.
const RUNNING: usize = 64;
const BYTES: usize = 64 * 1024;
/// What a waiting datagram costs besides its bytes.
const OVERHEAD: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Lookups {
    running: JoinSet<(IpAddr, Option<Mac>)>,
    waiting: HashMap<IpAddr, Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    datagrams: Vec<Vec<u8>>,
    bytes: usize,
}

impl Lookups {
    /// Unless it runs already, or too many do.
    pub fn begin(&mut self, intake: &Arc<Intake>, address: IpAddr, now: Instant) {
        if self.waiting.len() >= RUNNING || self.waiting.contains_key(&address) {
            return;
        }
        self.waiting.insert(address, Waiting::default());
        let intake = Arc::clone(intake);
        self.running.spawn(async move { (address, intake.machine(address, now).await) });
    }

    /// Whether the datagram waits for the lookup of its sender.
    pub fn hold(&mut self, address: IpAddr, datagram: &[u8]) -> bool {
        let Some(waiting) = self.waiting.get_mut(&address) else { return false };
        let bytes = waiting.bytes + datagram.len() + OVERHEAD;
        if bytes > BYTES {
            return false;
        }
        waiting.bytes = bytes;
        waiting.datagrams.push(datagram.to_vec());
        true
    }

    /// The next sender that was looked up, with what has waited. It waits for ever if none runs.
    pub async fn next(&mut self) -> (IpAddr, Option<Mac>, Vec<Vec<u8>>) {
        loop {
            match self.running.join_next().await {
                Some(Ok((address, mac))) => {
                    let waiting = self.waiting.remove(&address).unwrap_or_default();
                    return (address, mac, waiting.datagrams);
                }
                Some(Err(_)) => self.waiting.clear(), // one panicked, which the panic handler has reported
                None => std::future::pending().await,
            }
        }
    }
}
