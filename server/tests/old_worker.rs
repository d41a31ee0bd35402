//! Workers of the first generation, tink v0.9 to v0.12, on the port of the second. Two recordings have what tink-worker
//! v0.10.0 sends to this server: through a proxy, with a Docker that accepts everything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod lab;

use lab::{Lab, MAC, apply, everything, hardware, soon, template, workflow};
use prost::Message;
use proto::action_status_request::StateType;
use proto::gen1::{
    Client, State, WorkflowAction, WorkflowActionStatus, WorkflowActionsRequest, WorkflowContext, WorkflowContextRequest,
};
use tonic::transport::Endpoint;
use tonic::{Code, Status};

async fn old(lab: &Lab) -> Client {
    Client::new(Endpoint::from_shared(format!("http://{}", lab.grpc)).unwrap().connect().await.unwrap())
}

async fn contexts(client: &mut Client, worker: &str) -> Result<Vec<WorkflowContext>, Status> {
    let mut stream = soon(client.contexts(WorkflowContextRequest { worker_id: worker.into() })).await?;
    let mut all = Vec::new();
    while let Some(context) = soon(stream.message()).await? {
        all.push(context);
    }
    Ok(all)
}

async fn actions(client: &mut Client, workflow: &str) -> Result<Vec<WorkflowAction>, Status> {
    soon(client.actions(WorkflowActionsRequest { workflow_id: workflow.into() })).await.map(|list| list.action_list)
}

fn status(action: &str, state: State) -> WorkflowActionStatus {
    WorkflowActionStatus {
        workflow_id: "default/w".into(),
        task_name: "t".into(),
        action_name: action.into(),
        action_status: state.into(),
        seconds: if state == State::Running { 0 } else { 3 },
        message: "words".into(),
        worker_id: MAC.into(),
        ..WorkflowActionStatus::default()
    }
}

#[tokio::test]
async fn an_old_worker_works_through_its_list_beside_current_agents() {
    let lab = Lab::hasty().await;
    apply(&lab.server, &everything()).await;
    let mut worker = old(&lab).await;
    let [context] = contexts(&mut worker, MAC).await.unwrap().try_into().unwrap();
    let first = WorkflowContext {
        workflow_id: "default/w".into(),
        current_worker: MAC.into(),
        current_task: "t".into(),
        current_action: "a0".into(),
        current_action_index: 0,
        current_action_state: State::Pending.into(),
        total_number_of_actions: 2,
    };
    assert_eq!(context, first);
    let list = actions(&mut worker, &context.workflow_id).await.unwrap();
    assert_eq!(list.iter().map(|action| action.name.as_str()).collect::<Vec<_>>(), ["a0", "a1"]);
    let told = &list[0];
    assert_eq!((&*told.image, told.timeout, &*told.worker_id, &*told.task_name), ("actions:v1", 60, MAC, "t"));
    assert_eq!((told.environment.join(" "), &told.volumes[..]), ("A=1 N=00".to_owned(), &["/dev:/dev".to_owned()][..]));

    worker.report(status("a0", State::Running)).await.unwrap();
    assert_eq!(lab.state("w"), "RUNNING RUNNING,PENDING");
    let running = WorkflowContext { current_action_state: State::Running.into(), ..first.clone() };
    assert_eq!(contexts(&mut worker, MAC).await.unwrap(), [running], "a worker that was restarted begins where it was");
    worker.report(status("a0", State::Success)).await.unwrap();
    worker.report(status("a0", State::Success)).await.unwrap(); // a worker may report that twice
    // The list continues without another call, and after a restart without RUNNING.
    worker.report(status("a1", State::Success)).await.unwrap();
    assert_eq!(lab.state("w"), "SUCCESS SUCCESS,SUCCESS");
    let json = lab.server.get(model::Kind::Workflow, &"w".parse().unwrap()).unwrap();
    let ended = &json["status"]["tasks"][0]["actions"][0];
    assert_eq!((ended["executionDuration"].as_str(), ended["message"].as_str()), (Some("3s"), Some("words")));
    assert!(contexts(&mut worker, MAC).await.unwrap().is_empty(), "the stream ends because there is no more work now");
}

