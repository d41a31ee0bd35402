//! What all machines together have reached, counted while they run.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use storm::ledger::Ledger;
use storm::milestone::Milestone;
use storm::report::{Bytes, Outcome, Reached, Spread};
use storm::simulated::End;

/// Of one machine.
#[derive(Debug, Default)]
struct Life {
    began: Option<Instant>,
    reached: HashMap<Milestone, Instant>,
    attempts: u32,
    end: Option<End>,
    doing: &'static str,
}

#[derive(Debug)]
pub struct Tally {
    lives: Vec<Life>,
    scripts: Vec<f64>,
    served: Vec<f64>,
    scripts_read: Vec<f64>,
    pub bytes: Bytes,
    failures: BTreeMap<String, u32>,
    hindrances: BTreeMap<String, u32>,
    power_cuts: u32,
    pub ledger: Ledger,
}

impl Tally {
    pub fn of(machines: usize) -> Self {
        Self {
            lives: (0..machines).map(|_| Life { attempts: 1, doing: "is off", ..Life::default() }).collect(),
            scripts: Vec::new(),
            served: Vec::new(),
            scripts_read: Vec::new(),
            bytes: Bytes::default(),
            failures: BTreeMap::new(),
            hindrances: BTreeMap::new(),
            power_cuts: 0,
            ledger: Ledger::default(),
        }
    }

    fn life(&mut self, index: usize) -> &mut Life {
        let last = self.lives.len() - 1;
        &mut self.lives[index.min(last)]
    }

    pub fn begins(&mut self, index: usize) {
        self.life(index).began.get_or_insert_with(Instant::now);
    }

    pub fn reached(&mut self, index: usize, milestone: Milestone) {
        self.life(index).reached.entry(milestone).or_insert_with(Instant::now);
    }

    pub fn does(&mut self, index: usize, doing: &'static str) {
        self.life(index).doing = doing;
    }

    pub fn failed(&mut self, index: usize, why: String, attempt: u32) {
        self.life(index).attempts = attempt;
        *self.failures.entry(why).or_default() += 1;
    }

    /// A download has failed. The machine may try it again.
    pub fn hindered(&mut self, why: &str) {
        match self.hindrances.get_mut(why) {
            Some(count) => *count += 1,
            None => drop(self.hindrances.insert(why.to_owned(), 1)),
        }
    }

    pub fn cut(&mut self) {
        self.power_cuts += 1;
    }

    pub fn ended(&mut self, index: usize, end: End) {
        self.life(index).end = Some(end);
    }

    /// The time on the network, and the time from the connection until the simulator had read it.
    pub fn script(&mut self, took: Duration, read: Duration) {
        self.scripts.push(took.as_secs_f64() * 1000.0);
        self.scripts_read.push(read.as_secs_f64() * 1000.0);
    }

    /// An agent got an action, or the acknowledgement of a report.
    pub fn served(&mut self, took: Duration) {
        self.served.push(took.as_secs_f64());
    }

    pub fn all_have_ended(&self) -> bool {
        self.lives.iter().all(|life| life.end.is_some())
    }

    /// A line for people who wait.
    pub fn line(&self) -> String {
        let mut doing: BTreeMap<&str, usize> = BTreeMap::new();
        for life in &self.lives {
            *doing.entry(life.doing).or_default() += 1;
        }
        doing.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
    }

    pub fn outcome(&self) -> Outcome {
        let first = self.lives.iter().filter_map(|life| life.began).min();
        let last = self.lives.iter().flat_map(|life| life.reached.values()).max();
        let seconds = first.zip(last).map_or(0.0, |(first, last)| last.duration_since(first).as_secs_f64());
        let mut attempts = BTreeMap::new();
        for life in &self.lives {
            *attempts.entry(life.attempts).or_default() += 1;
        }
        let stuck = self.lives.iter().enumerate().filter(|(_, life)| life.end.is_none());
        Outcome {
            machines: u32::try_from(self.lives.len()).unwrap_or(u32::MAX),
            seconds,
            milestones: Milestone::ALL.into_iter().filter_map(|milestone| self.spread(milestone, first?)).collect(),
            script: Spread::of(self.scripts.clone()),
            served: Spread::of(self.served.clone()),
            script_read: Spread::of(self.scripts_read.clone()),
            attempts,
            power_cuts: self.power_cuts,
            disks: self.lives.iter().filter(|life| life.end == Some(End::Disk)).count().try_into().unwrap_or(u32::MAX),
            stuck: stuck.map(|(index, life)| format!("machine {index} {}", life.doing)).collect(),
            failures: self.failures.clone(),
            hindrances: self.hindrances.clone(),
            repeated: self.ledger.repeated.clone(),
            bytes: self.bytes,
            cpu_seconds: 0.0,
            acknowledged: self.ledger.acknowledged(),
        }
    }

    fn spread(&self, milestone: Milestone, first: Instant) -> Option<Reached> {
        let both = || self.lives.iter().filter_map(|life| life.began.zip(life.reached.get(&milestone).copied()));
        let seconds: Vec<f64> = both().map(|(began, at)| at.duration_since(began).as_secs_f64()).collect();
        let last_of_all = both().map(|(_, at)| at.duration_since(first).as_secs_f64()).fold(0.0, f64::max);
        Some(Reached { milestone, count: seconds.len(), spread: Spread::of(seconds)?, last_of_all })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_counts_and_a_machine_without_an_end_is_stuck() {
        let mut tally = Tally::of(2);
        tally.begins(0);
        tally.begins(1);
        tally.reached(0, Milestone::Script);
        let reached = tally.lives[0].reached[&Milestone::Script];
        tally.reached(0, Milestone::Script);
        assert_eq!(tally.lives[0].reached[&Milestone::Script], reached);
        tally.failed(0, "busy".to_owned(), 2);
        tally.ended(0, End::Done);
        tally.does(1, "asks for an action");
        assert!(!tally.all_have_ended());
        let outcome = tally.outcome();
        assert_eq!(outcome.stuck, ["machine 1 asks for an action"]);
        assert_eq!((outcome.attempts[&1], outcome.attempts[&2], outcome.failures["busy"]), (1, 1, 1));
        assert_eq!((outcome.milestones.len(), outcome.milestones[0].count), (1, 1));
    }
}
