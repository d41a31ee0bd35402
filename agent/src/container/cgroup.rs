//! The cgroups of actions. Every process of an action is in the action's cgroup, however it was started, so killing the
//! cgroup ends them all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const ROOT: &str = "/sys/fs/cgroup";
/// A process in the middle of a page fault or an ioctl may end late.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn of(id: &str) -> PathBuf {
    in_root(&crate::bundle::cgroup(id))
}

fn in_root(path: &Path) -> PathBuf {
    Path::new(ROOT).join(path.strip_prefix("/").unwrap_or(path))
}

/// Kills every process of the group and of the groups below it. A missing group is not an error.
pub fn kill(group: &Path) -> io::Result<()> {
    match fs::write(group.join("cgroup.kill"), "1") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// How many of the group's processes the kernel killed because memory ran out.
pub fn oom_kills(group: &Path) -> u64 {
    fs::read_to_string(group.join("memory.events")).map(|text| parse_oom_kills(&text)).unwrap_or(0)
}

fn parse_oom_kills(events: &str) -> u64 {
    let line = events.lines().find_map(|l| l.strip_prefix("oom_kill "));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// The groups that actions of an earlier agent left.
pub fn leftovers() -> Vec<PathBuf> {
    let read = fs::read_dir(in_root(Path::new("/actions")));
    let entries = read.into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

/// Removes the group if it is empty. Usually everything in it has ended by itself.
pub fn remove_empty(group: &Path) -> bool {
    fs::remove_dir(group).map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |()| true)
}

/// Kills the processes in the group and removes it. Blocks until they are gone, up to a limit.
pub fn remove(group: &Path) -> io::Result<()> {
    if !group.exists() {
        return Ok(());
    }
    kill(group)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match remove_tree(group) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5)); // the kernel has no event for the moment at which rmdir works
            }
            other => return other,
        }
    }
}

fn remove_tree(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oom_kills_are_read_from_memory_events() {
        assert_eq!(parse_oom_kills("low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 0\n"), 2);
        assert_eq!(parse_oom_kills(""), 0);
    }

    #[test]
    fn an_actions_group_is_below_the_agents() {
        assert_eq!(of("01ABC-1"), Path::new("/sys/fs/cgroup/actions/01ABC-1"));
    }
}
