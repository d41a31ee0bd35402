//! The milestones of one installation, recognised on the serial console, and their table.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use regex::Regex;
use serde::Serialize;

use crate::serial::Line;

/// The name, and the console line that shows it. Later milestones never come before earlier ones, and some may be missing.
const MILESTONES: &[(&str, &str)] = &[
    ("firmware", r"iPXE initialising devices|iPXE 1\.|iPXE \(http|Start PXE over IPv4"),
    ("DHCP", r"net0: 10\.77|Filename: |NBP filename is|Station IP address is"),
    ("iPXE script", r"auto\.ipxe\.\.\. ok|thimble: machine-"),
    ("kernel downloaded", r"/files/vmlinuz\.\.\. ok"),
    ("ramdisk downloaded", r"/files/initramfs\S*\.\.\. ok"),
    ("/init", r"thimble: init \S+ started"),
    ("network", r"thimble: network \S+ 10\.77"),
    ("agent connected", r"thimble: agent \S+ connected to"),
    ("action write-image", r"action write-image: SUCCESS"),
    ("action set-hostname", r"action set-hostname: SUCCESS"),
    ("action announce-boot", r"action announce-boot: SUCCESS"),
    ("action reboot", r"action reboot: SUCCESS"),
    ("reboot", r"thimble: rebooting"),
    // boots says so in a script, or in the PXE menu of firmware that must not load one.
    ("local disk chosen", r"booting from the local disk|PXE-E21: Remote boot cancelled"),
    ("boot loader", r"GRUB: booting Debian"),
    ("installed system up", r"installed-by-thimble login:"),
];

/// Lines that end an installation, whatever follows.
const FAILURES: &[&str] = &[
    r"thimble: .*FATAL: ",
    r"action \S+: FAILED",
    r"action \S+: TIMEOUT",
    r"Kernel panic",
    r"No bootable device",
    r"BdsDxe: No bootable option",
    r"cannot start the installation environment",
];

#[derive(Debug, Clone, Serialize)]
pub struct Reached {
    pub name: &'static str,
    /// Seconds since power-on.
    pub at: f64,
}

pub struct Timeline {
    start: Instant,
    milestones: Vec<(&'static str, Regex)>,
    failures: Vec<Regex>,
    next: usize,
    pub entries: Vec<Reached>,
}

impl Timeline {
    pub fn new(start: Instant) -> Result<Self> {
        let regex = |pattern: &str| Regex::new(pattern).with_context(|| format!("{pattern:?} is not a pattern"));
        let milestones = MILESTONES.iter().map(|(name, pattern)| Ok((*name, regex(pattern)?))).collect::<Result<_>>()?;
        let failures = FAILURES.iter().map(|pattern| regex(pattern)).collect::<Result<_>>()?;
        Ok(Self { start, milestones, failures, next: 0, entries: Vec::new() })
    }

    /// Takes a line. Returns the milestone that it reaches, if any.
    pub fn hear(&mut self, line: &Line) -> Result<Option<&'static str>> {
        if self.failures.iter().any(|failure| failure.is_match(&line.text)) {
            bail!("the console says: {}", line.text.trim());
        }
        let ahead = self.milestones.iter().enumerate().skip(self.next);
        let Some((index, (name, _))) = ahead.into_iter().find(|(_, (_, regex))| regex.is_match(&line.text)) else {
            return Ok(None);
        };
        self.next = index + 1;
        self.entries.push(Reached { name, at: (line.at - self.start).as_secs_f64() });
        Ok(Some(name))
    }

    /// The milestone that is awaited now.
    pub fn stage(&self) -> &'static str {
        self.milestones.get(self.next).map_or("the end", |(name, _)| name)
    }

    pub fn is_complete(&self) -> bool {
        self.next == self.milestones.len()
    }

    /// Milestones that never came although later ones did.
    pub fn missing(&self) -> Vec<&'static str> {
        let seen = |name: &str| self.entries.iter().any(|entry| entry.name == name);
        self.milestones.iter().take(self.next).map(|(name, _)| *name).filter(|name| !seen(name)).collect()
    }

    pub fn table(&self) -> String {
        let mut text = format!("{:<24}{:>10}{:>10}\n", "milestone", "at s", "took s");
        let mut last = 0.0;
        for entry in &self.entries {
            text += &format!("{:<24}{:>10.1}{:>10.1}\n", entry.name, entry.at, entry.at - last);
            last = entry.at;
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn line(start: Instant, seconds: u64, text: &str) -> Line {
        Line { at: start + Duration::from_secs(seconds), text: text.into() }
    }

    #[test]
    fn milestones_come_in_order_and_some_may_be_missing() {
        let start = Instant::now();
        let mut timeline = Timeline::new(start).unwrap();
        let heard = |timeline: &mut Timeline, at, text| timeline.hear(&line(start, at, text)).unwrap();
        assert_eq!(heard(&mut timeline, 2, "iPXE (http://ipxe.org) 00:02.0"), Some("firmware"));
        assert_eq!(heard(&mut timeline, 5, "[ 1.9] thimble: init 0.1.0 started"), Some("/init"));
        assert_eq!(heard(&mut timeline, 6, "net0: 10.77.0.101/24"), None, "DHCP cannot come after /init");
        assert_eq!((timeline.stage(), timeline.missing().len()), ("network", 4));
        assert!(timeline.table().contains("/init                          5.0       3.0"), "{}", timeline.table());
    }

    #[test]
    fn a_failed_action_ends_it() {
        let start = Instant::now();
        let mut timeline = Timeline::new(start).unwrap();
        let error =
            timeline.hear(&line(start, 1, "thimble: workflow w action write-image: FAILED in 2s: NonZeroExit")).unwrap_err();
        assert!(error.to_string().contains("NonZeroExit"), "{error}");
    }
}
