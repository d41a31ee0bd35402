//! Prints events as lines for people, or unchanged as JSON.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use api::{Event, What};
use jiff::tz::TimeZone;
use model::WorkflowState;

use super::Output;
use super::connection::{Connection, Lines};
use super::table::clean;

/// Follows events, even over restarts of the server. It only ends with an error or a closed pipe.
pub(super) async fn follow(
    server: &Connection,
    mut since: Option<u64>,
    output: Output,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let mut stream = server.events(since).await?; // so that a wrong address is reported at once
    loop {
        while let Some(event) = stream.next().await? {
            since = Some(event.revision);
            match output {
                Output::Table => writeln!(out, "{}", line(&event))?,
                Output::Json => writeln!(out, "{}", serde_json::to_string(&event)?)?,
                Output::Yaml => write!(out, "---\n{}", serde_saphyr::to_string(&event)?)?,
            }
            out.flush()?;
        }
        stream = reconnected(server, since).await;
    }
}

/// Tries until the server answers again.
pub(super) async fn reconnected(server: &Connection, since: Option<u64>) -> Lines<Event> {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if let Ok(stream) = server.events(since).await {
            return stream;
        }
    }
}

/// `12:03:04  workflow default/w  RUNNING  ...`
pub(super) fn line(event: &Event) -> String {
    let time = event.time.to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string();
    clean(&format!("{time}  {}", text(&event.what))).trim_end().to_owned()
}

fn text(what: &What) -> String {
    match what {
        What::Object { kind, name, change } => format!("{kind} {name} {change}"),
        What::Workflow { workflow, state, message } => {
            format!("workflow {workflow}  {}  {message}", state.map_or("not ready", WorkflowState::as_str))
        }
        What::Action { workflow, action, agent, state, attempts, duration, message, .. } => {
            let duration = if duration.is_empty() { String::new() } else { format!(" in {duration}") };
            let attempt = if *attempts > 1 { format!("  attempt {attempts}") } else { String::new() };
            format!("workflow {workflow}  action {action} on {agent}  {state}{duration}{attempt}  {message}")
        }
        What::Intent { hardware, intent, by, reason } => format!("machine {hardware}  intent {intent}  by {by}: {reason}"),
        What::Agent { agent, address } => format!("agent {agent} calls from {address}"),
        What::Machine { mac, milestone, detail } => format!("machine {mac}  {milestone}  {detail}"),
        What::Booted { mac, text } => format!("machine {mac}  booted  {text}"),
        What::Log { source, text } => format!("{source} | {text}"),
        What::Missed { count: Some(count) } => format!("({count} events missed)"),
        What::Missed { count: None } => "(the server was restarted; earlier events are gone)".to_owned(),
    }
}
