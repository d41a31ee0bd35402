//! Actions in the background. They run beside the others, and a reboot that one of them asks for follows its end.

use std::time::SystemTime;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use machine::Power;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::action::Action;
use crate::cancel::Cancel;
use crate::outcome::Outcome;
use crate::power::Requests;
use crate::worker::{Execute, log_outcome};

/// Begins actions in the background.
pub struct Jobs<E> {
    sender: UnboundedSender<(E, Action)>,
    power: Requests,
}

/// Runs them.
pub struct Background<E> {
    jobs: UnboundedReceiver<(E, Action)>,
    power: Requests,
}

impl<E: Execute> Jobs<E> {
    pub fn begin(&self, execute: E, action: Action) {
        self.power.busy.send_modify(|count| *count += 1);
        let _ = self.sender.send((execute, action)); // refused only when the agent ends
    }

    /// Until none runs.
    pub async fn ended(&self) {
        let _ = self.power.busy.subscribe().wait_for(|count| *count == 0).await; // its sender is here
    }
}

impl<E: Execute> Background<E> {
    pub fn new(power: Requests) -> (Jobs<E>, Self) {
        let (sender, jobs) = unbounded_channel();
        (Jobs { sender, power: power.clone() }, Self { jobs, power })
    }

    /// Ends with the first request to reboot or power off.
    pub async fn run(mut self) -> Power {
        let mut running = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some((execute, action)) = self.jobs.recv() => running.push(to_its_end(execute, action)),
                Some((action, outcome)) = running.next() => {
                    if let Some(power) = self.ended(&action, &outcome) {
                        return power;
                    }
                }
                else => std::future::pending().await,
            }
        }
    }

    fn ended(&self, action: &Action, outcome: &Outcome) -> Option<Power> {
        self.power.busy.send_modify(|count| *count -= 1);
        log_outcome(action, outcome);
        if outcome.failure.is_some() {
            return None;
        }
        self.power.note_kernel();
        let power = self.power.pending()?;
        log::info!("{} asked for {} in the background", action.title(), power.what());
        Some(power)
    }
}

async fn to_its_end<E: Execute>(mut execute: E, action: Action) -> (Action, Outcome) {
    let outcome = execute.execute(&action, SystemTime::now(), &Cancel::never()).await;
    (action, outcome)
}
