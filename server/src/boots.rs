//! What machines asked while they booted: which machine a step belongs to, and the diagnosis. The steps are the crate `steps`.

use api::{BootHistory, BootState, BootStep, LastStep, StepKind, What};
use jiff::Timestamp;
use model::{AgentId, Hardware, Mac};
use steps::{Situation, diagnose};

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

    /// How a machine booted, by MAC, address, or the name of its Hardware. A MAC may be without Hardware. `None` for a word that
    /// means no machine.
    #[must_use]
    pub fn boots_of(&self, word: &str, now: Timestamp) -> Option<BootHistory> {
        let view = self.view();
        let hardware = find(&view, word);
        let named: Option<Mac> = word.parse().ok();
        let macs: Vec<Mac> = match (named, hardware) {
            (Some(mac), _) => vec![mac],
            (None, Some(hardware)) => hardware.spec.macs().collect(),
            (None, None) => return None,
        };
        let boots = hardware.map(|hardware| boot_state(&view, hardware, named));
        let hardware = hardware.map(|hardware| hardware.name().to_string());
        drop(view);
        let found = self.0.steps.of_all(&macs);
        // The interface that asked last is the one that boots.
        let booting = found.last().map(|last| last.mac).or_else(|| macs.first().copied());
        let own = booting.map(|mac| self.0.steps.of(mac)).unwrap_or_default();
        let similar = booting.map(|mac| self.0.steps.similar(mac)).unwrap_or_default();
        let diagnosis = diagnose(&own, &Situation { boots: boots.as_ref(), similar: &similar }, now);
        Some(BootHistory { macs, hardware, boots, steps: found, diagnosis })
    }
}
