//! A disk by its properties: `disk:transport=nvme,size>=200G,smallest`. Kernel names such as `/dev/sda` change with the order
//! in which drivers find their disks.
//!
//! The choice is a pure function of the table of [`disks`](crate::disks). It never falls back to another disk.

use crate::disks::{self, Disk};
use std::fmt;

pub const PREFIX: &str = "disk:";
const TERMS_MAX: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    text: String,
    terms: Vec<Term>,
    extreme: Option<Extreme>,
    /// Of the disk that was found.
    pub partition: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    /// With `*` for any characters; letters of both cases are the same.
    Text {
        key: Key,
        is: bool,
        pattern: String,
    },
    Size(Comparison, u64),
    Rotational(bool),
    Removable(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Name,
    ById,
    Model,
    Serial,
    Wwn,
    Transport,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extreme {
    Smallest,
    Largest,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    #[error(
        "\"{0}\" is not a term of a disk selector; the terms are name, by-id, model, serial, wwn, transport, rotational, \
             removable and partition with =, size with =, <, <=, > or >=, smallest and largest"
    )]
    Term(String),
    #[error("\"{value}\" is not a value of {key}: wanted {wanted}")]
    Value { key: &'static str, value: String, wanted: &'static str },
    #[error("{0} is there twice")]
    Twice(&'static str),
    #[error("a selector needs between 1 and {TERMS_MAX} terms")]
    Count,
}

/// Why a selector leads to no disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOne {
    #[error("no disk matches {selector}; this machine has {disks}")]
    None { selector: String, disks: String },
    #[error("{selector} matches several disks: {disks}. Add a term that only one of them has")]
    Several { selector: String, disks: String },
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Selector {
    /// Parses what follows [`PREFIX`].
    pub fn parse(terms: &str) -> Result<Self, SelectorError> {
        let mut selector = Self { text: format!("{PREFIX}{terms}"), terms: Vec::new(), extreme: None, partition: None };
        let words: Vec<&str> = terms.split(',').map(str::trim).collect();
        if terms.trim().is_empty() || words.len() > TERMS_MAX {
            return Err(SelectorError::Count);
        }
        for word in words {
            selector.add(word)?;
        }
        if selector.terms.is_empty() && selector.extreme.is_none() {
            return Err(SelectorError::Count);
        }
        Ok(selector)
    }

    fn add(&mut self, word: &str) -> Result<(), SelectorError> {
        let extreme = match word {
            "smallest" => Some(Extreme::Smallest),
            "largest" => Some(Extreme::Largest),
            _ => None,
        };
        if extreme.is_some() {
            return if self.extreme.replace(extreme.unwrap_or(Extreme::Smallest)).is_some() {
                Err(SelectorError::Twice("smallest or largest"))
            } else {
                Ok(())
            };
        }
        let (key, operator, value) = split(word).ok_or_else(|| SelectorError::Term(word.to_owned()))?;
        match (key, operator) {
            ("size", _) => self.terms.push(Term::Size(comparison(operator, word)?, bytes(value)?)),
            ("rotational", "=") => self.terms.push(Term::Rotational(yes(value, "rotational")?)),
            ("removable", "=") => self.terms.push(Term::Removable(yes(value, "removable")?)),
            ("partition", "=") => {
                let wanted = "a number from 1 to 128";
                let number = value.parse().ok().filter(|number| (1..=128).contains(number));
                let number = number.ok_or(SelectorError::Value { key: "partition", value: value.to_owned(), wanted })?;
                if self.partition.replace(number).is_some() {
                    return Err(SelectorError::Twice("partition"));
                }
            }
            (_, "=" | "!=") => {
                let key = match key {
                    "name" => Key::Name,
                    "by-id" => Key::ById,
                    "model" => Key::Model,
                    "serial" => Key::Serial,
                    "wwn" => Key::Wwn,
                    "transport" => Key::Transport,
                    _ => return Err(SelectorError::Term(word.to_owned())),
                };
                self.terms.push(Term::Text { key, is: operator == "=", pattern: value.to_ascii_lowercase() });
            }
            _ => return Err(SelectorError::Term(word.to_owned())),
        }
        Ok(())
    }

    /// Whether the terms name one disk, whatever other disks there are.
    pub fn is_identity(&self) -> bool {
        self.terms.iter().any(|term| match term {
            Term::Text { key, is: true, pattern } => key.names_a_disk() && !pattern.contains('*'),
            _ => false,
        })
    }

    /// The one disk that matches. Removable disks count only if a term says so, because one may be what the machine booted from.
    /// Many USB disks do not report that they are removable, so a disk at USB needs such a term, or one that names it.
    pub fn choose<'d>(&self, disks: &'d [Disk]) -> Result<&'d Disk, NotOne> {
        let says_removable = self.terms.iter().any(|term| matches!(term, Term::Removable(_)));
        let says_usb = self.terms.contains(&Term::Removable(true))
            || self.terms.iter().any(|term| match term {
                Term::Text { key, is: true, .. } => *key == Key::Transport || key.names_a_disk(),
                _ => false,
            });
        let matching: Vec<&Disk> = disks
            .iter()
            .filter(|disk| says_removable || !disk.removable)
            .filter(|disk| says_usb || disk.transport != "usb")
            .filter(|disk| self.terms.iter().all(|term| term.matches(disk)))
            .collect();
        let end = match self.extreme {
            None => None,
            Some(Extreme::Smallest) => matching.iter().map(|disk| disk.size).min(),
            Some(Extreme::Largest) => matching.iter().map(|disk| disk.size).max(),
        };
        let matching: Vec<&Disk> = matching.into_iter().filter(|disk| end.is_none_or(|end| disk.size == end)).collect();
        match matching.as_slice() {
            [disk] => Ok(disk),
            [] => Err(NotOne::None { selector: self.to_string(), disks: disks::list(disks) }),
            several => Err(NotOne::Several { selector: self.to_string(), disks: disks::list(several.iter().copied()) }),
        }
    }

    /// The path of the disk, or of the wanted partition on it.
    pub fn path(&self, disk: &Disk) -> String {
        let separator = if disk.name.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
        let part = self.partition.map(|number| format!("{separator}{number}")).unwrap_or_default();
        format!("/dev/{}{part}", disk.name)
    }
}

