//! The agent's heartbeat for PID 1's watchdog.

use std::time::Duration;

use machine::heartbeat;

const EVERY: Duration = Duration::from_secs(5);

/// Never ends. A failed write is not logged, because PID 1 reports a missing heartbeat.
pub async fn beat() {
    let mut clock = tokio::time::interval(EVERY);
    loop {
        clock.tick().await;
        let _ = heartbeat::beat();
    }
}
