//! The JSON of each type, written out: programs of other versions read it.
#![allow(clippy::unwrap_used)]

use std::fmt::Debug;

use api::{
    Agent, Applied, Attributes, AuditLine, BootState, Booted, Cancelled, Change, Changed, Decision, Event, HistoryEntry, Intent,
    Link, List, Machine, MachineLine, MachineState, Member, MemberState, Milestone, Neighbour, Order, OrderKind, Platform,
    Problem, Queued, Rollout, RolloutChange, RolloutOrder, RolloutProgress, RolloutSpec, RolloutState, RunningAction, WaitPhase,
    Waiting, What, WorkflowChange, WorkflowOrder, WorkflowOrdered,
};
use jiff::Timestamp;
use model::{ActionState, AgentId, Hardware, Kind, Mistake, Progress, WorkflowState};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Writes `value` as `text`, and reads it back.
fn travels<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, text: &str) {
    let expected: Value = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_value(value).unwrap(), expected);
    assert_eq!(serde_json::from_str::<T>(text).unwrap(), *value, "{text}");
}

fn hardware() -> Hardware {
    let hardware = json!({"apiVersion": "tinkerbell.org/v1alpha1", "kind": "Hardware", "metadata": {"name": "m1"}, "spec": {}});
    serde_json::from_value(hardware).unwrap()
}

fn event(what: What) -> Event {
    Event { revision: 7, time: Timestamp::UNIX_EPOCH, what }
}

