//! The command events: what has happened, and what happens.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use api::{Event, What};
use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::{ObjectName, WorkflowState};

use super::connection::{Connection, Lines};
use super::moment::Since;
use super::output::Format;
use super::resources::{Kind, text};
use super::scope::Usage;
use super::table::clean;
use super::workflow::Namespace;
use super::{ServerArgs, escape, kube};

#[derive(Args, Debug)]
pub struct EventsArgs {
    /// Only of KIND/NAME: a Workflow, or a Hardware with its machine
    #[arg(long = "for", value_name = "KIND/NAME")]
    about: Option<String>,
    #[command(flatten)]
    namespace: Namespace,
    /// Continue with what happens
    #[arg(short, long, visible_alias = "watch", visible_short_alias = 'w')]
    follow: bool,
    /// Only since a time span ago (90s, 10m, 2h), since a time (2026-11-29T11:00:00Z), or after the event of this number
    #[arg(long, value_name = "TIME")]
    since: Option<From>,
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

/// Where the events begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Number(u64),
    Moment(Since),
}

impl std::str::FromStr for From {
    type Err = <Since as std::str::FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self::Number).or_else(|_| text.parse().map(Self::Moment))
    }
}

/// Which events are printed.
#[derive(Debug, Default)]
struct Wanted {
    since: Option<Timestamp>,
    about: Option<About>,
}

/// An object, and the addresses of its machine.
#[derive(Debug, Default)]
struct About {
    /// As events name it.
    kind: String,
    name: String,
    macs: Vec<String>,
}

impl Wanted {
    fn takes(&self, event: &Event) -> bool {
        self.since.is_none_or(|since| event.time >= since) && self.about.as_ref().is_none_or(|about| about.is_in(&event.what))
    }
}

impl About {
    fn is_in(&self, what: &What) -> bool {
        let is_mac = |mac: &str| self.macs.iter().any(|one| one.eq_ignore_ascii_case(mac));
        match what {
            What::Object { kind, name, .. } => kind.as_str() == self.kind && *name == self.name,
            What::Workflow { workflow, .. } => self.is_workflow() && *workflow == self.name,
            What::Action { workflow, agent, .. } => (self.is_workflow() && *workflow == self.name) || is_mac(&agent.0),
            What::Intent { hardware, .. } => self.kind == "Hardware" && *hardware == self.name,
            What::Agent { agent, .. } => is_mac(&agent.0),
            What::Machine { mac, .. } | What::Booted { mac, .. } => is_mac(&mac.to_string()),
            What::Log { source, .. } => is_mac(source),
            What::Missed { .. } => true,
        }
    }

    fn is_workflow(&self) -> bool {
        self.kind.starts_with("Workflow") && self.kind != "WorkflowRuleSet"
    }
}

pub(super) async fn run(args: EventsArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let server = Connection::to(&args.server)?;
    let mut wanted = Wanted::default();
    if let Some(words) = &args.about {
        wanted.about = Some(about(&server, words, &args.namespace).await?);
    }
    let mut since = match args.since {
        Some(From::Number(number)) => Some(number),
        Some(From::Moment(moment)) => {
            wanted.since = Some(moment.time(Timestamp::now()));
            Some(0)
        }
        None => Some(0),
    };
    let mut stream = server.events_since(since, args.follow).await?; // so that a wrong address is reported at once
    loop {
        while let Some(event) = stream.next().await? {
            // What was before this process is missed always, and is said only if a number was given.
            let is_news = !matches!(event.what, What::Missed { .. }) || since != Some(0);
            since = Some(event.revision);
            if is_news && wanted.takes(&event) {
                print(&event, args.output, out)?;
            }
        }
        if !args.follow {
            return Ok(ExitCode::SUCCESS);
        }
        stream = reconnected(&server, since).await;
    }
}

fn print(event: &Event, output: Format, out: &mut dyn Write) -> anyhow::Result<()> {
    match output {
        Format::Text => writeln!(out, "{}", line(event))?,
        Format::Json => writeln!(out, "{}", escape::json(event, true)?)?,
        Format::Yaml => write!(out, "---\n{}", escape::yaml(event)?)?,
    }
    Ok(out.flush()?)
}

async fn about(server: &Connection, words: &str, namespace: &Namespace) -> anyhow::Result<About> {
    let Some((kind, name)) = words.split_once('/') else { return Err(Usage(format!("{words:?} is not KIND/NAME")).into()) };
    let Some(kind) = Kind::named(kind) else { return Err(Usage(format!("{kind:?} is not a kind of objects")).into()) };
    let name = namespace.name(name, server)?;
    match kind.kind {
        "Hardware" | "MachineState" => of_hardware(server, &name).await,
        "Workflow" | "Template" | "Task" | "Policy" | "WorkflowRuleSet" => {
            Ok(About { kind: kind.shown(), name: name.to_string(), macs: Vec::new() })
        }
        _ => bail!("{} have no events", kind.plural),
    }
}

pub(super) async fn recent(server: &Connection, kind: &Kind, name: &ObjectName, most: usize) -> anyhow::Result<Vec<String>> {
    let about = match kind.kind {
        "Hardware" | "MachineState" => of_hardware(server, name).await?,
        _ => About { kind: kind.shown(), name: name.to_string(), macs: Vec::new() },
    };
    let mut stream = server.events_since(Some(0), false).await?;
    let mut lines = std::collections::VecDeque::new();
    while let Some(event) = stream.next().await? {
        if !matches!(event.what, What::Missed { .. }) && about.is_in(&event.what) {
            lines.push_back(line(&event));
            if lines.len() > most {
                lines.pop_front();
            }
        }
    }
    Ok(lines.into())
}

async fn of_hardware(server: &Connection, name: &ObjectName) -> anyhow::Result<About> {
    let mut about = About { kind: "Hardware".to_owned(), name: name.to_string(), macs: Vec::new() };
    let Some(kind) = Kind::named("hardware") else { return Ok(about) };
    if let Some(hardware) = kube::find(server, kind, name).await? {
        let interfaces = hardware.pointer("/spec/interfaces").and_then(serde_json::Value::as_array).into_iter().flatten();
        about.macs = interfaces.map(|interface| text(interface, "/dhcp/mac").to_owned()).filter(|mac| !mac.is_empty()).collect();
    }
    Ok(about)
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

/// `2026-11-29 12:03:04  workflow default/w  RUNNING  ...`
pub(super) fn line(event: &Event) -> String {
    let time = event.time.to_zoned(TimeZone::system()).strftime("%F %T").to_string();
    clean(&format!("{time}  {}", said(&event.what))).trim_end().to_owned()
}

fn said(what: &What) -> String {
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
