//! The orderly end: stop actions, stop every process, write back caches, unmount, restart. Each part has a limit, because a
//! machine that hangs here needs a visit to the data centre.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use machine::Power;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use rustix::system::{RebootCommand, reboot};

use crate::{cgroups, sys};

const TERM_LIMIT: Duration = Duration::from_secs(5);
const KILL_LIMIT: Duration = Duration::from_secs(2);
const FLUSH_LIMIT: Duration = Duration::from_secs(60);
const EMERGENCY_LIMIT: Duration = Duration::from_secs(10);
const SYSRQ: &str = "/proc/sysrq-trigger";
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// `countdown` starts now and includes stopping and writing back.
pub fn end(power: Power, countdown: Duration) -> ! {
    let started = Instant::now();
    let line = power.doing();
    log::info!("{line}");
    stop_everyone();
    flush();
    count_down(line, countdown.saturating_sub(started.elapsed()));
    if power == Power::Kexec
        && let Err(error) = reboot(RebootCommand::Kexec)
    {
        log::error!("the kernel that was loaded does not start: {error}; rebooting instead");
    }
    let command = if power == Power::Off { RebootCommand::PowerOff } else { RebootCommand::Restart };
    loop {
        let Err(error) = reboot(command) else { continue };
        log::error!("{line} failed: {error}; the disks are written, so the power may be cut");
        thread::sleep(Duration::from_secs(60));
    }
}

/// An operator at the console sees what follows, and has time to read the lines above.
fn count_down(line: &str, mut left: Duration) {
    while !left.is_zero() {
        let whole = left.as_secs_f32().ceil();
        log::info!("{line} in {whole} s");
        let pause = left.min(Duration::from_secs(1));
        thread::sleep(pause);
        left = left.saturating_sub(pause);
    }
}

fn stop_everyone() {
    let actions = Path::new(cgroups::ACTIONS).join("cgroup.kill");
    if actions.exists()
        && let Err(error) = fs::write(&actions, "1")
    {
        log::warn!("cannot stop the actions through {}: {error}", actions.display());
    }
    for (signal, limit) in [(Signal::SIGTERM, TERM_LIMIT), (Signal::SIGKILL, KILL_LIMIT)] {
        // -1 is every process but PID 1. ESRCH means that none is left.
        if kill(Pid::from_raw(-1), signal) == Err(Errno::ESRCH) || reaped_all(limit) {
            return;
        }
    }
    log::warn!("some processes do not end; continuing without them");
}

fn reaped_all(limit: Duration) -> bool {
    wait_until(limit, || {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::ECHILD) => return Some(()),
                Ok(WaitStatus::StillAlive) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    })
}

/// A child does this, because sync(2) and umount(2) may hang on a broken disk.
fn flush() {
    match sys::fork() {
        Ok(Some(child)) => {
            let ended = || !matches!(waitpid(child, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive));
            if !wait_until(FLUSH_LIMIT, || ended().then_some(())) {
                log::warn!("a disk has not taken its data after {} s; continuing without it", FLUSH_LIMIT.as_secs());
            }
        }
        Ok(None) => {
            rustix::fs::sync();
            unmount_disks();
            std::process::exit(0)
        }
        Err(error) => {
            log::warn!("cannot start a process for sync: {error}; the kernel does an emergency sync instead");
            match emergency_sync(Path::new(SYSRQ)) {
                Ok(()) => thread::sleep(EMERGENCY_LIMIT),
                Err(error) => log::warn!("cannot write to {SYSRQ}: {error}; the disks may lack their last data"),
            }
        }
    }
}

/// The kernel writes back and remounts read-only. A sync(2) in this process might never return.
fn emergency_sync(sysrq: &Path) -> io::Result<()> {
    let mut trigger = fs::OpenOptions::new().write(true).open(sysrq)?;
    trigger.write_all(b"s")?; // each write is one key
    trigger.write_all(b"u")
}

fn unmount_disks() {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for target in disk_mounts(&mounts) {
        if let Err(error) = unmount(&target, UnmountFlags::empty()) {
            let result = mount_remount(&target, MountFlags::RDONLY, c"");
            let outcome = result.map_or_else(|error| format!("nor made read-only: {error}"), |()| "made read-only".to_owned());
            log::warn!("{target} cannot be unmounted: {error}; {outcome}");
        }
    }
}

/// The mount points of devices, the latest mount first.
fn disk_mounts(mounts: &str) -> Vec<String> {
    let targets = mounts.lines().filter_map(|line| {
        let (source, rest) = line.split_once(' ')?;
        let target = rest.split(' ').next()?;
        source.starts_with("/dev/").then(|| unescape(target))
    });
    let mut targets: Vec<String> = targets.collect();
    targets.reverse();
    targets
}

/// The kernel writes space, tab, newline and backslash in octal.
fn unescape(target: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(target.to_owned(), |text, (octal, plain)| text.replace(octal, plain))
}

fn wait_until(limit: Duration, mut done: impl FnMut() -> Option<()>) -> bool {
    let started = Instant::now();
    loop {
        if done().is_some() {
            return true;
        }
        if started.elapsed() >= limit {
            return false;
        }
        thread::sleep(LOOK_AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emergency_sync_is_two_keys_and_its_absence_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let trigger = folder.path().join("sysrq-trigger");
        assert!(emergency_sync(&trigger).is_err());
        fs::write(&trigger, "").unwrap();
        emergency_sync(&trigger).unwrap();
        assert_eq!(fs::read_to_string(&trigger).unwrap(), "su");
    }

    #[test]
    fn only_disks_are_unmounted_and_the_last_mount_goes_first() {
        let mounts = "rootfs / rootfs rw 0 0\ntmpfs /run tmpfs rw 0 0\n/dev/vda1 /mnt ext4 rw 0 0\n/dev/vda2 /mnt/my\\040disk ext4 rw 0 0\n\nbroken\n";
        assert_eq!(disk_mounts(mounts), ["/mnt/my disk", "/mnt"]);
    }

    #[test]
    fn a_wait_ends_when_done_or_at_its_limit() {
        let mut left = 3;
        assert!(wait_until(Duration::from_secs(60), || {
            left -= 1;
            (left == 0).then_some(())
        }));
        assert!(!wait_until(Duration::ZERO, || None));
    }
}
