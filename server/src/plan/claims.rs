//! Two servers that give one MAC, address or agent to different Hardware in the same moment: only one of them may succeed.
//!
//! Each MAC, address and agent has one of a fixed number of keys, by a hash. A change that gives one to a Hardware also writes that
//! key, over the version that the view has. So the later one of two changes fails, is planned again on the other's result, and is
//! refused there. The keys say nothing, and a store without them is complete: a key that does not exist is one that both expect
//! not to exist. So a server alone on its store writes none, and what comes from such a store needs none.

use std::collections::BTreeSet;

use model::Hardware;

use super::Planner;
use crate::store::Transaction;
use crate::view::{agents_of, claim_key};

/// Few, because all Hardware of a file writes them at most once. Enough that changes of different machines rarely meet.
const KEYS: u64 = 256;

/// The numbers of the keys of everything that only one Hardware may have.
fn numbers(hardware: &Hardware) -> BTreeSet<u64> {
    let macs = hardware.spec.macs().map(|mac| mac.to_string());
    let addresses = hardware.spec.addresses().filter(|address| !address.is_unspecified()).map(|address| address.to_string());
    let agents = agents_of(hardware).into_iter().map(|agent| agent.0.to_lowercase());
    macs.chain(addresses).chain(agents).map(|text| number(&text)).collect()
}

/// FNV-1a: the same in every version, because servers of two versions may run at once.
fn number(text: &str) -> u64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (hash ^ hash >> 32) % KEYS
}

impl Planner<'_> {
    /// Writes the keys of what Hardware gets by this change, if there may be another server.
    pub(super) fn write_claims(&mut self) {
        if !self.rules.shared {
            return;
        }
        let mut claimed = BTreeSet::new();
        for (name, hardware) in &self.hardware {
            let stored = self.view.hardware.get(name).map(|stored| &stored.object);
            if stored.is_none_or(|stored| stored.spec != hardware.spec) {
                let had = stored.map(|stored| numbers(stored)).unwrap_or_default();
                claimed.extend(numbers(hardware).difference(&had));
            }
        }
        let view = self.view;
        let before = std::mem::take(&mut self.plan.transaction);
        self.plan.transaction = claimed.into_iter().fold(before, |transaction: Transaction, number| {
            let key = claim_key(number);
            let seen = view.claims.get(&number).copied().unwrap_or(0);
            transaction.put(key, seen, b"{}".to_vec())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_a_name_stay_the_same_in_later_versions() {
        let found = ["52:54:00:12:34:56", "10.0.0.20", "agent-7", ""].map(number);
        assert_eq!(found, [172, 8, 248, 193]);
    }
}
