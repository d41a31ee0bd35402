//! Rule sets: a pattern that cannot be used is refused with its position. Tinkerbell would drop the whole set when it is
//! needed.

use api::Change;
use model::{Kind, Mistake, WorkflowRuleSet};
use pattern::Pattern;

use super::{Planner, mistake};

/// The most rules of one set.
const MAX_RULES: usize = 256;

impl Planner<'_> {
    pub(super) fn rule_set(&mut self, mut new: WorkflowRuleSet) {
        let name = new.name();
        self.refused.extend(mistakes(&new));
        let old = self.view.rule_sets.get(&name);
        let change = self.carried(&mut new.metadata, old.map(|old| (&old.object.metadata, old.object.spec == new.spec)));
        self.say(Kind::WorkflowRuleSet, &name, change, None);
        if change != Change::Unchanged {
            self.put(Kind::WorkflowRuleSet, &name, &new, old.map_or(0, |old| old.modified));
        }
    }
}

fn mistakes(new: &WorkflowRuleSet) -> Vec<Mistake> {
    let refused = |path: String, message: String| {
        let mistake = mistake(Kind::WorkflowRuleSet, &new.name(), message, None);
        Mistake { path, ..mistake }
    };
    let mut found = Vec::new();
    if new.spec.rules.len() > MAX_RULES {
        found.push(refused(
            "spec.rules".to_owned(),
            format!("there are {} rules, and the most is {MAX_RULES}", new.spec.rules.len()),
        ));
    }
    for (index, rule) in new.spec.rules.iter().enumerate() {
        if let Err(fault) = Pattern::parse(rule) {
            found.push(refused(format!("spec.rules[{index}]"), fault.to_string()));
        }
    }
    found
}
