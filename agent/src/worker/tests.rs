use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use proto::action_status_request::StateType::{Failed, Running, Success};
use tonic::Status;

use super::*;
use crate::fake_server::{Server, Shared, action as wire, message};
use crate::settings::Settings;
use crate::transport::Connection;

/// Runs nothing, returns the given outcomes, and records what it was asked to run.
#[derive(Clone, Default)]
struct Fixed {
    ran: Arc<Mutex<Vec<String>>>,
    fails: bool,
    /// The commands of the actions that it ran.
    commands: Arc<Mutex<Vec<Vec<String>>>>,
    writes: Option<std::path::PathBuf>,
    /// Actions in the background end when it opens.
    gate: Arc<tokio::sync::Notify>,
}

impl Execute for Fixed {
    async fn execute(&mut self, action: &Action, start: SystemTime, _: &Cancel) -> Outcome {
        self.ran.lock().unwrap().push(action.id.clone());
        self.commands.lock().unwrap().push(action.command.clone());
        if let Some(file) = &self.writes {
            std::fs::write(file, "").unwrap();
        }
        if action.background {
            self.gate.notified().await;
        }
        let failure = self.fails.then_some(Reason::NonZeroExit { exit_code: 1 });
        Outcome { start, stop: SystemTime::now(), failure, tail: vec![] }
    }

    fn refuses(&self, action: &Action) -> Option<Reason> {
        (action.image == "forbidden").then(|| Reason::CouldNotStart("forbidden".to_owned()))
    }

    fn beside(&self) -> Self {
        self.clone()
    }
}

fn worker(authority: &str, folder: &std::path::Path, execute: Fixed) -> Worker<Fixed> {
    worker_of_site(authority, "", folder, execute)
}

fn worker_of_site(authority: &str, servers: &str, folder: &std::path::Path, execute: Fixed) -> Worker<Fixed> {
    let env: HashMap<&str, &str> =
        [("WORKER_ID", "m"), ("TINKERBELL_GRPC_AUTHORITY", authority), ("THIMBLE_SERVERS", servers)].into();
    let settings = Settings::read(&[], |name| env.get(name).map(|v| (*v).to_owned())).unwrap();
    Worker {
        agent: "m".into(),
        connection: Connection::new(&settings).unwrap().into(),
        journal: Journal::open(&folder.join("journal.json")),
        power: Requests::below(folder),
        attributes: Known::nothing(),
        backoff_max: Duration::from_millis(600),
        execute,
    }
}

/// Runs the worker until `during` ends.
async fn while_working<T>(worker: Worker<Fixed>, during: impl Future<Output = T>) -> T {
    tokio::select! {
        power = worker.run() => panic!("the worker stopped: {power:?}"),
        result = during => result,
    }
}

#[tokio::test]
async fn actions_run_one_after_the_other_with_their_actual_times() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    server.push(wire("one", "i"));
    server.push(wire("two", "i"));
    let execute = Fixed::default();
    let reports = while_working(worker(&server.address.to_string(), folder.path(), execute.clone()), async {
        server.until("four reports", |r| r.len() == 4).await
    })
    .await;
    assert_eq!(server.states(), [Running, Success, Running, Success]);
    assert_eq!(*execute.ran.lock().unwrap(), ["one", "two"]);
    assert!(reports[0].execution_start.unwrap().seconds > 1_700_000_000);
    assert_eq!(reports[0].execution_start, reports[1].execution_start, "one start for both reports");
}

#[tokio::test]
async fn an_agent_goes_on_with_any_server_of_its_site() {
    let (shared, folder) = (Shared::default(), tempfile::tempdir().unwrap());
    let listen = || tokio::net::TcpListener::bind("127.0.0.1:0");
    let (one, two) = (listen().await.unwrap(), listen().await.unwrap());
    let (first, second) = (one.local_addr().unwrap(), two.local_addr().unwrap());
    let (one, two) = (Server::on(one, shared.clone()), Server::on(two, shared.clone()));
    let worker = worker_of_site(&first.to_string(), &second.to_string(), folder.path(), Fixed::default());
    while_working(worker, async {
        one.push(wire("one", "i"));
        shared.until("the reports of one", |reports| reports.len() == 2).await;
        drop(one);
        two.push(wire("two", "i"));
        shared.until("the reports of two", |reports| reports.len() == 4).await;
        drop(two);
        let again = Server::on(tokio::net::TcpListener::bind(first).await.unwrap(), shared.clone());
        again.push(wire("three", "i"));
        shared.until("the reports of three", |reports| reports.len() == 6).await;
    })
    .await;
    assert_eq!(shared.states(), [Running, Success, Running, Success, Running, Success]);
}

