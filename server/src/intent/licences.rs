//! May this machine be installed? A simple model says so: an order is a licence for one workflow on one machine, and only
//! people grant licences. Two Hardware share two MACs, which move between them; the server is restarted in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::{Intent, OrderKind, WorkflowChange};
use model::{ActionState, AgentId, Kind, ObjectName, WorkflowState, parse_documents};
use proptest::prelude::*;

use crate::boot::is_open;
use crate::progress::Report;
use crate::service::{Config, Server};
use crate::store::Memory;
use crate::work::Assignment;

const MACS: [&str; 2] = ["52:54:00:00:00:01", "52:54:00:00:00:02"];
const HEAD: &str = "---\napiVersion: tinkerbell.org/v1alpha1\nkind: ";
const NEW: &str = "---\napiVersion: tinkerbell.org/v1alpha2\nkind: ";

fn named(name: &str) -> ObjectName {
    ObjectName::new("default", name)
}

#[derive(Debug, Clone)]
enum Step {
    /// Hardware `h`, with one of the MACs.
    Hardware {
        h: usize,
        mac: usize,
    },
    DeleteHardware(usize),
    /// `w0` to `w2`, with or without naming a Hardware.
    Workflow {
        w: usize,
        named: Option<usize>,
        mac: usize,
        template: usize,
        disabled: bool,
        ended: Option<&'static str>,
    },
    /// A workflow of v1alpha2 for both machines, in this order.
    Both {
        first: usize,
        disabled: bool,
    },
    Delete(usize),
    Template {
        t: usize,
        image: &'static str,
    },
    DeleteTemplate(usize),
    Order {
        h: usize,
        order: OrderKind,
    },
    Cancel {
        w: usize,
        at_once: bool,
    },
    Change {
        w: usize,
        change: WorkflowChange,
    },
    /// The agent asks for work, and reports this of what it gets.
    Work {
        mac: usize,
        end: Option<ActionState>,
    },
    /// It reports of what it was given last, whatever has happened since.
    Late {
        mac: usize,
        state: ActionState,
    },
    Restart,
}

const WORKFLOWS: [&str; 4] = ["w0", "w1", "w2", "both"];

fn step() -> impl Strategy<Value = Step> {
    let two = 0..2_usize;
    let ended = prop_oneof![6 => Just(None), 1 => Just(Some("SUCCESS")), 1 => Just(Some("FAILED")), 1 => Just(Some("POST"))];
    let orders = prop::sample::select(vec![
        OrderKind::Rescue,
        OrderKind::Hold,
        OrderKind::Local,
        OrderKind::Local,
        OrderKind::Reinstall,
        OrderKind::Approve,
    ]);
    let changes = prop::sample::select(vec![
        WorkflowChange::Pause,
        WorkflowChange::Resume,
        WorkflowChange::Retry { from: None },
        WorkflowChange::Retry { from: Some("a0".to_owned()) },
        WorkflowChange::Rerun,
    ]);
    let states = || prop::sample::select(vec![ActionState::Running, ActionState::Success, ActionState::Failed]);
    prop_oneof![
        3 => (two.clone(), two.clone()).prop_map(|(h, mac)| Step::Hardware { h, mac }),
        2 => two.clone().prop_map(Step::DeleteHardware),
        6 => (0..3_usize, prop::option::of(two.clone()), two.clone(), two.clone(), prop::bool::weighted(0.2), ended)
            .prop_map(|(w, named, mac, template, disabled, ended)| Step::Workflow { w, named, mac, template, disabled, ended }),
        2 => (two.clone(), prop::bool::weighted(0.1)).prop_map(|(first, disabled)| Step::Both { first, disabled }),
        3 => (0..4_usize).prop_map(Step::Delete),
        2 => (two.clone(), prop::sample::select(vec!["i", "j"])).prop_map(|(t, image)| Step::Template { t, image }),
        1 => two.clone().prop_map(Step::DeleteTemplate),
        5 => (two.clone(), orders).prop_map(|(h, order)| Step::Order { h, order }),
        2 => (0..4_usize, any::<bool>()).prop_map(|(w, at_once)| Step::Cancel { w, at_once }),
        4 => (0..4_usize, changes).prop_map(|(w, change)| Step::Change { w, change }),
        12 => (two.clone(), prop::option::weighted(0.9, states())).prop_map(|(mac, end)| Step::Work { mac, end }),
        2 => (two, states()).prop_map(|(mac, state)| Step::Late { mac, state }),
        1 => Just(Step::Restart),
    ]
}

