//! Output of actions on its way to the server. It never delays an action: when it is full, the oldest lines are dropped and
//! counted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proto::logs::{AppendRequest, Line};
use tokio::sync::Notify;
use tonic::transport::Channel;

use crate::action::Action;

/// The most bytes that wait, and the most of one message. Both are memory of the machine.
const ROOM: usize = 64 << 10;
const MESSAGE: usize = 24 << 10;
/// What a line takes besides its text.
const OVERHEAD: usize = 64;

/// The action that said something.
#[derive(Debug, PartialEq, Eq)]
pub struct Speaker {
    workflow: String,
    action: String,
}

#[derive(Default)]
pub struct Outbox {
    ring: Mutex<Ring>,
    /// Lines came, or the worker waits until they are sent.
    news: Notify,
    /// A message was sent.
    sent: Notify,
}

#[derive(Default)]
struct Ring {
    /// The way to a server that takes lines.
    way: Option<Channel>,
    lines: VecDeque<Said>,
    bytes: usize,
    dropped: u64,
    /// A message is on its way.
    sending: bool,
    /// The worker waits for the end of it.
    urgent: bool,
}

struct Said {
    speaker: Arc<Speaker>,
    text: String,
    stderr: bool,
    at: Instant,
}

impl Outbox {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server has said whether it takes lines. With `None` it does not.
    pub fn open(&self, way: Option<Channel>) {
        let mut ring = self.ring();
        if way.is_none() {
            (ring.lines, ring.bytes, ring.dropped) = (VecDeque::new(), 0, 0);
        }
        ring.way = way;
    }

    pub fn way(&self) -> Option<Channel> {
        self.ring().way.clone()
    }

    /// A function that takes the lines of an action.
    pub fn of(self: &Arc<Self>, action: &Action) -> impl Fn(&str, &str) + Send + Sync + use<> {
        let speaker = Arc::new(Speaker { workflow: action.workflow.clone(), action: action.id.clone() });
        let outbox = Arc::clone(self);
        move |stream: &str, text: &str| outbox.push(&speaker, stream == "stderr", text, Instant::now())
    }

    fn push(&self, speaker: &Arc<Speaker>, stderr: bool, text: &str, at: Instant) {
        let mut ring = self.ring();
        if ring.way.is_some() {
            ring.push(Said { speaker: Arc::clone(speaker), text: text.to_owned(), stderr, at });
            drop(ring);
            self.news.notify_one();
        }
    }

    /// The next message, once there is something to send. Call `sent` after it.
    pub async fn next(&self, agent: &str) -> AppendRequest {
        loop {
            if let Some(message) = self.ring().take(agent, Instant::now()) {
                return message;
            }
            self.news.notified().await;
        }
    }

    /// The message was sent, or given up.
    pub fn sent(&self) {
        self.ring().sending = false;
        self.sent.notify_waiters();
    }

    /// Ends after this time, or when the worker waits for the end of the output.
    pub async fn pause(&self, time: Duration) {
        let urgent = async {
            while !self.ring().urgent {
                self.news.notified().await;
            }
        };
        let _ = tokio::time::timeout(time, urgent).await; // either is the end
    }

    /// Waits until everything is sent, but not longer than this.
    pub async fn empty(&self, limit: Duration) {
        let empty = async {
            loop {
                let sent = self.sent.notified();
                tokio::pin!(sent);
                sent.as_mut().enable();
                if self.ring().is_done() {
                    return;
                }
                self.news.notify_one();
                sent.await;
            }
        };
        self.ring().urgent = true;
        let _ = tokio::time::timeout(limit, empty).await; // what is left is sent later, or lost with a reboot
        self.ring().urgent = false;
    }
}

