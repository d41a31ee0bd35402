//! What happens to workflows and machines, and what the machine boots next: the whole server, without sockets.

use api::{OrderKind, WorkflowChange};
use jiff::ToSpan;
use model::{ActionState, AgentId, Kind, ObjectName, parse_documents};
use proptest::prelude::*;

use super::*;
use crate::progress::Report;
use crate::service::{Config, Server};
use crate::store::Transaction;
use crate::view::machine_key;

const MAC: &str = "52:54:00:12:34:56";
const HEAD: &str = "---\napiVersion: tinkerbell.org/v1alpha1\nkind: ";

fn hardware(pxe: &str) -> String {
    format!(
        "{HEAD}Hardware\nmetadata: {{name: m}}\nspec:\n  disks: [{{device: /dev/vda}}]\n  interfaces: [{{dhcp: {{mac: '{MAC}'}}, netboot: {{allowPXE: {pxe}}}}}]\n"
    )
}

fn template(name: &str, body: &str) -> String {
    let indented: String = body.lines().map(|line| format!("    {line}\n")).collect();
    format!("{HEAD}Template\nmetadata: {{name: {name}}}\nspec:\n  data: |\n{indented}")
}

const TWO: &str = "name: t\ntasks:\n- name: t\n  worker: '{{ .w }}'\n  actions:\n  - {name: a0, image: i, timeout: 9}\n  - {name: a1, image: i, timeout: 9}\n";

fn workflow(name: &str, template: &str, spec: &str, more: &str) -> String {
    format!(
        "{HEAD}Workflow\nmetadata: {{name: {name}}}\nspec: {{templateRef: {template}, hardwareRef: m, hardwareMap: {{w: '{MAC}'}}{spec}}}\n{more}"
    )
}

/// One event. `new` is a workflow `w`, `other` a second one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    New,
    NewFinished(&'static str),
    NewDisabled,
    NewWithoutTemplate,
    NewBroken,
    Other,
    OtherDisabled,
    OtherWithoutTemplate,
    OtherFinished,
    /// The template that a workflow waited for is created.
    MissingTemplate,
    ApplyAgain,
    ChangeTemplate,
    BreakTemplate,
    DeleteTemplate,
    Disable,
    Enable,
    Cancel,
    CancelOther,
    Delete,
    DeleteOther,
    DeleteHardware,
    Hardware,
    Begin,
    Succeed,
    Fail,
    Order(OrderKind),
    Pause,
    Resume,
    /// A retry from the action that did not succeed.
    Retry,
    RetryFirst,
    Rerun,
    /// The machine was discovered.
    Discovered,
    /// A rule set has ordered `w`.
    Enrolled,
    /// The machine fetches its script this many times.
    Boots(usize),
}

use Step::*;

struct World {
    server: Server,
    now: Timestamp,
}

impl World {
    async fn new(hold_new_machines: bool) -> Self {
        let long_poll = std::time::Duration::ZERO;
        let server = Server::open(Config { hold_new_machines, long_poll, ..Config::default() }).await.unwrap();
        let world = Self { server, now: Timestamp::UNIX_EPOCH };
        world.apply(hardware("true") + &template("two", TWO)).await;
        world
    }

    /// Applies a text. A refused text changes nothing.
    async fn apply(&self, text: String) {
        drop(self.server.apply(parse_documents(&text, "f").unwrap()).await);
    }

    async fn delete(&self, kind: Kind, name: &str) {
        drop(self.server.delete(kind, &ObjectName::new("default", name), true).await);
    }

