//! An unprivileged action. Docker's defaults take these rights away, and the devices, which Docker guards by other means.

/// Docker's capabilities by bit number, without `MKNOD`: the agent has no device filter that would stop the new nodes.
/// `NET_RAW` and `NET_BIND_SERVICE` are missing, too: in the machine's network an action could sniff, or answer as a DHCP
/// server.
/// CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, SYS_CHROOT, AUDIT_WRITE, SETFCAP.
pub const CAPABILITIES: u64 = bits(&[0, 1, 3, 4, 5, 6, 7, 8, 18, 29, 31]);
/// `NET_BIND_SERVICE`: ports below 1024.
pub const LOW_PORTS: u64 = bits(&[10]);

const fn bits(numbers: &[u32]) -> u64 {
    let (mut set, mut rest) = (0, numbers);
    while let [first, tail @ ..] = rest {
        set |= 1 << *first;
        rest = tail;
    }
    set
}

pub const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

pub const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
