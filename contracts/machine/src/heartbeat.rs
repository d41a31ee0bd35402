//! A sign of life: while the agent's runtime turns, it touches a file. PID 1's watchdog service looks at the file's time.

use std::fs::File;
use std::io;
use std::time::SystemTime;

use crate::files;

/// Only the change of the file's time counts. An empty file needs no space once it exists, so a full `/run` does not look like a hang.
///
/// # Errors
/// Those of the file system.
pub fn beat() -> io::Result<()> {
    File::create(files::HEARTBEAT)?.set_modified(SystemTime::now())
}
