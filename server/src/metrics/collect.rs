//! One answer to a scrape: the counters, and what the view has now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use api::serve::Gate;
use api::{Intent, WaitPhase};
use jiff::{SignedDuration, Timestamp};
use metrics::{Family, Text};
use model::{Kind, ObjectName, WorkflowState};

use super::families::{
    ACTIONS, AGENTS, API, BUILD, COMMIT_FAILURES, COMMITS, CONNECTIONS, GRPC, HELD, MACHINES, OBJECTS, OVERDUE, REFUSED,
    REFUSED_CONNECTIONS, REVISION, SIZE, STARTED, WAITING, WORKFLOWS,
};
use super::process;
use crate::service::Server;
use crate::view::View;

/// An agent asks at least once a minute.
const RECENT: SignedDuration = SignedDuration::from_mins(2);
const NOT_READY: &str = "NOT_READY";

impl Server {
    /// The answer to a scrape, in Prometheus' text format.
    #[must_use]
    pub fn metrics(&self) -> String {
        let (view, now) = (self.snapshot(), Timestamp::now());
        let mut text = Text::default();
        text.family(&BUILD);
        text.sample(&[env!("CARGO_PKG_VERSION")], 1);
        objects(&view, &mut text);
        self.workflows_by(&view, now, &mut text);
        machines(&view, &mut text);
        self.0.metrics.actions.write(&mut text, &ACTIONS);
        let held = self.held_calls();
        text.family(&HELD);
        text.sample(&["action"], held.actions);
        text.sample(&["workflow"], held.workflows);
        text.family(&AGENTS);
        text.sample(&[], held.agents.max(self.0.agents.heard_since(now.saturating_sub(RECENT).unwrap_or(now))));
        self.store_numbers(&view, &mut text);
        self.0.metrics.grpc.write(&mut text, &GRPC);
        self.0.metrics.api.write(&mut text, &API);
        self.0.metrics.refused.write(&mut text, &REFUSED);
        let gate = Gate::default();
        text.family(&CONNECTIONS);
        text.sample(&[], gate.open() as u64);
        text.family(&REFUSED_CONNECTIONS);
        gate.refused().iter().for_each(|(reason, count)| text.sample(&[reason.word()], *count));
        process::write(&mut text);
        text.family(&STARTED);
        text.sample(&[], u64::try_from(self.started().as_second()).unwrap_or(0));
        for part in self.0.metrics.parts.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            part(&mut text);
        }
        text.into_string()
    }

    pub(super) fn workflows_by(&self, view: &View, now: Timestamp, text: &mut Text) {
        let states = [
            WorkflowState::Preparing,
            WorkflowState::Pending,
            WorkflowState::Running,
            WorkflowState::Post,
            WorkflowState::Success,
            WorkflowState::Failed,
            WorkflowState::Timeout,
        ];
        let mut by_state: BTreeMap<&'static str, u64> = states.map(|state| (state.as_str(), 0)).into();
        by_state.insert(NOT_READY, 0);
        let mut waiting: BTreeMap<&'static str, u64> = PHASES.map(|phase| (word(phase), 0)).into();
        let mut overdue: BTreeMap<&'static str, BTreeSet<ObjectName>> = BTreeMap::new();
        by_state.extend(view.counts.workflows().map(|(state, count)| (state.map_or(NOT_READY, WorkflowState::as_str), count)));
        for workflow in view.counts.unfinished().filter_map(|name| Some(&view.workflows.get(name)?.object)) {
            let Some(waits) = self.waiting_in(view, workflow, now) else { continue };
            let phase = word(waits.phase);
            *waiting.entry(phase).or_default() += 1;
            if waits.overdue {
                let machines = view.machines_of(workflow);
                // A workflow for an agent without Hardware has a machine too.
                let own = machines.is_empty().then(|| workflow.name());
                overdue.entry(phase).or_default().extend(machines.into_iter().chain(own));
            }
        }
        let overdue = PHASES.map(|phase| (word(phase), overdue.get(word(phase)).map_or(0, |names| names.len() as u64))).into();
        counts(text, &WORKFLOWS, &by_state);
        counts(text, &WAITING, &waiting);
        counts(text, &OVERDUE, &overdue);
    }

    fn store_numbers(&self, view: &View, text: &mut Text) {
        text.family(&REVISION);
        text.sample(&[], view.revision);
        let file = self.0.config().store.as_ref().and_then(|path| std::fs::metadata(path).ok());
        text.family(&SIZE);
        text.sample(&[], file.map_or(0, |file| file.len()));
        self.commits().took.write(text, &COMMITS);
        text.family(&COMMIT_FAILURES);
        text.sample(&[], self.commits().failures.load(Ordering::Relaxed));
    }
}

fn counts(text: &mut Text, family: &'static Family, counts: &BTreeMap<&'static str, u64>) {
    text.family(family);
    counts.iter().for_each(|(word, count)| text.sample(&[word], *count));
}

fn objects(view: &View, text: &mut Text) {
    text.family(&OBJECTS);
    for kind in Kind::ALL {
        let count = match kind {
            Kind::Hardware => view.hardware.len(),
            Kind::Template => view.templates.len(),
            Kind::Workflow => view.workflows.len() - view.v1alpha2.workflows.len().min(view.workflows.len()),
            Kind::WorkflowRuleSet => view.rule_sets.len(),
            Kind::Task => view.v1alpha2.tasks.len(),
            Kind::WorkflowV1alpha2 => view.v1alpha2.workflows.len(),
            Kind::Policy => view.v1alpha2.policies.len(),
        };
        text.sample(&[kind.as_str()], count as u64);
    }
}

/// Machines without an order wait in the ramdisk if they boot it.
fn machines(view: &View, text: &mut Text) {
    let by_intent = Intent::ALL.map(|intent| (intent.as_str(), view.counts.machines(intent))).into();
    counts(text, &MACHINES, &by_intent);
}

const PHASES: [WaitPhase; 11] = [
    WaitPhase::Ready,
    WaitPhase::Approval,
    WaitPhase::Order,
    WaitPhase::Queue,
    WaitPhase::Resume,
    WaitPhase::Retry,
    WaitPhase::Boot,
    WaitPhase::Agent,
    WaitPhase::Start,
    WaitPhase::Report,
    WaitPhase::Stop,
];

const fn word(phase: WaitPhase) -> &'static str {
    match phase {
        WaitPhase::Ready => "ready",
        WaitPhase::Approval => "approval",
        WaitPhase::Order => "order",
        WaitPhase::Queue => "queue",
        WaitPhase::Resume => "resume",
        WaitPhase::Retry => "retry",
        WaitPhase::Boot => "boot",
        WaitPhase::Agent => "agent",
        WaitPhase::Start => "start",
        WaitPhase::Report => "report",
        WaitPhase::Stop => "stop",
    }
}
