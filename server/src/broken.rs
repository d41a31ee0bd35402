//! Every operation, against a store that fails any of its commits before or after the commit is durable.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::{OrderKind, WorkflowChange};
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use model::{ActionState, AgentId, Kind, Mac, ObjectName, parse_documents};

use crate::progress::{Heard, Report};
use crate::service::{Config, Server};
use crate::store::{Answer, KeyValue, Memory, Store, StoreError, Transaction, Watch};
use crate::view::{Stored, View};
use crate::work::Assignment;

const MAC: &str = "52:54:00:00:00:01";

/// When a commit fails, as the disk sees it. The caller sees the same error in both cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Before,
    After,
}

/// A store whose next commits can be made to fail.
#[derive(Default)]
struct Broken {
    inner: Memory,
    /// The number of commits until one fails. Only one fails.
    fault: Mutex<Option<(usize, Moment)>>,
    fired: AtomicBool,
}

impl Broken {
    fn arm(&self, commits: usize, moment: Moment) {
        self.fired.store(false, Ordering::SeqCst);
        *self.fault.lock().unwrap() = Some((commits, moment));
    }

    fn disarm(&self) -> bool {
        *self.fault.lock().unwrap() = None;
        self.fired.load(Ordering::SeqCst)
    }

    fn due(&self) -> Option<Moment> {
        let mut fault = self.fault.lock().unwrap();
        match fault.take()? {
            (0, moment) => {
                self.fired.store(true, Ordering::SeqCst);
                Some(moment)
            }
            (more, moment) => {
                *fault = Some((more - 1, moment));
                None
            }
        }
    }
}

impl Store for Broken {
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<KeyValue>> {
        self.inner.get(key)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, (Vec<KeyValue>, u64)> {
        self.inner.list(prefix)
    }

    fn commit(&self, transaction: Transaction) -> Answer<'_, u64> {
        let failed = || StoreError::Failed { doing: "commit", source: "the disk is full".into() };
        match self.due() {
            None => self.inner.commit(transaction),
            Some(Moment::Before) => Box::pin(async move { Err(failed()) }),
            Some(Moment::After) => {
                let done = self.inner.commit(transaction);
                Box::pin(async move { Err(done.await.err().unwrap_or_else(failed)) })
            }
        }
    }

    fn probe(&self) -> Answer<'_, ()> {
        self.inner.probe()
    }

    fn watch(&self, after: u64) -> Result<Watch, StoreError> {
        self.inner.watch(after)
    }
}

/// One operation on a server that `before` has prepared. The answer is the error's text.
struct Operation {
    name: &'static str,
    before: fn(Server) -> BoxFuture<'static, ()>,
    call: fn(Server) -> BoxFuture<'static, Result<(), String>>,
}

fn hardware(name: &str, mac: &str) -> String {
    format!(
        "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: {name}}}\nspec: {{interfaces: [{{dhcp: {{mac: '{mac}'}}, netboot: \
         {{allowPXE: true}}}}]}}\n"
    )
}

fn template(image: &str) -> String {
    let action = |name: &str| format!("      - {{name: {name}, image: \"{image}\", timeout: 60}}\n");
    format!(
        "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Template\nmetadata: {{name: two}}\nspec:\n  data: |\n    name: two\n    tasks:\n    - name: \
         t\n      worker: \"{{{{ .worker }}}}\"\n      actions:\n{}{}",
        action("a0"),
        action("a1")
    )
}

fn workflow(name: &str, hardware: &str, mac: &str) -> String {
    format!(
        "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Workflow\nmetadata: {{name: {name}}}\nspec: {{templateRef: two, hardwareRef: {hardware}, \
         hardwareMap: {{worker: '{mac}'}}}}\n"
    )
}

async fn apply(server: &Server, text: &str) -> Result<(), String> {
    server.apply(parse_documents(text, "f").unwrap()).await.map(drop).map_err(|error| error.to_string())
}

async fn assigned(server: &Server, mac: &str) -> Result<Assignment, String> {
    server.next_action(&AgentId::from(mac)).await.map_err(|error| error.to_string())
}

