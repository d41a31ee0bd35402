//! The loop: ask for an action, report RUNNING, execute, report until accepted. Only then act on a power request.

use std::time::{Duration, Instant, SystemTime};

use machine::Power;
use machine::backoff::{self, Backoff};
use proto::{ActionRequest, ActionStatusRequest};
use tokio::time::sleep;

use crate::action::Action;
use crate::attributes::Known;
use crate::background::{Background, Jobs};
use crate::cancel::{self, Cancel};
use crate::docker_socket::{self, Deferred};
use crate::journal::{self, Journal, JournalEntry};
use crate::outcome::{Outcome, Reason};
use crate::power::Requests;
use crate::report;
use crate::status;
use crate::transport::Transport;
use crate::transport::decide::{self, Asked, Reported};

/// Runs one action to its end, or to a request to stop.
pub trait Execute: Sized {
    fn execute(&mut self, action: &Action, start: SystemTime, cancel: &Cancel) -> impl Future<Output = Outcome>;

    /// Why the action must not run here.
    fn refuses(&self, action: &Action) -> Option<Reason>;

    /// Another one, for an action in the background.
    fn beside(&self) -> Self;
}

pub struct Worker<E> {
    pub agent: String,
    pub connection: Transport,
    pub journal: Journal,
    pub power: Requests,
    pub attributes: Known,
    pub backoff_max: Duration,
    pub execute: E,
}

/// The server holds the call while it has no work. After this time the agent logs that it waits.
const QUIET: Duration = Duration::from_secs(2);
/// The pause before an action is tried again for the first time.
const RETRY: Duration = Duration::from_secs(1);
/// Short enough to reconnect within a second after a server returns.
const RECONNECT: Duration = Duration::from_millis(500);

impl<E: Execute> Worker<E> {
    /// Serves actions until one asks for a reboot or power-off, or no more can come. Returns the agent's exit code.
    pub async fn run(self) -> u8 {
        let (jobs, background) = Background::new(self.power.clone());
        tokio::select! {
            code = self.work(jobs) => code,
            power = background.run() => power.exit_code(),
        }
    }

    async fn work(mut self, jobs: Jobs<E>) -> u8 {
        if let Some(power) = self.resume().await {
            return power.exit_code();
        }
        let mut pace = Pace { backoff: Backoff::new(backoff::FIRST, self.backoff_max), said: String::new() };
        loop {
            if let Some(code) = self.connection.over() {
                jobs.ended().await;
                return code;
            }
            let asked = Instant::now();
            match self.ask(&mut pace).await {
                Asked::Work(action) => {
                    let served = if action.background {
                        self.detach(&action, &jobs, &mut pace).await
                    } else {
                        self.serve(&action, &mut pace).await
                    };
                    if let Some(power) = served {
                        return power.exit_code();
                    }
                }
                Asked::Nothing => {
                    pace.wait_for_work();
                    sleep(pace.idle(asked.elapsed())).await;
                }
                Asked::Unreachable(why) => {
                    pace.say(&format!("server {why}; trying again until it answers"));
                    sleep(backoff::jitter(RECONNECT, backoff::random())).await;
                }
                Asked::Trouble(why) => {
                    pace.say(&format!("the server answered with an error instead of an action: {why}"));
                    pace.rest().await;
                }
            }
        }
    }

    /// Continues with what an earlier agent left.
    async fn resume(&mut self) -> Option<Power> {
        match self.journal.entry().cloned()? {
            JournalEntry::Running { action, attempt } => {
                log::warn!("{} was interrupted (agent restarted) in attempt {attempt}", action.title());
                None
            }
            JournalEntry::Finished { action, outcome, .. } => {
                log::info!("{} had ended before the agent restarted; its result is reported now", action.title());
                self.conclude(&action, &outcome).await
            }
            JournalEntry::Acknowledged { action, success } => {
                if success {
                    self.earned(&action).await
                } else {
                    None
                }
            }
        }
    }

    async fn ask(&mut self, pace: &mut Pace) -> Asked {
        let request = ActionRequest { agent_id: Some(self.agent.clone()), agent_attributes: self.attributes.get(Instant::now()) };
        let mut answer = std::pin::pin!(self.connection.get_action(request));
        tokio::select! {
            answer = &mut answer => return decide::asked(answer),
            () = sleep(QUIET) => {}
        }
        // The call is still held, or still connecting. A failing connection ends it soon.
        let answer = tokio::select! {
            answer = &mut answer => answer,
            () = sleep(Duration::from_secs(4)) => {
                pace.wait_for_work();
                answer.await
            }
        };
        decide::asked(answer)
    }

