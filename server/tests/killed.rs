//! SIGKILL at random moments, while writers and agents work. Acknowledged writes stay, no action runs again after its
//! success was acknowledged, and all workflows continue. `cargo lab soak server` is the long form.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use api::paths::object;
use model::{Kind, ObjectName};
use process::{Addresses, Api, Dice, Process};
use proto::action_status_request::StateType;
use proto::{ActionRequest, ActionResponse, ActionStatusRequest};
use reqwest::Method;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const MACHINES: usize = 4;
const WRITERS: usize = 2;
/// The open workflows of each writer.
const OPEN_WORKFLOWS: usize = 6;
const LONGEST_ROUND_MS: u64 = 400;
/// One kill out of this many comes while the server starts.
const STARTS: u64 = 8;
const LONGEST_START_MS: u64 = 60;
const LONG_POLL: Duration = Duration::from_millis(50);
const NAME: &str = "serving_process";

/// The state of a workflow as clients know it. A call without an answer may have taken effect.
#[derive(Debug, Default, Clone)]
struct Known {
    writer: usize,
    created: bool,
    delete_sent: bool,
    deleted: bool,
    /// The numbers of its label: the acknowledged one and the latest sent one.
    label: (u64, u64),
    succeeded: BTreeSet<String>,
}

/// The clients' knowledge over all kills.
#[derive(Default)]
struct Ledger {
    workflows: BTreeMap<String, Known>,
    acknowledged: u64,
    broken: Vec<String>,
}

type Shared = Arc<Mutex<Ledger>>;

fn of(ledger: &Shared) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap()
}

impl Ledger {
    fn known(&mut self, name: &str) -> &mut Known {
        self.acknowledged += 1;
        self.workflows.get_mut(name).unwrap()
    }

    /// Compares the store after a restart with the clients' knowledge.
    fn check(&mut self, round: usize, listed: &[Value]) {
        let listed: BTreeMap<&str, &Value> =
            listed.iter().map(|workflow| (workflow["metadata"]["name"].as_str().unwrap(), workflow)).collect();
        for (name, known) in &self.workflows {
            let Some(workflow) = listed.get(name.as_str()) else {
                if known.created && !known.delete_sent {
                    self.broken.push(format!("round {round}: {name} was created but does not exist"));
                }
                continue;
            };
            if known.deleted {
                self.broken.push(format!("round {round}: {name} was deleted but exists"));
            }
            let label = workflow["metadata"]["labels"]["number"].as_str().map_or(0, |number| number.parse().unwrap());
            if label < known.label.0 || label > known.label.1 {
                self.broken.push(format!("round {round}: {name} has label {label}, but the clients know {:?}", known.label));
            }
            let states: BTreeMap<&str, &str> = actions(workflow)
                .map(|action| (action["id"].as_str().unwrap(), action["state"].as_str().unwrap_or_default()))
                .collect();
            for id in known.succeeded.iter().filter(|id| states.get(id.as_str()) != Some(&"SUCCESS")) {
                self.broken.push(format!("round {round}: {name} lost the success of action {id}: {states:?}"));
            }
        }
        self.workflows.retain(|_, known| !known.deleted);
    }
}

fn actions(workflow: &Value) -> impl Iterator<Item = &Value> {
    let tasks = workflow["status"]["tasks"].as_array().into_iter().flatten();
    tasks.flat_map(|task| task["actions"].as_array().into_iter().flatten())
}

fn mac(machine: usize) -> String {
    format!("52:54:00:00:00:{machine:02x}")
}

fn objects() -> String {
    let mut text = "apiVersion: tinkerbell.org/v1alpha1\nkind: Template\nmetadata: {name: two}\nspec:\n  data: |\n    name: two\n    tasks:\n    \
                    - name: t\n      worker: \"{{ .worker }}\"\n      actions:\n      - {name: a0, image: \"i:1\", timeout: 600}\n      - {name: a1, image: \
                    \"i:1\", timeout: 600}\n"
        .to_owned();
    for machine in 0..MACHINES {
        text += &format!(
            "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: m{machine}}}\nspec:\n  interfaces: [{{dhcp: {{mac: '{}'}}, \
             netboot: {{allowPXE: true}}}}]\n",
            mac(machine)
        );
    }
    text
}

