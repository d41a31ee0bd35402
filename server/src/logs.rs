//! What machines say: which log a line belongs to, who may write there, and reading. The files are the crate `logs`.

use std::net::IpAddr;

use ::logs::{Logs, Reader, Source};
use api::{LogLine, LogStream};
use jiff::{SignedDuration, Timestamp};
use machine::kernel_log::OUTPUT;
use machine::status::percent;
use model::{ActionState, AgentId, Hardware, Mac, ObjectName, Workflow, WorkflowAction, WorkflowState};

use crate::progress::{running_action, runs_on};
use crate::service::Server;
use crate::view::{Stored, View};

/// How long an agent may send what is left of an action after its workflow has ended.
const AFTERWARDS: SignedDuration = SignedDuration::from_secs(60);
/// The tag of lines that come from the ramdisk by syslog.
const RAMDISK: &str = "thimble";

/// Output of an action, as its agent sends it.
#[derive(Debug)]
pub struct Output {
    pub agent: AgentId,
    pub workflow: ObjectName,
    pub action_id: String,
    pub lines: Vec<OutputLine>,
    /// Lines before these for which the agent had no room.
    pub dropped: u64,
}

#[derive(Debug)]
pub struct OutputLine {
    pub text: String,
    pub stderr: bool,
    pub age: SignedDuration,
}

/// A line that came by syslog.
#[derive(Debug, Clone, Copy)]
pub struct SyslogLine<'a> {
    pub mac: Option<Mac>,
    pub address: Option<IpAddr>,
    pub tag: &'a str,
    pub text: &'a str,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    #[error("this server keeps no logs")]
    NoLogs,
    #[error("agent {agent} does not run that action of workflow {workflow}, so it may not write its log")]
    NotItsOwn { agent: AgentId, workflow: ObjectName },
}

/// The action whose output the agent may send: one of its own that was begun, until shortly after the workflow's end.
fn own_action<'w>(workflow: &'w Workflow, agent: &AgentId, id: &str, now: Timestamp) -> Option<&'w WorkflowAction> {
    let status = &workflow.status;
    let over = status.state.is_some_and(WorkflowState::is_final);
    let long_over = over && status.logged.is_none_or(|logged| now.duration_since(logged.latest) > AFTERWARDS);
    let own = status.tasks.iter().filter(|task| task.agent_id == *agent).flat_map(|task| &task.actions);
    own.filter(|_| !long_over).find(|action| action.id == id && action.state != ActionState::Pending)
}

/// Where a line of syslog belongs.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    source: Source,
    from: String,
    action: String,
    /// `None` for the log of a machine.
    workflow: Option<ObjectName>,
}

impl Place {
    /// The running action of the machine, or else the machine. `None` for a line that its agent sends by itself.
    fn of(view: &View, line: &SyslogLine<'_>, sends_output: impl Fn(&AgentId) -> bool) -> Option<Self> {
        let by_address = || view.by_address(line.address?);
        let Some(hardware) = line.mac.and_then(|mac| view.by_mac(mac)).or_else(by_address).map(|stored| &stored.object) else {
            let address = line.address.map(|address| address.to_string());
            let from = line.mac.map(|mac| mac.to_string()).or(address).unwrap_or_default();
            return Some(Self { source: Source::Unknown, from, action: String::new(), workflow: None });
        };
        if let Some((workflow, created, agent)) = running(view, hardware) {
            if line.tag == RAMDISK && line.text.starts_with(OUTPUT) && sends_output(agent) {
                return None;
            }
            let action = running_action(workflow).map(|running| running.action).unwrap_or_default();
            let (name, from) = (workflow.name(), agent.to_string());
            return Some(Self { source: of_workflow(&name, created), from, action, workflow: Some(name) });
        }
        let from = line.mac.or_else(|| hardware.spec.macs().next()).map(|mac| mac.to_string()).unwrap_or_default();
        Some(Self { source: Source::Machine(hardware.name().to_string()), from, action: String::new(), workflow: None })
    }
}

/// The log of a Workflow. The revision of its first write tells it from others of its name.
fn of_workflow(name: &ObjectName, created: u64) -> Source {
    Source::Workflow(format!("{name}@{created}"))
}

