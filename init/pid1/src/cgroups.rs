//! The cgroup tree. The agent has a group, so that the kernel leaves it some memory whatever an action does. All actions
//! are below another group. `/sys/fs/cgroup` itself contains PID 1 and its small services.

use std::fs;
use std::io;
use std::path::Path;

use crate::memory::MemoryInfo;
use crate::{PathError, StepError};

pub const ROOT: &str = "/sys/fs/cgroup";
/// Actions run in cgroups below this one. Its `cgroup.kill` ends them all.
pub const ACTIONS: &str = "/sys/fs/cgroup/actions";
pub const AGENT: &str = "/sys/fs/cgroup/agent";

/// The memory that reclaim leaves to the agent: only its working set. Images that it unpacks count as its memory, too.
const AGENT_MIN: std::ops::RangeInclusive<u64> = (4 << 20)..=(16 << 20);

/// Needs `/sys/fs/cgroup`. A missing controller of the kernel is only a warning.
pub fn make() -> Result<(), StepError> {
    enable_controllers();
    for group in [ACTIONS, AGENT] {
        fs::create_dir_all(group).map_err(PathError::new("cannot make", group))?;
    }
    let total = MemoryInfo::read().map_err(PathError::new("cannot read", MemoryInfo::PATH))?.total;
    let file = Path::new(AGENT).join("memory.min");
    let least = agent_min(total);
    if let Err(error) = fs::write(&file, least.to_string()) {
        log::warn!("{} cannot be set to {least}: {error}; the agent's memory is not protected", file.display());
    }
    Ok(())
}

/// A sixteenth of the memory, within the limits.
fn agent_min(total: u64) -> u64 {
    (total / 16).clamp(*AGENT_MIN.start(), *AGENT_MIN.end())
}

/// Moves the calling process into the group.
pub fn enter(group: &str) -> io::Result<()> {
    fs::write(Path::new(group).join("cgroup.procs"), "0")
}

/// How many bytes a group uses, including its files in tmpfs.
pub fn memory(group: &str) -> Option<u64> {
    fs::read_to_string(Path::new(group).join("memory.current")).ok()?.trim().parse().ok()
}

/// Enables one controller at a time, so that one failure does not affect the others.
fn enable_controllers() {
    let control = Path::new(ROOT).join("cgroup.subtree_control");
    let available = fs::read_to_string(Path::new(ROOT).join("cgroup.controllers")).unwrap_or_default();
    for controller in available.split_whitespace() {
        if let Err(error) = fs::write(&control, format!("+{controller}")) {
            log::warn!("cgroup controller {controller} cannot be enabled: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_memory_stays_within_its_limits() {
        for (total, least) in [(48 << 20, 4 << 20), (96 << 20, 6 << 20), (256 << 20, 16 << 20), (64 << 30, 16 << 20)] {
            assert_eq!(agent_min(total), least, "of {total}");
        }
    }
}
