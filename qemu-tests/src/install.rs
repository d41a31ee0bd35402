//! The main job: a blank machine network-boots, its workflow installs Debian, and it boots the installed system. The demo
//! shows it, and the scenarios check it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use regex::Regex;

use crate::command::wait_for;
use crate::feed::{Download, Feed};
use crate::machine::{Boot, Vm};
use crate::objects::Station;
use crate::provisioner::{Options, Provisioner};
use crate::scene::Scene;
use crate::serial::Line;
use crate::timeline::Timeline;
use crate::verify::{self, Verified, Written};

/// A machine without any console output for this long hangs.
const SILENCE: Duration = Duration::from_secs(180);
const WHOLE: Duration = Duration::from_secs(30 * 60);
/// Watches an installation.
pub trait Observer {
    fn stage(&mut self, text: &str);
    fn milestone(&mut self, name: &str, after: Duration);
    /// Called a few times a second.
    fn tick(&mut self, progress: &Progress);
}

pub struct Quiet;

impl Observer for Quiet {
    fn stage(&mut self, _: &str) {}
    fn milestone(&mut self, _: &str, _: Duration) {}
    fn tick(&mut self, _: &Progress) {}
}

/// The progress between milestones.
#[derive(Debug, Default, Clone)]
pub struct Progress {
    pub stage: &'static str,
    pub elapsed: Duration,
    /// The written and total bytes of the running action, as it reports them.
    pub action: Option<(u64, u64)>,
    pub download: Option<Download>,
    pub disk_written: u64,
    pub last_line: String,
}

/// The results of an installation.
pub struct Installed {
    pub timeline: Timeline,
    pub verified: Verified,
    /// kB of guest memory that were touched until the installation's end, as the host sees it.
    pub memory_touched: Option<u64>,
    /// The largest resident set of the agent in kB, as it reports it.
    pub agent_peak: Option<u64>,
    /// The lowest available memory in kB, as the agent reports it.
    pub memory_low: Option<u64>,
    pub announced: String,
    pub machine: Vm,
}

/// Installs and boots one machine.
pub fn run(scene: &Scene, boot: Boot, memory_mib: u32, watch: &mut dyn Observer) -> Result<Installed> {
    let station = Station { number: 1 };
    watch.stage("starting the registry and pushing the actions");
    let registry = scene.registry()?;
    scene.push_actions(&registry)?;
    watch.stage("starting thimble up and applying Hardware, Template and Workflow");
    let provisioner = scene.provisioner(Options::default())?;
    provisioner.apply(&station.hardware())?;
    provisioner.apply(&station.install())?;
    let disk = scene.disk(&station)?;
    watch.stage(&format!("switching on {} with {memory_mib} MiB and an empty disk", station.name()));
    let mut machine = scene.power_on(&station, boot, memory_mib, Some(disk.clone()))?;
    let mut follow = Follow::new(&machine, Feed::follow(&provisioner.socket()))?;
    let (mut verified, mut memory_touched) = (None, None);
    while !follow.timeline.is_complete() {
        match follow.next(&mut machine, watch)? {
            // The agent runs, so firmware no longer resets the machine. The next reset is the workflow's.
            Some("agent connected") => machine.hold_at_reset()?,
            Some("reboot") => {
                machine.wait_held(Duration::from_secs(60))?;
                memory_touched = machine.memory_touched();
                watch.stage("comparing the disk with the image");
                verified = Some(verify::disk(&disk, &scene.setup.disk, &asked_for(&provisioner)?)?);
                machine.release()?;
            }
            _ => {}
        }
    }
    let verified = verified.context("the machine came up without ever rebooting")?;
    let missing = follow.timeline.missing();
    ensure!(missing.is_empty(), "the machine came up, but the console never showed: {}", missing.join(", "));
    let workflow = provisioner.wait_ended("install", Duration::from_secs(10))?;
    ensure!(workflow.state() == "SUCCESS", "the workflow is {}: {}", workflow.state(), workflow.status());
    Ok(Installed {
        announced: announcement(&provisioner, &station)?,
        memory_touched,
        agent_peak: largest(&machine.serial.all("agent memory: VmHWM")?, r"VmHWM (\d+) kB")?,
        memory_low: smallest(&machine.serial.all("agent memory: ")?, r"lowest MemAvailable (\d+) kB")?,
        timeline: follow.timeline,
        verified,
        machine,
    })
}

