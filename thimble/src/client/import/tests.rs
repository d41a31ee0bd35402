//! Export and import between servers in this process.

use std::time::Duration;

use access::{Access, Local, Names};
use api::{MachineLine, OrderKind};
use model::{ActionState, AgentId, ObjectName, parse_documents};
use proptest::prelude::*;
use server::progress::Report;
use server::{Config, Server};

use super::super::export::{self, Form, Selection};
use super::super::{Connection, ServerArgs};
use super::*;

struct Host {
    server: Server,
    connection: Connection,
    folder: tempfile::TempDir,
}

impl Host {
    async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default(); // another test may have done it
        let config = Config { long_poll: Duration::from_millis(1), ..Config::default() };
        let server = Server::open(config).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("api.sock");
        let access = Access::open(&folder.path().join("data"), Names::local(), jiff::Timestamp::now()).unwrap();
        let router = access.admit(server::http::for_callers(server.clone()));
        tokio::spawn(Local::bind(&socket).unwrap().serve(router, Duration::ZERO, std::future::pending()));
        let url = format!("unix:{}", socket.display());
        let connection = Connection::to(&ServerArgs { url: Some(url), ca_file: None, kubeconfig: None }).unwrap();
        Self { server, connection, folder }
    }

    async fn apply(&self, text: &str) {
        self.server.apply(parse_documents(text, "f").unwrap()).await.unwrap();
    }

    async fn export(&self, kinds: &[&str]) -> String {
        let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        let mut out = Vec::new();
        let selection = Selection { kinds, namespace: None, selector: None };
        export::run(&self.connection, &selection, Form::Yaml, &mut out).await.unwrap();
        String::from_utf8(out).unwrap()
    }

    async fn import(&self, text: &str) -> String {
        let file = self.folder.path().join("export.yaml");
        std::fs::write(&file, text).unwrap();
        let mut out = Vec::new();
        let code = run(&self.connection, &[file], Output::Table, &mut out).await.unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(code, ExitCode::SUCCESS, "{out}\n{text}");
        out
    }

    fn intents(&self) -> Vec<(String, api::Intent, Vec<String>)> {
        let line = |line: MachineLine| (line.hardware, line.decision.intent, line.orders);
        self.server.machine_lines().into_iter().map(line).collect()
    }
}

fn mac(machine: usize) -> String {
    format!("52:54:00:00:00:{machine:02x}")
}

fn hardware(machine: usize) -> String {
    format!(
        "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: m{machine}, labels: {{rack: 'r{}'}}}}\nspec: {{interfaces: \
         [{{dhcp: {{mac: '{}'}}, netboot: {{allowPXE: true}}}}]}}\n",
        machine % 2,
        mac(machine)
    )
}

const TEMPLATE: &str = "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Template\nmetadata: {name: t}\nspec:\n  data: |\n    name: t\n    tasks:\n    \
                        - name: t\n      worker: '{{ .worker }}'\n      actions: [{name: a, image: 'i:1', timeout: 60}]\n";

fn workflow(name: &str, machine: usize, status: &str) -> String {
    format!(
        "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Workflow\nmetadata: {{name: {name}}}\nspec: {{templateRef: t, hardwareRef: m{machine}, \
         hardwareMap: {{worker: '{}'}}}}\n{status}",
        mac(machine)
    )
}

/// What has happened to a workflow.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Ordered,
    Begun,
    Ran(ActionState),
    Came(&'static str),
}

async fn live(host: &Host, name: &str, machine: usize, fate: Fate) {
    let status = if let Fate::Came(state) = fate { format!("status: {{state: {state}}}\n") } else { String::new() };
    host.apply(&workflow(name, machine, &status)).await;
    let states = match fate {
        Fate::Begun => &[ActionState::Running][..],
        Fate::Ran(end) => &[ActionState::Running, end],
        Fate::Ordered | Fate::Came(_) => return,
    };
    let agent = AgentId(mac(machine));
    // It gets the workflow whose turn it is, or nothing where the machine is held.
    let Ok(assignment) = host.server.next_action(&agent).await else { return };
    for state in states {
        let (task_id, action_id) = (assignment.task.id.clone(), assignment.action.id.clone());
        let report = Report { agent: agent.clone(), task_id, action_id, state: *state, ..Report::default() };
        let _ = host.server.report(&assignment.workflow, &report).await; // one that has begun may have ended
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        Just(Fate::Ordered),
        Just(Fate::Begun),
        Just(Fate::Ran(ActionState::Success)),
        Just(Fate::Ran(ActionState::Failed)),
        Just(Fate::Ran(ActionState::Timeout)),
        Just(Fate::Came("SUCCESS")),
        Just(Fate::Came("FAILED")),
    ]
}

fn order() -> impl Strategy<Value = Option<OrderKind>> {
    let order = prop_oneof![
        Just(OrderKind::Hold),
        Just(OrderKind::Rescue),
        Just(OrderKind::Local),
        Just(OrderKind::Reinstall),
        Just(OrderKind::Approve),
    ];
    proptest::option::of(order)
}

/// What happens to one machine, in order.
type Life = Vec<(Fate, Option<OrderKind>)>;

