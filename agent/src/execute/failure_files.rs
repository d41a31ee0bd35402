//! Tinkerbell's convention for the reason of a failure: two files that the action writes before it ends.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::outcome::Reason;
use crate::rootfs;

pub const FOLDER: &str = "/tinkerbell";
const REASON: &str = "failure-reason";
const MESSAGE: &str = "failure-message";
/// The longest reason. It is a word to search for.
const REASON_MAX: usize = 64;
const MESSAGE_MAX: usize = 1024;

/// Creates the two files, empty and writable by the action's user.
pub fn make(rootfs: &Path) -> io::Result<()> {
    rootfs::create_inside(rootfs, Path::new(FOLDER))?;
    for name in [REASON, MESSAGE] {
        let file = rootfs::create_file_inside(rootfs, &Path::new(FOLDER).join(name))?;
        rustix::fs::fchmod(File::from(file), rustix::fs::Mode::from_raw_mode(0o666))?;
    }
    Ok(())
}

/// What a failed action wrote. Without a reason the message does not count.
pub fn read(rootfs: &Path, exit_code: i32) -> Option<Reason> {
    let line = |name: &str, max: usize| -> String {
        let text = rootfs::read_written(rootfs, &format!("{FOLDER}/{name}"));
        let clean: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(max).collect();
        clean.trim().to_owned()
    };
    let reason = line(REASON, REASON_MAX);
    (!reason.is_empty()).then(|| Reason::Said { reason, message: line(MESSAGE, MESSAGE_MAX), exit_code })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_that_writes_a_reason_is_quoted_in_one_line() {
        let rootfs = tempfile::tempdir().unwrap();
        make(rootfs.path()).unwrap();
        assert_eq!(read(rootfs.path(), 1), None);
        std::fs::write(rootfs.path().join("tinkerbell/failure-reason"), "DiskNotFound\n").unwrap();
        std::fs::write(rootfs.path().join("tinkerbell/failure-message"), "no disk\nof that name\n").unwrap();
        let text = read(rootfs.path(), 4).unwrap().text();
        assert!(text.starts_with("DiskNotFound: no disk of that name (exit code 4); try: "), "{text}");
    }
}
