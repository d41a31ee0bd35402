//! Kernel settings and process limits, which every process started from here inherits.

use std::fs;

use cmdline::Arguments;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::boot::Boot;
use crate::{PathError, StepError};

const SYSCTLS: &[(&str, &str)] = &[
    ("kernel/printk_devkmsg", "on"),        // PID 1 and the agent write few lines and each counts
    ("kernel/core_pattern", "|/bin/false"), // no core dumps into RAM
    ("kernel/hostname", "thimble"),         // until DHCP sets another name
    ("vm/oom_dump_tasks", "0"),             // the kernel's report of a killed action is long enough without this
    ("net/ipv4/conf/all/rp_filter", "0"),
];

/// After an oops the kernel continues, and the failed driver's locks stay taken. With `panic=` the machine then restarts
/// instead of waiting for a network or a disk that never appears.
const OOPS: (&str, &str) = ("kernel/panic_on_oops", "1");

pub fn tune(boot: &mut Boot) -> Result<(), StepError> {
    for (name, value) in SYSCTLS.iter().chain(ends_at_an_oops(&boot.arguments).then_some(&OOPS)) {
        if let Err(error) = fs::write(format!("/proc/sys/{name}"), format!("{value}\n")) {
            log::warn!("cannot set {name} to {value}: {error}");
        }
    }
    let limit = |at| Rlimit { current: Some(at), maximum: Some(at) };
    setrlimit(Resource::Nofile, limit(65_536)).map_err(PathError::new("cannot set", "the limit of open files"))?;
    setrlimit(Resource::Core, limit(0)).map_err(PathError::new("cannot set", "the limit of core dumps"))?;
    Ok(())
}

/// The kernel sets `sysctl.NAME=VALUE` itself, so an operator's choice stays.
fn ends_at_an_oops(arguments: &Arguments) -> bool {
    let decided = ["sysctl.kernel.panic_on_oops", "sysctl.kernel/panic_on_oops"];
    arguments.panic.is_some_and(|seconds| seconds != 0) && !decided.iter().any(|name| arguments.other(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oops_restarts_the_machine_if_a_panic_would() {
        for (line, expected) in [
            ("", false),
            ("panic=0", false),
            ("panic=10", true),
            ("panic=-1", true),
            ("panic=10 sysctl.kernel.panic_on_oops=0", false),
            ("panic=10 sysctl.kernel/panic_on_oops=0", false),
        ] {
            assert_eq!(ends_at_an_oops(&Arguments::parse(line).arguments), expected, "{line}");
        }
    }
}
