//! How slowly a server may answer. A byte now and then holds a pull up as much as silence does.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::Response;

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub connect: Duration,
    /// From the request to the head of the answer.
    pub answer: Duration,
    /// So much waiting must bring at least `least` bytes.
    pub window: Duration,
    pub least: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let half_a_minute = Duration::from_secs(30);
        Self { connect: Duration::from_secs(10), answer: half_a_minute, window: half_a_minute, least: 32 << 10 }
    }
}

/// Counts only the time spent waiting for the server, not the time spent on its bytes.
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
