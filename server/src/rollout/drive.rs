//! The task that takes the steps of rollouts.

use std::sync::{Arc, Weak};
use std::time::Duration;

use log::error;
use machine::Chain;
use tokio::sync::Notify;

use crate::service::{Inner, Server};

const TICK: Duration = Duration::from_secs(1);

/// Runs all rollouts until the server is dropped, including those of an earlier process.
pub(crate) async fn drive(server: Weak<Inner>, wake: Arc<Notify>) {
    loop {
        let Some(inner) = server.upgrade() else { return };
        let server = Server(inner);
        let leads = server.leads();
        let running = if leads { server.step_rollouts().await } else { Ok(false) };
        drop(server);
        let running = running.unwrap_or_else(|reason| {
            error!("rollouts cannot go on: {}", Chain(&reason));
            true
        });
        if running {
            let _ = tokio::time::timeout(TICK, wake.notified()).await; // both the tick and the wake-up lead to the next step
        } else {
            wake.notified().await;
        }
    }
}
