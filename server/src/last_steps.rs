//! The latest step of each machine's boot as state of its MachineState, so that watches see a boot go on.
//!
//! The history itself is outside the store, because firmware asks more often than a disk can write. What changed within two
//! seconds is one transaction of bounded size. A machine whose steps wait longer shows the newest one then.

use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use api::{LastStep, StepKind};
use jiff::{SignedDuration, Timestamp};
use log::warn;
use machine::Chain;
use model::{Kind, ObjectName};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::change::encoded;
use crate::service::{Inner, Server};
use crate::store::{StoreError, Transaction};
use crate::view::key;

/// Where they are in the store, by the name of the Hardware.
pub const LAST_STEPS: &str = "/boots/";
/// The shortest time between two writes.
const WRITE_EVERY: Duration = Duration::from_secs(2);
/// The most machines of one transaction. The store keeps 4,096 changes for watches that begin again.
const TOGETHER: usize = 64;
/// A step that only came again is stored this seldom.
const AGAIN: SignedDuration = SignedDuration::from_secs(60);

/// As it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownStep {
    pub kind: StepKind,
    pub step: String,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_server: Option<IpAddr>,
}

impl From<LastStep> for ShownStep {
    fn from(LastStep { step, other_server }: LastStep) -> Self {
        Self { kind: step.step.kind, step: step.step.to_string(), at: step.step.latest(), other_server }
    }
}

impl ShownStep {
    /// Whether it is written over what is stored. The files of a running system say nothing new one by one.
    fn is_news(&self, stored: &Self) -> bool {
        let of_system = |kind| matches!(kind, StepKind::File | StepKind::FileRefused | StepKind::BrokenOff);
        let is_again = self.step == stored.step || of_system(self.kind) && self.kind == stored.kind;
        // Another server may have stored a later one.
        let is_older = self.at < stored.at;
        !is_older && (!is_again || self.other_server != stored.other_server || self.at.duration_since(stored.at) >= AGAIN)
    }
}

/// `/boots/default/node-1`.
#[must_use]
pub fn last_step_key(name: &ObjectName) -> String {
    format!("{LAST_STEPS}{}/{}", name.namespace, name.name)
}

/// Stores the latest steps, until the server is dropped.
pub(crate) async fn write(server: Weak<Inner>, news: Arc<Notify>) {
    loop {
        news.notified().await;
        let Some(inner) = server.upgrade() else { return };
        if let Err(reason) = Server(inner).store_last_steps().await {
            warn!("the latest steps of machines that boot could not be stored: {}", Chain(&reason));
        }
        tokio::time::sleep(WRITE_EVERY).await;
    }
}

impl Server {
    /// A machine has taken a step. This waits for nothing.
    pub(crate) fn took_step(&self, name: ObjectName) {
        self.0.last_steps.add(name);
    }

    async fn store_last_steps(&self) -> Result<(), StoreError> {
        let mut names = self.0.last_steps.next(TOGETHER);
        // Each try but the last leaves one out.
        for _ in 0..names.len() {
            let together = self.last_steps_of(&names)?;
            if together.writes.is_empty() {
                return Ok(());
            }
            match self.commit(together).await {
                // Its Hardware has changed meanwhile. It is tried again, and the others need not wait for it.
                Err(StoreError::Conflict { key: changed }) => {
                    let is_other = |name: &ObjectName| ![key(Kind::Hardware, name), last_step_key(name)].contains(&changed);
                    names.retain(|name| {
                        let stays = is_other(name);
                        if !stays {
                            self.took_step(name.clone());
                        }
                        stays
                    });
                }
                done => return done.map(drop),
            }
        }
        Ok(())
    }

    fn last_steps_of(&self, names: &[ObjectName]) -> Result<Transaction, StoreError> {
        let view = self.snapshot();
        let mut together = Transaction::default();
        for name in names {
            // The steps of a machine whose Hardware has gone stay in the history only.
            let Some(hardware) = view.hardware.get(name) else { continue };
            let Some(shown) = self.last_step(&hardware.object).map(ShownStep::from) else { continue };
            let stored = view.last_steps.get(name);
            if stored.is_some_and(|stored| !shown.is_news(&stored.object)) {
                continue;
            }
            let expected = stored.map_or(0, |stored| stored.modified);
            together =
                together.when(key(Kind::Hardware, name), hardware.modified).put(last_step_key(name), expected, encoded(&shown)?);
        }
        Ok(together)
    }
}

