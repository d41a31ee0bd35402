//! The standard actions: what a Workflow's steps run on the machine.

/// Every action by the name that starts it.
pub const NAMES: &[&str] = &["cexec", "image2disk", "poweroff", "reboot", "wipe", "writefile"];
