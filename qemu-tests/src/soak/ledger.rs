//! Compares the actions' own reports with the server's states: the rules that a power cut must not break.

use std::collections::BTreeMap;

/// An action of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub workflow: String,
    pub action: String,
}

/// A report of an action, sent while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    Begin(Place),
    End(Place),
    /// How many dead processes were not reaped.
    Zombies(u64),
    /// The agent's own memory in kB, during a workflow.
    Memory(String, u64),
}

impl Word {
    /// Reads the path that an action asks for: `/begin/W/A`, `/end/W/A`, `/zombies/N`, `/memory/W/N`.
    pub fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let place = |workflow: &str, action: &str| Place { workflow: workflow.to_owned(), action: action.to_owned() };
        match parts.as_slice() {
            ["begin", workflow, action] => Some(Self::Begin(place(workflow, action))),
            ["end", workflow, action] => Some(Self::End(place(workflow, action))),
            ["zombies", count] => count.parse().ok().map(Self::Zombies),
            ["memory", workflow, kilobytes] => Some(Self::Memory((*workflow).to_owned(), kilobytes.parse().ok()?)),
            _ => None,
        }
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Runs {
    begun: u32,
    ended: u32,
}

#[derive(Debug, Default)]
pub struct Ledger {
    runs: BTreeMap<Place, Runs>,
    pub zombies: u64,
    /// The agent's memory in kB by workflow.
    pub memory: BTreeMap<String, u64>,
    pub broken: Vec<String>,
}

impl Ledger {
    /// Takes a report. `state` is the server's state of that action at this moment.
    pub fn hear(&mut self, word: Word, state: &str) {
        match word {
            Word::Begin(place) => {
                let runs = self.runs.entry(place.clone()).or_default();
                runs.begun += 1;
                // The machine may only run an action that the server has as RUNNING. In any other state the server had its
                // result, and let it run again.
                if state != "RUNNING" {
                    self.broken.push(format!("{} of {} began while it is {state} at the server", place.action, place.workflow));
                }
            }
            Word::End(place) => self.runs.entry(place).or_default().ended += 1,
            Word::Zombies(count) => self.zombies += count,
            Word::Memory(workflow, kilobytes) => drop(self.memory.insert(workflow, kilobytes)),
        }
    }

    /// At the end: if the server says that the action succeeded, the action itself must have reported its end.
    pub fn check(&mut self, place: &Place, state: &str) {
        let runs = self.runs.get(place).copied().unwrap_or_default();
        if state != "SUCCESS" {
            self.broken.push(format!("{} of {} is {state} at the end", place.action, place.workflow));
        } else if runs.ended == 0 {
            self.broken
                .push(format!("{} of {} is SUCCESS at the server but never reached its end", place.action, place.workflow));
        }
    }

    /// How many actions ran, and how often one ran again because the power was cut before its report.
    pub fn counts(&self) -> (usize, u32) {
        (self.runs.len(), self.runs.values().map(|runs| runs.begun.saturating_sub(1)).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { workflow: "w".into(), action: "a".into() }
    }

    #[test]
    fn words_are_paths() {
        for (path, word) in [
            ("/begin/w/a", Some(Word::Begin(place()))),
            ("/end/w/a", Some(Word::End(place()))),
            ("/zombies/3", Some(Word::Zombies(3))),
            ("/memory/w/12", Some(Word::Memory("w".into(), 12))),
            ("/memory/w/x", None),
            ("/", None),
        ] {
            assert_eq!(Word::parse(path), word, "{path}");
        }
    }

    #[test]
    fn an_interrupted_action_may_run_again_and_a_finished_one_may_not() {
        let mut ledger = Ledger::default();
        ledger.hear(Word::Begin(place()), "RUNNING");
        ledger.hear(Word::End(place()), "RUNNING");
        ledger.hear(Word::Begin(place()), "RUNNING");
        assert_eq!((ledger.broken.len(), ledger.counts()), (0, (1, 1)), "its report was never sent");
        ledger.hear(Word::Begin(place()), "SUCCESS");
        assert!(ledger.broken.join(" ").contains("a of w began while it is SUCCESS at the server"));
    }

    #[test]
    fn the_end_shows_lost_and_invented_reports() {
        let mut ledger = Ledger::default();
        ledger.check(&place(), "SUCCESS");
        assert!(ledger.broken.join(" ").contains("never reached its end"));
        ledger.hear(Word::End(place()), "RUNNING");
        ledger.broken.clear();
        ledger.check(&place(), "SUCCESS");
        assert!(ledger.broken.is_empty());
        ledger.check(&place(), "RUNNING");
        assert!(ledger.broken.join(" ").contains("RUNNING at the end"));
    }
}