async fn say(server: &Server, assignment: &Assignment, state: ActionState) -> Result<(), String> {
    let report = Report {
        agent: assignment.task.agent_id.clone(),
        task_id: assignment.task.id.clone(),
        action_id: assignment.action.id.clone(),
        state,
        ..Report::default()
    };
    server.report(&assignment.workflow, &report).await.map(drop).map_err(|error| error.to_string())
}

fn w() -> ObjectName {
    ObjectName::new("default", "w")
}

async fn ordered(server: &Server) {
    apply(server, &format!("{}{}{}", hardware("m", MAC), template("i:1"), workflow("w", "m", MAC))).await.unwrap();
}

/// Succeeds with this many actions, and starts the next one.
async fn running(server: &Server, succeeded: usize) -> Assignment {
    ordered(server).await;
    for _ in 0..succeeded {
        let done = assigned(server, MAC).await.unwrap();
        say(server, &done, ActionState::Success).await.unwrap();
    }
    let assignment = assigned(server, MAC).await.unwrap();
    say(server, &assignment, ActionState::Running).await.unwrap();
    assignment
}

async fn report_next(server: &Server, state: ActionState) -> Result<(), String> {
    let json = server.get(Kind::Workflow, &w()).ok_or("no workflow")?;
    let stored: model::Workflow = serde_json::from_value(json).unwrap();
    let open =
        |task: &model::WorkflowTask| Some((task.clone(), task.actions.iter().find(|action| !action.state.is_final())?.clone()));
    let (task, action) = stored.status.tasks.iter().find_map(open).ok_or("nothing left")?;
    say(server, &Assignment { workflow: w(), task, action, next_image: None }, state).await
}

async fn order(server: &Server, order: OrderKind) -> Result<(), String> {
    server.order("m", order, "a test", "").await.map(drop).map_err(|error| error.to_string())
}

async fn cancel(server: &Server, at_once: bool) -> Result<(), String> {
    server.cancel(&w(), "a test", at_once).await.map(drop).map_err(|error| error.to_string())
}

async fn change(server: &Server, change: WorkflowChange) -> Result<(), String> {
    server.change_workflow(&w(), &change, "a test", "").await.map(drop).map_err(|error| error.to_string())
}

macro_rules! steps {
    ($server:ident => $step:expr) => {
        |$server| Box::pin(async move { $step })
    };
}