    /// The agent asks for work, and reports this end of each action.
    async fn work(&self, end: Option<ActionState>) {
        let agent = AgentId::from(MAC);
        while let Ok(given) = self.server.next_action(&agent).await {
            let Some(state) = end else { return };
            let report =
                Report { agent: agent.clone(), task_id: given.task.id, action_id: given.action.id, state, ..Report::default() };
            self.server.report(&given.workflow, &report).await.unwrap();
            let name = given.workflow;
            let over = self.server.view().workflows.get(&name).unwrap().object.status.state.is_some_and(|state| state.is_final());
            if over {
                return;
            }
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            New => self.apply(workflow("w", "two", "", "")).await,
            NewFinished(state) => self.apply(workflow("w", "two", "", &format!("status: {{state: {state}}}\n"))).await,
            NewDisabled | Disable => self.apply(workflow("w", "two", ", disabled: true", "")).await,
            NewWithoutTemplate => self.apply(workflow("w", "missing", "", "")).await,
            NewBroken => self.apply(workflow("w", "broken", "", "") + &template("broken", &TWO.replace(".w", ".x"))).await,
            ApplyAgain | Enable => self.apply(workflow("w", "two", "", "")).await,
            Other => self.apply(workflow("v", "two", "", "")).await,
            OtherDisabled => self.apply(workflow("v", "two", ", disabled: true", "")).await,
            OtherWithoutTemplate => self.apply(workflow("v", "missing", "", "")).await,
            OtherFinished => self.apply(workflow("v", "two", "", "status: {state: FAILED}\n")).await,
            MissingTemplate => self.apply(template("missing", TWO)).await,
            ChangeTemplate => self.apply(template("two", &TWO.replace("image: i", "image: j"))).await,
            BreakTemplate => self.apply(template("two", &TWO.replace(".w", ".x"))).await,
            DeleteTemplate => self.delete(Kind::Template, "two").await,
            Cancel => drop(self.server.cancel(&ObjectName::new("default", "w"), "r", true).await),
            CancelOther => drop(self.server.cancel(&ObjectName::new("default", "v"), "r", true).await),
            Delete => self.delete(Kind::Workflow, "w").await,
            DeleteOther => self.delete(Kind::Workflow, "v").await,
            DeleteHardware => self.delete(Kind::Hardware, "m").await,
            Hardware => self.apply(hardware("true")).await,
            Begin => self.work(None).await,
            Succeed => self.work(Some(ActionState::Success)).await,
            Fail => self.work(Some(ActionState::Failed)).await,
            Order(order) => drop(self.server.order("m", order, "ada", "").await),
            Pause => self.change(&WorkflowChange::Pause).await,
            Resume => self.change(&WorkflowChange::Resume).await,
            Retry => self.change(&WorkflowChange::Retry { from: None }).await,
            RetryFirst => self.change(&WorkflowChange::Retry { from: Some("a0".to_owned()) }).await,
            Rerun => self.change(&WorkflowChange::Rerun).await,
            Discovered => self.discovered().await,
            Enrolled => self.server.end_waiting(&ObjectName::new("default", "m"), "default/w", "default/r").await.unwrap(),
            Boots(times) => {
                for _ in 0..times {
                    self.now = self.now.checked_add(60.seconds()).unwrap();
                    self.server.installs_at(MAC.parse().unwrap(), self.now).await;
                }
            }
        }
    }

    async fn discovered(&self) {
        let name = ObjectName::new("default", "m");
        let modified = self.server.view().machines.get(&name).map_or(0, |stored| stored.modified);
        let state = serde_json::to_vec(&super::discovered("10.0.0.7", self.now)).unwrap();
        let transaction = Transaction::default().put(machine_key(&name), modified, state);
        self.server.commit(transaction).await.unwrap();
    }

    async fn change(&self, change: &WorkflowChange) {
        drop(self.server.change_workflow(&ObjectName::new("default", "w"), change, "ada", "").await);
    }

    fn boots(&self) -> &'static str {
        self.server.machine(MAC.parse().unwrap()).map_or("unknown", |machine| machine.boot.word())
    }

    fn intent(&self) -> Intent {
        let view = self.server.view();
        let state = view.machines.get(&ObjectName::new("default", "m"));
        state.map_or(Intent::Inventory, |state| state.object.decision.intent)
    }
}

const REINSTALL: Step = Order(OrderKind::Reinstall);
const HOLD: Step = Order(OrderKind::Hold);
const LOCAL: Step = Order(OrderKind::Local);
const RESCUE: Step = Order(OrderKind::Rescue);
const APPROVE: Step = Order(OrderKind::Approve);