impl Ring {
    fn push(&mut self, said: Said) {
        self.bytes += said.cost();
        self.lines.push_back(said);
        while self.bytes > ROOM {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.cost();
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// Lines of one action, in their order.
    fn take(&mut self, agent: &str, now: Instant) -> Option<AppendRequest> {
        let speaker = Arc::clone(&self.lines.front()?.speaker);
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while let Some(said) = self.lines.pop_front_if(|said| said.speaker == speaker && bytes + said.cost() <= MESSAGE) {
            bytes += said.cost();
            let age = now.saturating_duration_since(said.at).as_millis();
            let age_milliseconds = u32::try_from(age).unwrap_or(u32::MAX);
            lines.push(Line { text: said.text, stderr: said.stderr, age_milliseconds });
        }
        self.bytes -= bytes;
        self.sending = true;
        Some(AppendRequest {
            agent_id: agent.to_owned(),
            workflow_id: speaker.workflow.clone(),
            action_id: speaker.action.clone(),
            lines,
            dropped: std::mem::take(&mut self.dropped),
        })
    }

    fn is_done(&self) -> bool {
        self.lines.is_empty() && !self.sending
    }
}

impl Said {
    fn cost(&self) -> usize {
        OVERHEAD + self.text.len()
    }
}

#[cfg(test)]
mod tests {
    use tonic::transport::Endpoint;

    use super::*;

    fn speaker(action: &str) -> Arc<Speaker> {
        Arc::new(Speaker { workflow: "default/w".to_owned(), action: action.to_owned() })
    }

    fn way() -> Option<Channel> {
        Some(Endpoint::from_static("http://192.0.2.1:1").connect_lazy())
    }

    fn opened() -> Outbox {
        let outbox = Outbox::default();
        outbox.open(way());
        outbox
    }

    fn texts(message: &AppendRequest) -> Vec<&str> {
        message.lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_has_the_lines_of_one_action_with_their_ages() {
        let (outbox, now) = (opened(), Instant::now());
        let (one, two) = (speaker("1"), speaker("2"));
        let ago = |ms| now.checked_sub(Duration::from_millis(ms)).unwrap();
        outbox.push(&one, false, "a", ago(5000));
        outbox.push(&one, true, "b", ago(3000));
        outbox.push(&two, false, "c", now);
        let message = outbox.next("m").await;
        assert_eq!(
            (message.agent_id.as_str(), message.workflow_id.as_str(), message.action_id.as_str()),
            ("m", "default/w", "1")
        );
        assert_eq!(texts(&message), ["a", "b"]);
        assert!(message.lines[1].stderr && message.lines[0].age_milliseconds >= 5000, "{message:?}");
        assert_eq!(texts(&outbox.next("m").await), ["c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_takes_bounded_memory_and_the_lost_lines_are_counted() {
        let (outbox, one) = (opened(), speaker("1"));
        for n in 0..100_000 {
            outbox.push(&one, false, &format!("line {n}"), Instant::now());
        }
        assert!(outbox.ring().bytes <= ROOM);
        let first = outbox.next("m").await;
        let (mut lines, mut last) = (first.lines.len(), String::new());
        while !outbox.ring().lines.is_empty() {
            let message = outbox.next("m").await;
            assert_eq!(message.dropped, 0);
            lines += message.lines.len();
            last = message.lines.last().unwrap().text.clone();
        }
        assert_eq!((first.dropped + lines as u64, last.as_str()), (100_000, "line 99999"));
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_offer_nothing_is_kept() {
        let (outbox, one) = (Outbox::default(), speaker("1"));
        outbox.push(&one, false, "early", Instant::now());
        outbox.open(way());
        outbox.push(&one, false, "kept", Instant::now());
        outbox.open(None);
        outbox.push(&one, false, "late", Instant::now());
        assert!(outbox.ring().lines.is_empty() && outbox.ring().bytes == 0);
        outbox.empty(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_output_is_waited_for_with_a_limit() {
        let (outbox, one) = (opened(), speaker("1"));
        outbox.push(&one, false, "last", Instant::now());
        let start = tokio::time::Instant::now();
        outbox.empty(Duration::from_millis(500)).await;
        assert_eq!(start.elapsed(), Duration::from_millis(500), "without a sender");
        let sending = async {
            outbox.pause(Duration::from_secs(60)).await;
            outbox.next("m").await;
            outbox.sent();
        };
        tokio::join!(outbox.empty(Duration::from_secs(9)), sending);
        assert!(start.elapsed() < Duration::from_secs(1), "the pause ends when the worker waits");
    }
}
