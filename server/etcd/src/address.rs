//! `etcd://HOST:PORT,HOST:PORT/PREFIX`.

use std::fmt;
use std::str::FromStr;

const SCHEME: &str = "etcd://";
const PORT: u16 = 2379;
const PREFIX: &str = "thimble";
/// etcd advises seven at most.
const MOST_MEMBERS: usize = 16;
const LONGEST_PREFIX: usize = 200;

/// Where the members of etcd listen, and below which prefix the keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `HOST:PORT` of each.
    pub members: Vec<String>,
    pub prefix: String,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AddressError {
    #[error("{0:?} is not etcd://HOST:PORT,HOST:PORT/PREFIX")]
    Scheme(String),
    #[error("{0:?} is not HOST or HOST:PORT of a member of etcd")]
    Member(String),
    #[error("up to {MOST_MEMBERS} members of etcd can be named, not {0}")]
    Many(usize),
    #[error("the prefix {0:?} must have letters, digits, '-', '_', '.' and '/' only, {LONGEST_PREFIX} at most")]
    Prefix(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| AddressError::Scheme(text.to_owned()))?;
        let (members, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let members = members.split(',').map(member).collect::<Result<Vec<_>, _>>()?;
        if members.len() > MOST_MEMBERS {
            return Err(AddressError::Many(members.len()));
        }
        let prefix = prefix.trim_matches('/');
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
        if prefix.len() > LONGEST_PREFIX || !prefix.chars().all(is_plain) {
            return Err(AddressError::Prefix(prefix.to_owned()));
        }
        let prefix = if prefix.is_empty() { PREFIX } else { prefix };
        Ok(Self { members, prefix: prefix.to_owned() })
    }
}

/// `HOST:PORT` of one member.
fn member(text: &str) -> Result<String, AddressError> {
    let wrong = || AddressError::Member(text.to_owned());
    let is_ipv6 = text.starts_with('[');
    let (host, port) = match text.rsplit_once(':') {
        Some((_, port)) if is_ipv6 && port.ends_with(']') => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let port = port.map_or(Ok(PORT), |port| port.parse::<u16>().map_err(|_| wrong()))?;
    let is_host = if is_ipv6 {
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok())
    } else {
        !host.is_empty() && host.chars().all(|letter| letter.is_ascii_alphanumeric() || "-.".contains(letter))
    };
    if is_host && port != 0 { Ok(format!("{host}:{port}")) } else { Err(wrong()) }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{SCHEME}{}/{}", self.members.join(","), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_members_and_a_prefix() {
        for (text, members, prefix) in [
            ("etcd://a", "a:2379", "thimble"),
            ("etcd://a:1,b.example:2,[fd00::1]:3/", "a:1 b.example:2 [fd00::1]:3", "thimble"),
            ("etcd://[::1]/rack/7/", "[::1]:2379", "rack/7"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.members.join(" ").as_str(), address.prefix.as_str()), (members, prefix), "{text}");
            assert_eq!(address.to_string().parse::<Address>().unwrap(), address, "{text}");
        }
    }

    #[test]
    fn what_is_not_an_address_is_refused_with_the_wrong_part() {
        let many = format!("etcd://{}", ["a"; 17].join(","));
        for (text, named) in [
            ("http://a", "http://a"),
            ("etcd://", "\"\""),
            ("etcd://a:x", "a:x"),
            ("etcd://a:0", "a:0"),
            ("etcd://a,,b", "\"\""),
            ("etcd://fd00::1", "fd00::1"),
            ("etcd://[fd00::x]:1", "[fd00::x]:1"),
            ("etcd://user@a", "user@a"),
            ("etcd://a/b c", "b c"),
            (many.as_str(), "17"),
        ] {
            let refused = text.parse::<Address>().unwrap_err().to_string();
            assert!(refused.contains(named), "{text}: {refused}");
        }
    }
}
