//! Decides whether the links of `bond=` are used as one link or as several.
//!
//! A bond that finds no network is taken apart for a while: the switch may not have the bond, or only one of the ports may
//! work. The turns are long, because each change costs the links their carrier, which takes half a minute with spanning
//! tree.

use std::time::{Duration, Instant};

use cmdline::{BOND_OPTIONS, Bond};

use super::link::Link;

/// Longer than LACP plus 802.1D's listening and learning.
const TURN: Duration = Duration::from_secs(60);
/// For a bond without carrier although a member has one, because its partner does not answer.
const DARK_TURN: Duration = Duration::from_secs(15);
/// By default the kernel does not check the carrier at all.
pub const MIIMON: u32 = 100;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Bonding {
    /// No member has appeared yet.
    #[default]
    Unmade,
    Together {
        since: Instant,
    },
    Apart {
        since: Instant,
    },
    /// This kernel cannot make bonds.
    Impossible,
}

impl Bonding {
    pub fn is_apart(self) -> bool {
        matches!(self, Self::Apart { .. } | Self::Impossible)
    }

    /// The network is lost, so each way gets its full time again.
    pub fn restart(&mut self, now: Instant) {
        if let Self::Together { since } | Self::Apart { since } = self {
            *since = now;
        }
    }

    /// When a machine that still has no network tries the other way. `carrier` says whether the bond has one now.
    pub fn turns_at(self, carrier: bool) -> Option<Instant> {
        match self {
            Self::Together { since } => Some(since + if carrier { TURN } else { DARK_TURN }),
            Self::Apart { since } => Some(since + TURN),
            Self::Unmade | Self::Impossible => None,
        }
    }
}

/// A member is given by its name or its MAC.
pub fn has_member(bond: &Bond, link: &Link) -> bool {
    bond.members.iter().any(|member| *member == link.name || member.parse() == Ok(link.mac))
}

/// The number, size and value of each attribute for the kernel. The mode comes first, because the others depend on it.
pub fn attributes(bond: &Bond) -> Vec<(u16, u8, u32)> {
    let given = |name: &str| bond.options.iter().any(|(given, _)| given == name);
    let miimon = (!given("miimon")).then(|| ("miimon".to_owned(), MIIMON.to_string()));
    let mut attributes: Vec<(u16, u8, u32)> = bond
        .options
        .iter()
        .chain(&miimon)
        .filter_map(|(name, value)| {
            let (_, number, size, _) = BOND_OPTIONS.iter().find(|(known, ..)| known == name)?;
            Some((*number, *size, Bond::number(name, value)?))
        })
        .collect();
    attributes.sort_by_key(|(number, ..)| *number);
    attributes.dedup_by_key(|(number, ..)| *number); // one option may have two names
    attributes
}

/// The requested options, always with the mode, which is first. Numbers become the kernel's words.
pub fn options(bond: &Bond) -> Vec<(String, String)> {
    let mut options: Vec<(String, String)> = bond.options.iter().map(|(name, value)| (name.clone(), word(name, value))).collect();
    for (name, value) in [("miimon", MIIMON.to_string()), ("mode", "balance-rr".to_owned())] {
        if !options.iter().any(|(given, _)| given == name) {
            options.insert(0, (name.to_owned(), value));
        }
    }
    options.sort_by_key(|(name, _)| name != "mode");
    options
}

fn word(name: &str, value: &str) -> String {
    let known = BOND_OPTIONS.iter().find(|(known, ..)| *known == name);
    let number = value.parse::<usize>().ok();
    let word = known.and_then(|(.., words)| words.get(number?));
    word.map_or_else(|| value.to_owned(), |word| (*word).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_bond_has_its_mode_and_watches_the_carrier() {
        for (asked, expected) in [
            ("bond0:eth0", "mode=balance-rr miimon=100"),
            ("bond0:eth0:miimon=50,mode=active-backup", "mode=active-backup miimon=50"),
            ("bond0:eth0:lacp_rate=0,mode=4", "mode=802.3ad miimon=100 lacp_rate=slow"),
        ] {
            let options = options(&asked.parse().unwrap());
            let options: Vec<String> = options.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(options.join(" "), expected);
        }
    }

    #[test]
    fn the_mode_comes_first_and_the_carrier_is_always_watched() {
        for (text, expected) in [
            ("bond0:eth0,eth1", vec![(3, 4, 100)]),
            ("bond0:eth0:mode=active-backup", vec![(1, 1, 1), (3, 4, 100)]),
            ("bond0:eth0:miimon=50,lacp_rate=fast,mode=802.3ad", vec![(1, 1, 4), (3, 4, 50), (21, 1, 1)]),
            ("bond0:eth0:num_grat_arp=2,num_unsol_na=2", vec![(3, 4, 100), (16, 1, 2)]),
        ] {
            assert_eq!(attributes(&text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn a_bond_without_a_network_takes_turns_with_single_links() {
        let since = Instant::now();
        for (case, bonding, carrier, expected) in [
            ("no member yet", Bonding::Unmade, false, None),
            ("LACP and spanning tree have time", Bonding::Together { since }, true, Some(since + TURN)),
            ("no partner", Bonding::Together { since }, false, Some(since + DARK_TURN)),
            ("single links", Bonding::Apart { since }, true, Some(since + TURN)),
            ("no such kernel", Bonding::Impossible, true, None),
        ] {
            assert_eq!(bonding.turns_at(carrier), expected, "{case}");
        }
        assert!(Bonding::Impossible.is_apart() && !Bonding::Unmade.is_apart());
    }
}