fn workflow(name: &str, machine: usize, label: u64) -> String {
    format!(
        "apiVersion: tinkerbell.org/v1alpha1\nkind: Workflow\nmetadata: {{name: {name}, labels: {{number: '{label}'}}}}\nspec: {{templateRef: two, \
         hardwareRef: m{machine}, hardwareMap: {{worker: '{}'}}}}\n",
        mac(machine)
    )
}

/// Creates, changes and deletes workflows until the server is gone.
async fn write(api: Api, ledger: Shared, writer: usize, mut dice: Dice) -> Result<(), reqwest::Error> {
    loop {
        let mine: Vec<(String, Known)> = {
            let ledger = of(&ledger);
            let mine = ledger.workflows.iter().filter(|(_, known)| known.writer == writer && !known.delete_sent);
            mine.map(|(name, known)| (name.clone(), known.clone())).collect()
        };
        let Some((name, known)) = mine.get(usize::try_from(dice.below(OPEN_WORKFLOWS as u64)).unwrap()) else {
            let machine = usize::try_from(dice.below(MACHINES as u64)).unwrap();
            let name = format!("w{writer}-m{machine}-{:016x}", dice.below(u64::MAX));
            of(&ledger).workflows.insert(name.clone(), Known { writer, ..Known::default() });
            let (status, answer) = api.apply(workflow(&name, machine, 0)).await?;
            assert_eq!(status, 200, "{answer}");
            of(&ledger).known(&name).created = true;
            continue;
        };
        if known.succeeded.len() == 2 && dice.below(2) == 0 {
            of(&ledger).workflows.get_mut(name).unwrap().delete_sent = true;
            let (status, answer) = api
                .call(Method::DELETE, &object(Kind::Workflow, &ObjectName::new("default", name.as_str())), String::new())
                .await?;
            assert!(status == 200 || status == 404, "{status} {answer}");
            of(&ledger).known(name).deleted = true;
        } else if known.created {
            let (machine, number) = (name.split(['m', '-']).nth(2).unwrap().parse().unwrap(), known.label.1 + 1);
            of(&ledger).workflows.get_mut(name).unwrap().label.1 = number;
            let (status, answer) = api.apply(workflow(name, machine, number)).await?;
            assert_eq!(status, 200, "{answer}");
            of(&ledger).known(name).label.0 = number;
        } else {
            of(&ledger).workflows.get_mut(name).unwrap().delete_sent = true; // its creation was not acknowledged
        }
    }
}

/// Asks, runs and reports until the server is gone.
async fn run(addresses: Addresses, ledger: Shared, machine: usize) -> Result<(), tonic::Status> {
    let mut client = addresses.agent();
    loop {
        let request = ActionRequest { agent_id: Some(mac(machine)), agent_attributes: None };
        let action = match client.get_action(request).await {
            Ok(action) => action.into_inner(),
            Err(status) if status.code() == tonic::Code::NotFound => continue,
            Err(status) if status.code() == tonic::Code::FailedPrecondition => continue,
            Err(status) => return Err(status),
        };
        let (name, id) = (action.workflow_id().trim_start_matches("default/").to_owned(), action.action_id().to_owned());
        {
            let mut ledger = of(&ledger);
            if ledger.workflows.get(&name).is_some_and(|known| known.succeeded.contains(&id)) {
                ledger.broken.push(format!("{name}: action {id} was handed out after its success was acknowledged"));
            }
        }
        for state in [StateType::Running, StateType::Success] {
            match client.report_action_status(report(&action, state)).await {
                Ok(_) if state == StateType::Success => {
                    let mut ledger = of(&ledger);
                    ledger.acknowledged += 1;
                    if let Some(known) = ledger.workflows.get_mut(&name) {
                        known.succeeded.insert(id.clone());
                    }
                }
                Ok(_) => of(&ledger).acknowledged += 1,
                Err(status) if status.code() == tonic::Code::Unavailable || status.code() == tonic::Code::Unknown => {
                    return Err(status);
                }
                Err(_) => break, // the workflow was deleted meanwhile
            }
        }
    }
}

