//! The agent's sign of life for PID 1's watchdog.

use std::time::Duration;

use machine::heartbeat;

const EVERY: Duration = Duration::from_secs(5);

/// Never ends. A file that cannot be written is not reported: PID 1 says what it misses.
pub async fn beat() {
    let mut clock = tokio::time::interval(EVERY);
    loop {
        clock.tick().await;
        let _ = heartbeat::beat();
    }
}
