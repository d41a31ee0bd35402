//! `efi`: the boot entries of UEFI firmware.
//!
//! What an operation changes is a pure function of the entries ([`Entries`]). The variables are written in an order that keeps the
//! machine bootable: an entry before the order that names it.

mod boot;
pub mod device_path;
pub mod efivars;
pub mod load_option;
pub mod text;

use crate::device::{self, DeviceError, Named};
use crate::partitions::{self, Partition, Table};
use crate::say;
use crate::variables::{VariableError, Variables, unusable};
use boot::{Entries, Entry};
use efivars::{ATTRIBUTES, Efivars, EfivarsError, GLOBAL, Value};
use load_option::{ACTIVE, LoadOption};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const BOOT_NEXT: &str = "BootNext";
const BOOT_ORDER: &str = "BootOrder";

#[derive(Debug, thiserror::Error)]
pub enum EfiError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("DEST_DISK")]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Efivars(#[from] EfivarsError),
    #[error("{disk} has no {}; its partitions are {found}", .number.map_or("EFI system partition".to_owned(), |number| format!("partition {number}")))]
    NoPartition { disk: PathBuf, number: Option<u32>, found: String },
    #[error("{disk} has several EFI system partitions ({found}): choose one with PARTITION")]
    SeveralPartitions { disk: PathBuf, found: String },
    #[error("no boot entry is {wanted}; there are {found}")]
    NoEntry { wanted: String, found: String },
    #[error("{wanted} is more than one boot entry: {found}. Name it by its number")]
    SeveralEntries { wanted: String, found: String },
    #[error("the firmware has {0} boot entries, and none is free")]
    Full(usize),
}

#[derive(Debug)]
enum Operation {
    List,
    Create { label: String, loader: String, disk: Named, partition: Option<u32>, arguments: String, place: Place },
    Delete(String),
    Order(String),
    Next(String),
}

/// Where a new entry comes in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    First,
    Last,
    /// Only its number or BootNext starts it.
    Nowhere,
}

impl Operation {
    fn read(variables: &Variables) -> Result<Self, VariableError> {
        const OPERATION: &str = "OPERATION";
        let name = variables.text(OPERATION)?;
        Ok(match name.as_str() {
            "list" => Self::List,
            "create" => Self::create(variables)?,
            "delete" => Self::Delete(variables.text("ENTRIES")?),
            "order" => Self::Order(variables.text("ENTRIES")?),
            "next" => Self::Next(variables.text("ENTRIES")?),
            _ => return Err(unusable(OPERATION, &name, "list, create, delete, order or next")),
        })
    }

    fn create(variables: &Variables) -> Result<Self, VariableError> {
        let optional = |name| variables.optional(name).map(|_| variables.text(name)).transpose();
        let loader = variables.text("LOADER")?.replace('/', "\\");
        let loader = if loader.starts_with('\\') { loader } else { format!("\\{loader}") };
        let label = variables.text("LABEL")?;
        for (name, text) in [("LABEL", &label), ("LOADER", &loader)] {
            if text.len() > 255 || text.chars().any(char::is_control) {
                return Err(unusable(name, text, "at most 255 printable characters"));
            }
        }
        let arguments = optional("ARGUMENTS")?.unwrap_or_default();
        if arguments.len() > 4096 {
            return Err(unusable("ARGUMENTS", "...", "at most 4096 characters"));
        }
        let place = match optional(BOOT_PLACE)?.as_deref() {
            None | Some("first") => Place::First,
            Some("last") => Place::Last,
            Some("none") => Place::Nowhere,
            Some(value) => return Err(unusable(BOOT_PLACE, value, "first, last or none")),
        };
        let partition = match variables.optional("PARTITION") {
            Some(_) => Some(variables.count("PARTITION", 1, 1..=128)?),
            None => None,
        };
        Ok(Self::Create { label, loader, disk: Named::read(variables, "DEST_DISK")?, partition, arguments, place })
    }
}

const BOOT_PLACE: &str = "BOOT_ORDER";

/// Variables to write, in order. `None` deletes one.
type Changes = Vec<(String, Option<Value>)>;

pub fn run(variables: &Variables) -> Result<(), EfiError> {
    let (efivars, changes, after) = plan(variables)?;
    for (name, value) in &changes {
        match value {
            Some(value) => efivars.write(name, GLOBAL, value)?,
            None => efivars.delete(name, GLOBAL)?,
        }
    }
    after.render().lines().for_each(say);
    Ok(())
}

