//! Deadlines: workflows whose global timeout has passed, and actions that their agent does not end. When the host's clock
//! is set, deadlines move with it.

use std::sync::{MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use log::warn;
use machine::Chain;

use crate::change::Acting;
use crate::clock::{Clock, heard_after};
use crate::due::Due;
use crate::progress::Command;
use crate::service::{Inner, Server};
use crate::store::StoreError;
use crate::wake::Subject;

impl Inner {
    /// The order in which running workflows are looked at.
    pub(crate) fn due(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Workflows have changed, as the view shows.
    pub(crate) fn follow_running<'a>(&self, subjects: impl IntoIterator<Item = &'a Subject>) {
        let view = self.view();
        let mut due = self.due();
        for subject in subjects {
            match subject {
                Subject::Workflow(name) if view.is_running(name) => due.changed(name),
                Subject::Workflow(name) => due.remove(name),
                Subject::Agent(_) => {}
            }
        }
    }

    /// After this nothing counts that was known of their times.
    pub(crate) fn look_at_all_running(&self) {
        let view = self.view();
        *self.due() = Due::of(view.running().map(|stored| stored.object.name()));
    }
}

impl Server {
    /// When this process started, in terms of the current clock.
    pub(crate) fn started(&self) -> Timestamp {
        *self.0.started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls of agents from before are not known.
    pub(crate) fn begin_to_hear(&self, now: Timestamp) {
        *self.0.started.lock().unwrap_or_else(PoisonError::into_inner) = now;
        self.0.look_at_all_running();
    }

    /// The host's clock was set by this much. Each deadline keeps its remaining time, and each call of an agent stays as
    /// long ago as it was.
    pub(crate) async fn clock_moved(&self, by: SignedDuration, now: Timestamp) {
        {
            let mut started = self.0.started.lock().unwrap_or_else(PoisonError::into_inner);
            *started = heard_after(*started, by, now);
        }
        self.0.agents.clock_moved(by, now);
        self.0.look_at_all_running();
        // The deadlines of a site with several servers are of several clocks, which NTP keeps together.
        if self.0.store.is_shared() {
            self.0.rollouts.notify_one();
            return;
        }
        if let Err(reason) = self.rollouts_follow_clock(by).await {
            warn!("rollouts could not be set with the clock: {}", Chain(&reason));
        }
        let names = self.view().with_deadlines();
        for name in names {
            let follows =
                |workflow: &mut Acting| Ok::<_, StoreError>(workflow.take(&Command::ClockMoved(by), now).unwrap_or(false));
            if let Err(reason) = self.change(&name, follows).await {
                warn!("workflow={name} its deadlines could not be set with the clock: {}", Chain(&reason));
            }
        }
    }
}

/// What the host's clock shows, and the time that passes whatever it shows.
pub fn host_clock() -> (Timestamp, Instant) {
    (Timestamp::now(), Instant::now())
}

/// Ends workflows whose global timeout has passed, and those whose agent does not end its action.
pub async fn expire(server: Weak<Inner>, look: impl Fn() -> (Timestamp, Instant)) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut clock: Option<Clock> = None;
    loop {
        tick.tick().await;
        let Some(inner) = server.upgrade() else { return };
        let server = Server(inner);
        let (now, at) = look();
        match &mut clock {
            None => {
                server.clock_moved(SignedDuration::ZERO, now).await; // the clock may have been set back while no server ran
                clock = Some(Clock::new(now, at));
            }
            Some(clock) => {
                if let Some(by) = clock.moved(now, at) {
                    warn!("the host's clock was set by {} s, to {now}: deadlines move with it", by.as_secs());
                    server.clock_moved(by, now).await;
                }
            }
        }
        if !server.leads() {
            continue;
        }
        let expired = server.view().expired(now);
        for name in expired {
            if let Err(reason) = server.expire(&name, now).await {
                warn!("workflow={name} its timeout could not be stored: {}", Chain(&reason));
            }
        }
        for (name, heard) in server.neglected(now) {
            if let Err(reason) = server.look_after(&name, heard, now).await {
                warn!("workflow={name} the end of its action could not be stored: {}", Chain(&reason));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use model::{ActionState, AgentId, Kind, ObjectName, parse_documents};

    use super::*;
    use crate::progress::Report;
    use crate::service::Config;
    use crate::store::Memory;

    const OBJECTS: &str = "apiVersion: tinkerbell.org/v1alpha1
kind: Template
metadata: {name: t}
spec:
  data: |
    name: t
    global_timeout: 600
    tasks:
    - {name: t, worker: a, actions: [{name: a0, image: \"i:1\", timeout: 300}]}
---
apiVersion: tinkerbell.org/v1alpha1
kind: Workflow
metadata: {name: w}
spec: {templateRef: t}
";

    async fn running() -> (Server, ObjectName) {
        running_with(OBJECTS).await
    }

    async fn running_with(objects: &str) -> (Server, ObjectName) {
        let server = Server::on(Arc::new(Memory::default()), Config::default()).await.unwrap();
        server.apply(parse_documents(objects, "f").unwrap()).await.unwrap();
        let agent = AgentId::from("a");
        server.agent_called(&agent, None, None);
        let given = server.next_action(&agent).await.unwrap();
        let (task_id, action_id) = (given.task.id, given.action.id);
        let report = Report { agent: agent.clone(), task_id, action_id, state: ActionState::Running, ..Report::default() };
        server.report(&given.workflow, &report).await.unwrap();
        server.agent_watches(&agent, &given.workflow);
        (server, given.workflow)
    }

    /// The host's clock and the time that passes, both in the hands of a test.
    #[derive(Clone, Default)]
    struct Hands(Arc<Mutex<(SignedDuration, Duration)>>);

    impl Hands {
        fn look(&self, start: (Timestamp, Instant)) -> (Timestamp, Instant) {
            let (clock, passed) = *self.0.lock().unwrap();
            (start.0 + clock, start.1 + passed)
        }

        fn pass(&self, seconds: u64) {
            let mut hands = self.0.lock().unwrap();
            hands.0 += SignedDuration::from_secs(i64::try_from(seconds).unwrap());
            hands.1 += Duration::from_secs(seconds);
        }

        fn set(&self, by: SignedDuration) {
            self.0.lock().unwrap().0 += by;
        }
    }

    /// A server whose timer runs by these hands. Its second passes at once, and its workflow has a running action with a
    /// timeout of 300 s and ends after 600 s.
    async fn ticking(objects: &str) -> (Server, ObjectName, Hands) {
        let (server, name) = running_with(objects).await;
        let (hands, start) = (Hands::default(), host_clock());
        let timer = hands.clone();
        tokio::spawn(expire(Arc::downgrade(&server.0), move || timer.look(start)));
        ticks(3).await;
        (server, name, hands)
    }

    /// Paused time goes on when nothing else is to do.
    async fn ticks(count: u64) {
        tokio::time::sleep(Duration::from_secs(count)).await;
    }

    fn shown(server: &Server, name: &ObjectName) -> (String, String) {
        let status = &server.get(Kind::Workflow, name).unwrap()["status"];
        (status["state"].as_str().unwrap().to_owned(), status["message"].as_str().unwrap_or_default().to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn the_timer_notices_a_lost_agent_and_ends_its_action_wherever_the_clock_was_set() {
        for by in [0, 1, -1, 24, -24].map(SignedDuration::from_hours) {
            let (server, name, hands) = ticking(OBJECTS).await;
            hands.pass(100);
            hands.set(by);
            ticks(3).await;
            assert_eq!(shown(&server, &name), ("RUNNING".into(), String::new()), "{by:#}: heard 100 s ago");
            hands.pass(60);
            ticks(3).await;
            let (state, message) = shown(&server, &name);
            assert!(state == "RUNNING" && message.starts_with("agent a is lost: it was last heard at"), "{by:#}: {message}");
            hands.pass(190);
            ticks(3).await;
            assert_eq!(shown(&server, &name).0, "RUNNING", "{by:#}: within the margin");
            hands.pass(20);
            ticks(3).await;
            let (state, message) = shown(&server, &name);
            assert_eq!(state, "TIMEOUT", "{by:#}: {message}");
            assert!(message.contains("its timeout of 300 s has passed without a report; agent a was last heard at"), "{message}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_timer_ends_a_workflow_after_its_own_time_wherever_the_clock_was_set() {
        for by in [0, 1, -1, 24, -24].map(SignedDuration::from_hours) {
            let (server, name, hands) = ticking(&OBJECTS.replace(", timeout: 300", "")).await;
            hands.set(by);
            ticks(3).await;
            hands.pass(590);
            ticks(3).await;
            assert_eq!(shown(&server, &name).0, "RUNNING", "{by:#}");
            hands.pass(15);
            ticks(3).await;
            assert_eq!(
                shown(&server, &name),
                ("TIMEOUT".into(), "the workflow's global timeout of 600 s has passed".into()),
                "{by:#}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_action_whose_agent_is_lost_runs_again_if_it_may() {
        let (server, name, hands) = ticking(&OBJECTS.replace("timeout: 300", "timeout: 300, retries: 1")).await;
        hands.pass(370);
        ticks(3).await;
        let (state, message) = shown(&server, &name);
        assert!(state == "RUNNING" && message.starts_with("action a0 ended TIMEOUT in attempt 1"), "{state} {message}");
        let agent = AgentId::from("a");
        assert!(server.action_now(&agent).await.is_err(), "it waits for the end of the pause");
        hands.set(-SignedDuration::from_hours(1));
        ticks(3).await;
        hands.pass(6);
        ticks(3).await;
        let given = server.action_now(&agent).await.unwrap();
        assert_eq!((given.workflow, given.action.attempts), (name, 2));
    }

    /// What the server's own look at this time would end.
    fn over(server: &Server, now: Timestamp) -> (usize, usize) {
        (server.view().expired(now).len(), server.neglected(now).len())
    }

    #[tokio::test]
    async fn a_clock_set_by_a_day_ends_nothing_early_and_delays_nothing() {
        let day = SignedDuration::from_hours(24);
        for by in [day, -day] {
            let (server, name) = running().await;
            let now = Timestamp::now() + by;
            if by > SignedDuration::ZERO {
                assert_eq!(over(&server, now), (1, 1), "what would end if deadlines did not move with the clock");
            }
            server.clock_moved(by, now).await;
            assert_eq!(over(&server, now + SignedDuration::from_secs(100)), (0, 0), "{by:#}: the time is not over");
            assert_eq!(over(&server, now + SignedDuration::from_secs(500)).1, 1, "{by:#}: the action's time is over");
            assert_eq!(over(&server, now + SignedDuration::from_secs(601)).0, 1, "{by:#}: the workflow's time is over");
            let log = server.history(&name).await.unwrap().unwrap();
            assert!(log.last().unwrap().text.contains("clock was set by"), "{log:?}");
            assert_eq!(server.get(Kind::Workflow, &name).unwrap()["status"]["state"], "RUNNING");
        }
    }

    #[tokio::test]
    async fn a_clock_set_back_while_no_server_ran_delays_nothing() {
        let (server, _) = running().await;
        let now = Timestamp::now() - SignedDuration::from_hours(24);
        server.clock_moved(SignedDuration::ZERO, now).await;
        assert_eq!(over(&server, now + SignedDuration::from_secs(601)).0, 1);
    }
}