#[test]
fn an_event_is_one_flat_object() {
    let agent = AgentId::from("a");
    let mac = "52:54:00:00:00:01".parse().unwrap();
    for (what, text) in [
        (
            What::Object { kind: Kind::Template, name: "default/t".into(), change: Change::Deleted },
            r#""type":"object","kind":"Template","name":"default/t","change":"deleted""#,
        ),
        (
            What::Workflow { workflow: "default/w".into(), state: Some(WorkflowState::Running), message: String::new() },
            r#""type":"workflow","workflow":"default/w","state":"RUNNING""#,
        ),
        (
            What::Action {
                workflow: "default/w".into(),
                task: "t".into(),
                action: "stream".into(),
                agent: agent.clone(),
                state: ActionState::Failed,
                attempts: 2,
                duration: "3s".into(),
                message: "no disk".into(),
            },
            r#""type":"action","workflow":"default/w","task":"t","action":"stream","agent":"a","state":"FAILED","attempts":2,
               "duration":"3s","message":"no disk""#,
        ),
        (What::Agent { agent, address: "10.0.0.7:1".into() }, r#""type":"agent","agent":"a","address":"10.0.0.7:1""#),
        (
            What::Machine { mac, milestone: "offered".into(), detail: "10.0.0.7".into() },
            r#""type":"machine","mac":"52:54:00:00:00:01","milestone":"offered","detail":"10.0.0.7""#,
        ),
        (What::Booted { mac, text: "up".into() }, r#""type":"booted","mac":"52:54:00:00:00:01","text":"up""#),
        (What::Log { source: "m1".into(), text: "hello".into() }, r#""type":"log","source":"m1","text":"hello""#),
        (
            What::Intent { hardware: "default/m".into(), intent: Intent::Hold, by: "ada".into(), reason: "repair".into() },
            r#""type":"intent","hardware":"default/m","intent":"hold","by":"ada","reason":"repair""#,
        ),
        (What::Missed { count: Some(5) }, r#""type":"missed","count":5"#),
        (What::Missed { count: None }, r#""type":"missed","count":null"#),
    ] {
        travels(&event(what), &format!(r#"{{"revision":7,"time":"1970-01-01T00:00:00Z",{text}}}"#));
    }
}

#[test]
fn a_machine_is_its_hardware_with_what_it_shall_boot() {
    let bare = serde_json::to_string(&hardware()).unwrap();
    let known = |mac: Option<&str>, boot| Machine {
        mac: mac.map(|mac| mac.parse().unwrap()),
        hardware: hardware(),
        boot,
        state: None,
        queue: Vec::new(),
        agent: None,
        booted: None,
        same_address: Vec::new(),
        last_step: None,
    };
    travels(
        &known(Some("52:54:00:00:00:01"), BootState::Install { workflow: Some("default/w".into()) }),
        &format!(r#"{{"mac":"52:54:00:00:00:01","hardware":{bare},"boot":"install","workflow":"default/w"}}"#),
    );
    travels(
        &known(None, BootState::Wait { reason: "there is no workflow".into() }),
        &format!(r#"{{"mac":null,"hardware":{bare},"boot":"wait","reason":"there is no workflow"}}"#),
    );
    let mut all = known(None, BootState::Local { reason: "done".into() });
    all.booted = Some(Booted { time: Timestamp::UNIX_EPOCH, text: "up".into() });
    all.agent = Some(Agent {
        id: AgentId::from("a"),
        last_seen: Timestamp::UNIX_EPOCH,
        address: Some("10.0.0.7:80".parse().unwrap()),
        encrypted: None,
        attributes: None,
        modaliases: vec!["pci:v1".into()],
        progress: Some(Progress { workflow: "default/w".into(), action: "stream".into(), percent: 45 }),
    });
    travels(
        &all,
        &format!(
            r#"{{"mac":null,"hardware":{bare},"boot":"local","reason":"done",
                "booted":{{"time":"1970-01-01T00:00:00Z","text":"up"}},
                "agent":{{"id":"a","lastSeen":"1970-01-01T00:00:00Z","address":"10.0.0.7:80","attributes":null,
                          "modaliases":["pci:v1"],
                          "progress":{{"workflow":"default/w","action":"stream","percent":45}}}}}}"#
        ),
    );
}

#[test]
fn absent_attributes_are_left_out_and_empty_ones_stay() {
    let neighbour = Neighbour { port: Some("gi1/0/7".into()), ..Neighbour::default() };
    let link = Link { mac: Some(String::new()), neighbour: Some(neighbour), ..Link::default() };
    let boot = vec![Milestone { name: Some("init".into()), milliseconds: Some(931) }];
    let platform =
        Platform { secure_boot: Some(true), pcr11: Some("00a1".into()), numa_nodes: Some(2), boot, ..Platform::default() };
    travels(
        &Attributes { network_interfaces: vec![link], platform: Some(platform), ..Attributes::default() },
        r#"{"networkInterfaces":[{"mac":"","neighbour":{"port":"gi1/0/7"}}],
            "platform":{"secureBoot":true,"pcr11":"00a1","numaNodes":2,"boot":[{"name":"init","milliseconds":931}]}}"#,
    );
    travels(&Attributes::default(), "{}");
}

#[test]
fn applying_answers_with_changes_or_with_mistakes() {
    let changed = |change, problem: Option<&str>| Changed {
        kind: Kind::Workflow,
        name: "default/w".into(),
        change,
        problem: problem.map(str::to_owned),
    };
    let changes =
        vec![changed(Change::Created, None), changed(Change::Updated, Some("disabled")), changed(Change::Unchanged, None)];
    travels(
        &Applied { changes, ..Applied::default() },
        r#"{"changes":[{"kind":"Workflow","name":"default/w","change":"created"},
                       {"kind":"Workflow","name":"default/w","change":"updated","problem":"disabled"},
                       {"kind":"Workflow","name":"default/w","change":"unchanged"}]}"#,
    );
    let mistake = Mistake {
        file: "f".into(),
        line: 3,
        column: 5,
        path: "spec".into(),
        message: "unknown key".into(),
        hint: Some("did you mean".into()),
    };
    travels(
        &Applied { error: Some("nothing was changed: 1 mistakes".into()), mistakes: vec![mistake], ..Applied::default() },
        r#"{"error":"nothing was changed: 1 mistakes","changes":[],"mistakes":[
            {"file":"f","line":3,"column":5,"path":"spec","message":"unknown key","hint":"did you mean"}]}"#,
    );
}

#[test]
fn an_intent_has_who_set_it_when_and_why() {
    let decision = |intent, reason: &str| Decision { intent, by: "ada".into(), at: Timestamp::UNIX_EPOCH, reason: reason.into() };
    let state = MachineState {
        decision: decision(Intent::Install, "w"),
        orders: vec!["default/w".into()],
        begun: true,
        before: Some(decision(Intent::Local, "done")),
        finished: true,
        returns: vec![Timestamp::UNIX_EPOCH],
        former: vec!["a".into()],
    };
    travels(
        &state,
        r#"{"intent":"install","by":"ada","at":"1970-01-01T00:00:00Z","reason":"w","orders":["default/w"],"begun":true,
            "before":{"intent":"local","by":"ada","at":"1970-01-01T00:00:00Z","reason":"done"},"finished":true,
            "returns":["1970-01-01T00:00:00Z"],"former":["a"]}"#,
    );
    let line = MachineLine {
        hardware: "default/m".into(),
        decision: decision(Intent::Discover, "it waits"),
        orders: Vec::new(),
        address: Some("10.0.0.7:80".parse().unwrap()),
        last_seen: Some(Timestamp::UNIX_EPOCH),
    };
    travels(
        &line,
        r#"{"hardware":"default/m","intent":"discover","by":"ada","at":"1970-01-01T00:00:00Z","reason":"it waits",
            "address":"10.0.0.7:80","lastSeen":"1970-01-01T00:00:00Z"}"#,
    );
    let order = Order { order: OrderKind::Reinstall, by: "ada".into(), reason: String::new() };
    travels(&order, r#"{"order":"reinstall","by":"ada","reason":""}"#);
    for intent in Intent::ALL {
        travels(&intent, &format!("\"{intent}\""));
    }
}

#[test]
fn lists_refusals_and_cancellations_are_objects() {
    travels(
        &List::of(Kind::Template, vec![json!({"a": 1})]),
        r#"{"apiVersion":"tinkerbell.org/v1alpha1","kind":"TemplateList","items":[{"a":1}]}"#,
    );
    travels(&Problem { error: "no such thing".into() }, r#"{"error":"no such thing"}"#);
    travels(&Cancelled { ended: true, running: None }, r#"{"ended":true}"#);
    let running = RunningAction { agent: AgentId::from("a"), action: "stream".into() };
    travels(&Cancelled { ended: false, running: Some(running) }, r#"{"ended":false,"agent":"a","action":"stream"}"#);
}

#[test]
fn a_rollout_travels_with_its_machines() {
    let spec: RolloutSpec = serde_json::from_str(r#"{"selector":"rack=7","templateRef":"debian"}"#).unwrap();
    assert_eq!((spec.at_once, spec.stop_after, spec.machine_timeout, spec.worker_key.as_str()), (1, 1, 0, "device_1"));
    let rollout = Rollout {
        namespace: "default".into(),
        name: "r".into(),
        spec: RolloutSpec { waves: vec![1], ..spec },
        state: RolloutState::Running,
        reason: "started".into(),
        by: "ada".into(),
        at: Timestamp::UNIX_EPOCH,
        forgiven: 0,
        waves: vec![vec!["m1".into()], vec!["m2".into()]],
    };
    let member =
        Member { hardware: "m1".into(), wave: 1, workflow: "r-m1".into(), state: MemberState::Ordered, message: String::new() };
    travels(
        &RolloutProgress { rollout, members: vec![member] },
        r#"{"namespace":"default","name":"r","state":"running","reason":"started","by":"ada","at":"1970-01-01T00:00:00Z",
            "forgiven":0,"waves":[["m1"],["m2"]],
            "spec":{"selector":"rack=7","templateRef":"debian","workerKey":"device_1","atOnce":1,"waves":[1],"stopAfter":1,
                    "machineTimeout":0},
            "members":[{"hardware":"m1","wave":1,"workflow":"r-m1","state":"ordered"}]}"#,
    );
    let order = RolloutOrder { order: RolloutChange::Pause, by: "ada".into(), reason: "why".into() };
    travels(&order, r#"{"order":"pause","by":"ada","reason":"why"}"#);
}

#[test]
fn orders_for_a_workflow_and_its_log_travel() {
    let order = WorkflowOrder { change: WorkflowChange::Pause, by: "ada".into(), reason: "why".into() };
    travels(&order, r#"{"order":"pause","by":"ada","reason":"why"}"#);
    let order =
        WorkflowOrder { change: WorkflowChange::Retry { from: Some("disk".into()) }, by: String::new(), reason: String::new() };
    travels(&order, r#"{"order":"retry","from":"disk","by":"","reason":""}"#);
    let ordered = WorkflowOrdered { workflow: "default/w-run2".into(), message: "m".into() };
    travels(&ordered, r#"{"workflow":"default/w-run2","message":"m"}"#);
    let waiting =
        Waiting { phase: WaitPhase::Boot, reason: "r".into(), since: Timestamp::UNIX_EPOCH, limit: 1200, overdue: true };
    let queued = Queued { workflow: "default/w".into(), state: Some(WorkflowState::Pending), waiting: Some(waiting) };
    travels(
        &queued,
        r#"{"workflow":"default/w","state":"PENDING",
            "waiting":{"phase":"boot","reason":"r","since":"1970-01-01T00:00:00Z","limit":1200,"overdue":true}}"#,
    );
    let entry = HistoryEntry { number: 1, time: Timestamp::UNIX_EPOCH, event: "paused".into(), text: "paused by ada".into() };
    travels(&entry, r#"{"number":1,"time":"1970-01-01T00:00:00Z","event":"paused","text":"paused by ada"}"#);
}

#[test]
fn a_line_of_the_audit_log_is_what_the_files_have() {
    let line = AuditLine {
        time: Timestamp::UNIX_EPOCH,
        user: "alice".to_owned(),
        roles: "operator".to_owned(),
        token: Some("00ff".to_owned()),
        from: "10.0.0.7:4000".to_owned(),
        method: "DELETE".to_owned(),
        path: "/x".to_owned(),
        code: 204,
        agent: String::new(),
    };
    travels(
        &line,
        r#"{"time":"1970-01-01T00:00:00Z","user":"alice","roles":"operator","token":"00ff","from":"10.0.0.7:4000","method":"DELETE",
            "path":"/x","code":204}"#,
    );
}