async fn moved_whole(lives: &[Life]) {
    let (from, to) = (Host::new().await, Host::new().await);
    from.apply(TEMPLATE).await;
    for (machine, life) in lives.iter().enumerate() {
        from.apply(&hardware(machine)).await;
        for (turn, (fate, order)) in life.iter().enumerate() {
            live(&from, &format!("w{machine}-{turn}"), machine, *fate).await;
            if let Some(order) = order {
                let _ = from.server.order(&format!("m{machine}"), *order, "ops", "a test").await; // some make no sense now
            }
        }
    }
    let exported = from.export(&[]).await;
    to.import(&exported).await;
    assert_eq!(to.intents(), from.intents(), "{exported}");
    assert_eq!(to.export(&[]).await, exported);
    let again = to.import(&exported).await;
    assert!(!again.contains("Workflow default/w0-0 created"), "{again}");
    assert_eq!(to.intents(), from.intents(), "a second import changes nothing: {exported}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_export_makes_the_same_objects_and_intents_on_an_empty_server(
        lives in proptest::collection::vec(proptest::collection::vec((fate(), order()), 0..4), 1..4)
    ) {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(moved_whole(&lives));
    }
}

#[tokio::test]
async fn an_import_without_intents_installs_nothing() {
    let (from, to) = (Host::new().await, Host::new().await);
    from.apply(&format!("{TEMPLATE}{}{}", hardware(1), workflow("w", 1, ""))).await;
    assert_eq!(from.intents()[0].1, api::Intent::Install);
    to.import(&from.export(&["hardware", "tpl", "workflow"]).await).await;
    assert_eq!(to.intents()[0].1, api::Intent::Hold, "a person approves it");
    to.server.order("m1", OrderKind::Approve, "ops", "").await.unwrap();
    assert_eq!(to.intents()[0].1, api::Intent::Install);
    assert!(to.server.next_action(&AgentId(mac(1))).await.is_ok());
}

#[tokio::test]
async fn a_machine_that_the_server_knows_keeps_its_intent() {
    let host = Host::new().await;
    host.apply(&format!("{TEMPLATE}{}", hardware(1))).await;
    live(&host, "first", 1, Fate::Ran(ActionState::Success)).await;
    let state = "---\napiVersion: thimble.dev/v1alpha1\nkind: MachineState\nmetadata: {name: m1}\nspec: {intent: install, orders: [default/w]}\n";
    host.import(&format!("{}{state}", workflow("w", 1, ""))).await;
    assert_eq!(host.intents(), [("default/m1".to_owned(), api::Intent::Local, Vec::new())]);
    assert!(host.server.next_action(&AgentId(mac(1))).await.is_err());
}

#[tokio::test]
async fn a_list_of_kubectl_is_imported_with_secrets_and_without_foreign_kinds() {
    let host = Host::new().await;
    let text = format!(
        "apiVersion: v1\nkind: List\nmetadata: {{resourceVersion: ''}}\nitems:\n- apiVersion: v1\n  kind: Secret\n  metadata: {{name: s, namespace: \
         lab, uid: 1f, resourceVersion: '9', creationTimestamp: 2026-01-01T00:00:00Z, managedFields: [{{manager: kubectl}}]}}\n  type: Opaque\n  \
         data: {{password: aHVudGVyMg==}}\n- apiVersion: apps/v1\n  kind: Deployment\n  metadata: {{name: d}}\n{}",
        "- apiVersion: tinkerbell.org/v1alpha1\n  kind: Workflow\n  metadata: {name: w, namespace: lab, uid: 2f, generation: 3}\n  spec: \
         {templateRef: t}\n  status: {state: STATE_SUCCESS, tasks: []}\n"
    );
    let said = host.import(&text).await;
    assert!(said.contains("Namespace lab created\nSecret lab/s created\nWorkflow lab/w created"), "{said}");
    let exported = host.export(&["secrets", "workflows"]).await;
    assert!(exported.contains("password: aHVudGVyMg==") && exported.contains("state: SUCCESS"), "{exported}");
    assert!(!exported.contains("uid") && !exported.contains("managedFields"), "{exported}");
    assert!(host.server.get(model::Kind::Workflow, &ObjectName::new("lab", "w")).is_some());
    assert!(host.import(&text).await.contains("Secret lab/s updated"), "twice is as good as once");
}

#[tokio::test]
async fn an_export_can_be_narrowed() {
    let host = Host::new().await;
    host.apply(&format!("{}{}", hardware(1), hardware(2))).await;
    let select = |kinds: &[&str], namespace: Option<&str>, selector: Option<&str>| Selection {
        kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        namespace: namespace.map(str::to_owned),
        selector: selector.map(str::to_owned),
    };
    for (case, selection, expected) in [
        ("a label", select(&["hw"], None, Some("rack=r1")), &["m1"][..]),
        ("a set of labels", select(&["hw"], None, Some("rack in (r0,r1), rack!=r1")), &["m2"]),
        ("another namespace", select(&["hw"], Some("lab"), None), &[]),
        ("another kind", select(&["templates"], None, None), &[]),
    ] {
        let mut out = Vec::new();
        export::run(&host.connection, &selection, Form::Yaml, &mut out).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("  name: ")).collect();
        assert_eq!(names, expected, "{case}: {text}");
    }
    let unknown = export::run(&host.connection, &select(&["pods"], None, None), Form::Yaml, &mut Vec::new()).await.unwrap_err();
    assert!(unknown.to_string().contains("there are namespaces, configmaps, secrets"), "{unknown}");
}

#[tokio::test]
async fn a_mistake_is_named_with_its_line_and_nothing_is_imported() {
    let host = Host::new().await;
    let file = host.folder.path().join("wrong.yaml");
    std::fs::write(
        &file,
        format!(
            "{}---\napiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: x}}\nspec: {{disk: []}}\n",
            hardware(1)
        ),
    )
    .unwrap();
    let mut out = Vec::new();
    assert_eq!(run(&host.connection, &[file], Output::Table, &mut out).await.unwrap(), ExitCode::FAILURE);
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("wrong.yaml:10:") && out.contains("disk"), "{out}");
    assert!(host.intents().is_empty() && host.export(&["hw"]).await.is_empty());
}
