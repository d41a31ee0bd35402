//! The stream of events: for `thimble events`, for pages, and for programs that wait for a state.
//!
//! The latest events are kept in memory. A reader that is too slow or too late gets an event with the number that it
//! missed. The server never waits for a reader.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use api::{Event, What};
use jiff::Timestamp;
use tokio::sync::broadcast::{self, error::RecvError};

const KEPT: usize = 8192;

pub struct Hub {
    recent: Mutex<Recent>,
    sender: broadcast::Sender<Arc<Event>>,
}

struct Recent {
    events: VecDeque<Arc<Event>>,
    latest: u64,
    /// The number before the first event of this process.
    born: u64,
}

impl Hub {
    /// Numbers begin at the time in microseconds. So they are larger than those of any earlier process, and exact in JSON.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let born = u64::try_from(now.as_microsecond()).unwrap_or(0);
        let recent = Recent { events: VecDeque::new(), latest: born, born };
        Self { recent: Mutex::new(recent), sender: broadcast::channel(1024).0 }
    }

    pub fn publish(&self, what: What) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.latest += 1;
        let event = Arc::new(Event { revision: recent.latest, time: Timestamp::now(), what });
        if recent.events.len() == KEPT {
            recent.events.pop_front();
        }
        recent.events.push_back(Arc::clone(&event));
        let _ = self.sender.send(event); // an error only means that no reader listens
    }

    /// Events after `since`, or without it the events from now on.
    #[must_use]
    pub fn read(&self, since: Option<u64>) -> Reader {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let since = since.unwrap_or(recent.latest);
        let mut backlog: VecDeque<_> = recent.events.iter().filter(|event| event.revision > since).cloned().collect();
        let first = recent.events.front().map_or(recent.latest + 1, |event| event.revision);
        if since.saturating_add(1) < first {
            let count = (since >= recent.born).then(|| first - 1 - since);
            backlog.push_front(missed(first - 1, count));
        }
        Reader { backlog, receiver: self.sender.subscribe(), revision: since }
    }
}

fn missed(revision: u64, count: Option<u64>) -> Arc<Event> {
    Arc::new(Event { revision, time: Timestamp::now(), what: What::Missed { count } })
}

pub struct Reader {
    backlog: VecDeque<Arc<Event>>,
    receiver: broadcast::Receiver<Arc<Event>>,
    revision: u64,
}

impl Reader {
    /// The next event of those that were there when it began.
    pub fn past(&mut self) -> Option<Arc<Event>> {
        let event = self.backlog.pop_front()?;
        self.revision = event.revision;
        Some(event)
    }

    /// The next event, or `None` once the server is dropped.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        let event = match self.backlog.pop_front() {
            Some(event) => event,
            None => match self.receiver.recv().await {
                Ok(event) => event,
                Err(RecvError::Lagged(count)) => missed(self.revision + count, Some(count)),
                Err(RecvError::Closed) => return None,
            },
        };
        self.revision = event.revision;
        Some(event)
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    fn line(text: usize) -> What {
        What::Log { source: "m".into(), text: text.to_string() }
    }

    #[tokio::test]
    async fn a_reader_continues_where_it_was() {
        let hub = Hub::new(Timestamp::now());
        let mut reader = hub.read(None);
        (0..3).for_each(|n| hub.publish(line(n)));
        let first = reader.next().await.unwrap();
        let mut again = hub.read(Some(first.revision));
        assert_eq!((&again.next().await.unwrap().what, &reader.next().await.unwrap().what), (&line(1), &line(1)));
    }

    #[tokio::test]
    async fn a_slow_reader_gets_the_number_of_missed_events() {
        let hub = Hub::new(Timestamp::now());
        let mut reader = hub.read(None);
        (0..1030).for_each(|n| hub.publish(line(n)));
        assert_eq!(reader.next().await.unwrap().what, What::Missed { count: Some(6) });
        assert_eq!(reader.next().await.unwrap().what, line(6));
    }

    #[tokio::test]
    async fn a_late_reader_gets_it_too() {
        let hub = Hub::new(Timestamp::now());
        hub.publish(line(0));
        let first = hub.read(Some(0)).next().await.unwrap();
        assert_eq!(first.what, What::Missed { count: None }, "the missed events are from before this process");
        let mut reader = hub.read(Some(first.revision));
        assert_eq!(reader.next().await.unwrap().what, line(0));
        (0..KEPT + 4).for_each(|n| hub.publish(line(n)));
        assert_eq!(hub.read(Some(first.revision)).next().await.unwrap().what, What::Missed { count: Some(5) });
    }

    #[test]
    fn an_unknown_number_does_no_harm() {
        let hub = Hub::new(Timestamp::now());
        hub.publish(line(0));
        assert!(hub.read(Some(u64::MAX)).backlog.is_empty());
    }
}
