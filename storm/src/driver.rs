//! All machines of one namespace: switches them on, waits for their end, and adds up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use storm::dice::Dice;
use storm::faults::Faults;
use storm::report::Outcome;
use storm::simulated::Habits;
use storm::site;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use crate::http::Link;
use crate::life::{Life, Seed};
use crate::tally::Tally;
use crate::wire::Wire;

const SHOWN_EVERY: Duration = Duration::from_secs(5);

pub struct Plan {
    pub count: u32,
    pub interface: String,
    pub faults: Faults,
    pub within: Duration,
    pub limit: Duration,
    pub habits: Habits,
    pub seed: u64,
}

/// What the machines share.
pub struct Storm {
    pub wire: Wire,
    tally: Mutex<Tally>,
}

impl Storm {
    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub async fn run(plan: Plan) -> anyhow::Result<Outcome> {
    let all = plan.count + plan.faults.twins;
    if plan.count == 0 || all > site::MOST || plan.faults.twins > plan.count {
        bail!("{} machines and {} twins: the site has room for 1 to {}", plan.count, plan.faults.twins, site::MOST);
    }
    let storm = Arc::new(Storm { wire: Wire::open(&plan.interface)?, tally: Mutex::new(Tally::of(all as usize)) });
    let heard = tokio::spawn({
        let storm = Arc::clone(&storm);
        async move { storm.wire.receive().await }
    });
    let mut dice = Dice::new(plan.seed);
    for index in 0..all {
        // The twins come last, and have the MAC of the first ones.
        let number = if index < plan.count { index } else { index - plan.count };
        let (ear, answers) = mpsc::unbounded_channel();
        storm.wire.listen(site::mac(number), ear);
        let life = Life::new(&storm, seed(&plan, index, number, &mut dice), answers);
        tokio::spawn(life.run());
    }
    watch(&storm, plan.limit).await;
    if heard.is_finished() {
        heard.await.context("the packet socket's task has failed")?.context("the packet socket has failed")?;
    }
    let mut outcome = storm.tally().outcome();
    let usage = getrusage(UsageWho::RUSAGE_SELF).context("cannot read the processor time")?;
    outcome.cpu_seconds = (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6;
    Ok(outcome)
}

fn seed(plan: &Plan, index: u32, number: u32, dice: &mut Dice) -> Seed {
    let Faults { slow_link, power_cut, .. } = &plan.faults;
    let rate = slow_link.filter(|slow| dice.share() < slow.share).map(|slow| slow.bytes_per_second);
    let cut = power_cut.filter(|cut| dice.share() < cut.share).map(|cut| Duration::from_secs_f64(cut.within * dice.share()));
    Seed {
        index: index as usize,
        number,
        habits: plan.habits,
        link: Link { address: site::address(number), rate, is_cut: cut.is_some() },
        power_on: plan.within.mul_f64(dice.share()),
        cut,
        dice: Dice::of_machine(plan.seed, index),
    }
}

/// Waits for the end of all, or for the limit.
async fn watch(storm: &Storm, limit: Duration) {
    let (began, over) = (Instant::now(), Instant::now() + limit);
    let mut shown = began;
    while !storm.tally().all_have_ended() && Instant::now() < over {
        if shown.elapsed() >= SHOWN_EVERY {
            shown = Instant::now();
            eprintln!("{:>4} s: {}", began.elapsed().as_secs(), storm.tally().line());
        }
        tokio::select! {
            () = sleep(Duration::from_millis(100)) => {}
            () = sleep_until(over) => {}
        }
    }
}
