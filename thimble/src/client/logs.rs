//! Prints the log of a workflow or of a machine, and follows it.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use api::paths::{machine_log, object, of_workflow};
use api::{AuditLine, LogLine, LogStream};
use clap::Args;
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use model::{Kind, ObjectName, Workflow, WorkflowState};
use reqwest::{Method, StatusCode};

use super::connection::{Connection, Opened};
use super::moment::Since;
use super::output::Format;
use super::resources::encoded;
use super::table::clean;
use super::workflow::Namespace;
use super::{ServerArgs, escape};

/// The pause before the server is asked again.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
pub struct LogsArgs {
    /// NAME or NAMESPACE/NAME of a Workflow; with --machine of a Hardware
    #[arg(required_unless_present = "audit")]
    name: Option<String>,
    /// Only the lines of this action
    #[arg(conflicts_with = "machine")]
    action: Option<String>,
    /// NAME is that of a Hardware
    #[arg(long)]
    machine: bool,
    /// The audit log in place of a workflow: who changed what, and from where. For the role admin
    #[arg(long, conflicts_with_all = ["name", "machine"])]
    audit: bool,
    /// Continue with new lines until the workflow is over
    #[arg(short, long)]
    follow: bool,
    /// Only lines since a time span ago (90s, 10m, 2h, 3d), or since a time (2026-11-29T11:00:00Z)
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    #[command(flatten)]
    namespace: Namespace,
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

/// What to print.
struct Asked {
    name: ObjectName,
    /// The name is that of a Hardware.
    machine: bool,
    action: Option<String>,
    follow: bool,
    since: Option<Since>,
    output: Format,
}

pub(super) async fn run(args: LogsArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let server = Connection::to(&args.server)?;
    let Some(name) = &args.name else { return audit(&server, &args, out).await };
    let name = args.namespace.name(name, &server)?;
    let LogsArgs { machine, action, follow, since, output, .. } = args;
    show(&server, &Asked { name, machine, action, follow, since, output }, out).await
}

async fn show(server: &Connection, asked: &Asked, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mut from = asked.since.map(query);
    loop {
        let mut lines = match server.open::<LogLine>(&path(asked, from.as_deref())).await? {
            Opened::Lines(lines) => lines,
            Opened::Refused(answer) if answer.code == StatusCode::NOT_FOUND => {
                let kind = if asked.machine { "Hardware" } else { "Workflow" };
                bail!("{kind} {} does not exist and has no log", asked.name);
            }
            Opened::Refused(answer) => return Err(answer.refusal()),
        };
        while let Some(line) = lines.next().await? {
            print(&line, asked.output, out)?;
            if !asked.follow {
                continue;
            }
            out.flush()?;
            // The time of a note is not one up to which all lines have come.
            if line.stream != LogStream::Note {
                let next = line.time.checked_add(SignedDuration::from_nanos(1)).unwrap_or(line.time);
                from = Some(query(Since::Time(next)));
            }
        }
        if !asked.follow || is_over(server, asked).await {
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Who changed what. There is no end of it, so a follower asks again.
async fn audit(server: &Connection, args: &LogsArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mut from = args.since.map(query).unwrap_or_default();
    loop {
        let mut lines = server.lines::<AuditLine>(&format!("{}?{}", api::paths::AUDIT, from.trim_start_matches('&'))).await?;
        while let Some(line) = lines.next().await? {
            match args.output {
                Format::Text => writeln!(out, "{}", clean(&change(&line, &TimeZone::system())))?,
                Format::Json => writeln!(out, "{}", escape::json(&line, true)?)?,
                Format::Yaml => write!(out, "---\n{}", escape::yaml(&line)?)?,
            }
            from = query(Since::Time(line.time.checked_add(SignedDuration::from_nanos(1)).unwrap_or(line.time)));
        }
        if !args.follow {
            return Ok(ExitCode::SUCCESS);
        }
        out.flush()?;
        tokio::time::sleep(AGAIN).await;
    }
}

/// `2026-11-29 12:03:04.123  alice (operator)  10.0.0.7:4000  PUT /apis/...  200`
fn change(line: &AuditLine, zone: &TimeZone) -> String {
    let time = line.time.to_zoned(zone.clone()).strftime("%F %T%.3f").to_string();
    let AuditLine { user, roles, from, method, path, code, .. } = line;
    format!("{time}  {user} ({roles})  {from}  {method} {path}  {code}")
}

fn path(asked: &Asked, since: Option<&str>) -> String {
    let log = if asked.machine { machine_log(&asked.name) } else { of_workflow(&asked.name, "log") };
    let action = asked.action.as_ref().map(|action| format!("&action={}", encoded(action)));
    let follow = if asked.follow { "&follow=true" } else { "" };
    let (action, since) = (action.unwrap_or_default(), since.unwrap_or_default());
    format!("{log}?format=json{follow}{action}{since}")
}

fn query(since: Since) -> String {
    match since {
        Since::Ago(span) => format!("&sinceSeconds={}", span.as_secs()),
        Since::Time(time) => format!("&sinceTime={}", encoded(&time.to_string())),
    }
}

/// After an answer has ended: whether no more lines can come. Otherwise the server was stopped, and is waited for.
async fn is_over(server: &Connection, asked: &Asked) -> bool {
    let kinds: &[Kind] = if asked.machine { &[Kind::Hardware] } else { &[Kind::Workflow, Kind::WorkflowV1alpha2] };
    loop {
        let mut missing = 0;
        for kind in kinds {
            match server.call(Method::GET, &object(*kind, &asked.name), String::new()).await {
                Ok(answer) if answer.code == StatusCode::NOT_FOUND => missing += 1,
                Ok(answer) if answer.code.is_success() && !asked.machine => {
                    let state = answer.read::<Workflow>().ok().and_then(|workflow| workflow.status.state);
                    return state.is_some_and(WorkflowState::is_final);
                }
                Ok(_) => return false,
                Err(_) => {}
            }
        }
        if missing == kinds.len() {
            return true;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn print(line: &LogLine, output: Format, out: &mut dyn Write) -> anyhow::Result<()> {
    match output {
        Format::Text => writeln!(out, "{}", clean(&shown(line, &TimeZone::system())))?,
        Format::Json => writeln!(out, "{}", escape::json(line, true)?)?,
        Format::Yaml => write!(out, "---\n{}", escape::yaml(line)?)?,
    }
    Ok(())
}

/// `2026-11-29 12:03:04.123  stream/stderr  text`. The stream is left out for stdout.
fn shown(line: &LogLine, zone: &TimeZone) -> String {
    let time = line.time.to_zoned(zone.clone()).strftime("%F %T%.3f").to_string();
    let speaker = match (line.action.as_str(), line.stream) {
        ("", stream) => stream.to_string(),
        (action, LogStream::Stdout) => action.to_owned(),
        (action, stream) => format!("{action}/{stream}"),
    };
    format!("{time}  {speaker}  {}", line.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_time_its_speaker_and_its_text() {
        let line = |action: &str, stream| LogLine {
            time: "2026-11-29T12:03:04.123456Z".parse().unwrap(),
            from: "m".to_owned(),
            action: action.to_owned(),
            stream,
            text: "  hello".to_owned(),
        };
        for (action, stream, expected) in [
            ("stream", LogStream::Stdout, "2026-11-29 12:03:04.123  stream    hello"),
            ("stream", LogStream::Stderr, "2026-11-29 12:03:04.123  stream/stderr    hello"),
            ("", LogStream::Syslog, "2026-11-29 12:03:04.123  syslog    hello"),
        ] {
            assert_eq!(shown(&line(action, stream), &TimeZone::UTC), expected);
        }
    }

    #[test]
    fn names_cannot_change_the_query() {
        assert_eq!(query(Since::Time("2026-11-29T11:00:00Z".parse().unwrap())), "&sinceTime=2026-11-29T11%3A00%3A00Z");
    }
}
