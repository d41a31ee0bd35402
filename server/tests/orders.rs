//! Orders in the order in which sites give them: machines that lose their MAC or their Hardware, workflows that share machines,
//! and what is called off in the middle.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod lab;

use std::time::Duration;

use api::{Intent, OrderKind, WorkflowChange};
use lab::{apply, hardware, template, workflow};
use model::{ActionState, AgentId, Kind, ObjectName, parse_documents};
use server::progress::Report;
use server::{ApplyError, Assignment, Config, Server};

const A: &str = "52:54:00:00:00:0a";
const B: &str = "52:54:00:00:00:0b";

fn name(name: &str) -> ObjectName {
    ObjectName::new("default", name)
}

/// Hardware with an address of its own.
fn machine(name: &str, mac: &str) -> String {
    let last = u8::from_str_radix(mac.rsplit(':').next().unwrap(), 16).unwrap();
    hardware(name, mac).replace("10.0.0.20", &format!("10.0.0.{last}"))
}

/// For the agent alone, without naming its Hardware.
fn for_agent(name: &str, mac: &str) -> String {
    workflow(name, "two", "", mac).replace("hardwareRef: ,", "")
}

async fn site() -> Server {
    let server = Server::open(Config { long_poll: Duration::ZERO, ..Config::default() }).await.unwrap();
    // A template without disks runs on any machine.
    let two = template("two", 2).replace(", command: [\"{{ index .Hardware.Disks 0 }}\"]", "");
    apply(&server, &format!("{two}{}{}", machine("a", A), machine("b", B))).await;
    server
}

async fn given(server: &Server, agent: &str) -> Option<Assignment> {
    server.next_action(&AgentId::from(agent)).await.ok()
}

async fn say(server: &Server, given: &Assignment, state: ActionState) -> Result<bool, server::ReportError> {
    let (agent, task_id, action_id) = (given.task.agent_id.clone(), given.task.id.clone(), given.action.id.clone());
    server.report(&given.workflow, &Report { agent, task_id, action_id, state, ..Report::default() }).await
}

/// Takes the next action, and ends it so. `WORKFLOW/ACTION`.
async fn work(server: &Server, agent: &str, state: ActionState) -> String {
    let Some(given) = given(server, agent).await else { return "nothing".to_owned() };
    say(server, &given, ActionState::Running).await.unwrap();
    say(server, &given, state).await.unwrap();
    format!("{}/{}", given.workflow.name, given.action.name)
}

async fn install(server: &Server, workflow_name: &str, hardware: &str, mac: &str) {
    apply(server, &workflow(workflow_name, "two", hardware, mac)).await;
    for _ in 0..2 {
        work(server, mac, ActionState::Success).await;
    }
    assert_eq!(intent(server, hardware), Intent::Local);
}

fn intent(server: &Server, hardware: &str) -> Intent {
    let state = server.machine_named(hardware).unwrap().state;
    state.map_or(Intent::Inventory, |state| state.decision.intent)
}

async fn order(server: &Server, hardware: &str, order: OrderKind) {
    server.order(hardware, order, "ada", "").await.unwrap();
}

async fn refused(server: &Server, text: &str) -> String {
    match server.apply(parse_documents(text, "f").unwrap()).await {
        Err(ApplyError::Refused(mistakes)) => mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        other => panic!("{other:?}"),
    }
}

