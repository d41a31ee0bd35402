//! One machine of the soak. It always works, and the dice decide when its power is cut.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::dice::Dice;
use super::ledger::Place;
use super::witness::Witness;
use crate::machine::Vm;
use crate::objects::{Station, Step, workflow};
use crate::provisioner::Provisioner;
use crate::registry::Registry;
use crate::scene::{ACTS_WITHIN, BOOTS_WITHIN, MEMORY_MIB, Scene};

/// Undisturbed workflows at the end, to see whether the agent's memory grows.
const STEADY: u32 = 12;
const WARM: u32 = 4;
const ACTIONS: [&str; 3] = ["one", "two", "three"];
const GLANCE: Duration = Duration::from_millis(250);

/// What the machine is doing, according to the console's last line.
const STAGES: &[(&str, &str)] = &[
    ("boot", r"thimble: init \S+ started"),
    ("asking for work", r"thimble: agent \S+ connected to"),
    ("pull", r"action \w+: pulling"),
    ("action", r"action \w+: running"),
    ("report", r"action \w+: SUCCESS"),
];
const FIRMWARE: &str = "firmware and kernel";

#[derive(Debug, Default)]
pub struct Tally {
    pub stages: BTreeMap<&'static str, u32>,
    pub workflows: u32,
    /// The agent's memory after a few workflows and after many. Each is the largest value of all machines.
    pub warm_kb: u64,
    pub end_kb: u64,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        for (stage, count) in other.stages {
            *self.stages.entry(stage).or_default() += count;
        }
        self.workflows += other.workflows;
        if other.end_kb.saturating_sub(other.warm_kb) >= self.end_kb.saturating_sub(self.warm_kb) {
            (self.warm_kb, self.end_kb) = (other.warm_kb, other.end_kb);
        }
    }

    pub fn cuts(&self) -> u32 {
        self.stages.values().sum()
    }
}

pub struct Rider<'a> {
    pub scene: &'a Scene,
    pub registry: &'a Registry,
    pub provisioner: &'a Provisioner,
    pub witness: &'a Witness,
    pub number: u8,
}

/// When the power is cut, counted from the last power-on.
#[derive(Debug, Clone, Copy)]
enum Moment {
    At(Duration),
    /// This long after a stage has begun.
    In(&'static str, Duration),
}

impl Rider<'_> {
    pub fn ride(&self, cycles: u32, seed: u64) -> Result<Tally> {
        let mut dice = Dice::new(seed);
        let mut tally = Tally::default();
        let station = Station { number: self.number };
        self.provisioner.apply(&station.hardware())?;
        self.give_work(&station, 0)?;
        let boot = self.scene.direct(self.provisioner, &station)?;
        let mut machine = self.scene.power_on(&station, boot, MEMORY_MIB, None)?;
        let started = Instant::now();
        machine.serial.expect("action three: SUCCESS", BOOTS_WITHIN)?;
        let whole = started.elapsed();
        for cycle in 1..=cycles {
            self.renew_work(&station, &mut tally)?;
            machine.power_cycle()?;
            let from = machine.serial.skip_to_end();
            let moment = choose(&mut dice, whole);
            self.wait(&mut machine, moment, &station, &mut tally).with_context(|| format!("cycle {cycle}, {moment:?}"))?;
            *tally.stages.entry(stage(&machine, from)?).or_default() += 1;
        }
        machine.power_cycle()?;
        self.finish(&mut tally)?;
        if self.number == 1 {
            self.steady(&station, &mut tally)?;
        }
        self.close(&tally);
        Ok(tally)
    }

    fn name(&self, number: u32) -> String {
        format!("soak-{}-{number}", self.number)
    }

    fn give_work(&self, station: &Station, number: u32) -> Result<()> {
        let name = self.name(number);
        let steps = ACTIONS.map(|action| {
            let step = Step::busybox(action, self.registry, &script(&self.witness.url(), &name, action));
            if action == "three" { step.host_pid() } else { step }
        });
        self.provisioner.apply(&workflow(&name, station, &steps))
    }

    /// Gives the next workflow when this one has ended, so that the machine is never idle.
    fn renew_work(&self, station: &Station, tally: &mut Tally) -> Result<()> {
        let now = self.provisioner.workflow(&self.name(tally.workflows))?;
        if ["", "PENDING", "RUNNING"].contains(&now.state()) {
            return Ok(());
        }
        ensure!(now.state() == "SUCCESS", "{} ended as {}: {}", self.name(tally.workflows), now.state(), now.status());
        tally.workflows += 1;
        self.give_work(station, tally.workflows)
    }

