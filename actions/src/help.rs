//! What `--help` says: each action with its variables. docs/actions.md names the same ones, which a test checks.

mod pages;

use std::fmt::Write;

use Need::{Default, Optional, Required};
pub use pages::PAGES;

pub struct Variable {
    pub name: &'static str,
    pub meaning: &'static str,
    pub need: Need,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Required,
    Optional,
    Default(&'static str),
}

impl Variable {
    /// It is not taken from the command line, which every user of the machine can read.
    pub fn is_secret(&self) -> bool {
        ["PASSPHRASE", "PASSWORD", "SECRET", "TOKEN"].iter().any(|word| self.name.contains(word))
    }
}

pub struct Page {
    pub action: &'static str,
    pub about: &'static str,
    pub dry_run: bool,
    pub variables: &'static [Variable],
}

pub fn page(action: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.action == action)
}

impl Page {
    pub fn render(&self) -> String {
        let Self { action, about, .. } = self;
        let options = if self.dry_run { "[--dry-run] [--help]" } else { "[--help]" };
        let mut text = format!("{about}\n\nUsage: [VARIABLE=VALUE ...] {action} {options}\n");
        let width = self.variables.iter().map(|variable| variable.name.len()).max().unwrap_or(0);
        if width > 0 {
            text.push_str("\nVariables of the environment:\n");
        }
        for Variable { name, meaning, need } in self.variables {
            let need = match need {
                Required => " (required)".to_owned(),
                Optional => String::new(),
                Default(value) => format!(" (default: {value})"),
            };
            let _ = writeln!(text, "  {name:width$}  {meaning}{need}"); // a String takes everything
        }
        if self.dry_run {
            text.push_str("\n--dry-run looks at everything and writes nothing.\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ACTIONS;

    #[test]
    fn every_action_has_its_page_and_the_documentation_names_its_variables() {
        let documentation = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/actions.md")).unwrap();
        assert_eq!(PAGES.iter().map(|page| page.action).collect::<Vec<_>>(), ACTIONS);
        for page in PAGES {
            let text = page.render();
            for Variable { name, .. } in page.variables {
                assert!(text.contains(name) && documentation.contains(&format!("`{name}`")), "{} {name}", page.action);
            }
            assert!(text.lines().all(|line| line.chars().count() <= 140), "{text}");
        }
    }

    #[test]
    fn what_is_required_is_what_the_action_asks_for() {
        for page in PAGES.iter().filter(|page| page.variables.iter().any(|variable| variable.need == Required)) {
            let error = crate::run(page.action, &crate::variables::Variables::of([])).unwrap_err().to_string();
            let name = error.strip_suffix(" is not set").unwrap();
            let variable = page.variables.iter().find(|variable| variable.name == name).unwrap();
            assert_eq!(variable.need, Required, "{}: {name}", page.action);
        }
    }
}
