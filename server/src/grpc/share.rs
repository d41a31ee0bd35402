//! How much output of actions is taken from one client. What exceeds its share waits unread, and fills the buffers of the
//! sender: a flood costs the server no more than its share.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use api::serve::Client;
use tokio::time::Instant;

/// Bytes a second from one client, which may be a site behind NAT. One agent sends half a MiB at most.
pub const RATE: u32 = 2 << 20;
/// What a client may send at once after a pause, as a time at this rate.
const BURST: Duration = Duration::from_secs(2);
/// A call that would wait longer is refused. Agents wait 20 s for an answer.
const LONGEST: Duration = Duration::from_secs(10);
/// With more clients than this, those that send nothing are forgotten now and then.
const SWEEP: usize = 1024;

/// Until when each client has used its share.
#[derive(Debug, Default)]
pub struct Shares(Mutex<Used>);

#[derive(Debug, Default)]
struct Used {
    until: HashMap<Client, Instant>,
    /// How many are swept the next time, so that a sweep costs each call little.
    swept: usize,
}

impl Shares {
    /// Takes a share of this many bytes. Returns when they may be read. `None` if too many calls of the client wait.
    pub fn take(&self, client: Client, bytes: usize, now: Instant) -> Option<Instant> {
        let Used { until: used, swept } = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= (*swept).max(SWEEP) {
            used.retain(|_, until| *until > now);
            *swept = 2 * used.len();
        }
        let rested = now.checked_sub(BURST).unwrap_or(now);
        let until = used.entry(client).or_insert(rested);
        let begin = (*until).max(rested);
        if begin.saturating_duration_since(now) > LONGEST {
            return None;
        }
        *until = begin + time(bytes);
        Some(begin)
    }

    /// Gives back what was not sent.
    pub fn give_back(&self, client: Client, bytes: usize) {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = used.until.get_mut(&client) {
            *until = until.checked_sub(time(bytes)).unwrap_or(*until);
        }
    }
}

fn time(bytes: usize) -> Duration {
    Duration::from_secs(bytes as u64) / RATE
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const MESSAGE: usize = 64 << 10;

    fn client(last: u8) -> Client {
        IpAddr::from([10, 0, 0, last]).into()
    }

    #[test]
    fn a_flood_is_read_at_its_rate_and_costs_no_other_client() {
        let (shares, start) = (Shares::default(), Instant::now());
        let mut read = 0;
        let mut now = start;
        // As fast as it may, for ten seconds.
        while now < start + Duration::from_secs(10) {
            now = now.max(shares.take(client(1), MESSAGE, now).unwrap());
            read += MESSAGE;
        }
        let allowed = RATE as usize * 12;
        assert!(read <= allowed + MESSAGE && read > allowed - RATE as usize, "{read} of {allowed}");
        assert!(shares.take(client(2), MESSAGE, now).unwrap() <= now, "another client is read at once");
    }

    #[test]
    fn calls_at_once_wait_in_turn_and_too_many_are_refused() {
        let (shares, now) = (Shares::default(), Instant::now());
        let waits: Vec<_> = std::iter::from_fn(|| shares.take(client(1), MESSAGE, now)).collect();
        assert!(waits.is_sorted() && waits.last().unwrap().saturating_duration_since(now) <= LONGEST);
        let most = (LONGEST + BURST).as_secs() as usize * RATE as usize / MESSAGE;
        assert!((most..most + 3).contains(&waits.len()), "{} of {most}", waits.len());
    }

    #[test]
    fn what_was_not_sent_does_not_count_and_quiet_clients_are_forgotten() {
        let (shares, now) = (Shares::default(), Instant::now());
        for _ in 0..100_000 {
            assert!(shares.take(client(1), MESSAGE, now).unwrap() <= now);
            shares.give_back(client(1), MESSAGE);
        }
        for n in 0..5000_u32 {
            shares.take(IpAddr::from(n.to_be_bytes()).into(), 1, now + Duration::from_secs(n.into()));
        }
        assert!(shares.0.lock().unwrap().until.len() <= SWEEP);
    }
}
