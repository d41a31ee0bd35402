//! Reads the kernel command line once `/proc` is mounted, and applies what must be set at once.

use std::fs;
use std::path::Path;

use cmdline::{Arguments, Parsed};
use machine::{Milestone, files};

use crate::boot::Boot;
use crate::{PathError, StepError, console, fatal, mounts, site};

const CMDLINE: &str = "/proc/cmdline";
/// How many percent of the memory `/run` gets. The rest is for the kernel, the ramdisk and the agent.
const RUN_PERCENT: u8 = 70;

pub fn read(boot: &mut Boot) -> Result<(), StepError> {
    let looked = site::look_by_firmware(Path::new("/"));
    let Parsed { arguments, notes } = parse(&looked.words)?;
    boot.is_unplaced = looked.is_open;
    if !looked.is_open {
        site::forget(Path::new("/"));
    }
    fatal::obey(arguments.panic);
    for note in notes {
        log::warn!("{note}; it is ignored");
    }
    for note in arguments.without_effect() {
        log::info!("argument without effect: {note}");
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

/// The arguments of the ramdisk, those of the site's table, and those of the boot loader, which win.
pub fn parse(of_site: &str) -> Result<Parsed, PathError> {
    let line = fs::read(CMDLINE).map_err(PathError::new("cannot read", CMDLINE))?;
    let defaults = fs::read(files::CMDLINE).unwrap_or_default(); // most images have none
    Ok(Arguments::parse(&format!("{} {of_site} {}", String::from_utf8_lossy(&defaults).trim(), String::from_utf8_lossy(&line))))
}

/// An operator may ask the kernel for more than notices.
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
    fn only_a_louder_console_is_kept() {
        for (line, level) in
            [("quiet", None), ("loglevel=3", None), ("loglevel=7", Some(7)), ("debug", Some(10)), ("loglevel=x", None)]
        {
            assert_eq!(louder(&Arguments::parse(line).arguments), level, "{line}");
        }
    }
}
