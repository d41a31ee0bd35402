//! A private Ethernet segment: network, mount and PID namespaces with a bridge, in a separate process. Without root a user
//! namespace comes first. When the process inside ends, the kernel ends everything it started.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;

use crate::command::effect;

/// The provisioning host's address on the segment.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub const HOST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1);
pub const BRIDGE: &str = "br0";
const INSIDE: &str = "LAB_INSIDE_SEGMENT";

/// True in the process that runs inside a segment.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// The command that runs the lab again, inside a separate segment.
pub fn command(args: &[&str]) -> Result<Command> {
    let lab = std::env::current_exe().context("cannot find the lab's own program")?;
    let mut command = Command::new(lab);
    command.arg("segment").args(args);
    Ok(command)
}

/// The first half, `lab segment ARGS`: leaves the host's namespaces and runs `lab ARGS` as PID 1 of the new ones. Returns
/// the exit code.
pub fn enter(args: &[String]) -> Result<i32> {
    die_with_parent()?;
    // In a chroot the kernel gives another path once the namespaces are left.
    let lab = std::env::current_exe().context("cannot find the lab's own program")?;
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let mut flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    if !uid.is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags).context(
        "cannot leave the host's namespaces; run as root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1)",
    )?;
    if !uid.is_root() {
        let map = |path: &str, text: String| std::fs::write(path, text).with_context(|| format!("cannot write {path}"));
        map("/proc/self/setgroups", "deny".to_owned())?;
        map("/proc/self/uid_map", format!("0 {} 1", uid.as_raw()))?;
        map("/proc/self/gid_map", format!("0 {} 1", gid.as_raw()))?;
    }
    let status = Command::new(lab).args(args).env(INSIDE, "1").status().context("cannot start the lab inside the segment")?;
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

/// The second half, as PID 1 inside: brings up the bridge.
pub fn bring_up() -> Result<()> {
    if !is_inside() {
        bail!("the lab would use the host's network; start it through `lab segment`");
    }
    die_with_parent()?;
    own_proc();
    // PID 1 ignores signals without a handler. Ctrl-C ends the outer process, which ends this one, too.
    let ip = |line: &str| effect(Command::new("ip").args(line.split(' '))).with_context(|| format!("ip {line}"));
    ip("link set lo up")?;
    ip(&format!("link add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"))?;
    ip(&format!("addr add {HOST}/24 dev {BRIDGE}"))?;
    ip(&format!("addr add {HOST6}/64 dev {BRIDGE} nodad"))?;
    ip(&format!("link set {BRIDGE} up"))
}

/// A tap interface on the bridge: one machine's cable.
pub fn add_tap(name: &str) -> Result<()> {
    let ip = |line: &str| effect(Command::new("ip").args(line.split(' '))).with_context(|| format!("ip {line}"));
    ip(&format!("tuntap add dev {name} mode tap"))?;
    ip(&format!("link set {name} master {BRIDGE} up"))
}

/// A tap without another end, which has carrier and no answers.
pub fn add_loose_tap(name: &str) -> Result<()> {
    let ip = |line: &str| effect(Command::new("ip").args(line.split(' '))).with_context(|| format!("ip {line}"));
    ip(&format!("tuntap add dev {name} mode tap"))?;
    ip(&format!("link set {name} up"))
}

/// A /proc that shows this namespace's processes with their numbers here. A container that hides parts of /proc may refuse
/// it to a user namespace. Then only the machine's touched memory cannot be read.
fn own_proc() {
    let private = mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>);
    let mounted = private.and_then(|()| mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>));
    if let Err(error) = mounted {
        eprintln!("segment: no /proc of its own: {error}");
    }
}

fn die_with_parent() -> Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).context("cannot ask to be ended with the parent")
}