fn message(server: &Server, workflow: &str) -> String {
    let found = server.get(Kind::Workflow, &name(workflow)).unwrap();
    found["status"]["message"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_machine_that_loses_the_mac_of_an_order_gets_back_what_it_had() {
    let server = site().await;
    install(&server, "first", "a", A).await;
    apply(&server, &for_agent("w", A)).await;
    assert_eq!(intent(&server, "a"), Intent::Install);
    // The MAC goes to another machine, and the order with it.
    apply(&server, &(machine("a", "52:54:00:00:00:0c") + &machine("c", A))).await;
    assert_eq!((intent(&server, "a"), intent(&server, "c")), (Intent::Local, Intent::Install));
    server.delete(Kind::Workflow, &name("w"), false).await.unwrap();
    assert_eq!((intent(&server, "a"), intent(&server, "c")), (Intent::Local, Intent::Inventory));
}

#[tokio::test]
async fn an_installed_machine_gets_no_order_with_a_mac() {
    let server = site().await;
    install(&server, "first", "b", B).await;
    apply(&server, &for_agent("w", A)).await;
    apply(&server, &(machine("a", "52:54:00:00:00:0c") + &machine("b", A))).await;
    assert_eq!(intent(&server, "b"), Intent::Local);
    assert!(given(&server, A).await.is_none());
    assert!(message(&server, "w").contains("`thimble machine reinstall default/b` orders it"), "{}", message(&server, "w"));
}

#[tokio::test]
async fn a_renamed_machine_keeps_its_order_and_gets_none_that_was_called_off() {
    for (called_off, now) in [(false, Intent::Install), (true, Intent::Inventory)] {
        let server = site().await;
        apply(&server, &for_agent("w", A)).await;
        if called_off {
            order(&server, "a", OrderKind::Rescue).await;
        }
        server.delete(Kind::Hardware, &name("a"), true).await.unwrap();
        assert_eq!(given(&server, A).await.is_some(), !called_off, "bound by what was decided for its machine");
        apply(&server, &machine("new", A)).await;
        assert_eq!(intent(&server, "new"), now);
        assert_eq!(given(&server, A).await.is_some(), !called_off);
    }
}

#[tokio::test]
async fn nothing_of_what_a_machine_had_to_leave_runs_after_its_hardware_was_deleted() {
    for order_kind in [OrderKind::Local, OrderKind::Rescue, OrderKind::Hold] {
        let server = site().await;
        apply(&server, &for_agent("w", A)).await;
        assert_eq!(work(&server, A, ActionState::Success).await, "w/a0");
        order(&server, "a", order_kind).await;
        server.delete(Kind::Hardware, &name("a"), true).await.unwrap();
        assert_eq!(work(&server, A, ActionState::Success).await, "nothing", "{order_kind:?}");
        apply(&server, &machine("a", A)).await;
        assert_eq!(work(&server, A, ActionState::Success).await, "nothing", "{order_kind:?}");
        order(&server, "a", OrderKind::Reinstall).await;
        assert_eq!(work(&server, A, ActionState::Success).await, "w/a1", "{order_kind:?}");
    }
}

#[tokio::test]
async fn what_was_called_off_after_it_was_handed_out_does_not_begin() {
    let server = site().await;
    apply(&server, &workflow("w", "two", "a", A)).await;
    let first = given(&server, A).await.unwrap();
    order(&server, "a", OrderKind::Local).await;
    let refusal = say(&server, &first, ActionState::Running).await.unwrap_err();
    assert_eq!(refusal.to_string(), "the machine's intent gives the workflow no work now");
    order(&server, "a", OrderKind::Reinstall).await;
    say(&server, &first, ActionState::Running).await.unwrap();
    // What runs already is not interrupted, and its end is taken.
    order(&server, "a", OrderKind::Local).await;
    say(&server, &first, ActionState::Success).await.unwrap();
    assert!(given(&server, A).await.is_none());
}

#[tokio::test]
async fn nothing_else_begins_while_a_workflow_waits_for_its_next_attempt() {
    let server = site().await;
    let retries =
        template("retries", 1).replace("timeout: 60", "timeout: 60, retries: 1").replace("{{ index .Hardware.Disks 0 }}", "x");
    apply(&server, &(retries + &workflow("w", "retries", "a", A) + &workflow("later", "two", "a", A))).await;
    assert_eq!(work(&server, A, ActionState::Failed).await, "w/a0");
    assert_eq!(work(&server, A, ActionState::Success).await, "nothing", "it runs again after a pause");
    server.change_workflow(&name("w"), &WorkflowChange::Pause, "ada", "").await.unwrap();
    assert_eq!(work(&server, A, ActionState::Success).await, "nothing", "it has begun, and is paused");
    server.cancel(&name("w"), "r", false).await.unwrap();
    assert_eq!(work(&server, A, ActionState::Success).await, "later/a0");
}

fn task() -> &'static str {
    "---\napiVersion: tinkerbell.org/v1alpha2\nkind: Task\nmetadata: {name: t}\nspec: {actions: [{name: a, image: 'i:v1'}]}\n"
}

/// One task for each agent, in this order.
fn on(name: &str, agents: &[&str]) -> String {
    let entries: Vec<String> = agents.iter().map(|agent| format!("{{agentID: '{agent}', taskRef: {{name: t}}}}")).collect();
    format!(
        "---\napiVersion: tinkerbell.org/v1alpha2\nkind: Workflow\nmetadata: {{name: {name}}}\nspec: {{tasks: [{}]}}\n",
        entries.join(", ")
    )
}

#[tokio::test]
async fn two_workflows_that_need_each_others_machines_run_one_after_the_other() {
    let server = site().await;
    apply(&server, &format!("{}{}{}", task(), on("one", &[A, B, A]), on("two", &[B, A, B]))).await;
    assert_eq!(work(&server, A, ActionState::Success).await, "one/a");
    for (agent, expected) in [(A, "nothing"), (B, "one/a"), (B, "nothing"), (A, "one/a"), (A, "nothing"), (B, "two/a")] {
        assert_eq!(work(&server, agent, ActionState::Success).await, expected, "{agent}");
    }
    let waiting = server.waiting(&name("two"), jiff::Timestamp::now()).unwrap();
    assert!(waiting.reason.contains("gets action a with its next call"), "{}", waiting.reason);
    assert_eq!((intent(&server, "a"), intent(&server, "b")), (Intent::Install, Intent::Install));
    assert_eq!(work(&server, A, ActionState::Success).await, "two/a");
    assert_eq!(work(&server, B, ActionState::Success).await, "two/a");
    assert_eq!((intent(&server, "a"), intent(&server, "b")), (Intent::Local, Intent::Local));
}

#[tokio::test]
async fn a_machine_on_which_a_workflow_has_not_begun_gets_back_its_intent_when_it_ends() {
    for end in ["failed", "cancelled", "deleted"] {
        let server = site().await;
        install(&server, "first", "b", B).await;
        apply(&server, &format!("{}{}", task(), on("both", &[A, B]))).await;
        assert_eq!(intent(&server, "b"), Intent::Install);
        match end {
            "failed" => drop(work(&server, A, ActionState::Failed).await),
            "cancelled" => {
                given(&server, A).await.unwrap();
                server.cancel(&name("both"), "r", true).await.unwrap();
            }
            _ => {
                given(&server, A).await.unwrap();
                server.delete(Kind::WorkflowV1alpha2, &name("both"), false).await.unwrap();
            }
        }
        assert_eq!((intent(&server, "a"), intent(&server, "b")), (Intent::Install, Intent::Local), "{end}");
        if end == "failed" {
            server.change_workflow(&name("both"), &WorkflowChange::Retry { from: None }, "ada", "").await.unwrap();
            assert_eq!(intent(&server, "b"), Intent::Install, "a retry needs it again");
        }
    }
}

#[tokio::test]
async fn an_imported_workflow_of_two_machines_leaves_them_on_their_disks() {
    let server = site().await;
    let named = on("both", &[A, B]).replace("taskRef", "hardware: {hardwareRef: {name: a}}, taskRef");
    apply(&server, &format!("{}{named}status: {{state: SUCCESS}}\n", task())).await;
    assert_eq!((intent(&server, "a"), given(&server, A).await.is_some()), (Intent::Local, false));
}

#[tokio::test]
async fn a_task_whose_hardware_does_not_run_its_agent_is_said() {
    let server = site().await;
    let text = on("both", &[A, B]).replacen("taskRef", "hardware: {hardwareRef: {name: b}}, taskRef", 1);
    let applied = apply(&server, &format!("{}{text}", task())).await;
    let problem = applied.changes.iter().find_map(|change| change.problem.clone()).unwrap();
    assert_eq!(problem, format!("the agent {A} of its task t is not one of Hardware default/b, which waits in the ramdisk"));
}

#[tokio::test]
async fn an_agent_is_on_one_machine() {
    let server = site().await;
    let with_id = |name: &str, mac: &str, id: &str| machine(name, mac).replace("spec:\n", &format!("spec:\n  agentID: '{id}'\n"));
    apply(&server, &with_id("a", A, "node-a")).await;
    for (case, text, expected) in [
        ("an id twice", with_id("b", B, "node-a"), "has the agent node-a, which is Hardware default/a's"),
        ("the MAC of another machine", with_id("b", B, A), "has the agent 52:54:00:00:00:0a, which is Hardware default/a's"),
        ("in another notation", with_id("b", B, "52-54-00-00-00-0A"), "has the agent 52:54:00:00:00:0a, which is Hardware"),
    ] {
        let found = refused(&server, &text).await;
        assert!(found.contains(expected), "{case}: {found}");
    }
    apply(&server, &(with_id("a", A, "node-b") + &with_id("b", B, "node-a"))).await;
    apply(&server, &with_id("b", B, B)).await;
}

#[tokio::test]
async fn a_person_who_orders_what_cannot_run_is_told_so_and_nothing_is_left_behind() {
    let server = site().await;
    install(&server, "w", "a", A).await;
    server.delete(Kind::Template, &name("two"), false).await.unwrap();
    let refusal = server.order("a", OrderKind::Reinstall, "ada", "").await.unwrap_err();
    assert!(refusal.to_string().contains("waits for Template default/two, which does not exist"), "{refusal}");
    let refusal = server.change_workflow(&name("w"), &WorkflowChange::Rerun, "ada", "").await.unwrap_err();
    assert!(refusal.to_string().contains("cannot be ordered now: waits for Template"), "{refusal}");
    assert_eq!(server.list(Kind::Workflow).len(), 1);
}

#[tokio::test]
async fn a_changed_policy_or_reference_reaches_what_has_not_begun() {
    let server = site().await;
    let policy = |list: &str| {
        format!(
            "---\napiVersion: tinkerbell.org/v1alpha2\nkind: Policy\nmetadata: {{name: p}}\nspec: {{rules: {{referenceAccess: {{hardware: {{{list}: [{{source: {{name: [a]}}}}]}}}}}}}}\n"
        )
    };
    let reference = "references: {shared: {name: b, group: tinkerbell.org, version: v1alpha1, resource: hardware}}";
    let referring = machine("a", A).replace("spec:\n", &format!("spec:\n  {reference}\n"));
    let shows = template("shows", 1).replace("index .Hardware.Disks 0", "(index .references.shared.spec.disks 0).device");
    let command = || {
        let found = server.get(Kind::Workflow, &name("w")).unwrap()["status"].clone();
        (found["state"].clone(), found["tasks"][0]["actions"][0]["command"][0].clone())
    };
    apply(&server, &format!("{}{referring}{shows}{}", policy("allow"), workflow("w", "shows", "a", A))).await;
    assert_eq!(command(), ("PENDING".into(), "/dev/vda".into()));
    apply(&server, &machine("b", B).replace("/dev/vda", "/dev/sdb")).await;
    assert_eq!(command().1, "/dev/sdb", "the object that is shown has changed");
    let kept = server.delete(Kind::Hardware, &name("b"), false).await.unwrap_err();
    assert!(kept.to_string().contains("is used by Workflow default/w"), "{kept}");
    let applied = apply(&server, &policy("deny")).await;
    let problem = applied.changes.iter().find_map(|change| change.problem.clone()).unwrap();
    assert!(problem.contains("Policy default/p denies it") && intent(&server, "a") == Intent::Inventory, "{problem}");
    apply(&server, &policy("allow")).await;
    assert!(message(&server, "w").contains("its order has ended"), "{}", message(&server, "w"));
    order(&server, "a", OrderKind::Reinstall).await;
    server.delete(Kind::Policy, &name("p"), false).await.unwrap();
    assert_eq!((command().0, intent(&server, "a")), (serde_json::Value::Null, Intent::Inventory), "denied again");
    apply(&server, &policy("allow")).await;
    order(&server, "a", OrderKind::Reinstall).await;
    given(&server, A).await.unwrap();
    apply(&server, &policy("deny")).await;
    assert_eq!(command(), ("PENDING".into(), "/dev/sdb".into()), "it has begun");
}