const OPERATIONS: &[Operation] = &[
    Operation {
        name: "apply all at once",
        before: steps!(_server => ()),
        call: steps!(server => apply(&server, &format!("{}{}{}", hardware("m", MAC), template("i:1"), workflow("w", "m", MAC))).await),
    },
    Operation {
        name: "apply a Template that renders a workflow anew",
        before: steps!(server => ordered(&server).await),
        call: steps!(server => apply(&server, &template("i:2")).await),
    },
    Operation {
        name: "delete a workflow",
        before: steps!(server => ordered(&server).await),
        call: steps!(server => server.delete(Kind::Workflow, &w(), false).await.map_err(|error| error.to_string())),
    },
    Operation {
        name: "delete used Hardware",
        before: steps!(server => ordered(&server).await),
        call: steps!(server => {
            server.delete(Kind::Hardware, &ObjectName::new("default", "m"), true).await.map_err(|error| error.to_string())
        }),
    },
    Operation {
        name: "cancel a workflow that waits",
        before: steps!(server => ordered(&server).await),
        call: steps!(server => cancel(&server, false).await),
    },
    Operation {
        name: "cancel a running action",
        before: steps!(server => drop(running(&server, 0).await)),
        call: steps!(server => cancel(&server, false).await),
    },
    Operation {
        name: "cancel at once",
        before: steps!(server => drop(running(&server, 0).await)),
        call: steps!(server => cancel(&server, true).await),
    },
    Operation {
        name: "order a rescue",
        before: steps!(server => ordered(&server).await),
        call: steps!(server => order(&server, OrderKind::Rescue).await),
    },
    Operation {
        name: "approve a held machine",
        before: steps!(server => {
            ordered(&server).await;
            order(&server, OrderKind::Hold).await.unwrap();
        }),
        call: steps!(server => order(&server, OrderKind::Approve).await),
    },
    Operation {
        name: "reinstall",
        before: steps!(server => {
            running(&server, 1).await;
            report_next(&server, ActionState::Success).await.unwrap();
        }),
        call: steps!(server => order(&server, OrderKind::Reinstall).await),
    },
    Operation {
        name: "count a boot",
        before: steps!(server => ordered(&server).await),
        call: steps!(server => {
            server.installs_at(MAC.parse().unwrap(), Timestamp::now()).await;
            let counted = server.machine_named("m").and_then(|machine| machine.state).is_some_and(|state| !state.returns.is_empty());
            if counted { Ok(()) } else { Err("it was not counted".to_owned()) }
        }),
    },
    Operation {
        name: "announce the installed system",
        before: steps!(server => ordered(&server).await),
        call: steps!(server => {
            let mac: Mac = MAC.parse().unwrap();
            server.booted(mac, "up".to_owned()).await.map(drop).map_err(|error| error.to_string())
        }),
    },
    Operation {
        name: "hand out the first action",
        before: steps!(server => ordered(&server).await),
        call: steps!(server => assigned(&server, MAC).await.map(drop)),
    },
    Operation {
        name: "hand out an interrupted action",
        before: steps!(server => drop(running(&server, 0).await)),
        call: steps!(server => assigned(&server, MAC).await.map(drop)),
    },
    Operation {
        name: "ask again after a cancellation",
        before: steps!(server => {
            running(&server, 0).await;
            cancel(&server, false).await.unwrap();
        }),
        call: steps!(server => match assigned(&server, MAC).await {
            Err(nothing) if nothing == "nothing to do" => Ok(()),
            other => other.map(drop),
        }),
    },
    Operation {
        name: "report RUNNING",
        before: steps!(server => {
            ordered(&server).await;
            assigned(&server, MAC).await.unwrap();
        }),
        call: steps!(server => report_next(&server, ActionState::Running).await),
    },
    Operation {
        name: "report the first SUCCESS",
        before: steps!(server => drop(running(&server, 0).await)),
        call: steps!(server => report_next(&server, ActionState::Success).await),
    },
    Operation {
        name: "report the last SUCCESS",
        before: steps!(server => drop(running(&server, 1).await)),
        call: steps!(server => report_next(&server, ActionState::Success).await),
    },
    Operation {
        name: "report FAILED",
        before: steps!(server => drop(running(&server, 0).await)),
        call: steps!(server => report_next(&server, ActionState::Failed).await),
    },
    Operation {
        name: "pause a workflow",
        before: steps!(server => ordered(&server).await),
        call: steps!(server => change(&server, WorkflowChange::Pause).await),
    },
    Operation {
        name: "resume a workflow",
        before: steps!(server => {
            ordered(&server).await;
            change(&server, WorkflowChange::Pause).await.unwrap();
        }),
        call: steps!(server => change(&server, WorkflowChange::Resume).await),
    },
    Operation {
        name: "retry a workflow",
        before: steps!(server => {
            running(&server, 0).await;
            report_next(&server, ActionState::Failed).await.unwrap();
        }),
        call: steps!(server => change(&server, WorkflowChange::Retry { from: None }).await),
    },
    Operation {
        name: "rerun a workflow",
        before: steps!(server => {
            running(&server, 0).await;
            report_next(&server, ActionState::Failed).await.unwrap();
        }),
        call: steps!(server => change(&server, WorkflowChange::Rerun).await),
    },
    Operation {
        name: "end a neglected action",
        before: steps!(server => drop(running(&server, 0).await)),
        call: steps!(server => {
            let now = Timestamp::now() + SignedDuration::from_hours(1);
            let heard = Heard { at: Timestamp::UNIX_EPOCH, watches: true };
            server.look_after(&w(), heard, now).await.map_err(|error| error.to_string())
        }),
    },
];

async fn content(store: &dyn Store) -> (Vec<KeyValue>, u64) {
    let (mut pairs, revision) = store.list("/").await.unwrap();
    pairs.extend(store.list("history/").await.unwrap().0);
    (pairs, revision)
}

