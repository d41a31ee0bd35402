//! Finds the modules that drive devices: one pass through `modules.alias` for all devices at once.
//!
//! It builds no index: a machine boots once, and reading the list costs less than sorting it. Nearly every pattern begins
//! with literal letters (`pci:v00008086d`). A binary search among the sorted devices leaves almost nothing to match.

use crate::lists;
use crate::pattern::{literal_len, matches, same};

/// The modaliases of devices (`pci:v00008086d...`) or other names to look for (`fs-ext4`), sorted and each once.
#[derive(Debug, Default)]
pub struct Wanted {
    sorted: Vec<String>,
}

impl Wanted {
    pub fn new(aliases: impl IntoIterator<Item = String>) -> Self {
        let mut sorted: Vec<String> = aliases.into_iter().map(normal).collect();
        sorted.sort_unstable();
        sorted.dedup();
        Self { sorted }
    }

    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    pub fn aliases(&self) -> &[String] {
        &self.sorted
    }

    /// Calls `found` with the position of a wanted alias and the module that the line gives for it.
    pub fn search<'a>(&self, lists: impl IntoIterator<Item = &'a str>, mut found: impl FnMut(usize, &'a str)) {
        for line in lists.into_iter().flat_map(str::lines) {
            let Some((pattern, module)) = lists::alias(line) else { continue };
            for index in self.candidates(pattern.as_bytes()) {
                if self.sorted.get(index).is_some_and(|alias| matches(pattern.as_bytes(), alias.as_bytes())) {
                    found(index, module);
                }
            }
        }
    }

    /// The range of the aliases that begin with the pattern's literal letters.
    fn candidates(&self, pattern: &[u8]) -> std::ops::Range<usize> {
        let literal = pattern.get(..literal_len(pattern)).unwrap_or(pattern);
        let order = |alias: &String| {
            let mut have = alias.bytes();
            for want in literal.iter().copied().map(same) {
                match have.next() {
                    None => return std::cmp::Ordering::Less,
                    Some(have) if have != want => return have.cmp(&want),
                    Some(_) => {}
                }
            }
            std::cmp::Ordering::Equal
        };
        let start = self.sorted.partition_point(|alias| order(alias).is_lt());
        let rest = self.sorted.get(start..).unwrap_or_default();
        start..start + rest.partition_point(|alias| order(alias).is_eq())
    }
}

/// The form in which names are compared. kmod does not change a dash within the brackets of a set, and names have no sets.
fn normal(alias: String) -> String {
    alias.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIST: &str = "\
# Aliases extracted from modules themselves.
alias fs-ext4 ext4
alias pci:v00008086d00001533sv*sd*bc*sc*i* igb
alias pci:v00008086d0000*sv*sd*bc*sc*i* greedy
alias virtio:d00000001v* virtio_net
alias cpu:type:x86,ven*fam*mod*:feature:*0094* crc32c_intel
alias platform:Fixed MDIO bus fixed_phy
alias [x]odd odd
broken
alias nothing
";

    fn found(aliases: &[&str]) -> Vec<(String, String)> {
        let wanted = Wanted::new(aliases.iter().map(|alias| (*alias).to_owned()));
        let mut found = Vec::new();
        wanted.search([LIST], |index, module| found.push((wanted.aliases()[index].clone(), module.to_owned())));
        found
    }

    #[test]
    fn every_device_finds_all_its_modules() {
        let igb = "pci:v00008086d00001533sv00001AF4sd00001100bc02sc00i00";
        for (alias, modules) in [
            (igb, vec!["igb", "greedy"]),
            ("virtio:d00000001v00001AF4", vec!["virtio_net"]),
            ("fs-ext4", vec!["ext4"]),
            ("fs_ext4", vec!["ext4"]),
            ("xodd", vec!["odd"]),
            ("platform:Fixed MDIO bus", vec!["fixed_phy"]),
            ("pci:v0000", vec![]),
        ] {
            let modules_found: Vec<String> =
                found(&["acpi:PNP0C0A:", alias, "zzz"]).into_iter().map(|(_, module)| module).collect();
            assert_eq!(modules_found, modules, "{alias}");
        }
    }

    proptest! {
        #[test]
        fn the_search_finds_what_matching_everything_would(
            aliases in proptest::collection::vec("[ab_]{0,6}", 0..12),
            patterns in proptest::collection::vec("[ab*?-]{1,6}", 0..12),
        ) {
            let wanted = Wanted::new(aliases);
            let list: String = patterns.iter().enumerate().map(|(n, pattern)| format!("alias {pattern} m{n}\n")).collect();
            let mut fast = Vec::new();
            wanted.search([list.as_str()], |index, module| fast.push((module.to_owned(), index)));
            let mut slow = Vec::new();
            for (n, pattern) in patterns.iter().enumerate() {
                let hits = wanted.aliases().iter().enumerate().filter(|(_, alias)| matches(pattern.as_bytes(), alias.as_bytes()));
                slow.extend(hits.map(|(index, _)| (format!("m{n}"), index)));
            }
            prop_assert_eq!(fast, slow);
        }
    }
}