/// The workflow that has a running action on this machine, the revision of its first write, and the agent that runs it.
pub(crate) fn running<'v>(view: &'v View, hardware: &Hardware) -> Option<(&'v Workflow, u64, &'v AgentId)> {
    view.workflows_for(hardware).into_iter().find_map(|stored| {
        let agent = runs_on(&stored.object)?;
        let is_here = view.machine_of(agent).is_some_and(|machine| machine.object.name() == hardware.name());
        is_here.then_some((&*stored.object, stored.created, agent))
    })
}

impl Server {
    fn logs(&self) -> Option<&Logs> {
        self.0.logs.as_ref()
    }

    pub(crate) fn keeps_logs(&self) -> bool {
        self.logs().is_some()
    }

    /// Queues output of an action. This waits for nothing.
    ///
    /// # Errors
    /// If the action is not one that the agent runs.
    pub(crate) fn keep_output(&self, output: Output, now: Timestamp) -> Result<(), NotKept> {
        let logs = self.logs().ok_or(NotKept::NoLogs)?;
        let Output { agent, workflow, action_id, lines, dropped } = output;
        let found = {
            let view = self.view();
            let action = |stored: &Stored<Workflow>| {
                let action = own_action(&stored.object, &agent, &action_id, now)?;
                self.has_lines_of(stored);
                Some((action.name.clone(), stored.created))
            };
            view.workflows.get(&workflow).and_then(action)
        };
        let Some((action, created)) = found else { return Err(NotKept::NotItsOwn { agent, workflow }) };
        self.0.agents.sends_output(&agent, true);
        if let Some(percent) = lines.iter().rev().find_map(|line| percent(&line.text)) {
            self.said_percent(workflow.clone(), &action, percent);
        }
        let source = of_workflow(&workflow, created);
        logs.lost(&source, dropped);
        let from = agent.0;
        logs.append(
            &source,
            lines.into_iter().map(|OutputLine { text, stderr, age }| LogLine {
                time: now.checked_sub(age).unwrap_or(now),
                from: from.clone(),
                action: action.clone(),
                stream: if stderr { LogStream::Stderr } else { LogStream::Stdout },
                text,
            }),
        );
        Ok(())
    }

    /// Queues a line that came by syslog: for the running workflow of its machine, or else for the machine.
    pub fn keep_syslog(&self, line: SyslogLine<'_>, now: Timestamp) {
        let Some(logs) = self.logs() else { return };
        let place = {
            let view = self.view();
            let place = Place::of(&view, &line, |agent| self.0.agents.does_send_output(agent));
            let workflow = place.as_ref().and_then(|place| view.workflows.get(place.workflow.as_ref()?));
            workflow.into_iter().for_each(|stored| self.has_lines_of(stored));
            place
        };
        let Some(Place { source, from, action, workflow }) = place else { return };
        if let (Some(workflow), Some(percent)) = (workflow, percent(line.text.strip_prefix(OUTPUT).unwrap_or(line.text))) {
            self.said_percent(workflow, &action, percent);
        }
        let text = match line.tag {
            "" | RAMDISK => line.text.to_owned(),
            tag => format!("{tag}: {}", line.text),
        };
        logs.append(&source, [LogLine { time: now, from, action, stream: LogStream::Syslog, text }]);
    }

    /// What the Workflow of this name said, or the latest one that had it. `None` if there was none.
    pub(crate) fn workflow_log(&self, name: &ObjectName, since: Option<Timestamp>) -> Option<Reader> {
        let logs = self.logs()?;
        let created = self.view().workflows.get(name).map(|stored| stored.created);
        let source = created.map(|created| of_workflow(name, created)).or_else(|| logs.latest_of(&name.to_string()))?;
        Some(logs.read(source, since))
    }

    /// What a machine said outside of workflows. `None` if there is nothing of that name.
    pub(crate) fn machine_log(&self, name: &ObjectName, since: Option<Timestamp>) -> Option<Reader> {
        let (logs, source) = (self.logs()?, Source::Machine(name.to_string()));
        let exists = self.view().hardware.contains_key(name) || logs.has(&source);
        exists.then(|| logs.read(source, since))
    }
}

#[cfg(test)]
mod tests;
