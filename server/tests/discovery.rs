//! Discovery and enrolment over real sockets: unknown agents become Hardware, and rule sets give them work.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod lab;

use std::time::Duration;

use api::{Intent, OrderKind};
use lab::{Agent, Lab, MAC, apply, soon, template, workflow};
use model::{Kind, parse_documents};
use proto::action_status_request::StateType;
use proto::{ActionRequest, ActionResponse, AgentAttributes, Block, Network, Product};
use server::{ApplyError, Config};
use tonic::{Code, Status};

const NAME: &str = "default/discovery-52-54-00-12-34-56";

fn config(discovery: &str) -> Config {
    let discovery = discovery.split(',').filter(|text| !text.is_empty()).map(|text| text.parse().unwrap()).collect();
    Config { long_poll: Duration::from_millis(20), discovery, ..Config::default() }
}

fn attributes(mac: &str) -> AgentAttributes {
    let text = |text: &str| Some(text.to_owned());
    AgentAttributes {
        block: vec![Block { name: text("vda"), size: text("16GB"), ..Block::default() }],
        network: vec![Network { mac: text(mac), name: text("eth0"), ..Network::default() }],
        product: Some(Product { vendor: text("QEMU"), ..Product::default() }),
        ..AgentAttributes::default()
    }
}

async fn ask(agent: &mut Agent) -> Result<ActionResponse, Status> {
    let request = ActionRequest { agent_id: Some(agent.id.clone()), agent_attributes: Some(attributes(&agent.id)) };
    soon(agent.client.get_action(request)).await.map(tonic::Response::into_inner)
}

fn intent(lab: &Lab, name: &str) -> Option<Intent> {
    lab.server.machine_lines().iter().find(|line| line.hardware == name).map(|line| line.decision.intent)
}

fn rule_set(name: &str, vendor: &str, more: &str) -> String {
    format!(
        "---\napiVersion: tinkerbell.org/v1alpha1\nkind: WorkflowRuleSet\nmetadata: {{name: {name}}}\nspec:\n  rules: ['{{\"product\": \
         {{\"vendor\": [\"{vendor}\"]}}}}']\n  workflow: {{addAttributes: true, template: {{ref: two, agentValue: device_1}}{more}}}\n"
    )
}

