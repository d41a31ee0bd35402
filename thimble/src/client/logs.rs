//! Prints the log of a workflow or of a machine, and follows it.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use api::paths::{machine_log, object, of_workflow};
use api::{LogLine, LogStream};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use model::{Kind, ObjectName, Workflow, WorkflowState};
use reqwest::{Method, StatusCode};

use super::Output;
use super::connection::Connection;
use super::table::clean;

/// The pause before the server is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// A moment, given as how long ago it was or as a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    Ago(SignedDuration),
    Time(Timestamp),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAMoment(String);

impl fmt::Display for NotAMoment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} is neither a time span such as 90s, 10m, 2h or 3d, nor a time such as 2026-11-29T11:00:00Z", self.0)
    }
}

impl std::error::Error for NotAMoment {}

impl FromStr for Since {
    type Err = NotAMoment;

    fn from_str(text: &str) -> Result<Self, NotAMoment> {
        if let Ok(time) = text.parse() {
            return Ok(Self::Time(time));
        }
        let span = || {
            let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
            let seconds = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3600,
                "d" => 86_400,
                _ => return None,
            };
            let number: u32 = number.parse().ok()?;
            Some(SignedDuration::from_secs(i64::from(number) * seconds))
        };
        span().map(Self::Ago).ok_or_else(|| NotAMoment(text.chars().take(64).collect()))
    }
}

/// What to print.
pub(super) struct Asked {
    pub name: ObjectName,
    /// The name is that of a Hardware.
    pub machine: bool,
    pub action: Option<String>,
    pub follow: bool,
    pub since: Option<Since>,
    pub output: Output,
}

pub(super) async fn run(server: &Connection, asked: &Asked, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mut from = asked.since.map(query);
    loop {
        let mut lines = server.lines::<LogLine>(&path(asked, from.as_deref())).await?;
        while let Some(line) = lines.next().await? {
            print(&line, asked.output, out)?;
            if asked.follow {
                out.flush()?;
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

/// Percent-encoding for a value of a query.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
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

fn print(line: &LogLine, output: Output, out: &mut dyn Write) -> anyhow::Result<()> {
    match output {
        Output::Table => writeln!(out, "{}", clean(&shown(line, &TimeZone::system())))?,
        Output::Json => writeln!(out, "{}", serde_json::to_string(line)?)?,
        Output::Yaml => write!(out, "---\n{}", serde_saphyr::to_string(line)?)?,
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
    fn a_moment_is_a_span_or_a_time() {
        let ago = |seconds| Ok(Since::Ago(SignedDuration::from_secs(seconds)));
        for (text, expected) in [
            ("90s", ago(90)),
            ("10m", ago(600)),
            ("2h", ago(7200)),
            ("3d", ago(259_200)),
            ("2026-11-29T11:00:00Z", Ok(Since::Time("2026-11-29T11:00:00Z".parse().unwrap()))),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
        }
        for text in ["", "m", "10", "-1m", "1.5h", "10 m", "9999999999s", "yesterday", "ü"] {
            let error = text.parse::<Since>().unwrap_err().to_string();
            assert!(error.contains("such as 90s"), "{error}");
        }
    }

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
        assert_eq!(encoded("a&follow=true #ü"), "a%26follow%3Dtrue%20%23%C3%BC");
        assert_eq!(query(Since::Time("2026-11-29T11:00:00Z".parse().unwrap())), "&sinceTime=2026-11-29T11%3A00%3A00Z");
    }
}
