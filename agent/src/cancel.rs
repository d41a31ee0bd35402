//! The request to stop an action, from the part that receives it to the part that obeys. Also the action's time limit.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::outcome::{Phase, Reason};

/// The side that receives the request.
pub struct Trigger(watch::Sender<Option<String>>);

/// The side that stops.
#[derive(Debug, Clone)]
pub struct Cancel(watch::Receiver<Option<String>>);

pub fn pair() -> (Trigger, Cancel) {
    let (sender, receiver) = watch::channel(None);
    (Trigger(sender), Cancel(receiver))
}

impl Trigger {
    pub fn pull(&self, why: String) {
        self.0.send_replace(Some(why));
    }
}

impl Cancel {
    /// For work that cannot be stopped.
    pub fn never() -> Self {
        pair().1
    }

    /// Ends when there is a request. Never ends if the trigger was dropped.
    pub async fn asked(&self) -> String {
        let mut receiver = self.0.clone();
        if let Ok(why) = receiver.wait_for(Option::is_some).await
            && let Some(why) = why.clone()
        {
            return why;
        }
        std::future::pending().await
    }
}

/// What ends an action early: its time limit, counted from the report that it runs, or the server.
#[derive(Debug, Clone)]
pub struct Stop {
    limit: Option<(Instant, Duration)>,
    cancel: Cancel,
}

impl Stop {
    pub fn new(limit: Option<Duration>, cancel: &Cancel) -> Self {
        // A limit beyond the range of the clock means no limit.
        let limit = limit.and_then(|limit| Some((Instant::now().checked_add(limit)?, limit)));
        Self { limit, cancel: cancel.clone() }
    }

    /// Ends when the work must end, and returns the reason. `phase` is the current phase.
    pub async fn asked(&self, phase: Phase) -> Reason {
        let limit = async {
            match self.limit {
                Some((end, limit)) => {
                    tokio::time::sleep_until(end).await;
                    Reason::Timeout { limit, phase }
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            reason = limit => reason,
            why = self.cancel.asked() => Reason::Cancelled(why),
        }
    }

    /// Does the work, unless it must end before.
    pub async fn unless<T>(&self, phase: Phase, work: impl Future<Output = T>) -> Result<T, Reason> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            reason = self.asked(phase) => Err(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_waiter_gets_the_request_whether_it_starts_before_or_after() {
        let (trigger, cancel) = pair();
        let waiting = tokio::spawn({
            let cancel = cancel.clone();
            async move { cancel.asked().await }
        });
        trigger.pull("wrong machine".into());
        drop(trigger);
        assert_eq!(waiting.await.ok().as_deref(), Some("wrong machine"));
        assert_eq!(cancel.asked().await, "wrong machine", "the request stays after the trigger is gone");
        let never = Cancel::never();
        let never = tokio::time::timeout(Duration::from_millis(20), never.asked());
        assert!(never.await.is_err(), "work that cannot be stopped");
    }

    #[tokio::test(start_paused = true)]
    async fn work_ends_at_the_limit_of_its_action_in_every_phase() {
        let limit = Duration::from_secs(9);
        let stop = Stop::new(Some(limit), &Cancel::never());
        let stuck = std::future::pending::<()>();
        assert_eq!(stop.unless(Phase::Pulling, stuck).await, Err(Reason::Timeout { limit, phase: Phase::Pulling }));
        assert_eq!(stop.unless(Phase::Running, async { 7 }).await, Ok(7), "work that is done at once succeeds");
        let later = std::future::pending::<()>();
        assert!(stop.unless(Phase::Running, later).await.is_err(), "all the work shares one limit");

        let (trigger, cancel) = pair();
        trigger.pull("wrong machine".into());
        let stop = Stop::new(Some(Duration::MAX), &cancel);
        assert_eq!(stop.asked(Phase::Preparing).await, Reason::Cancelled("wrong machine".into()));
    }
}
