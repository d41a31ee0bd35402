//! Jobs that run side by side. Each ended job prints a line, and a moving line shows the state of the others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::screen::{PLAIN_EVERY, Screen};

const REFRESH: Duration = Duration::from_millis(250);

pub struct Board {
    /// The prefix of each line.
    mark: &'static str,
    start: Instant,
    screen: Mutex<Screen>,
    states: Mutex<Vec<(String, String)>>,
}

/// One job on the board.
pub struct Job<'a> {
    board: &'a Board,
    name: String,
}

impl Board {
    pub fn new(mark: &'static str) -> Self {
        Self::every(mark, PLAIN_EVERY)
    }

    /// A board with another pause between the plain lines that replace the moving one.
    pub fn every(mark: &'static str, pause: Duration) -> Self {
        Self { mark, start: Instant::now(), screen: Mutex::new(Screen::every(pause)), states: Mutex::default() }
    }

    /// Prints a line that stays.
    pub fn say(&self, text: &str) {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).line(&format!("{}{text}", self.mark));
    }

    /// Runs one job, which is on the board until it ends.
    pub fn track<T>(&self, name: &str, work: impl FnOnce(&Job) -> T) -> T {
        let job = Job { board: self, name: name.to_owned() };
        job.at("starting");
        let outcome = work(&job);
        self.states().retain(|(other, _)| *other != job.name);
        outcome
    }

    /// Runs one job, and prints a line with its end and its duration.
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
    /// Sets the job's state.
    pub fn at(&self, state: &str) {
        let mut states = self.board.states();
        match states.iter_mut().find(|(name, _)| *name == self.name) {
            Some((_, old)) => state.clone_into(old),
            None => states.push((self.name.clone(), state.to_owned())),
        }
    }

    /// Prints a line that stays.
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