/// The case, the events, and what the machine boots next.
const TABLE: &[(&str, &[Step], &str)] = &[
    ("a machine without a workflow takes inventory", &[], "wait"),
    ("a new workflow installs", &[New], "install"),
    ("also when applied twice", &[New, ApplyAgain], "install"),
    ("also when it has begun", &[New, Begin], "install"),
    ("a success boots the disk", &[New, Succeed], "local"),
    ("a failure waits in the ramdisk", &[New, Fail], "wait"),
    ("a cancelled order that had not begun leaves no trace", &[New, Cancel], "wait"),
    ("a cancelled order that had begun waits in the ramdisk", &[New, Begin, Cancel], "wait"),
    ("a deleted order likewise", &[New, Begin, Delete], "wait"),
    ("a new order after a deleted one", &[New, Delete, New], "install"),
    // S1
    ("S1: the workflow of an installed machine is deleted", &[New, Succeed, Delete], "local"),
    ("S1: another one is disabled", &[New, Succeed, OtherDisabled], "local"),
    ("S1: another one names a missing template", &[New, Succeed, OtherWithoutTemplate], "local"),
    ("S1: another one is cancelled before it began", &[New, Succeed, Other, CancelOther], "local"),
    ("S1: another one is deleted before it began", &[New, Succeed, Other, DeleteOther], "local"),
    ("S1: both are deleted", &[New, Succeed, Other, DeleteOther, Delete], "local"),
    ("S1: another one that waits is deleted", &[New, Succeed, OtherWithoutTemplate, DeleteOther], "local"),
    ("S1: its template is changed", &[New, Succeed, ChangeTemplate], "local"),
    ("S1: its template is broken", &[New, Succeed, BreakTemplate], "local"),
    ("S1: its template is deleted", &[New, Succeed, DeleteTemplate], "local"),
    ("S1: the template of an order that waits is deleted", &[New, Succeed, Other, DeleteTemplate], "local"),
    ("S1: everything is applied again", &[New, Succeed, ApplyAgain, Hardware], "local"),
    ("S1: its Hardware is deleted and made again", &[New, Succeed, Delete, DeleteHardware, Hardware], "local"),
    ("S1: an order is disabled before it began", &[New, Succeed, Delete, New, Disable], "local"),
    // S2
    ("S2: deleted, and the export is applied", &[New, Succeed, Delete, NewFinished("SUCCESS")], "local"),
    ("S2: the export of a lost store", &[NewFinished("SUCCESS")], "local"),
    ("S2: as Kubernetes has it", &[NewFinished("STATE_SUCCESS")], "local"),
    ("S2: all actions done, as Kubernetes has it for a moment", &[NewFinished("POST")], "local"),
    ("S2: a failed one is not an order", &[NewFinished("FAILED")], "wait"),
    ("S2: a timed out one is not an order", &[NewFinished("TIMEOUT")], "wait"),
    ("S2: another one that has failed", &[New, Succeed, OtherFinished], "local"),
    ("S2: the export over a pending one does not end it", &[New, NewFinished("SUCCESS")], "install"),
    ("S2: an import is applied again without its status", &[NewFinished("SUCCESS"), ApplyAgain], "local"),
    ("S2: a finished one cannot be changed into an order", &[NewFinished("SUCCESS"), Disable, Enable], "local"),
    ("a state that is not final is ignored", &[NewFinished("RUNNING")], "install"),
    // Not ready
    ("a disabled workflow is not an order", &[NewDisabled], "wait"),
    ("an enabled one is an order", &[NewDisabled, Enable], "install"),
    ("one that waits for its template is not an order", &[NewWithoutTemplate], "wait"),
    ("with the template it is an order", &[NewWithoutTemplate, MissingTemplate], "install"),
    ("a broken one is refused", &[NewBroken], "wait"),
    ("an order whose template is broken stays, because the template is refused", &[New, BreakTemplate], "install"),
    ("a changed template reaches an order", &[New, ChangeTemplate], "install"),
    ("a deleted one ends it", &[New, DeleteTemplate], "wait"),
    ("local holds for what was not ready then", &[NewWithoutTemplate, LOCAL, MissingTemplate], "local"),
    ("so does rescue", &[NewWithoutTemplate, RESCUE, MissingTemplate], "rescue"),
    ("until it is ordered", &[NewWithoutTemplate, LOCAL, MissingTemplate, REINSTALL], "install"),
    // More orders
    ("two orders", &[New, Other, Succeed], "install"),
    ("both done", &[New, Other, Succeed, Succeed], "local"),
    ("the second deleted", &[New, Other, Succeed, DeleteOther], "local"),
    ("the first deleted", &[New, Other, Delete], "install"),
    ("one failed, the other deleted before it began", &[New, Fail, Other, DeleteOther], "wait"),
    ("one failed, the next succeeds", &[New, Fail, Other, Succeed], "local"),
    // Explicit orders
    ("local ends an order", &[New, LOCAL], "local"),
    ("and the agent gets nothing", &[New, LOCAL, Succeed], "local"),
    ("reinstall goes on with it", &[New, LOCAL, REINSTALL], "install"),
    ("reinstall of an installed machine", &[New, Succeed, REINSTALL], "install"),
    ("which ends", &[New, Succeed, REINSTALL, Succeed], "local"),
    ("reinstall after a failure", &[New, Fail, REINSTALL, Succeed], "local"),
    ("reinstall without a workflow is refused", &[REINSTALL], "wait"),
    ("reinstall without the template is refused", &[New, Succeed, DeleteTemplate, REINSTALL], "local"),
    ("and orders nothing for later", &[New, Succeed, DeleteTemplate, REINSTALL, ChangeTemplate], "local"),
    ("nor does a rerun", &[New, Succeed, DeleteTemplate, Rerun, ChangeTemplate], "local"),
    ("a retry does not need it", &[New, Fail, DeleteTemplate, Retry, Succeed], "local"),
    ("rescue", &[New, Succeed, RESCUE], "rescue"),
    ("rescue stays", &[New, Succeed, RESCUE, Delete, ApplyAgain, LOCAL], "local"),
    ("hold", &[New, Succeed, HOLD], "hold"),
    ("hold takes no work", &[New, HOLD, Succeed], "hold"),
    ("approve goes on", &[New, HOLD, APPROVE], "install"),
    ("approve of an installed machine boots its disk", &[New, Succeed, HOLD, APPROVE], "local"),
    ("approve of a machine that is not held is refused", &[New, Succeed, APPROVE], "local"),
    ("a new order does not end a hold", &[HOLD, New], "hold"),
    ("but continues after approve", &[HOLD, New, APPROVE], "install"),
    ("reinstall ends a hold", &[New, Succeed, HOLD, REINSTALL], "install"),
    // Orders for a workflow
    ("a paused workflow keeps its machine in the ramdisk", &[New, Pause], "install"),
    ("and its agent gets nothing", &[New, Pause, Succeed], "install"),
    ("until it is resumed", &[New, Pause, Resume, Succeed], "local"),
    ("a paused order is withdrawn like any other", &[New, Pause, Delete], "wait"),
    ("pausing an ended one is refused", &[New, Succeed, Pause], "local"),
    ("resuming an ended one is refused", &[New, Succeed, Resume], "local"),
    ("retry after a failure", &[New, Fail, Retry], "install"),
    ("which succeeds", &[New, Fail, Retry, Succeed], "local"),
    ("which fails", &[New, Fail, Retry, Fail], "wait"),
    ("retry from an earlier action", &[New, Fail, RetryFirst], "install"),
    ("retry of a succeeded one is refused", &[New, Succeed, Retry], "local"),
    ("also from an action", &[New, Succeed, RetryFirst], "local"),
    ("retry of one that runs is refused", &[New, Begin, LOCAL, Retry], "local"),
    ("retry of a cancelled one", &[New, Cancel, Retry], "install"),
    ("and cancelled again before it began", &[New, Cancel, Retry, Cancel], "wait"),
    ("retry after the machine was sent to its disk", &[New, Fail, LOCAL, Retry], "install"),
    ("which is cancelled before its first action", &[New, Fail, LOCAL, Retry, Cancel], "local"),
    ("which is deleted before its first action", &[New, Fail, LOCAL, Retry, Delete], "local"),
    ("which is cancelled after its first action", &[New, Fail, LOCAL, Retry, Begin, Cancel], "wait"),
    ("retry ends a hold", &[New, Fail, HOLD, Retry], "install"),
    ("retry ends a rescue", &[New, Fail, RESCUE, Retry], "install"),
    ("retry of an import is refused", &[NewFinished("FAILED"), Retry], "wait"),
    ("rerun of an import is an order", &[NewFinished("FAILED"), Rerun], "install"),
    ("rerun of a succeeded one", &[New, Succeed, Rerun], "install"),
    ("which succeeds", &[New, Succeed, Rerun, Succeed], "local"),
    ("rerun of a failed one", &[New, Fail, Rerun, Succeed], "local"),
    ("rerun of one that has not ended is refused", &[New, LOCAL, Rerun], "local"),
    ("rerun ends a hold", &[New, Succeed, HOLD, Rerun], "install"),
    ("rerun ends a rescue", &[New, Succeed, RESCUE, Rerun], "install"),
    // Discovery
    ("a discovered machine waits in the ramdisk", &[Discovered], "wait"),
    ("a workflow does not install it", &[Discovered, New], "wait"),
    ("nor is an action handed out", &[Discovered, New, Succeed], "wait"),
    ("nor does a changed template install it", &[Discovered, New, ChangeTemplate, ApplyAgain], "wait"),
    ("approve goes on with its order", &[Discovered, New, APPROVE], "install"),
    ("which ends", &[Discovered, New, APPROVE, Succeed], "local"),
    ("approve without an order takes inventory", &[Discovered, APPROVE], "wait"),
    ("and an order then installs", &[Discovered, APPROVE, New], "install"),
    ("a deleted order leaves it waiting", &[Discovered, New, Delete, Other], "wait"),
    ("after a hold it waits again", &[Discovered, HOLD, APPROVE, New], "wait"),
    ("it may boot its disk", &[Discovered, LOCAL], "local"),
    ("a rule set installs it", &[Discovered, New, Enrolled], "install"),
    ("once", &[Discovered, New, Enrolled, Succeed, Enrolled], "local"),
    ("a rule set's order that is withdrawn leaves it waiting", &[Discovered, New, Enrolled, Delete, New], "wait"),
    ("a rule set without an order changes nothing", &[Discovered, Enrolled], "wait"),
    ("nor does it change an installed machine", &[New, Succeed, Enrolled], "local"),
    ("nor for a held one", &[Discovered, HOLD, New, Enrolled], "hold"),
    // The breaker
    ("a machine may come back", &[New, Begin, Boots(MOST_RETURNS)], "install"),
    ("but not too often", &[New, Begin, Boots(MOST_RETURNS + 1)], "hold"),
    ("it continues after approve", &[New, Begin, Boots(MOST_RETURNS + 1), APPROVE, Succeed], "local"),
    ("an installed machine may netboot for ever", &[New, Succeed, Boots(MOST_RETURNS + 9)], "local"),
];

