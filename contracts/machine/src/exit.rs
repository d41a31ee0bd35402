//! What the agent's exit code asks of PID 1.

/// Nothing more to do; PID 1 does not start the agent again.
pub const STOP: u8 = 0;
/// The workflow asked for a reboot and its success is acknowledged.
pub const REBOOT: u8 = 80;
/// The workflow asked for power-off and its success is acknowledged.
pub const POWER_OFF: u8 = 81;
/// A kernel is loaded: PID 1 shall execute it.
pub const KEXEC: u8 = 82;
/// Wrong arguments or settings: a restart would not help, but PID 1 treats it as any other crash.
pub const USAGE: u8 = 2;
/// The agent cannot work here; a restart may help (a full tmpfs, say).
pub const FAILED: u8 = 1;