#[cfg(test)]
mod tests {
    use api::BootStep;
    use model::{Mac, parse_documents};

    use super::*;
    use crate::service::Config;
    use crate::store::Memory;

    fn mac(number: usize) -> Mac {
        let [.., high, low] = number.to_be_bytes();
        Mac::new([2, 0, 0, 0, high, low])
    }

    fn name(number: usize) -> ObjectName {
        ObjectName::new("default", format!("m{number}"))
    }

    /// A server that stores nothing by itself.
    async fn with_machines(count: usize) -> Server {
        let hardware = |number| {
            format!(
                "---\napiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: m{number}}}\nspec: {{interfaces: \
                 [{{dhcp: {{mac: '{}'}}}}]}}\n",
                mac(number)
            )
        };
        let server = Server::on(Arc::new(Memory::default()), Config::default()).await.unwrap();
        let text: String = (0..count).map(hardware).collect();
        server.apply(parse_documents(&text, "f").unwrap()).await.unwrap();
        server
    }

    fn step(server: &Server, number: usize, second: i64, kind: StepKind, asked: &str) {
        server.keep_step(mac(number), BootStep::new(Timestamp::from_second(second).unwrap(), kind, asked, "x"));
    }

    fn shown(server: &Server, number: usize) -> Option<String> {
        server.view().last_steps.get(&name(number)).map(|stored| stored.object.step.clone())
    }

    #[tokio::test]
    async fn the_steps_of_many_machines_are_one_transaction_and_their_repetitions_none() {
        let server = with_machines(3).await;
        let before = server.view().revision;
        for (number, asked) in [(0, "DISCOVER"), (1, "DISCOVER"), (0, "REQUEST")] {
            step(&server, number, 1, StepKind::Offered, asked);
        }
        server.store_last_steps().await.unwrap();
        assert_eq!(server.view().revision, before + 2, "one write for each machine");
        assert_eq!(
            [0, 1, 2].map(|number| shown(&server, number)),
            [Some("DHCP: REQUEST -> x".to_owned()), shown(&server, 1), None]
        );
        for second in 2..60 {
            step(&server, 0, second, StepKind::Offered, "REQUEST");
        }
        server.store_last_steps().await.unwrap();
        assert_eq!(server.view().revision, before + 2, "the same again");
        step(&server, 0, 61, StepKind::Offered, "REQUEST");
        server.store_last_steps().await.unwrap();
        assert_eq!(server.view().revision, before + 3, "after a minute its time is news");
    }

    #[tokio::test]
    async fn the_files_of_a_running_system_are_not_written_one_by_one() {
        let server = with_machines(1).await;
        let before = server.view().revision;
        for second in 0..50 {
            step(&server, 0, second, StepKind::File, &format!("GET {second}.deb"));
            server.store_last_steps().await.unwrap();
        }
        assert_eq!(server.view().revision, before + 1);
    }

    #[tokio::test]
    async fn a_hall_of_machines_is_written_in_parts_and_each_has_its_turn() {
        let count = TOGETHER + 8;
        let server = with_machines(count).await;
        for round in 0..3 {
            // The first ones of the alphabet take steps all the time.
            (0..count).for_each(|number| step(&server, number, round, StepKind::Offered, &round.to_string()));
            server.store_last_steps().await.unwrap();
        }
        let stored = (0..count).filter(|number| shown(&server, *number).is_some()).count();
        assert_eq!(stored, count, "none starves");
    }

    #[tokio::test]
    async fn deleted_hardware_leaves_no_step_and_gets_none() {
        let server = with_machines(2).await;
        step(&server, 0, 1, StepKind::Offered, "DISCOVER");
        server.store_last_steps().await.unwrap();
        step(&server, 0, 2, StepKind::Offered, "REQUEST");
        step(&server, 1, 2, StepKind::Offered, "REQUEST");
        server.delete(Kind::Hardware, &name(0), false).await.unwrap();
        assert_eq!(shown(&server, 0), None);
        server.store_last_steps().await.unwrap();
        assert_eq!([shown(&server, 0).is_some(), shown(&server, 1).is_some()], [false, true]);
        assert!(server.0.store.get(&last_step_key(&name(0))).await.unwrap().is_none());
    }
}