#[tokio::test]
async fn the_events_decide_what_a_machine_boots() {
    for (case, steps, expected) in TABLE {
        let mut world = World::new(false).await;
        for step in *steps {
            world.take(*step).await;
        }
        assert_eq!(world.boots(), *expected, "{case}: {steps:?}");
    }
}

#[tokio::test]
async fn the_first_order_of_a_new_machine_waits_for_approval_if_the_operator_set_that() {
    for (case, steps, expected) in [
        ("the first order", &[New][..], "hold"),
        ("also by a rule set", &[Discovered, New, Enrolled], "hold"),
        ("which is approved", &[Discovered, New, Enrolled, APPROVE], "install"),
        ("withdrawn", &[New, Delete], "wait"),
        ("approved", &[New, APPROVE], "install"),
        ("approved and succeeded", &[New, APPROVE, Succeed], "local"),
        ("a later order needs no approval", &[New, APPROVE, Succeed, Other], "install"),
        ("a machine that came in installed is not new", &[NewFinished("SUCCESS"), Other], "install"),
        ("reinstall counts as approval", &[New, REINSTALL], "install"),
        ("so is a rerun", &[NewFinished("FAILED"), Rerun], "install"),
        ("and a retry", &[New, Cancel, Retry], "install"),
    ] {
        let mut world = World::new(true).await;
        for step in steps {
            world.take(*step).await;
        }
        assert_eq!(world.boots(), expected, "{case}");
    }
}

