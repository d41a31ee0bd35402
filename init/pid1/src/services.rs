//! The table of PID 1's child services. A new service needs a row here, and a function `run(&Facts, Ready)` in a new file.

use crate::service::{Restart, Service, Start};
use crate::{
    cgroups, crash_report, devices, network, power_button, pressure, rescue, screen, spare_drivers, spawn, syslog, watchdog, zram,
};

pub const DEVICES: &str = "devices";
pub const NETWORK: &str = "network client";
pub const AGENT: &str = "agent";

/// The services in the order in which they are started.
pub const TABLE: &[Service] = &[
    Service {
        name: DEVICES,
        process: c"devices",
        start: Start::Forked(devices::run),
        cgroup: None,
        restart: Restart::Always,
        after: None,
        ready: None, // no service waits for all devices; each one waits for the device it needs
    },
    Service {
        name: "status screen",
        process: c"status",
        start: Start::Forked(screen::run),
        restart: Restart::Always,
        cgroup: None,
        after: None,
        ready: None,
    },
    Service {
        name: NETWORK,
        process: c"network",
        start: Start::Forked(|facts, ready| network::run(facts, ready.into_pipe())),
        restart: Restart::Always,
        cgroup: None,
        after: None, // it waits for NICs while the drivers load
        ready: Some(|facts, message| {
            if let Some(ready) = network::read_ready(message) {
                if facts.mac.is_none() {
                    ready.placed_by.into_iter().for_each(|mac| facts.place(mac));
                }
                facts.mac = Some(ready.mac);
            }
            facts.mac.is_some()
        }),
    },
    Service {
        name: AGENT,
        process: c"agent",
        start: Start::Executed(spawn::agent),
        restart: Restart::ByExitCode,
        cgroup: Some(cgroups::AGENT),
        after: Some(NETWORK),
        ready: None,
    },
    Service {
        name: "spare drivers",
        process: c"spare-drivers",
        start: Start::Forked(spare_drivers::run),
        restart: Restart::UntilDone,
        cgroup: None,
        after: Some(NETWORK), // this starts soon, because the agent may pull at once
        ready: None,
    },
    Service {
        name: "memory watch",
        process: c"memory",
        start: Start::Forked(pressure::run),
        restart: Restart::Always,
        cgroup: None,
        after: Some(NETWORK), // nothing takes much memory before
        ready: None,
    },
    Service {
        name: "power button",
        process: c"button",
        start: Start::Forked(power_button::run),
        restart: Restart::Always,
        cgroup: None,
        after: None,
        ready: None,
    },
    Service {
        name: "watchdog",
        process: c"watchdog",
        start: Start::Forked(watchdog::run),
        restart: Restart::UntilDone,
        cgroup: None,
        after: None,
        ready: None,
    },
    Service {
        name: "syslog",
        process: c"syslog",
        start: Start::Forked(syslog::run),
        restart: Restart::UntilDone,
        cgroup: None,
        after: Some(NETWORK),
        ready: None,
    },
    Service {
        name: "compressed memory",
        process: c"zram",
        start: Start::Forked(zram::run),
        restart: Restart::UntilDone,
        cgroup: None,
        after: Some(AGENT),
        ready: None,
    },
    Service {
        name: "crash report",
        process: c"crash-report",
        start: Start::Forked(crash_report::run),
        restart: Restart::UntilDone,
        cgroup: None,
        after: Some(AGENT),
        ready: None,
    },
    Service {
        name: "rescue",
        process: c"rescue",
        start: Start::Forked(rescue::run),
        restart: Restart::UntilDone,
        cgroup: None,
        after: Some(NETWORK),
        ready: None,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_waits_for_an_earlier_one() {
        for (index, service) in TABLE.iter().enumerate() {
            let known = |name| TABLE.iter().take(index).any(|earlier| earlier.name == name);
            assert!(service.after.is_none_or(known), "{} waits for a service that does not come before it", service.name);
            assert!(service.process.count_bytes() <= 15, "{} is too long for ps", service.name);
        }
    }
}
