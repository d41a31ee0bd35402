//! Sends a trace of each workflow that has ended to the collector that the environment names.

use api::What;
use api::serve::Quiet;
use machine::Chain;
use model::{Kind, ObjectName, Workflow, WorkflowState};
use serde_json::Value;
use server::{Reader, Server};
use traces::Collector;

/// Traces of what happens from now on, if a collector is named.
pub fn begin(server: &Server) -> anyhow::Result<()> {
    if let Some(collector) = Collector::of_environment()? {
        log::info!("a trace of each workflow is sent to the collector of {}", traces::VARIABLES.join(" or "));
        tokio::spawn(follow(server.events(None), server.clone(), collector));
    }
    Ok(())
}

/// One trace at a time. A reader that is too slow misses events, and the server does not wait for it.
async fn follow(mut events: Reader, server: Server, collector: Collector) {
    let quiet = Quiet::default();
    while let Some(event) = events.next().await {
        let problem = match &event.what {
            What::Workflow { workflow, state: Some(state), .. } if is_final(*state) => match found(&server, workflow) {
                Some(workflow) => collector.send(&workflow).await.err().map(|reason| Chain(&reason).to_string()),
                None => None, // it was deleted meanwhile
            },
            What::Missed { .. } => Some("the collector is too slow, or the server was too busy".to_owned()),
            _ => None,
        };
        if let Some(problem) = problem
            && quiet.is_news((), std::time::Instant::now())
        {
            log::warn!("traces of workflows are lost: {problem}");
        }
    }
}

const fn is_final(state: WorkflowState) -> bool {
    matches!(state, WorkflowState::Success | WorkflowState::Failed | WorkflowState::Timeout)
}

/// The workflow of that name, in whichever version it was written.
fn found(server: &Server, name: &str) -> Option<Workflow> {
    let name: ObjectName = name.parse().ok()?;
    if let Some(value) = server.get(Kind::Workflow, &name) {
        return serde_json::from_value(value).ok();
    }
    let mut value = server.get(Kind::WorkflowV1alpha2, &name)?;
    value["spec"] = Value::Object(serde_json::Map::new()); // another version's; the actions are in the status
    serde_json::from_value(value).ok()
}
