//! An import: objects of another server, all or none, without orders that the file does not have.

use std::collections::BTreeMap;

use api::{Applied, ImportedMachine};
use jiff::Timestamp;
use log::info;
use model::{Object, ObjectName};

use crate::change::Tries;
use crate::plan::with_intents;
use crate::service::{ApplyError, Server, answer};
use crate::store::StoreError;

impl Server {
    /// Stores objects of another server. Finished workflows stay finished. Machines get the intents of `machines`; one that is
    /// not in it is held if an unfinished workflow comes for it.
    ///
    /// # Errors
    /// As `apply`.
    pub async fn import(&self, objects: Vec<Object>, machines: Vec<ImportedMachine>) -> Result<Applied, ApplyError> {
        let named = machines.into_iter().map(|machine| (ObjectName::new(&machine.namespace, &machine.name), machine));
        let machines: BTreeMap<ObjectName, ImportedMachine> = named.collect();
        let mut tries = Tries::default();
        loop {
            let plan = self.plan(objects.clone()).await?.map_err(ApplyError::Refused)?;
            let plan = with_intents(&self.view(), plan, &machines, Timestamp::now());
            let plan = plan.map_err(|source| StoreError::Failed { doing: "encode an intent", source: source.into() })?;
            let (transaction, applied) = answer(plan);
            if transaction.writes.is_empty() || tries.done(self.commit(transaction).await)? {
                info!("{} objects and {} machines were imported", objects.len(), machines.len());
                return Ok(applied);
            }
        }
    }
}
