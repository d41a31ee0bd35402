//! Kernel settings and process limits that everything started from here inherits.

use std::fs;

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::boot::Boot;
use crate::{PathError, StepError};

const SYSCTLS: &[(&str, &str)] = &[
    ("kernel/printk_devkmsg", "on"),        // our lines are few and each counts: no rate limit
    ("kernel/core_pattern", "|/bin/false"), // no core dumps into RAM
    ("kernel/hostname", "thimble"),         // until DHCP knows better
    ("vm/oom_dump_tasks", "0"),             // the kernel's report of a killed action is long enough without
    ("net/ipv4/conf/all/rp_filter", "0"),
];

pub fn tune(_: &mut Boot) -> Result<(), StepError> {
    for (name, value) in SYSCTLS {
        if let Err(error) = fs::write(format!("/proc/sys/{name}"), format!("{value}\n")) {
            log::warn!("cannot set {name} to {value}: {error}");
        }
    }
    let limit = |at| Rlimit { current: Some(at), maximum: Some(at) };
    setrlimit(Resource::Nofile, limit(65_536)).map_err(PathError::new("cannot set", "the limit of open files"))?;
    setrlimit(Resource::Core, limit(0)).map_err(PathError::new("cannot set", "the limit of core dumps"))?;
    Ok(())
}
