//! Reports of one machine, while another one sends more output than is taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proto::action_status_request::StateType;
use proto::logs::logs_client::LogsClient;
use proto::logs::{AppendRequest, Line};
use proto::workflow_service_client::WorkflowServiceClient;
use proto::{ActionRequest, ActionResponse, ActionStatusRequest};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::measure::{mac, milliseconds};
use crate::process::{Addresses, Process};

const REPORTS: usize = 400;
/// The connections of the machine that floods, and the lines of a message.
const CONNECTIONS: usize = 8;
const LINES: usize = 60;

async fn begun(addresses: Addresses, number: usize) -> (WorkflowServiceClient<Channel>, ActionResponse) {
    let mut client = addresses.agent_from(number);
    let action =
        client.get_action(ActionRequest { agent_id: Some(mac(number)), agent_attributes: None }).await.unwrap().into_inner();
    client.report_action_status(running(&action, number)).await.unwrap();
    (client, action)
}

fn running(action: &ActionResponse, number: usize) -> ActionStatusRequest {
    ActionStatusRequest {
        workflow_id: action.workflow_id.clone(),
        agent_id: Some(mac(number)),
        task_id: action.task_id.clone(),
        action_id: action.action_id.clone(),
        action_state: Some(StateType::Running.into()),
        ..ActionStatusRequest::default()
    }
}

/// Milliseconds of reports that change the store: the first one of an action each.
async fn reports(addresses: Addresses, first: usize) -> Vec<f64> {
    let mut took = Vec::new();
    for number in first..first + REPORTS {
        let mut client = addresses.agent_from(number);
        let request = ActionRequest { agent_id: Some(mac(number)), agent_attributes: None };
        let action = client.get_action(request).await.unwrap().into_inner();
        let began = Instant::now();
        client.report_action_status(running(&action, number)).await.unwrap();
        took.push(milliseconds(began));
    }
    took.sort_by(f64::total_cmp);
    took
}

/// Workflows from number 1 on are ready. The first machine floods.
pub async fn measured(server: &Process, addresses: Addresses) {
    let (_client, action) = begun(addresses, 1).await;
    let quiet = reports(addresses, 10).await;
    let line = Line { text: "x".repeat(1000), ..Line::default() };
    let request = AppendRequest {
        agent_id: mac(1),
        workflow_id: action.workflow_id.unwrap_or_default(),
        action_id: action.action_id.unwrap_or_default(),
        lines: vec![line; LINES],
        dropped: 0,
    };
    let (taken, mut flood) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    for _ in 0..CONNECTIONS {
        let mut logs = LogsClient::new(addresses.endpoint("http").connect().await.unwrap());
        let (request, taken) = (request.clone(), Arc::clone(&taken));
        flood.spawn(async move {
            while logs.append(request.clone()).await.is_ok() {
                taken.fetch_add((LINES * 1000) as u64, Ordering::Relaxed);
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(3)).await; // what it may send at once is used up
    let (began, before, ticks) = (Instant::now(), taken.load(Ordering::Relaxed), server.ticks());
    let loud = reports(addresses, 10 + REPORTS).await;
    let seconds = began.elapsed().as_secs_f64();
    let read = (taken.load(Ordering::Relaxed) - before) as f64 / seconds / 1e6;
    let load = (server.ticks() - ticks) as f64 / seconds;
    flood.abort_all();
    let at = |took: &[f64], percent: usize| took[took.len() * percent / 100];
    println!(
        "flood of output   {:8.2} ms for a report of another machine, {:.2} ms for 1 % of them; {:.2} and {:.2} ms without it; {read:.1} MB/s are \
         read, and the server uses {load:.0} % of a core",
        at(&loud, 50),
        at(&loud, 99),
        at(&quiet, 50),
        at(&quiet, 99)
    );
}