/// Objects as text, with their revisions.
fn shown<T: serde::Serialize>(objects: &imbl::OrdMap<ObjectName, Stored<T>>) -> BTreeMap<ObjectName, (u64, u64, String)> {
    let text = |stored: &Stored<T>| (stored.created, stored.modified, serde_json::to_string(&*stored.object).unwrap());
    objects.iter().map(|(name, stored)| (name.clone(), text(stored))).collect()
}

/// Waits until the view shows what the store has.
async fn in_step(server: &Server, store: &dyn Store, case: &str) {
    let (pairs, revision) = content(store).await;
    let limit = tokio::time::Instant::now() + Duration::from_secs(10);
    while server.view().revision < revision {
        assert!(tokio::time::Instant::now() < limit, "{case}: the view stays behind");
        tokio::task::yield_now().await;
    }
    let (view, fresh) = (server.snapshot(), View::load(pairs, revision));
    assert_eq!(shown(&view.hardware), shown(&fresh.hardware), "{case}");
    assert_eq!(shown(&view.templates), shown(&fresh.templates), "{case}");
    assert_eq!(shown(&view.workflows), shown(&fresh.workflows), "{case}");
    assert_eq!(shown(&view.machines), shown(&fresh.machines), "{case}");
    assert_eq!(view.revision, revision, "{case}");
}

/// Installs another machine, from its order to its last action.
async fn another_machine_is_installed(server: &Server, case: &str) {
    let mac = "52:54:00:00:00:02";
    apply(server, &format!("{}{}{}", hardware("other", mac), template("i:1"), workflow("other", "other", mac))).await.unwrap();
    for _ in 0..2 {
        let assignment = assigned(server, mac).await.unwrap();
        say(server, &assignment, ActionState::Success).await.unwrap();
    }
    let state = server.get(Kind::Workflow, &ObjectName::new("default", "other")).unwrap()["status"]["state"].clone();
    assert_eq!(state, "SUCCESS", "{case}");
}

/// Returns false if the operation makes fewer commits.
async fn survives(operation: &Operation, commits: usize, moment: Moment) -> bool {
    let case = format!("{}, commit {commits} fails {moment:?} it is durable", operation.name);
    let store = Arc::new(Broken::default());
    let config = Config { long_poll: Duration::from_millis(1), ..Config::default() };
    let server = Server::on(store.clone(), config).await.unwrap();
    (operation.before)(server.clone()).await;
    let before = content(&*store).await;
    store.arm(commits, moment);
    let answer = (operation.call)(server.clone()).await;
    if !store.disarm() {
        answer.unwrap_or_else(|error| panic!("{case}: {error} without a fault"));
        return false;
    }
    let now = content(&*store).await;
    if commits == 0 && moment == Moment::Before {
        assert_eq!(now, before, "{case}: the failed commit wrote nothing");
    }
    // An operation that only writes to the log is checked by its effect.
    let unseen = operation.name == "count a boot" && moment == Moment::After;
    assert!(answer.is_err() || unseen, "{case}: the operation was acknowledged");
    in_step(&server, &*store, &case).await;
    match (operation.call)(server.clone()).await {
        Ok(()) => {}
        // The change has happened. A message that says so is right, and an error about the store is wrong.
        Err(error) => {
            assert!(moment == Moment::After || commits > 0, "{case}: {error}");
            assert!(!error.contains("the store failed") && !error.contains("changed by another writer"), "{case}: {error}");
        }
    }
    in_step(&server, &*store, &case).await;
    another_machine_is_installed(&server, &case).await;
    in_step(&server, &*store, &case).await;
    true
}

#[tokio::test]
async fn an_operation_whose_commit_fails_is_not_acknowledged_and_can_be_repeated() {
    let mut faults = 0;
    for operation in OPERATIONS {
        for moment in [Moment::Before, Moment::After] {
            let mut commits = 0;
            while survives(operation, commits, moment).await {
                commits += 1;
                faults += 1;
            }
            assert!(commits > 0, "{} makes no commit, so it proves nothing", operation.name);
        }
    }
    assert!(faults >= 2 * OPERATIONS.len(), "{faults}");
}
