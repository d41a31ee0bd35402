//! The slowest pace at which a server may answer. Single bytes with long pauses delay a pull as much as silence.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::Response;

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub connect: Duration,
    /// The limit from the request to the head of the answer.
    pub answer: Duration,
    /// In this much waiting time at least `least` bytes must arrive.
    pub window: Duration,
    pub least: u64,
}

impl Limits {
    /// The limit from a request to the head of its answer, including all redirects and tokens.
    pub fn exchange(&self) -> Duration {
        self.answer.saturating_mul(3)
    }

    /// The limit for a whole document. Its bytes may come slowly, but not for hours.
    pub fn document(&self) -> Duration {
        self.window.saturating_mul(4)
    }

    /// The limit for all requests about an image's signatures.
    pub fn signatures(&self) -> Duration {
        self.window.saturating_mul(10)
    }

    /// The limit for the body of an error, which is not worth a long wait.
    pub fn words(&self) -> Duration {
        self.window.min(Duration::from_secs(5))
    }
}

impl Default for Limits {
    fn default() -> Self {
        let half_a_minute = Duration::from_secs(30);
        Self { connect: Duration::from_secs(10), answer: half_a_minute, window: half_a_minute, least: 32 << 10 }
    }
}

/// Counts only the time that is spent waiting for the server, not the time for processing its bytes.
pub struct Pace {
    limits: Limits,
    waited: Duration,
    brought: u64,
}

pub enum Halt {
    Broken(reqwest::Error),
    TooSlow,
}

impl Pace {
    pub fn new(limits: Limits) -> Self {
        Self { limits, waited: Duration::ZERO, brought: 0 }
    }

    pub async fn next(&mut self, response: &mut Response) -> Result<Option<Bytes>, Halt> {
        loop {
            let started = Instant::now();
            let left = self.limits.window.saturating_sub(self.waited);
            match tokio::time::timeout(left, response.chunk()).await {
                Ok(chunk) => {
                    let chunk = chunk.map_err(Halt::Broken)?;
                    self.waited += started.elapsed();
                    self.brought += chunk.as_ref().map_or(0, |bytes| bytes.len() as u64);
                    return Ok(chunk);
                }
                Err(_) if self.brought < self.limits.least => return Err(Halt::TooSlow),
                Err(_) => *self = Self::new(self.limits),
            }
        }
    }
}