    /// Runs an action in the background, which is its success. Its end is only logged, and a reboot that it asks for follows.
    async fn detach(&mut self, action: &Action, jobs: &Jobs<E>, pace: &mut Pace) -> Option<Power> {
        pace.said.clear();
        let start = SystemTime::now();
        let ended = |failure| Outcome { start, stop: SystemTime::now(), failure, tail: Vec::new() };
        if let Some(why) = self.execute.refuses(action) {
            let outcome = ended(Some(why));
            self.journal.write(JournalEntry::Finished { action: action.clone(), attempt: 1, outcome: outcome.clone() });
            log_outcome(action, &outcome);
            return self.conclude(action, &outcome).await;
        }
        // A server that knows the background counts this as the success, so an answer that is lost must not lose the action.
        if !self.report_until_accepted(action, report::running(&self.agent, action, start, 1)).await {
            pace.rest().await;
            return None;
        }
        let outcome = ended(None);
        self.report_until_accepted(action, report::finished(&self.agent, action, &outcome)).await;
        self.journal.write(JournalEntry::Acknowledged { action: action.clone(), success: true });
        pace.backoff.reset();
        if docker_socket::deferred(action).is_some() {
            return self.earned(action).await;
        }
        log::info!("{}: runs in the background", action.title());
        jobs.begin(self.execute.beside(), action.clone());
        None
    }

    async fn serve(&mut self, action: &Action, pace: &mut Pace) -> Option<Power> {
        pace.said.clear();
        let attempt = journal::attempt(self.journal.entry(), action);
        let start = SystemTime::now();
        if !self.announce(action, start, attempt).await {
            // The server does not have the action as RUNNING, so it hands it out again.
            pace.rest().await;
            return None;
        }
        self.power.forget();
        self.journal.write(JournalEntry::Running { action: action.clone(), attempt });
        let (attempt, outcome) = self.attempts_while_wanted(action, attempt, start).await;
        if outcome.failure.is_none() {
            self.power.note_kernel();
        }
        self.react(action, &outcome).await;
        self.journal.write(JournalEntry::Finished { action: action.clone(), attempt, outcome: outcome.clone() });
        log_outcome(action, &outcome);
        let power = self.conclude(action, &outcome).await;
        pace.backoff.reset();
        power
    }

    /// Runs the action. If the server offers it, also waits for the server's request to stop it.
    async fn attempts_while_wanted(&mut self, action: &Action, first: u32, start: SystemTime) -> (u32, Outcome) {
        let Some(watch) = self.connection.watch(action) else {
            return self.attempts(action, first, start, &Cancel::never()).await;
        };
        let (trigger, cancel) = cancel::pair();
        let listening = async {
            let why = watch.stopped().await;
            log::warn!("{}: the server wants it to stop: {why}", action.title());
            trigger.pull(why);
            std::future::pending().await
        };
        tokio::select! {
            ended = self.attempts(action, first, start, &cancel) => ended,
            never = listening => never,
        }
    }

    /// Runs the action, and again after growing pauses, as often as its template asks for.
    async fn attempts(&mut self, action: &Action, first: u32, start: SystemTime, cancel: &Cancel) -> (u32, Outcome) {
        let allowed = action.environment.wishes().map_or(0, |wishes| wishes.retries).saturating_add(1);
        let mut pauses = Backoff::new(RETRY, self.backoff_max.max(RETRY));
        let (mut attempt, mut outcome) = (first, self.execute.execute(action, start, cancel).await);
        while let Some(reason) = outcome.failure.as_ref().filter(|reason| reason.may_pass() && attempt < allowed) {
            log::warn!("{}: attempt {attempt} of {allowed} failed: {}", action.title(), reason.text());
            tokio::select! {
                () = sleep(pauses.pause(backoff::random())) => {}
                _ = cancel.asked() => break,
            }
            let start = SystemTime::now();
            let again = report::running_again(&self.agent, action, start, attempt.saturating_add(1), allowed, reason);
            if let Some(why) = decide::reported(self.connection.report(again).await).refusal() {
                log::warn!("{}: not tried again, because the server did not accept RUNNING: {why}", action.title());
                break;
            }
            attempt = attempt.saturating_add(1);
            self.power.forget();
            self.journal.write(JournalEntry::Running { action: action.clone(), attempt });
            outcome = self.execute.execute(action, start, cancel).await;
        }
        (attempt, outcome)
    }

    /// Runs the command that the template has for a failure. Its result does not change the action's result.
    async fn react(&mut self, action: &Action, outcome: &Outcome) {
        let reaction = outcome.failure.as_ref().and_then(|failure| self.connection.reaction(action, failure));
        if let Some(reaction) = reaction {
            log::warn!("{}: running {:?}", reaction.title(), reaction.command);
            let outcome = self.execute.execute(&reaction, SystemTime::now(), &Cancel::never()).await;
            log_outcome(&reaction, &outcome);
        }
    }

