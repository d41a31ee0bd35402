//! The view of an installation on the terminal.

use std::time::Duration;

use crate::install::{Observer, Progress};
use crate::screen::Screen;

const BAR: u64 = 24;

pub struct View {
    machine: String,
    screen: Screen,
}

impl View {
    pub fn new(machine: &str) -> Self {
        Self { machine: machine.to_owned(), screen: Screen::new() }
    }

    /// Prints a line that stays.
    pub fn line(&mut self, text: &str) {
        self.screen.line(text);
    }
}

impl Observer for View {
    fn stage(&mut self, text: &str) {
        self.line(&format!("== {text}"));
    }

    fn milestone(&mut self, name: &str, after: Duration) {
        self.line(&format!("{:>8.1} s  {}: {name}", after.as_secs_f64(), self.machine));
    }

    fn tick(&mut self, progress: &Progress) {
        let text = format!("{:>8.1} s  {}: {}", progress.elapsed.as_secs_f64(), self.machine, describe(progress));
        self.screen.moving(&text);
    }
}

fn describe(progress: &Progress) -> String {
    let mib = |bytes: u64| bytes >> 20;
    let download = progress
        .download
        .as_ref()
        .map(|file| format!("download {} {} {}/{} MiB", file.path, bar(file.sent, file.total), mib(file.sent), mib(file.total)));
    match (progress.action, download) {
        (Some((done, total)), _) => format!(
            "{} {} {}/{} MiB, {} MiB on the disk",
            progress.stage,
            bar(done, total),
            mib(done),
            mib(total),
            mib(progress.disk_written)
        ),
        (None, Some(download)) => download,
        (None, None) => format!("waiting for {} | {}", progress.stage, progress.last_line),
    }
}

fn bar(done: u64, total: u64) -> String {
    let filled = done.min(total) * BAR / total.max(1);
    (0..BAR).map(|n| if n < filled { '#' } else { '.' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_full_only_at_the_end() {
        assert_eq!(bar(0, 100), ".".repeat(24));
        assert_eq!(bar(99, 100), format!("{}.", "#".repeat(23)));
        assert_eq!(bar(100, 100), "#".repeat(24));
        assert_eq!(bar(5, 0), ".".repeat(24), "an unknown size");
    }
}
