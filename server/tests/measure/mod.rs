//! Measurements of a server process, through its sockets only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proto::ActionRequest;
use proto::workflow_service_client::WorkflowServiceClient;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonic::Request;
use tonic::transport::Channel;

use crate::process::{Addresses, Api, Process};

/// How many objects one apply has.
const BATCH: usize = 250;
/// What Thimble's agents say of how long they wait.
const WAITS: Duration = Duration::from_secs(240);
/// How many invented agents call at once.
const AT_ONCE: usize = 400;

pub fn mac(number: usize) -> String {
    let [.., a, b, c] = number.to_be_bytes();
    format!("52:54:01:{a:02x}:{b:02x}:{c:02x}")
}

pub const TEMPLATE: &str = "apiVersion: tinkerbell.org/v1alpha1\nkind: Template\nmetadata: {name: bench}\nspec:\n  data: |\n    name: bench\n    tasks:\n    - name: install\n      worker: \"{{ .worker }}\"\n      volumes: [/dev:/dev]\n      actions:\n      - {name: stream, image: \"quay.io/actions/image2disk:v1\", timeout: 600, environment: {DEST_DISK: \"{{ index .Hardware.Disks 0 }}\", IMG_URL: \"http://10.0.0.1/debian.raw.zst\"}}\n      - {name: configure, image: \"quay.io/actions/writefile:v1\", timeout: 90, environment: {DEST_PATH: /etc/hostname, CONTENTS: \"{{ .worker }}\"}}\n      - {name: reboot, image: \"quay.io/actions/reboot:v1\", timeout: 90}\n";

pub fn hardware(number: usize) -> String {
    format!(
        "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: node-{number}, labels: {{rack: r{}}}}}\nspec:\n  disks: [{{device: \
         /dev/vda}}]\n  interfaces: [{{dhcp: {{mac: '{}', hostname: node-{number}, ip: {{address: 10.{}.{}.{}, netmask: 255.0.0.0}}}}, netboot: {{allowPXE: \
         true}}}}]\n",
        number / 40,
        mac(number),
        number / 62_500,
        number / 250 % 250,
        number % 250 + 1
    )
}

pub fn workflow(number: usize) -> String {
    format!(
        "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Workflow\nmetadata: {{name: install-{number}}}\nspec: {{templateRef: bench, hardwareRef: node-{number}, \
         hardwareMap: {{worker: '{}'}}}}\n",
        mac(number)
    )
}

async fn applied(api: &Api, text: String) {
    let (status, answer) = api.apply(text).await.unwrap();
    assert_eq!(status, 200, "{answer}");
}

/// Creates this many Hardware, each with a workflow. They are numbered from `first`.
pub async fn fill(api: &Api, first: usize, count: usize) {
    applied(api, TEMPLATE.to_owned()).await;
    for start in (first..first + count).step_by(BATCH) {
        let numbers = start..(start + BATCH).min(first + count);
        applied(api, numbers.map(|number| hardware(number) + &workflow(number)).collect()).await;
    }
}

pub async fn fill_hardware(api: &Api, first: usize, count: usize) {
    for start in (first..first + count).step_by(BATCH) {
        applied(api, (start..(start + BATCH).min(first + count)).map(hardware).collect()).await;
    }
}

/// The milliseconds for one more Hardware and its Workflow. The servers take turns, so that other load on the host slows
/// all of them alike.
pub async fn one_more<const N: usize>(apis: [&Api; N], first: usize, count: usize) -> [Vec<f64>; N] {
    let mut times = [(); N].map(|()| Vec::new());
    for number in first..first + count {
        for (api, times) in apis.iter().zip(&mut times) {
            let text = hardware(number) + &workflow(number);
            let began = Instant::now();
            applied(api, text).await;
            times.push(milliseconds(began));
        }
    }
    times
}

/// Durable changes per second, one after the other.
pub async fn commit_rate(api: &Api, first: usize, count: usize) -> f64 {
    let began = Instant::now();
    for number in first..first + count {
        applied(api, hardware(number)).await;
    }
    count as f64 / began.elapsed().as_secs_f64()
}

/// Agents that wait for work, each with a separate connection.
pub struct Held {
    tasks: JoinSet<()>,
    /// Which agent got an action, and when.
    given: Arc<Mutex<Vec<(String, Instant)>>>,
}

impl Held {
    pub async fn calls(server: &Process, addresses: Addresses, agents: impl Iterator<Item = String>) -> Self {
        Self::by(server, agents, |number| addresses.agent_from(number)).await
    }

    /// With connections that `connect` makes.
    pub async fn by(
        server: &Process,
        agents: impl Iterator<Item = String>,
        connect: impl Fn(usize) -> WorkflowServiceClient<Channel>,
    ) -> Self {
        let (mut tasks, given) = (JoinSet::new(), Arc::<Mutex<Vec<_>>>::default());
        for (number, id) in agents.enumerate() {
            let (mut client, given) = (connect(number), Arc::clone(&given));
            tasks.spawn(async move {
                loop {
                    let mut request = Request::new(ActionRequest { agent_id: Some(id.clone()), agent_attributes: None });
                    request.set_timeout(WAITS);
                    match client.get_action(request).await {
                        Ok(_) => return given.lock().unwrap().push((id, Instant::now())),
                        Err(_) => sleep(Duration::from_millis(100)).await,
                    }
                }
            });
        }
        let held = Self { tasks, given };
        server.quiet(held.tasks.len()).await;
        held
    }

    /// The milliseconds from the acknowledged creation of a workflow until its agent has the action.
    pub async fn starts(&self, api: &Api, numbers: impl Iterator<Item = usize>) -> Vec<f64> {
        let mut times = Vec::new();
        for number in numbers {
            applied(api, workflow(number)).await;
            let acknowledged = Instant::now();
            let given = loop {
                let found = self.given.lock().unwrap().iter().find(|(id, _)| *id == mac(number)).map(|(_, at)| *at);
                if let Some(at) = found {
                    break at;
                }
                assert!(acknowledged.elapsed() < Duration::from_secs(20), "the agent {} got no action", mac(number));
                sleep(Duration::from_millis(1)).await;
            };
            times.push(given.saturating_duration_since(acknowledged).as_secs_f64() * 1000.0);
        }
        times
    }
}

/// Agents that no object names, each with one call.
pub async fn invent(addresses: Addresses, count: usize) {
    let (client, places, mut tasks) = (addresses.agent(), Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for number in 0..count {
        let place = Arc::clone(&places).acquire_owned().await.unwrap();
        let mut client = client.clone();
        tasks.spawn(async move {
            let request = ActionRequest { agent_id: Some(format!("invented-{number:06}")), agent_attributes: None };
            let _ = client.get_action(request).await; // the answer is that there is nothing to do
            drop(place);
        });
    }
    while tasks.join_next().await.is_some() {}
}

pub fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
