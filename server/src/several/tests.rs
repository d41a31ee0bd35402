//! Two servers on one store, whose views are behind it.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{MemberState, RolloutSpec, RolloutState};
use jiff::{SignedDuration, Timestamp};
use model::{ActionState, AgentId, Kind, ObjectName, parse_documents};

use tokio::time::Instant;

use super::*;
use crate::progress::Report;
use crate::service::Config;
use crate::store::behind::Behind;
use crate::store::{Memory, Store};

/// How far the views of the servers are behind.
const LAGS: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(200)];

async fn two() -> [Server; 2] {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    two_on(&store).await
}

async fn two_on(store: &Arc<dyn Store>) -> [Server; 2] {
    let config = || Config { long_poll: Duration::from_secs(30), ..Config::default() };
    let mut servers = Vec::new();
    for lag in LAGS {
        let behind = Behind::new(Arc::clone(store), lag).await;
        servers.push(Server::on(Arc::new(behind), config()).await.unwrap());
    }
    servers.try_into().unwrap_or_else(|_| unreachable!())
}

fn objects(machines: usize, actions: usize) -> String {
    let actions: Vec<String> = (0..actions).map(|n| format!("{{name: a{n}, image: \"i:1\", timeout: 300}}")).collect();
    let template = format!(
        "apiVersion: tinkerbell.org/v1alpha1\nkind: Template\nmetadata: {{name: t}}\nspec:\n  data: |\n    name: t\n    tasks:\n    - \
         {{name: t, worker: \"{{{{.device_1}}}}\", actions: [{}]}}\n",
        actions.join(", ")
    );
    let hardware = |n| {
        format!(
            "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: m{n}, labels: {{rack: '7'}}}}\nspec: \
             {{interfaces: [{{dhcp: {{mac: '{}'}}, netboot: {{allowPXE: true}}}}]}}\n",
            mac(n)
        )
    };
    (0..machines).fold(template, |text, n| text + &hardware(n))
}

fn mac(number: usize) -> String {
    format!("02:00:00:00:00:{number:02x}")
}

fn workflow(number: usize) -> String {
    format!(
        "apiVersion: tinkerbell.org/v1alpha1\nkind: Workflow\nmetadata: {{name: w{number}}}\nspec: {{templateRef: t, hardwareRef: \
         m{number}, hardwareMap: {{device_1: '{}'}}}}\n",
        mac(number)
    )
}

async fn apply(server: &Server, text: &str) {
    server.apply(parse_documents(text, "f").unwrap()).await.unwrap();
}

fn name(text: &str) -> ObjectName {
    ObjectName::new("default", text)
}

fn state(server: &Server, workflow: &str) -> String {
    let object = server.get(Kind::Workflow, &name(workflow)).unwrap_or_default();
    object["status"]["state"].as_str().unwrap_or("-").to_owned()
}

/// What a call of an agent is preceded by.
async fn asked(server: &Server, agent: &AgentId) -> crate::Assignment {
    server.caught_up().await.unwrap();
    server.agent_called(agent, None, None);
    server.next_action(agent).await.unwrap()
}

async fn said(server: &Server, agent: &AgentId, given: &crate::Assignment, state: ActionState) {
    server.caught_up().await.unwrap();
    let (task_id, action_id) = (given.task.id.clone(), given.action.id.clone());
    let report = Report { agent: agent.clone(), task_id, action_id, state, ..Report::default() };
    server.report(&given.workflow, &report).await.unwrap();
}

/// Waits until something holds, in the time of the test.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(300), waited).await.unwrap_or_else(|_| panic!("{what} did not come about"));
}