/// What a workflow is ordered for: the agents of its tasks, and the Hardware that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum For {
    Agent(usize),
    Hardware(usize),
}

type Licence = (String, For);

struct World {
    store: Arc<Memory>,
    server: Server,
    licences: BTreeSet<Licence>,
    /// What a person's `local` or `rescue` keeps from becoming an order of this Hardware, until the next order there.
    dormant: BTreeSet<(Licence, usize)>,
    held: BTreeSet<usize>,
    given: BTreeMap<usize, Assignment>,
    /// Hardware that boots its disk as far as the model knows.
    installed: BTreeSet<usize>,
    hold_new: bool,
}

impl World {
    async fn new(hold_new: bool) -> Self {
        let store = Arc::new(Memory::default());
        let server = Self::open(&store, hold_new).await;
        let mut world = Self {
            store,
            server,
            licences: BTreeSet::new(),
            dormant: BTreeSet::new(),
            held: BTreeSet::new(),
            given: BTreeMap::new(),
            installed: BTreeSet::new(),
            hold_new,
        };
        let task =
            format!("{NEW}Task\nmetadata: {{name: k}}\nspec: {{actions: [{{name: a0, image: i}}, {{name: a1, image: i}}]}}\n");
        world.apply(&task).await;
        for step in [Step::Hardware { h: 0, mac: 0 }, Step::Hardware { h: 1, mac: 1 }, Step::Template { t: 0, image: "i" }] {
            world.take(&step).await;
        }
        world
    }

    async fn open(store: &Arc<Memory>, hold_new_machines: bool) -> Server {
        let long_poll = std::time::Duration::ZERO;
        Server::on(Arc::clone(store) as Arc<_>, Config { hold_new_machines, long_poll, ..Config::default() }).await.unwrap()
    }

    /// Whether it was taken.
    async fn apply(&self, text: &str) -> bool {
        self.server.apply(parse_documents(text, "f").unwrap()).await.is_ok()
    }

    fn macs_of(&self, h: usize) -> Vec<usize> {
        let view = self.server.view();
        let hardware = view.hardware.get(&named(&format!("h{h}")));
        let macs = hardware.iter().flat_map(|stored| stored.object.spec.macs()).map(|mac| mac.to_string()).collect::<Vec<_>>();
        (0..2).filter(|mac| macs.iter().any(|own| own == MACS[*mac])).collect()
    }

    fn intent(&self, h: usize) -> Option<Intent> {
        let name = named(&format!("h{h}"));
        let view = self.server.view();
        view.hardware.get(&name)?;
        Some(view.machines.get(&name).map_or(Intent::Inventory, |state| state.object.decision.intent))
    }

    /// The agents of a workflow, and the Hardware that it names.
    fn concerns(&self, workflow: &str) -> (Vec<usize>, Vec<usize>) {
        let view = self.server.view();
        let Some(found) = view.workflow(&format!("default/{workflow}")) else { return (Vec::new(), Vec::new()) };
        if workflow.starts_with("both") {
            return (vec![0, 1], vec![0, 1]);
        }
        let agents = (0..2).filter(|mac| found.spec.hardware_map.values().any(|value| value == MACS[*mac])).collect();
        (agents, (0..2).filter(|h| found.spec.hardware_ref == format!("h{h}")).collect())
    }

