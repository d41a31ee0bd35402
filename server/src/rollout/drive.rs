//! The task that takes the steps of rollouts: when something has happened, and when the time of a machine is over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use log::error;
use machine::Chain;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::service::{Inner, Server};

/// The shortest time between two steps. The ends of many workflows lead to one step.
const TICK: Duration = Duration::from_secs(1);

/// Wakes the task.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    news: Notify,
    running: AtomicBool,
}

impl Wake {
    /// A rollout has changed, or this server leads now.
    pub fn notify_one(&self) {
        self.news.notify_one();
    }

    /// A workflow has ended. It may be of a rollout, if any runs.
    pub fn workflow_ended(&self) {
        if self.running.load(Ordering::Relaxed) {
            self.news.notify_one();
        }
    }
}

/// When the rollouts are to be looked at again. The first of several counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Again {
    Soon,
    /// If nothing happens before.
    At(Timestamp),
    WhenSomethingHappens,
    /// None runs.
    Never,
}

impl Again {
    fn wait(self, now: Timestamp) -> Option<Duration> {
        match self {
            Self::Soon => Some(TICK),
            Self::At(time) => Some(Duration::try_from(time.duration_since(now)).unwrap_or_default() + TICK),
            Self::WhenSomethingHappens | Self::Never => None,
        }
    }
}

/// Runs all rollouts until the server is dropped, including those of an earlier process.
pub(crate) async fn drive(server: Weak<Inner>, wake: Arc<Wake>) {
    loop {
        let begun = Instant::now();
        let Some(inner) = server.upgrade() else { return };
        let server = Server(inner);
        wake.running.store(true, Ordering::Relaxed); // what ends during the step is not missed
        let again = if server.leads() { server.step_rollouts().await } else { Ok(Again::Never) };
        drop(server);
        let again = again.unwrap_or_else(|reason| {
            error!("rollouts cannot go on: {}", Chain(&reason));
            Again::Soon
        });
        wake.running.store(again != Again::Never, Ordering::Relaxed);
        match again.wait(Timestamp::now()) {
            Some(limit) => drop(timeout(limit, wake.news.notified()).await),
            None => wake.news.notified().await,
        }
        if again != Again::Never {
            sleep(TICK.saturating_sub(begun.elapsed())).await;
        }
    }
}
