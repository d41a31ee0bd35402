//! What the agent asks of PID 1 by its exit code.

/// There is nothing more to do. PID 1 does not start the agent again.
pub const STOP: u8 = 0;
/// The workflow asked for a reboot and its success is acknowledged.
pub const REBOOT: u8 = 80;
/// The workflow asked for power-off and its success is acknowledged.
pub const POWER_OFF: u8 = 81;
/// An action has loaded a kernel, and PID 1 starts it.
pub const KEXEC: u8 = 82;
/// Arguments or settings are wrong. To PID 1 it is a crash like any other.
pub const USAGE: u8 = 2;
/// The agent cannot work. A restart may help, for instance after a tmpfs was full.
pub const FAILED: u8 = 1;