#[tokio::test]
async fn who_set_an_intent_when_and_why_is_kept() {
    let mut world = World::new(false).await;
    world.take(New).await;
    let decision = |world: &World| {
        let machine = world.server.machine(MAC.parse().unwrap()).unwrap();
        let Decision { intent, by, reason, .. } = machine.state.unwrap().decision;
        format!("{intent} by {by}: {reason}")
    };
    assert_eq!(decision(&world), "install by apply: workflow default/w was ordered");
    world.take(Succeed).await;
    assert_eq!(decision(&world), "local by success: workflow default/w is SUCCESS");
    world.server.order("m", OrderKind::Hold, "ada", "new disk").await.unwrap();
    assert_eq!(decision(&world), "hold by ada: new disk");
    let w = ObjectName::new("default", "w");
    world.server.change_workflow(&w, &WorkflowChange::Rerun, "bob", "it is there").await.unwrap();
    assert_eq!(decision(&world), "install by bob: workflow default/w-run2 was ordered: it is there");
    let twice = world.server.change_workflow(&w, &WorkflowChange::Rerun, "bob", "").await.unwrap_err();
    assert!(twice.to_string().starts_with("Workflow default/w-run2, which repeats"), "{twice}");
    world.take(Fail).await;
    let copy = ObjectName::new("default", "w-run2");
    world.server.change_workflow(&copy, &WorkflowChange::Retry { from: None }, "eve", "again").await.unwrap();
    assert_eq!(decision(&world), "install by eve: workflow default/w-run2 was ordered again from action a0 by eve: again");
}