impl Key {
    fn names_a_disk(self) -> bool {
        matches!(self, Self::Name | Self::ById | Self::Serial | Self::Wwn)
    }
}

impl Term {
    fn matches(&self, disk: &Disk) -> bool {
        match self {
            Self::Rotational(wanted) => disk.rotational == *wanted,
            Self::Removable(wanted) => disk.removable == *wanted,
            Self::Size(comparison, size) => match comparison {
                Comparison::Less => disk.size < *size,
                Comparison::LessOrEqual => disk.size <= *size,
                Comparison::Equal => disk.size == *size,
                Comparison::GreaterOrEqual => disk.size >= *size,
                Comparison::Greater => disk.size > *size,
            },
            Self::Text { key, is, pattern } => {
                let own = |text: &str| covers(pattern, &text.to_ascii_lowercase());
                let found = match key {
                    Key::Name => own(&disk.name),
                    Key::ById => disk.ids.iter().any(|id| own(id)),
                    Key::Model => own(&disk.model),
                    Key::Serial => own(&disk.serial),
                    Key::Wwn => own(&disk.wwn),
                    Key::Transport => own(disk.transport),
                };
                found == *is
            }
        }
    }
}

/// Whether the pattern describes the whole text. `*` takes any characters.
fn covers(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

/// Key, operator and value. A value has no comma.
fn split(word: &str) -> Option<(&str, &str, &str)> {
    let at = word.find(['=', '<', '>', '!'])?;
    let (key, rest) = word.split_at(at);
    let operator = ["<=", ">=", "!=", "=", "<", ">"].into_iter().find(|operator| rest.starts_with(operator))?;
    let value = rest.strip_prefix(operator)?.trim();
    (!value.is_empty()).then_some((key.trim(), operator, value))
}

fn comparison(operator: &str, word: &str) -> Result<Comparison, SelectorError> {
    Ok(match operator {
        "<" => Comparison::Less,
        "<=" => Comparison::LessOrEqual,
        "=" => Comparison::Equal,
        ">=" => Comparison::GreaterOrEqual,
        ">" => Comparison::Greater,
        _ => return Err(SelectorError::Term(word.to_owned())),
    })
}

/// `200G` is 200 000 000 000 bytes, as on a disk's label, and `200Gi` is 200 x 2^30.
fn bytes(value: &str) -> Result<u64, SelectorError> {
    let wanted = "a number with K, M, G or T (powers of 1000), or Ki, Mi, Gi or Ti (powers of 1024)";
    let invalid = || SelectorError::Value { key: "size", value: value.to_owned(), wanted };
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at(digits);
    let unit = unit.strip_suffix('B').unwrap_or(unit);
    let factor: u64 = match unit {
        "" => 1,
        "K" | "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return Err(invalid()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(invalid)
}

fn yes(value: &str, key: &'static str) -> Result<bool, SelectorError> {
    match value {
        "yes" | "true" | "1" => Ok(true),
        "no" | "false" | "0" => Ok(false),
        _ => Err(SelectorError::Value { key, value: value.to_owned(), wanted: "yes or no" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str, gb: u64, transport: &'static str, model: &str) -> Disk {
        Disk {
            name: name.into(),
            size: gb * 1_000_000_000,
            transport,
            model: model.into(),
            serial: format!("S-{name}"),
            ids: vec![format!("id-{name}")],
            rotational: transport == "sas",
            removable: model == "Cruzer",
            ..Disk::default()
        }
    }

    fn disks() -> Vec<Disk> {
        vec![
            disk("nvme0n1", 960, "nvme", "Samsung PM9A3"),
            disk("nvme1n1", 480, "nvme", "Samsung PM9A3"),
            disk("nvme2n1", 100, "nvme", "Optane P1600X"),
            disk("sda", 4000, "sas", "ST4000NM"),
            disk("sdb", 4000, "sas", "ST4000NM"),
            disk("sdc", 16, "usb", "Cruzer"),
            disk("sdd", 8, "usb", "Portable SSD"),
        ]
    }

    #[test]
    fn terms_lead_to_one_disk_or_to_a_refusal_that_lists_them() {
        for (text, expected) in [
            ("transport=nvme,size>=200G,smallest", Ok("/dev/nvme1n1")),
            ("transport=nvme,smallest", Ok("/dev/nvme2n1")),
            ("smallest", Ok("/dev/nvme2n1")),
            ("largest,transport=nvme", Ok("/dev/nvme0n1")),
            ("serial=s-SDA", Ok("/dev/sda")),
            ("by-id=id-sdb", Ok("/dev/sdb")),
            ("name=nvme0n1,partition=2", Ok("/dev/nvme0n1p2")),
            ("serial=S-sdb,partition=1", Ok("/dev/sdb1")),
            ("model=*optane*", Ok("/dev/nvme2n1")),
            ("rotational=no,size<1T,size>=500G", Ok("/dev/nvme0n1")),
            ("size=480GB", Ok("/dev/nvme1n1")),
            ("removable=yes", Ok("/dev/sdc")),
            ("rotational=yes", Err("matches several disks: /dev/sda (3725 GiB, sas, ST4000NM, serial S-sda), /dev/sdb")),
            ("largest", Err("matches several disks: /dev/sda")),
            ("rotational=yes,name!=sda", Ok("/dev/sdb")),
            ("serial=gone", Err("no disk matches disk:serial=gone; this machine has /dev/nvme0n1 (894 GiB")),
            ("name=sdc", Err("no disk matches")),
            ("name=sdd", Ok("/dev/sdd")),
            ("transport=usb", Ok("/dev/sdd")),
            ("serial=S-sdd,size<1T", Ok("/dev/sdd")),
            ("removable=no,smallest", Ok("/dev/nvme2n1")),
            ("size<10G", Err("no disk matches")),
            ("transport!=sas,smallest", Ok("/dev/nvme2n1")),
            ("size>=10T,smallest", Err("no disk matches")),
        ] {
            let selector = Selector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let disks = disks();
            match (selector.choose(&disks), expected) {
                (Ok(disk), Ok(path)) => assert_eq!(selector.path(disk), path, "{text}"),
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{text}: {error}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_wrong_term_is_named() {
        for (text, expected) in [
            ("", "needs between 1 and 32 terms"),
            ("partition=1", "needs between 1"),
            ("smalest", "\"smalest\" is not a term"),
            ("size>=", "\"size>=\" is not a term"),
            ("size>=12X", "\"12X\" is not a value of size"),
            ("size>=99999999T", "is not a value of size"),
            ("size!=5", "is not a term"),
            ("colour=red", "\"colour=red\" is not a term"),
            ("model>3", "is not a term"),
            ("rotational=maybe", "wanted yes or no"),
            ("smallest,largest", "is there twice"),
            ("name=sda,partition=0", "a number from 1 to 128"),
            ("name=sda,,", "\"\" is not a term"),
        ] {
            let error = Selector::parse(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_star_takes_any_characters() {
        for (pattern, text, expected) in [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*b*c", "axxbxxc", true),
            ("a*b*c", "axxcxxb", false),
            ("ab*ba", "aba", false),
            ("**x**", "axb", true),
        ] {
            assert_eq!(covers(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn sizes_are_decimal_unless_they_say_otherwise() {
        for (text, expected) in [("200G", 200_000_000_000), ("1Ti", 1 << 40), ("512", 512), ("16KiB", 16384)] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
    }
}
