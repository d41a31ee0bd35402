//! The end of the output: one moving line on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

pub const PLAIN_EVERY: Duration = Duration::from_secs(10);
const WIDTH: usize = 110;

pub struct Screen {
    terminal: bool,
    /// Where nothing can be replaced, the moving line is shown this often.
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

    /// A line that stays.
    pub fn line(&mut self, text: &str) {
        self.wipe();
        println!("{text}");
    }

    /// A line that the next one replaces.
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