#[tokio::test]
async fn an_order_for_a_machine_that_may_not_netboot_is_refused_with_that_reason() {
    let world = World::new(false).await;
    world.apply(hardware("false")).await;
    let refused = world.server.apply(parse_documents(&workflow("w", "two", "", ""), "f").unwrap()).await.unwrap_err();
    let crate::ApplyError::Refused(mistakes) = refused else { panic!("{refused}") };
    assert!(mistakes.first().unwrap().to_string().contains("netboot.allowPXE is not true in Hardware default/m"), "{mistakes:?}");
    let refused = world.server.order("m", OrderKind::Reinstall, "ada", "").await.unwrap_err();
    assert!(refused.to_string().contains("netboot.allowPXE is not true"), "{refused}");
    world.apply(workflow("w", "two", ", bootOptions: {toggleAllowNetboot: true}", "")).await;
    assert_eq!(world.boots(), "install", "the workflow's toggleAllowNetboot allows it");
}

/// Everything except new workflows and a person's order to install.
fn harmless() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(ApplyAgain),
        Just(OtherDisabled),
        Just(OtherWithoutTemplate),
        Just(OtherFinished),
        Just(NewFinished("SUCCESS")),
        Just(NewFinished("STATE_FAILED")),
        Just(ChangeTemplate),
        Just(BreakTemplate),
        Just(DeleteTemplate),
        Just(Cancel),
        Just(CancelOther),
        Just(DeleteOther),
        Just(DeleteHardware),
        Just(Hardware),
        Just(Begin),
        Just(Succeed),
        Just(Fail),
        Just(LOCAL),
        Just(RESCUE),
        Just(HOLD),
        Just(APPROVE),
        Just(Pause),
        Just(Resume),
        Just(Boots(3)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn nothing_but_an_order_leads_from_local_to_install(steps in prop::collection::vec(harmless(), 0..24), earlier in 0..3) {
        let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        executor.block_on(async {
            let mut world = World::new(false).await;
            let before: &[Step] = match earlier {
                0 => &[New, Succeed],
                1 => &[New, LOCAL],
                _ => &[NewFinished("SUCCESS")],
            };
            for step in before {
                world.take(*step).await;
            }
            assert_eq!(world.intent(), Intent::Local);
            for step in &steps {
                world.take(*step).await;
                assert_ne!(world.intent(), Intent::Install, "{before:?}, then {steps:?} up to {step:?}");
                assert_ne!(world.boots(), "install");
            }
        });
    }
}

#[test]
fn a_clock_that_is_set_by_a_day_neither_holds_a_machine_nor_lets_a_loop_go_on() {
    let start = Timestamp::from_second(1_000_000).unwrap();
    for day in [24.hours(), -24.hours()] {
        let mut state = unordered(start);
        order(&mut state, "default/w", false, start);
        let mut now = start;
        let mut returns = |state: &mut MachineState, count: usize, first: Timestamp| {
            now = first;
            for _ in 0..count {
                came_back(state, now);
                now += 5.minutes();
            }
            state.decision.intent
        };
        assert_eq!(returns(&mut state, MOST_RETURNS, start), Intent::Install);
        let after = start + day;
        assert_eq!(returns(&mut state, MOST_RETURNS, after), Intent::Install, "{day}: the count starts again");
        assert_eq!(returns(&mut state, 1, after + 1.hour()), Intent::Hold, "{day}: and the usual limit holds");
    }
}