#[tokio::test]
async fn only_a_worker_of_the_workflow_reads_its_actions() {
    let lab = Lab::hasty().await;
    apply(&lab.server, &everything()).await;
    let grpc = lab.grpc;
    let from = async |address: [u8; 4]| {
        let endpoint = Endpoint::from_shared(format!("http://{}", grpc)).unwrap();
        Client::new(endpoint.local_address(Some(address.into())).connect().await.unwrap())
    };
    let (mut worker, mut other) = (from([127, 0, 0, 1]).await, from([127, 0, 0, 2]).await);
    let refused = actions(&mut worker, "default/w").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "no worker has called yet: {refused}");
    contexts(&mut worker, MAC).await.unwrap();
    assert_eq!(actions(&mut worker, "default/w").await.unwrap().len(), 2);
    assert!(contexts(&mut other, "another").await.unwrap().is_empty());
    let refused = actions(&mut other, "default/w").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "it is not one of the workflow's: {refused}");
}

#[tokio::test]
async fn both_generations_report_on_one_path() {
    let lab = Lab::hasty().await;
    apply(&lab.server, &everything()).await;
    let (mut worker, mut agent) = (old(&lab).await, lab.agent(MAC).await);
    let action = agent.ask().await.unwrap();
    agent.say(&action, StateType::Running).await.unwrap();
    worker.report(status("a0", State::Success)).await.unwrap();
    let action = agent.ask().await.unwrap();
    assert_eq!(action.name.as_deref(), Some("a1"));
    worker.report(status("a1", State::Running)).await.unwrap();
    agent.say(&action, StateType::Failed).await.unwrap();
    assert_eq!(lab.state("w"), "FAILED SUCCESS,FAILED");
    assert!(contexts(&mut worker, MAC).await.unwrap().is_empty(), "nothing runs after a failure");
}

/// Actions that are skipped, retried, or followed by a command, as an old worker sees them.
#[tokio::test]
async fn an_old_worker_follows_the_rules_of_the_template() {
    let rules = template("two", 3)
        .replace("{name: a0,", "{name: a0, if: 'false',")
        .replace("{name: a1,", "{name: a1, retries: 1, on_failure: [tidy],");
    let lab = Lab::hasty().await;
    apply(&lab.server, &(hardware("node-1", MAC) + &rules + &workflow("w", "two", "node-1", MAC))).await;
    let mut worker = old(&lab).await;
    let [context] = contexts(&mut worker, MAC).await.unwrap().try_into().unwrap();
    assert_eq!((&*context.current_action, context.current_action_index, context.total_number_of_actions), ("a1", 0, 2));
    let list = actions(&mut worker, "default/w").await.unwrap();
    assert_eq!(list.iter().map(|action| &*action.name).collect::<Vec<_>>(), ["a1", "a2"], "a0 does not run");
    worker.report(status("a1", State::Running)).await.unwrap();
    for _ in 0..2 {
        worker.report(status("a1", State::Failed)).await.unwrap(); // a repeated report does not end the next attempt
        assert_eq!(lab.state("w"), "RUNNING SUCCESS,PENDING,PENDING");
    }
    assert!(contexts(&mut worker, MAC).await.unwrap().is_empty(), "the next attempt begins after a pause");
    let early = worker.report(status("a1", State::Running)).await.unwrap_err();
    assert_eq!(early.code(), Code::FailedPrecondition, "{early}");
}

