//! The agent's part of the machine's status: the server, the action, and how far it is.

use machine::files::AGENT_STATUS;
use machine::status::{self, Status};

use crate::action::Action;

pub fn connected(agent: &str, server: &str) {
    status::note(AGENT_STATUS, |status| {
        (status.agent, status.server) = (Some(agent.to_owned()), Some(server.to_owned()));
        status.got_further();
    });
}

pub fn waiting_for_work(line: &str) {
    status::note(AGENT_STATUS, |status| status.state = Some(line.to_owned()));
}

pub fn pulling(action: &Action) {
    note(action, |status| {
        status.percent = None;
        advance(status, Status::PULLING);
    });
}

pub fn running(action: &Action) {
    note(action, |status| advance(status, Status::RUNNING));
}

pub fn succeeded(action: &Action) {
    note(action, |status| advance(status, "SUCCESS"));
}

/// The action failed. `state` is FAILED or TIMEOUT.
pub fn failed(action: &Action, state: &str) {
    note(action, |status| status.state = Some(state.to_owned()));
}

/// A line of the action's output, which may contain its progress.
pub fn output(line: &str) {
    if let Some(percent) = status::percent(line) {
        status::note(AGENT_STATUS, |status| status.percent = Some(percent));
    }
}

fn advance(status: &mut Status, state: &str) {
    status.state = Some(state.to_owned());
    status.got_further();
}

fn note(action: &Action, change: impl FnOnce(&mut Status)) {
    status::note(AGENT_STATUS, |status| {
        let (workflow, name) = (Some(action.workflow.clone()), Some(action.name.clone()));
        if (&status.workflow, &status.action) != (&workflow, &name) {
            status.percent = None;
        }
        (status.workflow, status.action) = (workflow, name);
        change(status);
    });
}
