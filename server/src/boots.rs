//! What machines asked while they booted: which machine a step belongs to, and the diagnosis. The steps are the crate `steps`.

use api::paths::STEPS;
use api::{BootHistory, BootState, BootStep, LastStep, MachineStep, OwnSteps, StepKind, What};
use futures_util::future::join_all;
use jiff::Timestamp;
use machine::Chain;
use model::{AgentId, Hardware, Mac};
use steps::{Situation, diagnose, other_server};

use crate::boot::boot_state;
use crate::http::line;
use crate::machines::find;
use crate::service::Server;
use crate::view::View;

/// The most letters of an event.
const LONGEST: usize = 512;

impl Server {
    /// Keeps a step of a machine's boot. This waits for nothing.
    pub fn keep_step(&self, mac: Mac, step: BootStep) {
        let known = self.view().by_mac(mac).map(|stored| stored.object.name());
        self.0.steps.add(mac, known.is_some(), step);
        known.into_iter().for_each(|name| self.took_step(name));
    }

    /// A step that a boots on another host has seen. It is an event, too, and a script that installs counts as a return.
    pub(crate) async fn step_elsewhere(&self, mac: Mac, step: BootStep, now: Timestamp) {
        if step.kind == StepKind::Script && step.file == "install" {
            self.installs_at(mac, now).await;
        }
        let detail = line(&step.to_string(), LONGEST);
        self.publish(What::Machine { mac, milestone: step.kind.word().to_owned(), detail });
        self.keep_step(mac, step);
    }

    /// An agent that an object names has called. The first call of a boot is a step of its machine.
    pub(crate) fn keep_call(&self, view: &View, agent: &AgentId, now: Timestamp) {
        let named = agent.0.parse().ok();
        let Some(hardware) = view.machine_of(agent).map(|stored| &stored.object) else { return };
        let Some(mac) = named.or_else(|| self.0.steps.last(hardware.spec.macs()).map(|last| last.step.mac)) else { return };
        if !self.0.steps.is_news(mac, StepKind::Agent) {
            return;
        }
        let answered = match boot_state(view, hardware, Some(mac)) {
            BootState::Install { workflow: Some(workflow) } => format!("workflow {workflow}"),
            _ => "no work".to_owned(),
        };
        self.0.steps.add(mac, true, BootStep::new(now, StepKind::Agent, format!("first call of agent {agent}"), answered));
        self.took_step(hardware.name());
    }

    /// The latest step of a machine's boot.
    pub(crate) fn last_step(&self, hardware: &Hardware) -> Option<LastStep> {
        self.0.steps.last(hardware.spec.macs())
    }

    /// The same, with what other servers of the site have.
    pub(crate) async fn last_step_of_all(&self, hardware: &Hardware) -> Option<LastStep> {
        let macs: Vec<Mac> = hardware.spec.macs().collect();
        let (all, _) = self.all_steps(&macs).await;
        let step = all.steps.last().cloned()?;
        let of_the_interface: Vec<BootStep> = of(step.mac, &all.steps);
        Some(LastStep { other_server: other_server(of_the_interface.iter()), step })
    }

    /// The steps that this server has.
    pub(crate) fn own_steps(&self, macs: &[Mac]) -> OwnSteps {
        let similar = macs.iter().flat_map(|mac| self.0.steps.similar(*mac)).collect();
        OwnSteps { steps: self.0.steps.of_all(macs), similar }
    }

    /// The steps of all servers of the site, and why those of some are missing.
    async fn all_steps(&self, macs: &[Mac]) -> (OwnSteps, Vec<String>) {
        let mut all = self.own_steps(macs);
        let others = match self.others().await {
            Ok(others) => others,
            Err(reason) => return (all, vec![format!("the other servers are not known: {}", Chain(&reason))]),
        };
        let names: Vec<String> = macs.iter().map(ToString::to_string).collect();
        let query = [("macs", names.join(","))];
        let asked = others.iter().map(|other| self.ask_for::<OwnSteps>(other, STEPS, &query));
        let mut missing = Vec::new();
        for answer in join_all(asked).await {
            match answer {
                Ok(theirs) => {
                    all.steps.extend(theirs.steps.into_iter().filter(|step| macs.contains(&step.mac)));
                    all.similar.extend(theirs.similar);
                }
                Err(reason) => missing.push(Chain(&reason).to_string()),
            }
        }
        all.steps.sort_by_key(|one| one.step.latest());
        all.similar.sort_unstable();
        all.similar.dedup();
        (all, missing)
    }

    /// How a machine booted, by MAC, address, or the name of its Hardware. A MAC may be without Hardware. `None` for a word that
    /// means no machine.
    pub async fn boots_of(&self, word: &str, now: Timestamp) -> Option<BootHistory> {
        let (macs, hardware, boots) = self.machine_of_word(word)?;
        let (all, missing) = self.all_steps(&macs).await;
        // The interface that asked last is the one that boots.
        let booting = all.steps.last().map(|last| last.mac).or_else(|| macs.first().copied());
        let own = booting.map(|mac| of(mac, &all.steps)).unwrap_or_default();
        let diagnosis = diagnose(&own, &Situation { boots: boots.as_ref(), similar: &all.similar }, now);
        Some(BootHistory { macs, hardware, boots, steps: all.steps, missing, diagnosis })
    }

    /// The interfaces, the Hardware and what it boots now.
    fn machine_of_word(&self, word: &str) -> Option<(Vec<Mac>, Option<String>, Option<BootState>)> {
        let view = self.view();
        let hardware = find(&view, word);
        let named: Option<Mac> = word.parse().ok();
        let macs: Vec<Mac> = match (named, hardware) {
            (Some(mac), _) => vec![mac],
            (None, Some(hardware)) => hardware.spec.macs().collect(),
            (None, None) => return None,
        };
        let boots = hardware.map(|hardware| boot_state(&view, hardware, named));
        Some((macs, hardware.map(|hardware| hardware.name().to_string()), boots))
    }
}

fn of(mac: Mac, steps: &[MachineStep]) -> Vec<BootStep> {
    steps.iter().filter(|one| one.mac == mac).map(|one| one.step.clone()).collect()
}
