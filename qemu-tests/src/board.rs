//! Work that runs side by side: a line when each job ends, and one moving line that says where the others stand.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::screen::{PLAIN_EVERY, Screen};

const REFRESH: Duration = Duration::from_millis(250);

pub struct Board {
    /// Stands before each line.
    mark: &'static str,
    start: Instant,
    screen: Mutex<Screen>,
    states: Mutex<Vec<(String, String)>>,
}

/// One piece of work on the board.
pub struct Job<'a> {
    board: &'a Board,
    name: String,
}

impl Board {
    pub fn new(mark: &'static str) -> Self {
        Self::every(mark, PLAIN_EVERY)
    }

    /// With another pause between the lines that stand for the moving one.
    pub fn every(mark: &'static str, pause: Duration) -> Self {
        Self { mark, start: Instant::now(), screen: Mutex::new(Screen::every(pause)), states: Mutex::default() }
    }

    /// A line that stays.
    pub fn say(&self, text: &str) {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).line(&format!("{}{text}", self.mark));
    }

    /// Runs one job, which stands on the board until it ends.
    pub fn track<T>(&self, name: &str, work: impl FnOnce(&Job) -> T) -> T {
        let job = Job { board: self, name: name.to_owned() };
        job.at("starting");
        let outcome = work(&job);
        self.states().retain(|(other, _)| *other != job.name);
        outcome
    }

    /// Runs one job; its end and its duration become a line.
    pub fn job<T>(&self, name: &str, work: impl FnOnce(&Job) -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let outcome = self.track(name, work);
        let end = if outcome.is_ok() { "done" } else { "failed" };
        self.say(&format!(
            "{:>6.1} s  {name}: {end} after {:.1} s",
            self.start.elapsed().as_secs_f64(),
            start.elapsed().as_secs_f64()
        ));
        outcome
    }

    /// Shows the moving line while `work` runs.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    self.show();
                    std::thread::park_timeout(REFRESH);
                }
            });
            let result = work();
            done.store(true, Ordering::Relaxed);
            result
        })
    }

    fn show(&self) {
        let parts: Vec<String> = self.states().iter().map(|(name, state)| format!("{name}: {state}")).collect();
        if !parts.is_empty() {
            let text = format!("{}{:>6.1} s  {}", self.mark, self.start.elapsed().as_secs_f64(), parts.join(" | "));
            self.screen.lock().unwrap_or_else(PoisonError::into_inner).moving(&text);
        }
    }

    fn states(&self) -> std::sync::MutexGuard<'_, Vec<(String, String)>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job<'_> {
    /// Where it stands now.
    pub fn at(&self, state: &str) {
        let mut states = self.board.states();
        match states.iter_mut().find(|(name, _)| *name == self.name) {
            Some((_, old)) => state.clone_into(old),
            None => states.push((self.name.clone(), state.to_owned())),
        }
    }

    /// A line that stays.
    pub fn say(&self, text: &str) {
        self.board.say(&format!("{}: {text}", self.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_on_the_board_until_it_ends() {
        let board = Board::new("== ");
        board
            .job("one", |job| {
                job.at("half done");
                assert_eq!(*board.states(), [("one".to_owned(), "half done".to_owned())]);
                Ok(())
            })
            .unwrap();
        assert!(board.states().is_empty());
        assert!(board.job("two", |_| anyhow::bail!("broken") as Result<()>).is_err());
        assert!(board.states().is_empty());
    }
}
