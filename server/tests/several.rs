//! Two servers on three members of etcd, and agents that choose a server for each call. Members and a server fail meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lab;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd::cluster::{Cluster, LIMITS};
use lab::{Agent, Lab, apply, soon, template};
use proto::action_status_request::StateType;
use proto::workflow_service_client::WorkflowServiceClient;
use server::Config;
use server::store::EtcdSettings;
use tonic::Code;
use tonic::transport::Endpoint;

const MACHINES: usize = 12;
const ACTIONS: usize = 4;

fn mac(number: usize) -> String {
    format!("02:00:00:00:01:{number:02x}")
}

fn machine(number: usize) -> String {
    let mac = mac(number);
    format!(
        "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: m{number}}}\nspec: {{disks: [{{device: /dev/vda}}], \
         interfaces: [{{dhcp: {{mac: '{mac}'}}, netboot: {{allowPXE: true}}}}]}}\n{}",
        lab::workflow(&format!("w{number}"), "four", &format!("m{number}"), &mac)
    )
}

/// An agent that calls the servers in no order, and what it has done.
struct Wanderer {
    number: usize,
    calls: usize,
    servers: Vec<std::net::SocketAddr>,
    /// Actions whose success was acknowledged.
    done: BTreeSet<String>,
}

impl Wanderer {
    /// Each call goes to another server than the ones before, as a hash says.
    async fn agent(&mut self) -> Option<Agent> {
        self.calls += 1;
        let mixed = (self.number * 31 + self.calls).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let server = self.servers[mixed % self.servers.len()];
        let channel = Endpoint::from_shared(format!("http://{server}")).unwrap().connect().await.ok()?;
        Some(Agent { id: mac(self.number), client: WorkflowServiceClient::new(channel) })
    }

    /// Repeats a report until a server takes it, as the agent does.
    async fn say(&mut self, action: &proto::ActionResponse, state: StateType) {
        loop {
            let Some(mut agent) = self.agent().await else { continue };
            match agent.say(action, state).await {
                Ok(()) => return,
                Err(status) if matches!(status.code(), Code::Unavailable | Code::Internal | Code::Unknown | Code::Cancelled) => {}
                Err(status) => panic!("a report of {state:?} is refused: {status}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn work(mut self, steps: Arc<AtomicUsize>) -> BTreeSet<String> {
        while self.done.len() < ACTIONS {
            let Some(mut agent) = self.agent().await else { continue };
            let Ok(action) = agent.ask().await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let id = action.action_id.clone().unwrap();
            assert!(!self.done.contains(&id), "{} is handed out again after its success", action.name());
            self.say(&action, StateType::Running).await;
            self.say(&action, StateType::Success).await;
            self.done.insert(id);
            steps.fetch_add(1, Ordering::Relaxed);
        }
        self.done
    }
}

async fn reached(steps: &AtomicUsize, count: usize) {
    soon(async {
        while steps.load(Ordering::Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn agents_that_wander_between_two_servers_lose_nothing_and_run_nothing_twice() {
    let mut cluster = match Cluster::start(3, LIMITS) {
        Ok(cluster) => cluster,
        Err(reason) => return eprintln!("SKIPPED: {reason}"),
    };
    let etcd = Some(EtcdSettings { address: cluster.address("site"), tls: None });
    let config = || Config { etcd: etcd.clone(), long_poll: Duration::from_millis(500), ..Config::default() };
    let (one, other) = (Lab::start(config()).await, Lab::start(config()).await);
    let objects: String = (0..MACHINES).map(machine).collect();
    apply(&one.server, &(template("four", ACTIONS) + &objects)).await;
    let steps = Arc::new(AtomicUsize::new(0));
    let servers = vec![one.grpc, other.grpc];
    let wander = |number| {
        let wanderer = Wanderer { number, calls: 0, servers: servers.clone(), done: BTreeSet::new() };
        tokio::spawn(wanderer.work(Arc::clone(&steps)))
    };
    let agents: Vec<_> = (0..MACHINES).map(wander).collect();
    // Each member is away for a while, and in the end one server for good.
    for member in 0..3 {
        reached(&steps, 6 * (member + 1)).await;
        cluster.kill(member);
        reached(&steps, 6 * (member + 1) + 3).await;
        cluster.start_again(member).unwrap();
    }
    reached(&steps, 30).await;
    other.stop().await;
    for agent in agents {
        assert_eq!(tokio::time::timeout(Duration::from_secs(120), agent).await.unwrap().unwrap().len(), ACTIONS);
    }
    for number in 0..MACHINES {
        let name = format!("w{number}");
        let all = ["SUCCESS"; ACTIONS].join(",");
        soon(async {
            while one.state(&format!("default/{name}")) != format!("SUCCESS {all}") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        let history = one.server.history(&model::ObjectName::new("default", &name)).await.unwrap().unwrap();
        let handed = history.iter().filter(|entry| entry.event == "handedOut").count();
        let succeeded = history.iter().filter(|entry| entry.text.contains("SUCCESS")).count();
        assert!(handed == ACTIONS && succeeded >= ACTIONS, "{name}: {handed} handed out: {history:#?}");
    }
    one.stop().await;
}
