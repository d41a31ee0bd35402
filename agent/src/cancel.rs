//! The request that an action stops, from the part that hears it to the part that obeys.

use tokio::sync::watch;

/// For the part that hears the request.
pub struct Trigger(watch::Sender<Option<String>>);

/// For the part that stops.
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

    /// The reason, once there is a request.
    pub fn why(&self) -> Option<String> {
        self.0.borrow().clone()
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn whoever_waits_hears_of_it_early_or_late() {
        let (trigger, cancel) = pair();
        let waiting = tokio::spawn({
            let cancel = cancel.clone();
            async move { cancel.asked().await }
        });
        assert_eq!(cancel.why(), None);
        trigger.pull("wrong machine".into());
        drop(trigger);
        assert_eq!(waiting.await.ok().as_deref(), Some("wrong machine"));
        assert_eq!(cancel.asked().await, "wrong machine", "after the trigger is gone");
        let never = Cancel::never();
        let never = tokio::time::timeout(Duration::from_millis(20), never.asked());
        assert!(never.await.is_err(), "work that cannot be stopped");
    }
}