#[tokio::test]
async fn an_action_whose_running_is_not_accepted_does_not_run() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    server.shared.script.lock().unwrap().answers =
        [Err(Status::internal("store")), Err(Status::not_found("gone")), Ok(())].into();
    for _ in 0..3 {
        server.push(wire("one", "i"));
    }
    let execute = Fixed::default();
    let work = worker(&server.address.to_string(), folder.path(), execute.clone());
    while_working(work, async { server.until("success", |r| r.iter().any(|r| r.action_state() == Success)).await }).await;
    assert_eq!(server.states(), [Running, Running, Running, Success]);
    assert_eq!(execute.ran.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn nothing_to_do_and_errors_are_survived() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    server.shared.script.lock().unwrap().actions = [
        Err(Status::not_found("none")),
        Err(Status::failed_precondition("preparing")),
        Err(Status::internal("x")),
        Ok(wire("one", "i")),
    ]
    .into();
    let work = worker(&server.address.to_string(), folder.path(), Fixed::default());
    while_working(work, async { server.until("success", |r| r.len() == 2).await }).await;
}

#[tokio::test]
async fn a_refused_result_is_dropped_and_the_agent_continues() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    server.shared.script.lock().unwrap().answers = [Ok(()), Err(Status::failed_precondition("finished"))].into();
    server.push(wire("one", "i"));
    server.push(wire("two", "i"));
    // The dropped success asked for a reboot, which does not happen.
    let execute = Fixed { writes: Some(folder.path().join("reboot")), ..Fixed::default() };
    let power =
        tokio::time::timeout(Duration::from_secs(30), worker(&server.address.to_string(), folder.path(), execute).run()).await;
    assert_eq!(power.unwrap(), machine::exit::REBOOT, "the reboot comes only after the second");
    assert_eq!(server.states(), [Running, Success, Running, Success]);
}

#[tokio::test]
async fn the_result_of_a_deleted_workflow_is_dropped_and_new_work_is_taken() {
    let gone = "error getting workflow: failed to get workflow default/w: workflows.tinkerbell.org \"w\" not found";
    for deleted in [Status::not_found("action not found"), Status::internal(gone)] {
        let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
        server.shared.script.lock().unwrap().answers = [Ok(()), Err(Status::internal("etcd is busy")), Err(deleted)].into();
        server.push(wire("one", "i"));
        server.push(wire("two", "i"));
        let work = worker(&server.address.to_string(), folder.path(), Fixed::default());
        let reports = while_working(work, async { server.until("the second action", |r| r.len() == 5).await }).await;
        let told: Vec<_> = reports.iter().map(|r| (r.action_id.as_deref().unwrap(), r.action_state())).collect();
        let twice = [("one", Running), ("one", Success), ("one", Success)]; // a temporary error is tried again
        assert_eq!(told, [&twice[..], &[("two", Running), ("two", Success)]].concat());
    }
}

#[tokio::test]
async fn a_report_is_repeated_if_the_server_dies_before_its_acknowledgement() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    server.shared.script.lock().unwrap().die_before_ack = true;
    server.push(wire("one", "i"));
    let (address, execute) = (server.address, Fixed::default());
    let second = Shared::default();
    let restarted = async {
        server.until("the lost report", |r| r.len() == 2).await;
        drop(server);
        let listener = loop {
            match tokio::net::TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let back = std::time::Instant::now();
        let _server = Server::on(listener, second.clone());
        second.until("the same report", |r| !r.is_empty()).await;
        back.elapsed()
    };
    let took = while_working(worker(&address.to_string(), folder.path(), execute.clone()), restarted).await;
    assert_eq!(second.states(), [Success]);
    assert_eq!(execute.ran.lock().unwrap().len(), 1, "it ran once");
    assert!(took < Duration::from_secs(5), "reconnected after {took:?}");
}