    /// Reports RUNNING. Returns whether the server accepted it.
    async fn announce(&mut self, action: &Action, start: SystemTime, attempt: u32) -> bool {
        if attempt > 1 {
            log::warn!("{} was interrupted (agent restarted), attempt {attempt}", action.title());
        }
        let answer = self.connection.report(report::running(&self.agent, action, start, attempt)).await;
        let refusal = decide::reported(answer).refusal();
        if let Some(why) = &refusal {
            log::warn!("{}: not started, because the server did not accept RUNNING: {why}", action.title());
        }
        refusal.is_none()
    }

    /// Reports the outcome until the server has it, then checks for a power request.
    async fn conclude(&mut self, action: &Action, outcome: &Outcome) -> Option<Power> {
        let last_lines = self.connection.output_sent();
        let report = self.report_until_accepted(action, report::finished(&self.agent, action, outcome));
        let (acknowledged, ()) = tokio::join!(report, last_lines);
        let success = acknowledged && outcome.failure.is_none();
        self.journal.write(JournalEntry::Acknowledged { action: action.clone(), success });
        if success { self.earned(action).await } else { None }
    }

    async fn report_until_accepted(&mut self, action: &Action, request: ActionStatusRequest) -> bool {
        let mut pace = Pace { backoff: Backoff::new(backoff::FIRST, self.backoff_max), said: String::new() };
        loop {
            let answer = self.connection.report(request.clone()).await;
            match decide::reported(answer) {
                Reported::Accepted => return true,
                Reported::Refused(why) => {
                    log::error!("{}: its result is dropped, because the server refuses it: {why}", action.title());
                    return false;
                }
                Reported::Unreachable(why) => {
                    pace.say(&format!("{}: cannot report the result: {why}; trying until it is accepted", action.title()));
                    sleep(backoff::jitter(RECONNECT, backoff::random())).await;
                }
                Reported::Trouble(why) => {
                    pace.say(&format!("{}: the server did not accept the result: {why}; trying until it does", action.title()));
                    pace.rest().await;
                }
            }
        }
    }

    /// What follows an acknowledged success.
    async fn earned(&mut self, action: &Action) -> Option<Power> {
        match docker_socket::deferred(action) {
            Some(Ok(Deferred::Power(power))) => {
                log::info!("{} asked for {} and its success is acknowledged", action.title(), power.what());
                Some(power)
            }
            Some(Ok(Deferred::Run(later))) => {
                let outcome = self.execute.execute(&later, SystemTime::now(), &Cancel::never()).await;
                log_outcome(&later, &outcome); // only for the log, because the workflow has ended
                self.journal.write(JournalEntry::Acknowledged { action: action.clone(), success: false });
                if outcome.failure.is_some() {
                    return None;
                }
                self.power.note_kernel();
                self.requested(&later)
            }
            _ => self.requested(action),
        }
    }

    fn requested(&self, action: &Action) -> Option<Power> {
        let power = self.power.pending()?;
        let what = power.what();
        log::info!("{} asked for {what} and its success is acknowledged", action.title());
        Some(power)
    }
}

/// How long to pause, and the last line logged. A state gets one line, not one every second.
struct Pace {
    backoff: Backoff,
    said: String,
}

impl Pace {
    async fn rest(&mut self) {
        sleep(self.backoff.pause(backoff::random())).await;
    }

    /// A server that held the call is asked again at once, because work may come meanwhile.
    fn idle(&mut self, held: Duration) -> Duration {
        if held < QUIET {
            return self.backoff.pause(backoff::random());
        }
        self.backoff.reset();
        Duration::ZERO
    }

    fn wait_for_work(&mut self) {
        const LINE: &str = "waiting for work";
        self.say(LINE);
        status::waiting_for_work(LINE);
    }

    fn say(&mut self, text: &str) {
        if self.said != text {
            log::info!("{text}");
            text.clone_into(&mut self.said);
        }
    }
}

pub(crate) fn log_outcome(action: &Action, outcome: &Outcome) {
    let (title, took) = (action.title(), report::duration(outcome.took()));
    match &outcome.failure {
        None => {
            log::info!("{title}: SUCCESS in {took}");
            status::succeeded(action);
        }
        Some(reason) => {
            let state = if matches!(reason, Reason::Timeout { .. }) { "TIMEOUT" } else { "FAILED" };
            log::error!("{title}: {state} in {took}: {}", reason.text());
            status::failed(action, state);
        }
    }
}

#[cfg(test)]
mod tests;
