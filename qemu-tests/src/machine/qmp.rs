//! QEMU's machine protocol: the greeting, and the few commands and events that the lab uses.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::command::wait_for;

const LIMIT: Duration = Duration::from_secs(20);

pub struct Qmp {
    reader: BufReader<UnixStream>,
    events: Vec<String>,
}

impl Qmp {
    /// Connects as soon as QEMU listens.
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = wait_for("QEMU's control socket", LIMIT, || Ok(UnixStream::connect(socket).ok()))?;
        Self::greet(stream)
    }

    fn greet(stream: UnixStream) -> Result<Self> {
        stream.set_read_timeout(Some(LIMIT)).context("cannot set a time limit")?;
        let mut qmp = Self { reader: BufReader::new(stream), events: Vec::new() };
        let greeting = qmp.read()?;
        if greeting.get("QMP").is_none() {
            bail!("QEMU's control socket said {greeting} instead of a greeting");
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let line = format!("{}\n", json!({"execute": command, "arguments": arguments}));
        self.reader.get_mut().write_all(line.as_bytes()).with_context(|| format!("cannot send {command} to QEMU"))?;
        loop {
            let answer = self.read().with_context(|| format!("no answer to {command}"))?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refused {command}: {error}");
            }
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
            self.note(&answer);
        }
    }

    /// Waits until the event has happened since the last call.
    pub fn wait_event(&mut self, name: &str, limit: Duration) -> Result<()> {
        self.reader.get_ref().set_read_timeout(Some(limit)).context("cannot set a time limit")?;
        let outcome = loop {
            if let Some(place) = self.events.iter().position(|event| event == name) {
                self.events.drain(..=place);
                break Ok(());
            }
            match self.read() {
                Ok(message) => self.note(&message),
                Err(error) => break Err(error.context(format!("waited {} s for QEMU's event {name}", limit.as_secs()))),
            }
        };
        self.reader.get_ref().set_read_timeout(Some(LIMIT)).context("cannot set a time limit")?;
        outcome
    }

    fn note(&mut self, message: &Value) {
        if let Some(name) = message.get("event").and_then(Value::as_str) {
            self.events.push(name.to_owned());
        }
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).context("cannot read from QEMU")? == 0 {
            bail!("QEMU closed its control socket");
        }
        serde_json::from_str(&line).with_context(|| format!("QEMU sent {line:?}, which is not JSON"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A QEMU that sends the given lines, whatever it is asked.
    fn scripted(lines: &'static str) -> UnixStream {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(lines.as_bytes()).unwrap();
        std::thread::spawn(move || std::io::copy(&mut theirs, &mut std::io::sink()));
        ours
    }

    #[test]
    fn events_between_answers_are_kept() {
        let mut qmp = Qmp::greet(scripted(
            "{\"QMP\":{}}\n{\"return\":{}}\n{\"event\":\"RESET\"}\n{\"return\":{\"status\":\"running\"}}\n{\"event\":\"STOP\"}\n",
        ))
        .unwrap();
        assert_eq!(qmp.execute("query-status", json!({})).unwrap()["status"], "running");
        qmp.wait_event("RESET", LIMIT).unwrap();
        qmp.wait_event("STOP", LIMIT).unwrap();
    }

    #[test]
    fn a_refused_command_has_a_reason() {
        let mut qmp =
            Qmp::greet(scripted("{\"QMP\":{}}\n{\"return\":{}}\n{\"error\":{\"desc\":\"no such command\"}}\n")).unwrap();
        let error = qmp.execute("fly", json!({})).unwrap_err().to_string();
        assert!(error.contains("fly") && error.contains("no such command"), "{error}");
    }
}