#[tokio::test(start_paused = true)]
async fn an_agent_asks_one_server_and_reports_to_the_other() {
    let [one, other] = two().await;
    apply(&one, &objects(1, 4)).await;
    let agent = AgentId(mac(0));
    // A call that is held at the one wakes when the other gets the work.
    let held = tokio::spawn({
        let (server, agent) = (other.clone(), agent.clone());
        async move { asked(&server, &agent).await }
    });
    apply(&one, &workflow(0)).await;
    let mut given = held.await.unwrap();
    let mut seen = vec![given.action.name.clone()];
    for round in 0..4 {
        let servers = if round % 2 == 0 { [&one, &other] } else { [&other, &one] };
        said(servers[0], &agent, &given, ActionState::Running).await;
        said(servers[1], &agent, &given, ActionState::Success).await;
        if round < 3 {
            given = asked(servers[0], &agent).await;
            seen.push(given.action.name.clone());
        }
    }
    assert_eq!(seen, ["a0", "a1", "a2", "a3"]);
    for server in [&one, &other] {
        server.caught_up().await.unwrap();
        assert_eq!(state(server, "w0"), "SUCCESS");
        assert!(server.action_now(&agent).await.is_err(), "what has succeeded never runs again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_a_workflow_that_this_server_has_not_seen_does_not_stop_it() {
    let [one, other] = two().await;
    apply(&one, &(objects(1, 1) + "---\n" + &workflow(0))).await;
    let agent = AgentId(mac(0));
    let given = asked(&one, &agent).await;
    said(&one, &agent, &given, ActionState::Running).await;
    assert_ne!(state(&other, "w0"), "RUNNING", "it is behind");
    other.caught_up().await.unwrap();
    other.agent_watches(&agent, &given.workflow);
    let watch = tokio::spawn({
        let (server, workflow) = (other.clone(), given.workflow.clone());
        async move { server.until_stopped(&agent, &workflow).await.unwrap() }
    });
    one.cancel(&given.workflow, "mine", false).await.unwrap();
    assert!(watch.await.unwrap().unwrap().contains("mine"), "the cancellation at one server ends the watch at the other");
}

#[tokio::test(start_paused = true)]
async fn one_server_leads_and_the_other_takes_over_when_it_is_gone() {
    let [one, other] = two().await;
    until("a leader", || one.leads() || other.leads()).await;
    assert!(one.leads() != other.leads(), "not both");
    let (leader, follower) = if one.leads() { (one, other) } else { (other, one) };
    let weak = Arc::downgrade(&leader.0);
    drop(leader); // as with SIGKILL: nothing is given back
    until("the end of the first server", || weak.upgrade().is_none()).await;
    assert!(!follower.leads(), "the lease has not expired");
    until("a takeover", || follower.leads()).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_gives_the_lease_back_at_once() {
    let [one, other] = two().await;
    until("a leader", || one.leads() || other.leads()).await;
    let (leader, follower) = if one.leads() { (one, other) } else { (other, one) };
    let begun = Instant::now();
    leader.stop();
    until("a takeover", || follower.leads()).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(!leader.leads());
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_calls_the_other_server_is_not_taken_for_lost() {
    let [one, other] = two().await;
    apply(&one, &(objects(1, 1) + "---\n" + &workflow(0))).await;
    let agent = AgentId(mac(0));
    let given = asked(&one, &agent).await;
    said(&one, &agent, &given, ActionState::Running).await;
    one.agent_watches(&agent, &given.workflow);
    let now = Timestamp::now();
    let later = now + SignedDuration::from_secs(200);
    assert_eq!(one.neglected(later).len(), 1, "nobody has heard it for 200 s");
    // It has moved to the other server, which says so.
    other.caught_up().await.unwrap();
    other.agent_called(&agent, None, None);
    other.agent_watches(&agent, &given.workflow);
    let calls = other.0.agents.called(usize::MAX);
    assert_eq!(calls.iter().map(|(id, call)| (id.clone(), call.watches)).collect::<Vec<_>>(), [(agent.clone(), true)]);
    assert!(other.0.agents.called(usize::MAX).is_empty(), "each call is shared once");
    let heard =
        calls.into_iter().map(|(id, call)| (id, crate::heard::Call { at: later - SignedDuration::from_secs(20), ..call }));
    one.0.agents.called_elsewhere(heard.collect::<BTreeMap<_, _>>());
    assert!(one.neglected(later).is_empty());
    assert!(one.0.agents.get(&agent).unwrap().last_seen > now);
    // The same by the store.
    other.agent_called(&agent, None, None);
    let before = one.0.agents.get(&agent).unwrap().last_seen;
    other.share_calls().await.unwrap();
    one.caught_up().await.unwrap();
    assert!(one.0.agents.get(&agent).unwrap().last_seen >= before);
}

#[tokio::test(start_paused = true)]
async fn a_rollout_begun_at_one_server_is_driven_by_the_leader_one_machine_at_a_time() {
    let [one, other] = two().await;
    apply(&one, &objects(6, 1)).await;
    other.caught_up().await.unwrap();
    until("a leader", || one.leads() || other.leads()).await;
    let (leader, follower) = if one.leads() { (&one, &other) } else { (&other, &one) };
    let spec = RolloutSpec {
        selector: "rack=7".into(),
        template_ref: "t".into(),
        worker_key: "device_1".into(),
        at_once: 1,
        waves: vec![2],
        stop_after: 0,
        machine_timeout: 0,
    };
    follower.start_rollout(&name("r"), spec, "ada", false).await.unwrap();
    for round in 0..6 {
        let ordered = async || {
            let members = follower.rollout(&name("r")).await.unwrap().members;
            let of = |state| members.iter().filter(|member| member.state == state).count();
            (of(MemberState::Ordered), of(MemberState::Succeeded), of(MemberState::Withdrawn))
        };
        let mut counts = ordered().await;
        while counts != (1, round, 0) {
            assert!(counts.0 <= 1 && counts.2 == 0, "one at a time, and none withdrawn: {counts:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
            counts = ordered().await;
        }
        let members = follower.rollout(&name("r")).await.unwrap().members;
        let member = members.into_iter().find(|member| member.state == MemberState::Ordered).unwrap();
        let number: usize = member.hardware.trim_start_matches('m').parse().unwrap();
        let agent = AgentId(mac(number));
        let servers = if round % 2 == 0 { [leader, follower] } else { [follower, leader] };
        let given = asked(servers[0], &agent).await;
        said(servers[1], &agent, &given, ActionState::Running).await;
        said(servers[0], &agent, &given, ActionState::Success).await;
    }
    let is_done = async {
        while follower.rollout(&name("r")).await.unwrap().rollout.state != RolloutState::Done {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), is_done).await.unwrap();
    let reason = follower.rollout(&name("r")).await.unwrap().rollout.reason;
    assert_eq!(reason, "6 succeeded, 0 failed, 0 withdrawn");
}

#[tokio::test(start_paused = true)]
async fn two_workflows_that_need_each_others_machines_do_not_both_begin() {
    const BOTH: &str = "apiVersion: tinkerbell.org/v1alpha1
kind: Template
metadata: {name: both}
spec:
  data: |
    name: both
    tasks:
    - {name: x, worker: \"{{.first}}\", actions: [{name: x, image: \"i:1\", timeout: 9}]}
    - {name: y, worker: \"{{.second}}\", actions: [{name: y, image: \"i:1\", timeout: 9}]}
";
    let workflow = |name: &str, first: usize, second: usize| {
        format!(
            "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Workflow\nmetadata: {{name: {name}}}\nspec: {{templateRef: both, hardwareMap: \
             {{first: '{}', second: '{}'}}}}\n",
            mac(first),
            mac(second)
        )
    };
    let [one, other] = two().await;
    apply(&one, &(objects(2, 1) + "---\n" + BOTH + &workflow("u", 0, 1) + &workflow("v", 1, 0))).await;
    for server in [&one, &other] {
        server.caught_up().await.unwrap();
    }
    let (first, second) = (AgentId(mac(0)), AgentId(mac(1)));
    assert!(one.action_now(&first).await.is_ok());
    // The other server's view does not show that yet.
    assert_eq!(state(&other, "u"), "PENDING");
    assert!(other.action_now(&second).await.is_err(), "it waits for the one that has begun");
}

#[tokio::test(start_paused = true)]
async fn a_server_alone_leads_at_once_and_asks_no_lease() {
    let server = Server::on(Arc::new(Memory::default()), Config::default()).await.unwrap();
    assert!(server.leads());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(server.0.store.list("").await.unwrap().0.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_view_stands_still_answers_nothing_and_is_not_ready() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let stuck = Behind::new(Arc::clone(&store), Duration::from_secs(3600)).await;
    let server = Server::on(Arc::new(stuck), Config::default()).await.unwrap();
    assert!(server.caught_up().await.is_ok() && server.unready().await.is_empty());
    let other = Server::on(store, Config::default()).await.unwrap();
    apply(&other, &objects(1, 1)).await;
    let refused = server.caught_up().await.unwrap_err().to_string();
    assert!(refused.contains("another server of the site may answer"), "{refused}");
    assert_eq!(server.unready().await, ["the view is behind the store"]);
    assert!(server.ill().await.is_empty(), "to start it again would not help");
}

fn hardware(name: &str, mac: &str, address: &str) -> Vec<model::Object> {
    let text = format!(
        "apiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: {name}}}\nspec: {{interfaces: [{{dhcp: {{mac: '{mac}', ip: \
         {{address: {address}}}}}}}]}}\n"
    );
    parse_documents(&text, "f").unwrap()
}

/// What a server says of a change that it refuses. `None` if it makes the change.
fn refusal<T>(done: Result<T, crate::ApplyError>) -> Option<String> {
    match done {
        Ok(_) => None,
        Err(crate::ApplyError::Refused(mistakes)) => Some(mistakes.iter().map(ToString::to_string).collect()),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_alone_writes_no_claims_and_two_on_what_it_wrote_share_no_mac_all_the_same() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let alone = Server::on(Arc::clone(&store), Config::default()).await.unwrap();
    alone.apply(hardware("a", "02:00:00:00:00:01", "10.0.0.1")).await.unwrap();
    drop(alone);
    let claims = async || store.list("/claims/").await.unwrap().0.len();
    assert_eq!(claims().await, 0);
    let [one, other] = two_on(&store).await;
    for server in [&one, &other] {
        let refused = refusal(server.apply(hardware("b", "02:00:00:00:00:01", "10.0.0.2")).await);
        assert!(refused.is_some_and(|reason| reason.contains("has 02:00:00:00:00:01, which is Hardware")));
    }
    let [c, d] = ["c", "d"].map(|name| hardware(name, "02:00:00:00:00:09", "10.0.0.9"));
    let (here, there) = tokio::join!(one.apply(c), other.apply(d));
    assert_eq!([refusal(here), refusal(there)].iter().flatten().count(), 1, "their views do not show each other's change");
    assert!(claims().await > 0);
}

/// Each server's view is behind the other's change when it plans its own.
#[tokio::test(start_paused = true)]
async fn of_two_servers_that_give_one_mac_or_address_to_different_hardware_at_once_one_is_refused() {
    let [one, other] = two().await;
    for (round, (first, second, shared)) in [
        (("02:00:00:00:00:01", "10.0.0.1"), ("02:00:00:00:00:01", "10.0.0.2"), "has 02:00:00:00:00:01, which is Hardware"),
        (("02:00:00:00:01:01", "10.0.1.1"), ("02:00:00:00:01:02", "10.0.1.1"), "has the address 10.0.1.1, which is Hardware"),
    ]
    .into_iter()
    .enumerate()
    {
        let [a, b] = ["a", "b"].map(|name| format!("{name}{round}"));
        let (here, there) =
            tokio::join!(one.apply(hardware(&a, first.0, first.1)), other.apply(hardware(&b, second.0, second.1)));
        let refusals: Vec<String> = [refusal(here), refusal(there)].into_iter().flatten().collect();
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        assert!(refusals[0].contains(shared), "{refusals:?}");
    }
    // Different machines do not stand in each other's way, at the same server either.
    let all = (0..60).map(|n| {
        let server = if n % 2 == 0 { one.clone() } else { other.clone() };
        let objects = hardware(&format!("m{n}"), &format!("02:00:00:00:02:{n:02x}"), &format!("10.0.2.{}", n + 1));
        async move { server.apply(objects).await.map(drop) }
    });
    for done in futures_util::future::join_all(all).await {
        done.unwrap();
    }
}