#[tokio::test]
async fn a_discovered_machine_waits_for_approval_and_gets_no_work_before() {
    let lab = Lab::start(config("10.0.0.0/8,127.0.0.0/8")).await;
    let mut agent = lab.agent(MAC).await;
    assert_eq!(ask(&mut agent).await.unwrap_err().code(), Code::NotFound);
    let hardware = lab.server.get(Kind::Hardware, &NAME.parse().unwrap()).unwrap();
    assert_eq!(hardware["metadata"]["labels"]["tinkerbell.org/auto-discovered"], "true");
    assert!(hardware["metadata"]["annotations"]["tinkerbell.org/agent-attributes"].as_str().unwrap().contains("QEMU"));
    assert_eq!((&hardware["spec"]["agentID"], &hardware["spec"]["disks"][0]["device"]), (&MAC.into(), &"/dev/vda".into()));
    let machine = lab.server.machine(MAC.parse().unwrap()).unwrap();
    assert_eq!((machine.boot.word(), intent(&lab, NAME)), ("wait", Some(Intent::Discover)));
    // An order waits as well, and no action is handed out.
    apply(&lab.server, &(template("two", 2) + &workflow("w", "two", "discovery-52-54-00-12-34-56", MAC))).await;
    assert_eq!(ask(&mut agent).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(intent(&lab, NAME), Some(Intent::Discover));
    lab.server.order(MAC, OrderKind::Approve, "ada", "").await.unwrap();
    assert_eq!((agent.work().await, agent.work().await), ("a0".to_owned(), "a1".to_owned()));
    assert_eq!(intent(&lab, NAME), Some(Intent::Local));
}

#[tokio::test]
async fn after_approval_it_is_an_ordinary_machine() {
    let lab = Lab::start(config("127.0.0.0/8")).await;
    let mut agent = lab.agent(MAC).await;
    ask(&mut agent).await.unwrap_err();
    lab.server.order(NAME, OrderKind::Approve, "ada", "").await.unwrap();
    assert_eq!(intent(&lab, NAME), Some(Intent::Inventory));
    assert!(lab.server.order(NAME, OrderKind::Approve, "ada", "").await.is_err(), "it no longer waits");
}

#[tokio::test]
async fn nothing_is_discovered_unless_the_operator_names_the_network() {
    for networks in ["", "10.0.0.0/8"] {
        let lab = Lab::start(config(networks)).await;
        apply(&lab.server, &(template("two", 2) + &rule_set("all", "QEMU", ""))).await;
        let mut agent = lab.agent(MAC).await;
        assert_eq!(ask(&mut agent).await.unwrap_err().code(), Code::NotFound);
        assert!(lab.server.list(Kind::Hardware).is_empty() && lab.server.list(Kind::Workflow).is_empty(), "{networks}");
        assert!(lab.server.machine_lines().is_empty());
    }
}

#[tokio::test]
async fn a_rule_set_enrols_a_machine_once() {
    let lab = Lab::start(config("127.0.0.0/8")).await;
    let sets = rule_set("other", "Dell", "") + &rule_set("ours", "QEMU", "");
    apply(&lab.server, &(template("two", 2) + &sets)).await;
    let mut agent = lab.agent(MAC).await;
    let action = ask(&mut agent).await.unwrap();
    assert_eq!(action.workflow_id.as_deref(), Some("default/enrollment-52-54-00-12-34-56"));
    let enrolled = lab.server.get(Kind::Workflow, &"enrollment-52-54-00-12-34-56".parse().unwrap()).unwrap();
    assert_eq!(enrolled["metadata"]["labels"]["tinkerbell.org/auto-enrollment"], "true");
    assert_eq!(enrolled["spec"]["hardwareMap"]["device_1"], MAC);
    assert_eq!(intent(&lab, NAME), Some(Intent::Install));
    agent.work().await;
    agent.work().await;
    assert_eq!(intent(&lab, NAME), Some(Intent::Local));
    // It is not enrolled again, even if its workflow was deleted.
    lab.server.delete(Kind::Workflow, &"enrollment-52-54-00-12-34-56".parse().unwrap(), false).await.unwrap();
    ask(&mut agent).await.unwrap_err();
    assert!(lab.server.list(Kind::Workflow).is_empty());
    assert_eq!(intent(&lab, NAME), Some(Intent::Local));
}

#[tokio::test]
async fn an_enrolled_machine_waits_if_new_machines_are_held() {
    let lab = Lab::start(Config { hold_new_machines: true, ..config("127.0.0.0/8") }).await;
    apply(&lab.server, &(template("two", 2) + &rule_set("ours", "QEMU", ""))).await;
    let mut agent = lab.agent(MAC).await;
    assert_eq!(ask(&mut agent).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(intent(&lab, NAME), Some(Intent::Hold));
    lab.server.order(NAME, OrderKind::Approve, "ada", "").await.unwrap();
    assert_eq!(agent.work().await, "a0");
}

#[tokio::test]
async fn a_disabled_workflow_is_made_and_the_machine_still_waits() {
    let lab = Lab::start(config("127.0.0.0/8")).await;
    apply(&lab.server, &(template("two", 2) + &rule_set("ours", "QEMU", ", disabled: true"))).await;
    let mut agent = lab.agent(MAC).await;
    for _ in 0..2 {
        ask(&mut agent).await.unwrap_err();
    }
    assert_eq!((lab.server.list(Kind::Workflow).len(), intent(&lab, NAME)), (1, Some(Intent::Discover)));
}

#[tokio::test]
async fn a_bad_pattern_is_refused_with_its_position() {
    let lab = Lab::hasty().await;
    let text = rule_set("bad", "QEMU", "").replace("[\"QEMU\"]", "[{\"regexp\": \"a*\"}]");
    let Err(ApplyError::Refused(mistakes)) = lab.server.apply(parse_documents(&text, "f").unwrap()).await else { panic!() };
    let said = mistakes.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        said,
        [
            "WorkflowRuleSet default/bad: spec.rules[0]: product.vendor[0].regexp: quantifiers such as '*' are not supported, at character 2"
        ]
    );
    assert!(lab.server.list(Kind::WorkflowRuleSet).is_empty());
    apply(&lab.server, &rule_set("good", "QEMU", "")).await;
    assert_eq!(lab.server.list(Kind::WorkflowRuleSet).len(), 1);
    lab.server.delete(Kind::WorkflowRuleSet, &"good".parse().unwrap(), false).await.unwrap();
    assert!(lab.server.list(Kind::WorkflowRuleSet).is_empty());
}

#[tokio::test]
async fn a_discovered_machine_cannot_take_the_place_of_a_known_one() {
    let lab = Lab::start(config("127.0.0.0/8")).await;
    apply(&lab.server, &lab::everything()).await;
    let mut agent = lab.agent("liar").await;
    let request = ActionRequest { agent_id: Some("liar".to_owned()), agent_attributes: Some(attributes(MAC)) };
    agent.client.get_action(request).await.unwrap_err();
    let liar = lab.server.get(Kind::Hardware, &"discovery-liar".parse().unwrap()).unwrap();
    assert!(liar["spec"].get("interfaces").is_none(), "{liar}");
    let mut known = lab.agent(MAC).await;
    let action = known.ask().await.unwrap();
    known.say(&action, StateType::Running).await.unwrap();
}