fn report(action: &ActionResponse, state: StateType) -> ActionStatusRequest {
    ActionStatusRequest {
        workflow_id: action.workflow_id.clone(),
        agent_id: action.agent_id.clone(),
        task_id: action.task_id.clone(),
        action_id: action.action_id.clone(),
        action_name: action.name.clone(),
        action_state: Some(state.into()),
        ..ActionStatusRequest::default()
    }
}

fn begin_work(addresses: Addresses, ledger: &Shared, seed: u64) -> JoinSet<String> {
    let (mut work, api) = (JoinSet::new(), Api::of(addresses));
    for writer in 0..WRITERS {
        let (api, ledger, dice) = (api.clone(), ledger.clone(), Dice(seed ^ (writer as u64 + 1)));
        work.spawn(async move { write(api, ledger, writer, dice).await.unwrap_err().to_string() });
    }
    for machine in 0..MACHINES {
        let ledger = ledger.clone();
        work.spawn(async move { run(addresses, ledger, machine).await.unwrap_err().to_string() });
    }
    work
}

fn start(store: &std::path::Path) -> Process {
    Process::start(&["--exact", NAME, "--nocapture", "--test-threads=1"], store, LONG_POLL)
}

/// Not a real test: it is the process that is killed.
#[test]
fn serving_process() {
    process::serve_if_asked();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_repeated_by_kill_9() {
    if process::is_serving_process() {
        return;
    }
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let kills = usize::try_from(number("THIMBLE_KILLS").unwrap_or(10)).unwrap();
    let seed = number("THIMBLE_SEED").unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs());
    let mut dice = Dice(seed);
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("thimble.redb");
    let (ledger, began, mut early) = (Shared::default(), Instant::now(), 0);
    for round in 1..=kills {
        let mut server = start(&store);
        let addresses = if dice.below(STARTS) == 0 {
            timeout(Duration::from_millis(dice.below(LONGEST_START_MS)), server.addresses()).await.ok().flatten()
        } else {
            Some(server.addresses().await.expect("the server starts"))
        };
        let Some(addresses) = addresses else {
            early += 1;
            server.kill();
            continue;
        };
        let api = Api::of(addresses);
        let listed = api.list("workflows").await;
        of(&ledger).check(round, &listed);
        assert_eq!(of(&ledger).broken, Vec::<String>::new(), "seed {seed}");
        assert_eq!(api.apply(objects()).await.unwrap().0, 200);
        let mut work = begin_work(addresses, &ledger, dice.below(u64::MAX));
        sleep(Duration::from_millis(dice.below(LONGEST_ROUND_MS))).await;
        server.kill();
        while let Some(ended) = timeout(Duration::from_secs(20), work.join_next()).await.expect("a client hangs") {
            let ended = ended.expect("a client failed");
            assert!(!ended.is_empty());
        }
    }
    let left = finish(&store, &ledger).await;
    let ledger = of(&ledger);
    println!(
        "seed {seed}: {kills} kills ({early} before the server listened) in {:.0} s, {} calls acknowledged, nothing lost, nothing repeated, {left} \
         workflows continued to their end",
        began.elapsed().as_secs_f64(),
        ledger.acknowledged
    );
    assert_eq!(ledger.broken, Vec::<String>::new(), "seed {seed}");
}

/// Only agents, without further kills: every workflow ends.
async fn finish(store: &std::path::Path, ledger: &Shared) -> usize {
    let mut server = start(store);
    let addresses = server.addresses().await.expect("the server starts");
    let api = Api::of(addresses);
    let listed = api.list("workflows").await;
    of(ledger).check(usize::MAX, &listed);
    let mut work = JoinSet::new();
    for machine in 0..MACHINES {
        let ledger = ledger.clone();
        work.spawn(async move { run(addresses, ledger, machine).await });
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let open: Vec<Value> =
            api.list("workflows").await.into_iter().filter(|workflow| workflow["status"]["state"] != "SUCCESS").collect();
        if open.is_empty() {
            return listed.iter().filter(|workflow| workflow["status"]["state"] != "SUCCESS").count();
        }
        assert!(Instant::now() < deadline, "{} workflows are stuck: {}", open.len(), open[0]);
        sleep(Duration::from_millis(20)).await;
    }
}
