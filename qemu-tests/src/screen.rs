//! The output of the lab: a moving line on a terminal, and plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

pub const PLAIN_EVERY: Duration = Duration::from_secs(10);
const WIDTH: usize = 110;

pub struct Screen {
    terminal: bool,
    /// How often the moving line is printed if it cannot be replaced.
    pause: Duration,
    shown: Instant,
    moving: bool,
}

impl Screen {
    pub fn new() -> Self {
        Self::every(PLAIN_EVERY)
    }

    pub fn every(pause: Duration) -> Self {
        Self { terminal: std::io::stdout().is_terminal(), pause, shown: Instant::now(), moving: false }
    }

    /// Prints a line that stays.
    pub fn line(&mut self, text: &str) {
        self.wipe();
        println!("{text}");
    }

    /// Prints a line that the next one replaces.
    pub fn moving(&mut self, text: &str) {
        if self.terminal {
            let short: String = text.chars().take(WIDTH).collect();
            print!("\r\x1b[K{short}");
            let _a_closed_terminal_fails_nothing = std::io::stdout().flush();
            self.moving = true;
        } else if self.shown.elapsed() >= self.pause {
            self.shown = Instant::now();
            println!("{text}");
        }
    }

    fn wipe(&mut self) {
        if std::mem::take(&mut self.moving) {
            print!("\r\x1b[K");
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.wipe();
    }
}