    fn grant(&mut self, workflow: &str) {
        let (agents, hardware) = self.concerns(workflow);
        let all = agents.into_iter().map(For::Agent).chain(hardware.into_iter().map(For::Hardware));
        let all: Vec<For> = all.collect();
        self.licences.extend(all.iter().map(|what| (workflow.to_owned(), *what)));
        let here = |h: usize| all.iter().any(|what| is_of(*what, h, &self.macs_of(h)));
        let woken: Vec<_> = self.dormant.iter().filter(|(_, h)| here(*h)).cloned().collect();
        for (licence, h) in woken {
            self.dormant.remove(&(licence.clone(), h));
            self.licences.insert(licence);
        }
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Hardware { h, mac } => {
                let mac = MACS[*mac];
                let text = format!(
                    "{HEAD}Hardware\nmetadata: {{name: h{h}}}\nspec:\n  interfaces: [{{dhcp: {{mac: '{mac}'}}, netboot: {{allowPXE: true}}}}]\n"
                );
                self.apply(&text).await;
            }
            Step::DeleteHardware(h) => drop(self.server.delete(Kind::Hardware, &named(&format!("h{h}")), true).await),
            Step::Workflow { w, named, mac, template, disabled, ended } => {
                let hardware = named.map_or_else(String::new, |h| format!(", hardwareRef: h{h}"));
                let status = ended.map_or_else(String::new, |state| format!("status: {{state: {state}}}\n"));
                let text = format!(
                    "{HEAD}Workflow\nmetadata: {{name: w{w}}}\nspec: {{templateRef: t{template}{hardware}, disabled: {disabled}, hardwareMap: {{w: '{}'}}}}\n{status}",
                    MACS[*mac]
                );
                self.ordered(&format!("w{w}"), &text, *disabled, ended.is_some()).await;
            }
            Step::Both { first, disabled } => {
                let entry = |mac: usize| {
                    format!("{{agentID: '{}', taskRef: {{name: k}}, hardware: {{hardwareRef: {{name: h{mac}}}}}}}", MACS[mac])
                };
                let text = format!(
                    "{NEW}Workflow\nmetadata: {{name: both}}\nspec: {{disabled: {disabled}, tasks: [{}, {}]}}\n",
                    entry(*first),
                    entry(1 - first)
                );
                self.ordered("both", &text, *disabled, false).await;
            }
            Step::Delete(w) => {
                let kind = if WORKFLOWS[*w] == "both" { Kind::WorkflowV1alpha2 } else { Kind::Workflow };
                drop(self.server.delete(kind, &named(WORKFLOWS[*w]), false).await);
            }
            Step::Template { t, image } => {
                let actions = format!("[{{name: a0, image: {image}}}, {{name: a1, image: {image}}}]");
                let text = format!(
                    "{HEAD}Template\nmetadata: {{name: t{t}}}\nspec:\n  data: |\n    name: t\n    tasks:\n    - {{name: t, worker: '{{{{ .w }}}}', actions: {actions}}}\n"
                );
                self.apply(&text).await;
            }
            Step::DeleteTemplate(t) => drop(self.server.delete(Kind::Template, &named(&format!("t{t}")), true).await),
            Step::Order { h, order } => self.order(*h, *order).await,
            Step::Cancel { w, at_once } => drop(self.server.cancel(&named(WORKFLOWS[*w]), "r", *at_once).await),
            Step::Change { w, change } => {
                let done = self.server.change_workflow(&named(WORKFLOWS[*w]), change, "ada", "").await;
                let Ok(done) = done else { return };
                if matches!(change, WorkflowChange::Retry { .. } | WorkflowChange::Rerun) {
                    let workflow = done.workflow.trim_start_matches("default/").to_owned();
                    self.grant(&workflow);
                    let (agents, hardware) = self.concerns(&workflow);
                    let of_agents = (0..2).filter(|h| self.macs_of(*h).iter().any(|mac| agents.contains(mac)));
                    let freed: Vec<usize> = of_agents.chain(hardware).collect();
                    self.held.retain(|h| !freed.contains(h));
                }
            }
            Step::Work { mac, end } => self.work(*mac, *end).await,
            Step::Late { mac, state } => {
                if let Some(given) = self.given.get(mac).cloned() {
                    self.report(*mac, &given, *state).await;
                }
            }
            Step::Restart => self.server = Self::open(&self.store, self.hold_new).await,
        }
    }

    async fn ordered(&mut self, workflow: &str, text: &str, disabled: bool, ended: bool) {
        let before = self.server.view().workflow(&format!("default/{workflow}")).map(|stored| stored.spec.clone());
        let written = || {
            let object = self.server.view().v1alpha2.workflows.get(&named(workflow)).map(|stored| stored.object.spec.clone());
            serde_json::to_string(&object).unwrap()
        };
        let written_before = written();
        if !self.apply(text).await {
            return;
        }
        let now = self.server.view().workflow(&format!("default/{workflow}")).map(|stored| stored.spec.clone());
        let changed = now != before || written() != written_before;
        if disabled || changed {
            self.licences.retain(|(other, _)| other != workflow);
            self.dormant.retain(|((other, _), _)| other != workflow);
        }
        if !disabled && changed && !(ended && before.is_none()) {
            self.grant(workflow);
        }
    }

    async fn order(&mut self, h: usize, order: OrderKind) {
        if self.server.order(&format!("h{h}"), order, "ada", "").await.is_err() {
            return;
        }
        let macs = self.macs_of(h);
        match order {
            OrderKind::Local | OrderKind::Rescue => {
                let gone: Vec<Licence> = self.licences.iter().filter(|(_, what)| is_of(*what, h, &macs)).cloned().collect();
                for licence in gone {
                    self.licences.remove(&licence);
                    let is_ordered = |found: &model::Workflow| found.status.ordered.is_some();
                    if self.server.view().workflow(&format!("default/{}", licence.0)).is_some_and(|found| !is_ordered(found)) {
                        self.dormant.insert((licence, h));
                    }
                }
                self.held.remove(&h);
            }
            OrderKind::Hold => drop(self.held.insert(h)),
            OrderKind::Approve => drop(self.held.remove(&h)),
            OrderKind::Reinstall => {
                self.held.remove(&h);
                let names: Vec<String> = self.server.view().workflows.keys().map(|name| name.name.clone()).collect();
                for name in names {
                    let (agents, hardware) = self.concerns(&name);
                    if hardware.contains(&h) || agents.iter().any(|mac| macs.contains(mac)) {
                        self.grant(&name);
                    }
                }
            }
        }
        self.installed.remove(&h);
    }

    async fn work(&mut self, mac: usize, end: Option<ActionState>) {
        let Ok(given) = self.server.next_action(&AgentId::from(MACS[mac])).await else { return };
        let on = (0..2).find(|h| self.macs_of(*h).contains(&mac));
        // The intent is that of the Hardware, whichever agent it has now.
        let mut licences = [Some(For::Agent(mac)), on.map(For::Hardware)].into_iter().flatten();
        let licensed = licences.any(|what| self.licences.contains(&(given.workflow.name.clone(), what)));
        assert!(licensed, "{} is given {} without an order", MACS[mac], given.workflow);
        for h in 0..2 {
            if self.macs_of(h).contains(&mac) {
                assert!(!self.held.contains(&h), "h{h} is held");
                self.installed.remove(&h);
            }
        }
        self.given.insert(mac, given.clone());
        if let Some(end) = end {
            self.report(mac, &given, ActionState::Running).await;
            self.report(mac, &given, end).await;
        }
    }

    async fn report(&self, mac: usize, given: &Assignment, state: ActionState) {
        let (task_id, action_id) = (given.task.id.clone(), given.action.id.clone());
        let report = Report { agent: AgentId::from(MACS[mac]), task_id, action_id, state, ..Report::default() };
        drop(self.server.report(&given.workflow, &report).await);
    }

    /// What has ended, or waits again, needs a new order.
    fn settle(&mut self) {
        let view = self.server.view();
        let over = |name: &str| {
            let Some(workflow) = view.workflow(&format!("default/{name}")) else { return true };
            let ended = workflow.status.state.is_some_and(WorkflowState::is_final);
            ended || (!is_open(workflow) && workflow.status.ordered.is_some())
        };
        self.licences.retain(|(name, _)| !over(name));
        self.dormant.retain(|((name, _), _)| !over(name));
    }

    fn check(&mut self, step: &Step) {
        self.settle();
        for h in 0..2 {
            let Some(intent) = self.intent(h) else {
                self.installed.remove(&h);
                continue;
            };
            let macs = self.macs_of(h);
            let licensed = self.licences.iter().any(|(_, what)| is_of(*what, h, &macs));
            let boots = macs.first().map(|mac| self.server.machine(MACS[*mac].parse().unwrap()).unwrap().boot.word());
            if boots == Some("install") {
                assert!(licensed, "h{h} would be installed without an order after {step:?}");
            }
            if self.installed.contains(&h) && !licensed {
                assert_eq!(intent, Intent::Local, "the disk of h{h} is as it was, but {step:?}");
            }
            if intent == Intent::Local {
                self.installed.insert(h);
            }
        }
    }
}

fn is_of(what: For, h: usize, macs: &[usize]) -> bool {
    match what {
        For::Agent(mac) => macs.contains(&mac),
        For::Hardware(named) => named == h,
    }
}

async fn live(steps: &[Step], hold_new: bool) {
    let mut world = World::new(hold_new).await;
    for step in steps {
        world.take(step).await;
        world.check(step);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn no_agent_is_given_work_without_an_order_and_no_disk_is_given_up_without_one(
        steps in prop::collection::vec(step(), 0..50),
        hold_new in prop::bool::weighted(0.2),
    ) {
        let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        executor.block_on(live(&steps, hold_new));
    }
}