/// Says which variables `run` would write.
pub fn dry_run(variables: &Variables) -> Result<(), EfiError> {
    let (_, changes, after) = plan(variables)?;
    for (name, value) in &changes {
        say(&format!("would {} {name}", if value.is_some() { "write" } else { "delete" }));
    }
    after.render().lines().for_each(say);
    say("this is what there would be; nothing was written");
    Ok(())
}

fn plan(variables: &Variables) -> Result<(Efivars, Changes, Entries), EfiError> {
    let operation = Operation::read(variables)?;
    let efivars = Efivars::open(variables.optional("EFIVARFS_PATH").map(Path::new))?;
    let before = load(&efivars)?;
    let after = match operation {
        Operation::List => before.clone(),
        Operation::Delete(which) => before.without(&which)?,
        Operation::Order(which) => before.ordered(&which)?,
        Operation::Next(which) => before.with_next(&which)?,
        Operation::Create { label, loader, disk, partition, arguments, place } => {
            let disk = disk.appear(device::APPEARS_WITHIN)?;
            let partition = find(&disk, partition)?;
            let data = if arguments.is_empty() { Vec::new() } else { text::ucs2(&arguments) };
            let path = device_path::of_file(&partition, &loader);
            before.with(LoadOption { attributes: ACTIVE, description: label, path, data }, place)?
        }
    };
    Ok((efivars, changes(&before, &after), after))
}

fn load(efivars: &Efivars) -> Result<Entries, EfiError> {
    let mut entries = Entries::default();
    for name in efivars.names(GLOBAL)? {
        let Some(number) = boot::number(&name) else { continue };
        let value = efivars.read(&name, GLOBAL)?;
        if let Some(option) = value.and_then(|value| LoadOption::decode(&value.data)) {
            entries.entries.push(Entry { number, option });
        }
    }
    let numbers = |name: &str| {
        let value = efivars.read(name, GLOBAL)?;
        Ok::<_, EfivarsError>(value.map(|value| boot::numbers(&value.data)).unwrap_or_default())
    };
    entries.order = numbers(BOOT_ORDER)?;
    entries.next = numbers(BOOT_NEXT)?.first().copied();
    entries.current = numbers("BootCurrent")?.first().copied();
    entries.timeout = numbers("Timeout")?.first().copied();
    Ok(entries)
}

fn changes(before: &Entries, after: &Entries) -> Changes {
    let value = |data: Vec<u8>| Some(Value { attributes: ATTRIBUTES, data });
    let mut changes = Changes::new();
    for Entry { number, option } in &after.entries {
        if before.option(*number) != Some(option) {
            changes.push((boot::name(*number), value(option.encode())));
        }
    }
    if before.order != after.order {
        changes.push((BOOT_ORDER.to_owned(), value(boot::bytes(&after.order))));
    }
    if before.next != after.next {
        changes.push((BOOT_NEXT.to_owned(), after.next.and_then(|next| value(boot::bytes(&[next])))));
    }
    for Entry { number, .. } in before.entries.iter().filter(|entry| after.option(entry.number).is_none()) {
        changes.push((boot::name(*number), None));
    }
    changes
}

/// The partition of this number, or the only EFI system partition.
fn find(disk: &Path, number: Option<u32>) -> Result<Partition, EfiError> {
    let source = device::open_to_read(disk)?;
    let read = |at: u64, buffer: &mut [u8]| source.file.read_exact_at(buffer, at);
    let partitions = match partitions::table(&read, source.size, source.sector) {
        Table::Partitions(partitions) => partitions,
        Table::None | Table::Damaged => Vec::new(),
    };
    choose(&partitions, number, disk)
}

fn choose(partitions: &[Partition], number: Option<u32>, disk: &Path) -> Result<Partition, EfiError> {
    let found: Vec<&Partition> =
        partitions.iter().filter(|partition| number.map_or(partition.is_esp(), |number| partition.number == number)).collect();
    let list = |partitions: &mut dyn Iterator<Item = u32>| {
        let numbers: Vec<String> = partitions.map(|number| number.to_string()).collect();
        if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") }
    };
    match found.as_slice() {
        [partition] => Ok(**partition),
        [] => {
            let found = list(&mut partitions.iter().map(|partition| partition.number));
            Err(EfiError::NoPartition { disk: disk.to_owned(), number, found })
        }
        several => {
            let found = list(&mut several.iter().map(|partition| partition.number));
            Err(EfiError::SeveralPartitions { disk: disk.to_owned(), found })
        }
    }
}

#[cfg(test)]
mod tests;
