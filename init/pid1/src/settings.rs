//! The kernel command line, once `/proc` is there, and what follows from it at once.

use std::fs;

use cmdline::{Arguments, Parsed};
use machine::{Milestone, files};

use crate::boot::Boot;
use crate::{PathError, StepError, console, fatal, mounts};

const CMDLINE: &str = "/proc/cmdline";
/// Percent of RAM for `/run`; the rest is the kernel's, the ramdisk's and the agent's.
const RUN_PERCENT: u8 = 70;

pub fn read(boot: &mut Boot) -> Result<(), StepError> {
    let line = fs::read(CMDLINE).map_err(PathError::new("cannot read", CMDLINE))?;
    let defaults = fs::read(files::CMDLINE).unwrap_or_default(); // most images have none; the boot loader's come later and so decide
    let line = format!("{} {}", String::from_utf8_lossy(&defaults).trim(), String::from_utf8_lossy(&line));
    let Parsed { arguments, notes } = Arguments::parse(&line);
    fatal::obey(arguments.panic);
    for note in notes {
        log::warn!("{note}; booting without it");
    }
    for note in arguments.without_effect() {
        log::info!("argument without effect here: {note}");
    }
    if let Some(level) = louder(&arguments) {
        console::set_level(level);
    }
    mounts::run(arguments.run_percent.unwrap_or(RUN_PERCENT))?;
    if let Err(error) = fs::write(files::BOOT, Milestone::Init.line(boot.began)) {
        log::warn!("cannot write {}: {error}", files::BOOT);
    }
    boot.arguments = arguments;
    Ok(())
}

/// An operator who asks the kernel for more than notices gets it.
fn louder(arguments: &Arguments) -> Option<i32> {
    if arguments.other("debug").is_some() || arguments.other("ignore_loglevel").is_some() {
        return Some(10);
    }
    let level = arguments.other("loglevel")?.value.as_deref()?.parse().ok()?;
    (level > 6).then_some(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_louder_console_is_respected() {
        for (line, level) in
            [("quiet", None), ("loglevel=3", None), ("loglevel=7", Some(7)), ("debug", Some(10)), ("loglevel=x", None)]
        {
            assert_eq!(louder(&Arguments::parse(line).arguments), level, "{line}");
        }
    }
}