#[tokio::test]
async fn a_failure_that_was_not_reported_before_a_restart_is_reported_and_not_run_again() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    let action = Action::from_wire(wire("one", "i")).unwrap();
    let outcome = Outcome {
        start: SystemTime::now(),
        stop: SystemTime::now(),
        failure: Some(Reason::NonZeroExit { exit_code: 9 }),
        tail: vec!["bye".into()],
    };
    Journal::open(&folder.path().join("journal.json")).write(JournalEntry::Finished { action, attempt: 1, outcome });
    let execute = Fixed::default();
    let work = worker(&server.address.to_string(), folder.path(), execute.clone());
    let reports = while_working(work, async { server.until("the report", |r| r.len() == 1).await }).await;
    assert_eq!(
        (reports[0].action_state(), message(&reports[0])),
        (Failed, "NonZeroExit: exit code 9; try: look at the last output of the action\nlast output:\nbye")
    );
    assert!(execute.ran.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_acknowledged_power_request_survives_a_restart() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    let action = Action::from_wire(wire("one", "i")).unwrap();
    std::fs::write(folder.path().join("poweroff"), "").unwrap();
    for (success, want) in [(true, Some(Power::Off)), (false, None)] {
        Journal::open(&folder.path().join("journal.json")).write(JournalEntry::Acknowledged { action: action.clone(), success });
        let mut work = worker(&server.address.to_string(), folder.path(), Fixed::default());
        assert_eq!(work.resume().await, want);
    }
}

#[test]
fn a_held_call_is_repeated_at_once_and_any_other_with_growing_pauses() {
    let mut pace = Pace { backoff: Backoff::new(backoff::FIRST, Duration::from_secs(5)), said: String::new() };
    (0..20).for_each(|_| assert!(!pace.idle(Duration::from_millis(3)).is_zero()));
    assert_eq!(pace.idle(Duration::from_secs(60)), Duration::ZERO);
    assert!(pace.idle(Duration::ZERO) <= backoff::FIRST * 3 / 2, "the pauses start again");
}

