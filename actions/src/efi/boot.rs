//! The boot entries and their order, and what each operation makes of them.

use super::load_option::LoadOption;
use super::{EfiError, Place};
use std::fmt::Write;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub number: u16,
    pub option: LoadOption,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entries {
    /// By number.
    pub entries: Vec<Entry>,
    pub order: Vec<u16>,
    pub next: Option<u16>,
    pub current: Option<u16>,
    /// In seconds.
    pub timeout: Option<u16>,
}

/// `Boot000A`
pub fn name(number: u16) -> String {
    format!("Boot{number:04X}")
}

pub fn number(name: &str) -> Option<u16> {
    let digits =
        name.strip_prefix("Boot").filter(|digits| digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    u16::from_str_radix(digits, 16).ok()
}

pub fn numbers(data: &[u8]) -> Vec<u16> {
    data.chunks_exact(2).filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?))).collect()
}

pub fn bytes(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

impl Entries {
    pub fn option(&self, number: u16) -> Option<&LoadOption> {
        self.entries.iter().find(|entry| entry.number == number).map(|entry| &entry.option)
    }

    /// With this entry. One with the same label and path is taken, so that a machine that is installed again does not collect
    /// them.
    pub fn with(&self, option: LoadOption, place: Place) -> Result<Self, EfiError> {
        let mut new = self.clone();
        let same = |old: &LoadOption| old.description == option.description && old.path == option.path;
        let number = match self.entries.iter().find(|entry| same(&entry.option)) {
            Some(entry) => entry.number,
            None => (0..=u16::MAX).find(|number| self.option(*number).is_none()).ok_or(EfiError::Full(self.entries.len()))?,
        };
        new.entries.retain(|entry| entry.number != number);
        new.entries.push(Entry { number, option });
        new.entries.sort_by_key(|entry| entry.number);
        new.order.retain(|other| *other != number);
        match place {
            Place::First => new.order.insert(0, number),
            Place::Last => new.order.push(number),
            Place::Nowhere => {}
        }
        Ok(new)
    }

    pub fn without(&self, which: &str) -> Result<Self, EfiError> {
        let gone = self.all(which)?;
        let mut new = self.clone();
        new.entries.retain(|entry| !gone.contains(&entry.number));
        new.order.retain(|number| !gone.contains(number));
        new.next = self.next.filter(|next| !gone.contains(next));
        Ok(new)
    }

    /// The named entries come first, in this order, and the others of the order after them.
    pub fn ordered(&self, which: &str) -> Result<Self, EfiError> {
        let mut order = Vec::new();
        for word in words(which) {
            order.extend(self.matching(word)?.into_iter().filter(|number| !order.contains(number)).collect::<Vec<_>>());
        }
        let rest: Vec<u16> = self.order.iter().copied().filter(|number| !order.contains(number)).collect();
        order.extend(rest);
        Ok(Self { order, ..self.clone() })
    }

    pub fn with_next(&self, which: &str) -> Result<Self, EfiError> {
        match self.all(which)?.as_slice() {
            [number] => Ok(Self { next: Some(*number), ..self.clone() }),
            several => Err(EfiError::SeveralEntries { wanted: which.to_owned(), found: self.list(several) }),
        }
    }

    fn all(&self, which: &str) -> Result<Vec<u16>, EfiError> {
        let mut all = Vec::new();
        for word in words(which) {
            all.extend(self.matching(word)?);
        }
        if all.is_empty() { Err(self.no_entry(which)) } else { Ok(all) }
    }

    /// A number such as 0003 or Boot0003, or a label, which may end with `*`.
    fn matching(&self, word: &str) -> Result<Vec<u16>, EfiError> {
        let by_number = number(word).or_else(|| number(&format!("Boot{word}"))).filter(|number| self.option(*number).is_some());
        let matches = |label: &str| word.strip_suffix('*').map_or(label == word, |start| label.starts_with(start));
        let labelled = self.entries.iter().filter(|entry| matches(&entry.option.description)).map(|entry| entry.number);
        let found: Vec<u16> = labelled.collect();
        match by_number {
            _ if !found.is_empty() => Ok(found),
            Some(number) => Ok(vec![number]),
            None => Err(self.no_entry(word)),
        }
    }

    fn no_entry(&self, wanted: &str) -> EfiError {
        let all: Vec<u16> = self.entries.iter().map(|entry| entry.number).collect();
        EfiError::NoEntry { wanted: format!("{wanted:?}"), found: self.list(&all) }
    }

    fn list(&self, numbers: &[u16]) -> String {
        let named = numbers.iter().filter_map(|number| Some(format!("{number:04X} {}", self.option(*number)?.description)));
        let named: Vec<String> = named.collect();
        if named.is_empty() { "none".to_owned() } else { named.join(", ") }
    }

    /// As efibootmgr prints them.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let mut line = |words: String| {
            let _ = writeln!(text, "{words}"); // a String takes everything
        };
        if let Some(next) = self.next {
            line(format!("BootNext: {next:04X}"));
        }
        if let Some(current) = self.current {
            line(format!("BootCurrent: {current:04X}"));
        }
        if let Some(timeout) = self.timeout {
            line(format!("Timeout: {timeout} seconds"));
        }
        if !self.order.is_empty() {
            let order: Vec<String> = self.order.iter().map(|number| format!("{number:04X}")).collect();
            line(format!("BootOrder: {}", order.join(",")));
        }
        for Entry { number, option } in &self.entries {
            let active = if option.is_active() { '*' } else { ' ' };
            line(format!("Boot{number:04X}{active} {}\t{}", printable(&option.description), printable(&option.path_text())));
        }
        text
    }
}

/// Names of devices come from their firmware.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}