    fn wait(&self, machine: &mut Vm, moment: Moment, station: &Station, tally: &mut Tally) -> Result<()> {
        let rest = match moment {
            Moment::At(time) => time,
            Moment::In(pattern, after) => {
                self.expect(machine, pattern, station, tally)?;
                after
            }
        };
        // The moment itself is what the test is about, so this sleeps instead of waiting for a state.
        std::thread::sleep(rest);
        ensure!(!machine.is_off()?, "the machine has switched itself off:\n{}", machine.serial.last_lines());
        Ok(())
    }

    /// Waits for a stage. A report that was sent before the power cut may have ended the work.
    fn expect(&self, machine: &mut Vm, pattern: &str, station: &Station, tally: &mut Tally) -> Result<()> {
        let deadline = Instant::now() + BOOTS_WITHIN;
        while let Err(error) = machine.serial.expect(pattern, GLANCE) {
            if Instant::now() >= deadline || machine.is_off()? {
                return Err(error);
            }
            self.renew_work(station, tally)?;
        }
        Ok(())
    }

    /// Work without power cuts. One machine is enough to see growth.
    fn steady(&self, station: &Station, tally: &mut Tally) -> Result<()> {
        let mut samples = Vec::new();
        for _ in 0..STEADY {
            let name = self.name(tally.workflows);
            self.give_work(station, tally.workflows)?;
            self.finish(tally)?;
            samples.extend(self.witness.ledger().memory.get(&name).copied());
        }
        let highest = |samples: &[u64]| samples.iter().max().copied().unwrap_or(0);
        let (warm, rest) = samples.split_at(samples.len().min(WARM as usize));
        ensure!(!rest.is_empty(), "no action has seen the agent's process");
        (tally.warm_kb, tally.end_kb) = (highest(warm), highest(rest));
        Ok(())
    }

    fn finish(&self, tally: &mut Tally) -> Result<()> {
        let name = self.name(tally.workflows);
        let ended = self.provisioner.wait_ended(&name, ACTS_WITHIN)?;
        if ended.state() != "SUCCESS" {
            bail!("{name} ended as {}: {}", ended.state(), ended.status());
        }
        tally.workflows += 1;
        Ok(())
    }

    /// Compares every action of every workflow: the server's state, and the action's own reports.
    fn close(&self, tally: &Tally) {
        for number in 0..tally.workflows {
            for action in ACTIONS {
                let place = Place { workflow: self.name(number), action: action.to_owned() };
                let state = crate::provisioner::action_state(&self.provisioner.socket(), &place.workflow, action);
                self.witness.ledger().check(&place, &state);
            }
        }
    }
}

/// A third of the moments lie anywhere in a boot and its work. The others come soon after a step has begun.
fn choose(dice: &mut Dice, whole: Duration) -> Moment {
    if dice.roll(3) == 0 {
        return Moment::At(dice.time(whole));
    }
    let stage = dice.pick(STAGES).map_or(STAGES[0].1, |(_, pattern)| pattern);
    Moment::In(stage, dice.time(Duration::from_millis(300)))
}

fn stage(machine: &Vm, from: usize) -> Result<&'static str> {
    let mut latest = (0, FIRMWARE);
    for (name, pattern) in STAGES {
        if let Some(place) = machine.serial.last_match(pattern, from)?
            && place >= latest.0
        {
            latest = (place, name);
        }
    }
    Ok(latest.1)
}

/// Reports its start and its end. The last action also reports the agent's memory, and looks for zombies twice, because a
/// dead process may wait a moment before it is reaped.
fn script(witness: &str, workflow: &str, action: &str) -> String {
    let send = |word: &str| format!("busybox wget -q -O /dev/null {witness}/{word}\n");
    let look = if action == "three" {
        format!(
            "dead() {{ for file in /proc/[0-9]*/stat; do
  read -r line 2>/dev/null < $file && case \"$line\" in *') Z '*) echo \"${{line%% *}}\";; esac
done; }}
first=$(dead); sleep 0.2; second=\" $(echo $(dead)) \"; count=0
for one in $first; do case \"$second\" in *\" $one \"*) count=$((count + 1)); cat /proc/$one/stat;; esac; done
{}for process in /proc/[0-9]*; do
  case $(cat $process/cmdline 2>/dev/null | tr '\\0' ' ') in '/proc/self/exe run '*)
    while read -r key value unit; do case $key in RssAnon:) {}
    ;; esac; done < $process/status;;
  esac
done
",
            send("zombies/$count"),
            send(&format!("memory/{workflow}/$value")).trim()
        )
    } else {
        "sleep 0.05\n".to_owned()
    };
    format!("{}{look}{}", send(&format!("begin/{workflow}/{action}")), send(&format!("end/{workflow}/{action}")))
}