#[tokio::test]
async fn a_server_of_the_first_generation_is_served_in_its_protocol() {
    use proto::gen1::{State, WorkflowAction};
    let action = |name: &str| WorkflowAction {
        task_name: "os".into(),
        name: name.into(),
        image: format!("{name}:v1"),
        worker_id: "m".into(),
        ..WorkflowAction::default()
    };
    let (old, address) = crate::fake_old_server::Old::start(vec![action("stream"), action("reboot")]).await;
    // An earlier worker has begun the first action.
    old.reports.lock().unwrap().push(proto::gen1::WorkflowActionStatus {
        action_name: "stream".into(),
        action_status: State::Running.into(),
        ..Default::default()
    });
    let folder = tempfile::tempdir().unwrap();
    let execute = Fixed::default();
    while_working(worker(&address.to_string(), folder.path(), execute.clone()), async {
        let all = async {
            while old.reports.lock().unwrap().len() < 4 {
                sleep(Duration::from_millis(10)).await
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all).await.expect("four reports")
    })
    .await;
    assert_eq!(*execute.ran.lock().unwrap(), ["gen1:ns/w:0", "gen1:ns/w:1"]);
    let reports = old.reports.lock().unwrap();
    let told: Vec<_> = reports.iter().map(|r| (r.workflow_id.as_str(), r.action_name.as_str(), r.action_status())).collect();
    let wanted = [
        ("", "stream", State::Running),
        ("ns/w", "stream", State::Success),
        ("ns/w", "reboot", State::Running),
        ("ns/w", "reboot", State::Success),
    ];
    assert_eq!(told, wanted, "a running action is not reported again");
    assert!(reports.iter().skip(1).all(|r| r.task_name == "os" && r.worker_id == "m"));
}

#[tokio::test]
async fn a_failure_of_the_first_generation_is_followed_by_its_reaction_and_then_reported() {
    use proto::gen1::{State, WorkflowAction};
    let action = WorkflowAction {
        task_name: "os".into(),
        name: "stream".into(),
        image: "stream:v1".into(),
        worker_id: "m".into(),
        command: vec!["stream".into()],
        on_timeout: vec!["too".into(), "slow".into()],
        on_failure: vec!["tidy".into(), "up".into()],
        ..WorkflowAction::default()
    };
    let (old, address) = crate::fake_old_server::Old::start(vec![action]).await;
    let folder = tempfile::tempdir().unwrap();
    let execute = Fixed { fails: true, ..Fixed::default() };
    while_working(worker(&address.to_string(), folder.path(), execute.clone()), async {
        let all = async {
            while old.reports.lock().unwrap().len() < 2 {
                sleep(Duration::from_millis(10)).await
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all).await.expect("two reports")
    })
    .await;
    let commands = execute.commands.lock().unwrap().clone();
    assert_eq!(commands, [vec!["stream"], vec!["tidy", "up"]]);
    let reports = old.reports.lock().unwrap();
    let told: Vec<_> = reports.iter().map(|r| (r.action_name.as_str(), r.action_status())).collect();
    assert_eq!(told, [("stream", State::Running), ("stream", State::Failed)]);
}

#[tokio::test]
async fn a_server_that_supports_neither_generation_is_asked_again() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    server.shared.script.lock().unwrap().actions.push_back(Err(Status::unimplemented("a proxy without a server")));
    server.push(wire("one", "i"));
    let execute = Fixed::default();
    while_working(worker(&server.address.to_string(), folder.path(), execute.clone()), async {
        server.until("two reports", |r| r.len() == 2).await
    })
    .await;
    assert_eq!(*execute.ran.lock().unwrap(), ["one"]);
}

fn in_background(id: &str, image: &str) -> proto::ActionResponse {
    proto::ActionResponse { background: Some(true), ..wire(id, image) }
}

#[tokio::test]
async fn an_action_in_the_background_is_a_success_before_it_runs_and_holds_up_nothing() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    server.push(in_background("aside", "i"));
    server.push(wire("one", "i"));
    server.push(wire("two", "i"));
    let execute = Fixed { fails: false, ..Fixed::default() };
    let reports = while_working(worker(&server.address.to_string(), folder.path(), execute.clone()), async {
        server.until("six reports", |r| r.len() == 6).await
    })
    .await;
    let told: Vec<_> = reports.iter().map(|r| (r.action_id.as_deref().unwrap(), r.action_state())).collect();
    let of = |id| [(id, Running), (id, Success)];
    assert_eq!(told, [of("aside"), of("one"), of("two")].concat(), "its end is not reported");
    assert_eq!(execute.ran.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_reboot_in_the_background_follows_its_end_and_no_other_action_takes_it_back() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    server.push(in_background("reboot", "i"));
    server.push(wire("one", "i"));
    let execute = Fixed { writes: Some(folder.path().join("poweroff")), ..Fixed::default() };
    let gate = Arc::clone(&execute.gate);
    let work = worker(&server.address.to_string(), folder.path(), execute);
    let release = async {
        server.until("that it is a success", |r| r.len() >= 2).await;
        gate.notify_one();
        std::future::pending::<()>().await;
    };
    let code = async {
        tokio::select! {
            code = work.run() => code,
            () = release => 0,
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(30), code).await.unwrap(), machine::exit::POWER_OFF);
}

#[tokio::test]
async fn what_the_machine_forbids_is_no_success_in_the_background_either() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    server.push(in_background("aside", "forbidden"));
    let execute = Fixed::default();
    let work = worker(&server.address.to_string(), folder.path(), execute.clone());
    while_working(work, async { server.until("its failure", |r| r.len() == 1).await }).await;
    assert_eq!(server.states(), [Failed]);
    assert!(execute.ran.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_background_that_the_server_may_have_missed_is_reported_until_it_answers() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    server.shared.script.lock().unwrap().answers = [Err(Status::internal("store")), Ok(()), Ok(())].into();
    server.push(in_background("aside", "i"));
    let execute = Fixed::default();
    let work = worker(&server.address.to_string(), folder.path(), execute.clone());
    let ran = async {
        server.until("the success", |r| r.len() == 3).await;
        while execute.ran.lock().unwrap().is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    while_working(work, ran).await;
    assert_eq!(server.states(), [Running, Running, Success]);
}
