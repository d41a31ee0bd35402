//! The table of a site's machines, in the ramdisk of an ISO image that serves them all ([`crate::files::SITE`]). A row has what
//! identifies a machine and its kernel arguments. The table may have thousands of rows, so it is read one line at a time.
//!
//! The first line is `thimble-site 1` and the kernel arguments of every machine. A row is
//! `NAME UUID SERIAL MAC,MAC ARGUMENTS`. Tabs separate the fields, and `-` is an empty one.

mod identity;

use std::io::{self, BufRead, Read};

use cmdline::HwAddr;

pub use identity::{Identity, Key, Uuid, serial};

/// The first field of the first line. A reader refuses other versions.
const VERSION: &str = "thimble-site 1";
const EMPTY: &str = "-";
/// The longest line in bytes. A longer one is not read.
pub const LINE_MAX: usize = 8192;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// The name of its Hardware, for people.
    pub name: String,
    pub uuid: Option<Uuid>,
    /// As [`serial`] writes it.
    pub serial: Option<String>,
    pub macs: Vec<HwAddr>,
    /// Words as on a kernel command line.
    pub arguments: String,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    #[error("{0} has neither a UUID nor a serial number nor a MAC address, so no machine would find it")]
    NoKey(String),
    #[error("{0:?} has a tab, a line break or another control character")]
    Control(String),
    #[error("the line of {0} is longer than {LINE_MAX} bytes")]
    TooLong(String),
}

#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    #[error("cannot read it")]
    Read(#[from] io::Error),
    #[error("its first line does not begin with {VERSION:?}: it was made by another version of thimble")]
    Version,
}

/// What the table says of one machine.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The arguments of every machine.
    pub everyone: String,
    pub found: Found,
    pub rows: usize,
    /// Lines that are not rows.
    pub unreadable: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    Machine {
        key: Key,
        row: Row,
    },
    /// The names of two machines for the same key. Neither is certain.
    Several {
        key: Key,
        names: [String; 2],
    },
    Nobody,
}

/// The first line.
///
/// # Errors
/// The arguments have a control character, or are too long.
pub fn first_line(everyone: &str) -> Result<String, RowError> {
    line("the first line", format!("{VERSION}\t{everyone}"))
}

impl Row {
    /// # Errors
    /// No machine could find the row, or a reader would not understand it.
    pub fn render(&self) -> Result<String, RowError> {
        if self.uuid.is_none() && self.serial.is_none() && self.macs.is_empty() {
            return Err(RowError::NoKey(self.name.clone()));
        }
        let or_empty = |text: String| if text.is_empty() { EMPTY.to_owned() } else { text };
        let macs: Vec<String> = self.macs.iter().map(HwAddr::to_string).collect();
        let fields = [
            self.name.clone(),
            self.uuid.map(|uuid| uuid.to_string()).unwrap_or_default(),
            self.serial.clone().unwrap_or_default(),
            macs.join(","),
            self.arguments.clone(),
        ];
        if let Some(bad) = fields.iter().find(|field| field.chars().any(char::is_control)) {
            return Err(RowError::Control(bad.clone()));
        }
        line(&self.name, fields.map(or_empty).join("\t"))
    }
}

fn line(name: &str, text: String) -> Result<String, RowError> {
    if text.len() >= LINE_MAX {
        return Err(RowError::TooLong(name.to_owned()));
    }
    if text.contains(['\n', '\r', '\0']) {
        return Err(RowError::Control(text));
    }
    Ok(text + "\n")
}

/// Looks for the machine in all rows. The UUID counts before the serial number, and that before the MAC addresses.
///
/// # Errors
/// The table cannot be read, or has another version.
pub fn find(mut table: impl BufRead, identity: &Identity) -> Result<Answer, SiteError> {
    let mut buffer = Vec::new();
    let first = next_line(&mut table, &mut buffer)?.and_then(|line| line.strip_prefix(VERSION)?.strip_prefix('\t'));
    let everyone = first.ok_or(SiteError::Version)?.to_owned();
    let mut best: Option<Found> = None;
    let (mut rows, mut unreadable) = (0, 0);
    while let Some(line) = next_line(&mut table, &mut buffer)?.map(Fields::of) {
        let Some(fields) = line else {
            unreadable += 1;
            continue;
        };
        rows += 1;
        if let Some(key) = fields.key(identity) {
            best = Some(better(best, key, &fields));
        }
    }
    Ok(Answer { everyone, found: best.unwrap_or(Found::Nobody), rows, unreadable })
}

/// One match more.
fn better(best: Option<Found>, key: Key, fields: &Fields<'_>) -> Found {
    match best {
        Some(Found::Machine { key: known, row }) if known == key => {
            Found::Several { key, names: [row.name, fields.name.to_owned()] }
        }
        Some(known @ (Found::Machine { .. } | Found::Several { .. })) if known.key() <= Some(key) => known,
        _ => Found::Machine { key, row: fields.row() },
    }
}

impl Found {
    fn key(&self) -> Option<Key> {
        match self {
            Self::Machine { key, .. } | Self::Several { key, .. } => Some(*key),
            Self::Nobody => None,
        }
    }
}

/// The next line without its end, and an empty one in place of a line that is too long or not text.
fn next_line<'a>(table: &mut impl BufRead, buffer: &'a mut Vec<u8>) -> io::Result<Option<&'a str>> {
    buffer.clear();
    if table.by_ref().take(LINE_MAX as u64).read_until(b'\n', buffer)? == 0 {
        return Ok(None);
    }
    if buffer.len() == LINE_MAX && buffer.last() != Some(&b'\n') {
        buffer.clear();
        table.skip_until(b'\n')?;
    }
    let text = std::str::from_utf8(buffer).unwrap_or_default();
    Ok(Some(text.strip_suffix('\n').unwrap_or(text)))
}

/// The fields of a row, before anything is allocated for them.
struct Fields<'a> {
    name: &'a str,
    uuid: &'a str,
    serial: &'a str,
    macs: &'a str,
    arguments: &'a str,
}

impl<'a> Fields<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let mut fields = line.splitn(5, '\t').map(|field| if field == EMPTY { "" } else { field });
        let mut next = || fields.next();
        Some(Self { name: next()?, uuid: next()?, serial: next()?, macs: next()?, arguments: next()? })
    }

    fn key(&self, identity: &Identity) -> Option<Key> {
        let uuid = || self.uuid.parse().is_ok_and(|uuid: Uuid| identity.uuid.is_some_and(|own| own.is(uuid)));
        let serial = || !self.serial.is_empty() && identity.serial.as_deref() == Some(self.serial);
        let mac = || self.macs().any(|mac| identity.macs.contains(&mac));
        if uuid() {
            Some(Key::Uuid)
        } else if serial() {
            Some(Key::Serial)
        } else {
            mac().then_some(Key::Mac)
        }
    }

    fn macs(&self) -> impl Iterator<Item = HwAddr> {
        self.macs.split(',').filter_map(|mac| mac.parse().ok())
    }

    fn row(&self) -> Row {
        Row {
            name: self.name.to_owned(),
            uuid: self.uuid.parse().ok(),
            serial: (!self.serial.is_empty()).then(|| self.serial.to_owned()),
            macs: self.macs().collect(),
            arguments: self.arguments.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