/// The files that the workflow's `writefile` actions should write, according to the server.
fn asked_for(provisioner: &Provisioner) -> Result<Vec<Written>> {
    let workflow = provisioner.workflow("install")?;
    let file = |action: &str| {
        let text = |name: &str| workflow.action(action)?.environment.get(name).cloned();
        let written = (|| Some(Written { path: text("DEST_PATH")?, contents: text("CONTENTS")?, mode: text("MODE")? }))();
        written.with_context(|| format!("the server does not say what {action} writes: {:?}", workflow.action(action)))
    };
    ["set-hostname", "announce-boot"].into_iter().map(file).collect()
}

/// The installed system's own report to the server.
fn announcement(provisioner: &Provisioner, station: &Station) -> Result<String> {
    let needle = "installed-by-thimble is up";
    wait_for("the installed system's HTTP call to the server", Duration::from_secs(60), || {
        let announced = provisioner.machine(&station.mac())?.booted.map(|booted| booted.text);
        let log = provisioner.log_lines(&[&station.mac(), needle]);
        Ok(log.into_iter().next().or(announced.filter(|text| text.contains(needle))))
    })
}

/// The largest number that `pattern` finds in the lines.
pub fn largest(lines: &[Line], pattern: &str) -> Result<Option<u64>> {
    Ok(numbers(lines, pattern)?.into_iter().max())
}

/// The smallest number that `pattern` finds in the lines.
pub fn smallest(lines: &[Line], pattern: &str) -> Result<Option<u64>> {
    Ok(numbers(lines, pattern)?.into_iter().min())
}

fn numbers(lines: &[Line], pattern: &str) -> Result<Vec<u64>> {
    let regex = Regex::new(pattern).with_context(|| format!("{pattern:?} is not a pattern"))?;
    let number = |line: &Line| regex.captures(&line.text)?.get(1)?.as_str().parse().ok();
    Ok(lines.iter().filter_map(number).collect())
}

/// Follows the console from milestone to milestone.
struct Follow {
    feed: Feed,
    timeline: Timeline,
    percent: Regex,
    progress: Progress,
    start: Instant,
    heard: Instant,
    prompt_seen: bool,
}

impl Follow {
    fn new(machine: &Vm, feed: Feed) -> Result<Self> {
        Ok(Self {
            feed,
            timeline: Timeline::new(machine.started)?,
            percent: Regex::new(r"progress \d+% (\d+)/(\d+) bytes").context("the pattern for progress")?,
            progress: Progress::default(),
            start: machine.started,
            heard: Instant::now(),
            prompt_seen: false,
        })
    }

    /// Takes one line, or a quarter of a second of silence. Returns the milestone that was reached, if any.
    fn next(&mut self, machine: &mut Vm, watch: &mut dyn Observer) -> Result<Option<&'static str>> {
        let line = machine.serial.next_line(Duration::from_millis(250)).or_else(|| self.prompt(machine));
        let mut reached = None;
        if let Some(line) = line {
            self.heard = line.at;
            self.read(&line);
            let stage = self.timeline.stage();
            reached = self.timeline.hear(&line).with_context(|| self.failed(stage, machine))?;
            if let Some(name) = reached {
                self.progress.action = None;
                watch.milestone(name, line.at - self.start);
            }
        }
        self.progress.stage = self.timeline.stage();
        self.progress.elapsed = self.start.elapsed();
        self.progress.download = self.feed.download();
        self.progress.disk_written = machine.disk_written();
        watch.tick(&self.progress);
        let stage = self.timeline.stage();
        ensure!(!machine.is_off()?, "{}: the machine has switched itself off", self.failed(stage, machine));
        ensure!(self.heard.elapsed() < SILENCE, "{}: {} s of silence", self.failed(stage, machine), SILENCE.as_secs());
        ensure!(self.start.elapsed() < WHOLE, "{}: {} s have passed", self.failed(stage, machine), WHOLE.as_secs());
        Ok(reached)
    }

    /// Handles a prompt, which never ends its line.
    fn prompt(&mut self, machine: &Vm) -> Option<Line> {
        let text = machine.serial.partial();
        let is_new = text.contains("login:") && !self.prompt_seen;
        self.prompt_seen |= is_new;
        is_new.then(|| Line { at: Instant::now(), text })
    }

    fn read(&mut self, line: &Line) {
        if let Some(found) = self.percent.captures(&line.text) {
            let number = |n| found.get(n).and_then(|digits| digits.as_str().parse().ok()).unwrap_or(0);
            self.progress.action = Some((number(1), number(2)));
        }
        // GRUB draws letter by letter, and such fragments are not shown.
        if line.text.trim().len() > 3 {
            self.progress.last_line = line.text.trim().to_owned();
        }
    }

    fn failed(&self, stage: &str, machine: &Vm) -> String {
        let (log, last) = (machine.serial.log().display(), machine.serial.last_lines());
        format!("failed while waiting for: {stage}\nlast lines of the console, {log}:\n{last}")
    }
}
