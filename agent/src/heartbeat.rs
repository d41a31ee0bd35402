//! A sign of life for PID 1: as long as the runtime turns, a file is touched. PID 1's watchdog service looks at it.

use std::time::Duration;

/// Where the sign is; only the change of its time counts.
pub const FILE: &str = "/run/thimble/heartbeat";
const EVERY: Duration = Duration::from_secs(5);

/// Never ends. A full `/run` must not look like a hang: an empty file needs no space once it is there.
pub async fn beat() {
    let mut clock = tokio::time::interval(EVERY);
    loop {
        clock.tick().await;
        let _ = std::fs::File::create(FILE).and_then(|file| file.set_modified(std::time::SystemTime::now()));
    }
}
