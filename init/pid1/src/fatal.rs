//! The end of a boot that cannot continue: print the reason on every console, wait, and restart according to `panic=`. A
//! panic of PID 1 also ends here, because otherwise the kernel would panic without the reason.

use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use machine::Power;
use rustix::system::{RebootCommand, reboot};

use crate::power;

/// `panic=` of the kernel command line. It is static, because a panic hook cannot get it in another way.
static PANIC: AtomicI32 = AtomicI32::new(0);
const REPEAT: Duration = Duration::from_secs(60);

pub fn obey(panic: Option<i32>) {
    PANIC.store(panic.unwrap_or(0), Ordering::Relaxed);
}

/// What follows a fatal error. The meaning is the kernel's for `panic=`.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Stay,
    RestartAfter(Duration),
}

fn fate(panic: i32) -> Fate {
    match panic {
        0 => Fate::Stay,
        seconds => Fate::RestartAfter(Duration::from_secs(u64::try_from(seconds).unwrap_or(0))),
    }
}

/// Never returns. A machine that stays repeats its line, for an operator who connects a screen later.
pub fn end(what: &str, why: &str) -> ! {
    log::error!("FATAL: {what}: {why}");
    match fate(PANIC.load(Ordering::Relaxed)) {
        Fate::RestartAfter(delay) => {
            if !delay.is_zero() {
                log::error!("rebooting in {} s, because panic= is set", delay.as_secs());
            }
            thread::sleep(delay);
            power::end(Power::Reboot, std::time::Duration::ZERO)
        }
        Fate::Stay => {
            log::error!("staying here, because panic= is not set; ctrl-alt-del restarts the machine");
            let _ = reboot(RebootCommand::CadOn); // PID 1 no longer reads signals, so the kernel handles ctrl-alt-del
            loop {
                thread::sleep(REPEAT);
                log::error!("FATAL: {what}: {why}");
            }
        }
    }
}

/// The hook runs before the abort and does not return.
pub fn catch_panics() {
    std::panic::set_hook(Box::new(|panic| {
        if std::process::id() == 1 {
            end("defect in init", &panic.to_string())
        }
        log::error!("defect in a child of init: {panic}");
        std::process::exit(101)
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_has_the_kernels_meaning() {
        for (case, panic, expected) in [
            ("unset or 0: stay", 0, Fate::Stay),
            ("negative: at once", -1, Fate::RestartAfter(Duration::ZERO)),
            ("positive: after so many seconds", 30, Fate::RestartAfter(Duration::from_secs(30))),
        ] {
            assert_eq!(fate(panic), expected, "{case}");
        }
    }
}