#[tokio::test]
async fn a_wrong_call_of_an_old_worker_is_refused_with_a_code() {
    let lab = Lab::hasty().await;
    apply(&lab.server, &everything()).await;
    let mut worker = old(&lab).await;
    assert_eq!(contexts(&mut worker, "").await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(contexts(&mut worker, &"x".repeat(300)).await.unwrap_err().code(), Code::InvalidArgument);
    assert!(contexts(&mut worker, "stranger").await.unwrap().is_empty());
    assert_eq!(actions(&mut worker, "w").await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(actions(&mut worker, "default/none").await.unwrap_err().code(), Code::NotFound);
    let good = || status("a0", State::Running);
    for (case, report, code) in [
        ("another workflow", WorkflowActionStatus { workflow_id: "default/none".into(), ..good() }, Code::NotFound),
        ("a workflow without a namespace", WorkflowActionStatus { workflow_id: "w".into(), ..good() }, Code::InvalidArgument),
        ("another task", WorkflowActionStatus { task_name: "u".into(), ..good() }, Code::InvalidArgument),
        ("another action", status("a9", State::Running), Code::InvalidArgument),
        ("another worker", WorkflowActionStatus { worker_id: "m".into(), ..good() }, Code::InvalidArgument),
        ("an action whose turn it is not", status("a1", State::Running), Code::FailedPrecondition),
        ("a message without end", WorkflowActionStatus { message: "x".repeat(2 << 20), ..good() }, Code::ResourceExhausted),
    ] {
        assert_eq!(worker.report(report).await.unwrap_err().code(), code, "{case}");
    }
    assert_eq!(lab.state("w"), "PENDING PENDING,PENDING");
}

/// One call: what tink-worker v0.10.0 sent, and its answer. A stream without a message is an empty answer, too.
enum Recorded {
    Contexts(&'static str, &'static [&'static str]),
    Actions(&'static str, &'static str),
    Report(&'static str),
}

const ASKS: &str = "0a1135323a35343a30303a31323a33343a3536";
const CONTEXT: &str = "0a0964656661756c742f77121135323a35343a30303a31323a33343a35361a0174220261303802";
const NAMES: &str = "0a0964656661756c742f77";
const LIST: &str = concat!(
    "0a480a0174120261301a0a616374696f6e733a7631203c2a082f6465762f766461421135323a35343a30303a31323a33343a35364a092f6465763a",
    "2f6465765203413d3152044e3d30300a480a0174120261311a0a616374696f6e733a7631203c2a082f6465762f766461421135323a35343a30303a",
    "31323a33343a35364a092f6465763a2f6465765203413d3152044e3d3031",
);
const RUNNING: &str = "0a0964656661756c742f771201741a026130200132115374617274656420657865637574696f6e421135323a35343a30303a3132\
                       3a33343a3536";

/// Both containers ended with exit code 0.
const SUCCEEDS: &[Recorded] = &[
    Recorded::Contexts(ASKS, &[CONTEXT]),
    Recorded::Actions(NAMES, LIST),
    Recorded::Report(RUNNING),
    Recorded::Report(
        "0a0964656661756c742f771201741a0261302004321f66696e697368656420657865637574696f6e207375636365737366756c6c79421135323a3534\
         3a30303a31323a33343a3536",
    ),
    Recorded::Report(
        "0a0964656661756c742f771201741a026131200132115374617274656420657865637574696f6e421135323a35343a30303a31323a33343a3536",
    ),
    Recorded::Report(
        "0a0964656661756c742f771201741a0261312004321f66696e697368656420657865637574696f6e207375636365737366756c6c79421135323a3534\
         3a30303a31323a33343a3536",
    ),
    Recorded::Contexts(ASKS, &[]),
];

/// The first container ended with exit code 3.
const FAILS: &[Recorded] = &[
    Recorded::Contexts(ASKS, &[CONTEXT]),
    Recorded::Actions(NAMES, LIST),
    Recorded::Report(RUNNING),
    Recorded::Report("0a0964656661756c742f771201741a0261302002421135323a35343a30303a31323a33343a3536"),
    Recorded::Contexts(ASKS, &[]),
];

/// The message with these bytes. Encoding it must give exactly the same bytes.
fn message<M: Message + Default + std::fmt::Debug>(hex: &str) -> M {
    let bytes = hex::decode(hex).unwrap();
    let message = M::decode(&*bytes).unwrap();
    assert_eq!(message.encode_to_vec(), bytes, "{message:?}");
    message
}

#[tokio::test]
async fn the_recorded_calls_of_tink_worker_get_the_same_answers() {
    for (recording, end) in [(SUCCEEDS, "SUCCESS SUCCESS,SUCCESS"), (FAILS, "FAILED FAILED,PENDING")] {
        let lab = Lab::hasty().await;
        apply(&lab.server, &everything()).await;
        let mut worker = old(&lab).await;
        for call in recording {
            match call {
                Recorded::Contexts(request, answers) => {
                    let request: WorkflowContextRequest = message(request);
                    let given = contexts(&mut worker, &request.worker_id).await.unwrap();
                    let given: Vec<_> = given.iter().map(|context| hex::encode(context.encode_to_vec())).collect();
                    assert_eq!(given, *answers);
                }
                Recorded::Actions(request, answer) => {
                    let list = soon(worker.actions(message(request))).await.unwrap();
                    assert_eq!(hex::encode(list.encode_to_vec()), *answer);
                }
                Recorded::Report(request) => soon(worker.report(message(request))).await.unwrap(),
            }
        }
        assert_eq!(lab.state("w"), end);
    }
}
