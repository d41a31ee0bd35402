//! `bond=` in dracut's form: several links used as one.

use std::fmt;
use std::str::FromStr;

/// `NAME:MEMBER,MEMBER[:OPTION=VALUE,..[:MTU]]`. A member is a link's name or its MAC with dashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bond {
    pub name: String,
    pub members: Vec<String>,
    /// The kernel's names, each checked against [`OPTIONS`].
    pub options: Vec<(String, String)>,
    pub mtu: Option<u16>,
}

/// The bonding driver's options: number of the netlink attribute, its size in bytes, words for its numbers.
pub const OPTIONS: &[(&str, u16, u8, &[&str])] = &[
    ("mode", 1, 1, &["balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"]),
    ("miimon", 3, 4, &[]),
    ("updelay", 4, 4, &[]),
    ("downdelay", 5, 4, &[]),
    ("use_carrier", 6, 1, &[]),
    ("fail_over_mac", 13, 1, &["none", "active", "follow"]),
    ("xmit_hash_policy", 14, 1, &["layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"]),
    ("resend_igmp", 15, 4, &[]),
    ("num_grat_arp", 16, 1, &[]),
    ("num_unsol_na", 16, 1, &[]),
    ("all_slaves_active", 17, 1, &[]),
    ("min_links", 18, 4, &[]),
    ("lp_interval", 19, 4, &[]),
    ("packets_per_slave", 20, 4, &[]),
    ("lacp_rate", 21, 1, &["slow", "fast"]),
    ("ad_select", 22, 1, &["stable", "bandwidth", "count"]),
    ("tlb_dynamic_lb", 27, 1, &[]),
    ("lacp_active", 29, 1, &["off", "on"]),
];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BondError {
    #[error("not NAME:MEMBER,MEMBER[:OPTION=VALUE,..[:MTU]]")]
    Form,
    #[error("{0:?} is not a bonding option, or does not take this value")]
    Option(String),
    #[error("{0:?} is not an MTU")]
    Mtu(String),
}

impl Bond {
    /// The kernel's number for an option's value.
    pub fn number(name: &str, value: &str) -> Option<u32> {
        let (.., words) = OPTIONS.iter().find(|(known, ..)| *known == name)?;
        let by_word = words.iter().position(|word| *word == value).and_then(|at| u32::try_from(at).ok());
        by_word.or_else(|| value.parse().ok())
    }

    pub fn is_lacp(&self) -> bool {
        self.options.iter().any(|(name, value)| name == "mode" && Self::number(name, value) == Some(4))
    }
}

impl FromStr for Bond {
    type Err = BondError;

    fn from_str(text: &str) -> Result<Self, BondError> {
        let mut fields = text.splitn(4, ':');
        let mut next = || fields.next().unwrap_or_default();
        let (name, members, options, mtu) = (next(), next(), next(), next());
        let members: Vec<String> = members.split(',').filter(|member| !member.is_empty()).map(str::to_owned).collect();
        let is_name = |name: &str| (1..16).contains(&name.len()) && !name.contains(['/', ' ', '.']);
        if !is_name(name) || members.is_empty() {
            return Err(BondError::Form);
        }
        let options = options.split(',').filter(|option| !option.is_empty()).map(option).collect::<Result<_, _>>()?;
        let mtu = match mtu {
            "" => None,
            text => Some(text.parse().ok().filter(|mtu| *mtu >= 576).ok_or_else(|| BondError::Mtu(text.to_owned()))?),
        };
        Ok(Self { name: name.to_owned(), members, options, mtu })
    }
}

fn option(text: &str) -> Result<(String, String), BondError> {
    let known = text.split_once('=').filter(|(name, value)| Bond::number(name, value).is_some());
    let (name, value) = known.ok_or_else(|| BondError::Option(text.to_owned()))?;
    Ok((name.to_owned(), value.to_owned()))
}

impl fmt::Display for Bond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options: Vec<String> = self.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mtu = self.mtu.map(|mtu| format!(":{mtu}")).unwrap_or_default();
        write!(f, "{}:{}:{}{mtu}", self.name, self.members.join(","), options.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dracuts_form_is_understood_and_written_back() {
        let text = "bond0:ens1,02-00-00-00-00-02:mode=802.3ad,miimon=100,lacp_rate=1:9000";
        let bond: Bond = text.parse().unwrap();
        assert_eq!((bond.members.len(), bond.options.len(), bond.mtu, bond.is_lacp()), (2, 3, Some(9000), true));
        assert_eq!(bond.to_string(), text);
        assert!("bond0:eth0:mode=4".parse::<Bond>().unwrap().is_lacp());
        assert!(!"bond0:eth0,eth1".parse::<Bond>().unwrap().is_lacp());
    }

    #[test]
    fn a_bad_bond_is_reported() {
        for (text, error) in [
            ("bond0", "not NAME:MEMBER,MEMBER[:OPTION=VALUE,..[:MTU]]"),
            ("b/d:eth0", "not NAME:MEMBER,MEMBER[:OPTION=VALUE,..[:MTU]]"),
            ("bond0:eth0:mode=turbo", "\"mode=turbo\" is not a bonding option, or does not take this value"),
            ("bond0:eth0:colour=1", "\"colour=1\" is not a bonding option, or does not take this value"),
            ("bond0:eth0::12", "\"12\" is not an MTU"),
        ] {
            assert_eq!(text.parse::<Bond>().unwrap_err().to_string(), error);
        }
    }
}
