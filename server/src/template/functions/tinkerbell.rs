//! Tinkerbell's own functions.

use std::net::Ipv4Addr;

use gotmpl::Value;

use super::arguments::Arguments;
use super::{Outcome, Table};

pub(super) const TABLE: Table = &[("formatPartition", format_partition), ("netmaskToPrefixLength", netmask_to_prefix_length)];

/// The name of partition N of a device: `/dev/sda` 1 is `/dev/sda1`, `/dev/nvme0n1` 1 is `/dev/nvme0n1p1`.
fn format_partition(args: &Arguments<'_>) -> Outcome {
    let (device, number) = (args.text(0)?, args.int(1)?);
    let separator = if device.starts_with("/dev/disk/") {
        "-part"
    } else if device.ends_with(|last: char| last.is_ascii_digit()) {
        "p"
    } else {
        ""
    };
    Ok(Value::String(format!("{device}{separator}{number}").into()))
}

fn netmask_to_prefix_length(args: &Arguments<'_>) -> Outcome {
    let text = args.text(0)?;
    let mask: Ipv4Addr = text.parse().map_err(|_| args.error(format!("{text:?} is not a netmask")))?;
    let bits = u32::from(mask);
    if bits.leading_ones() + bits.trailing_zeros() != 32 && bits != u32::MAX {
        return Err(args.error(format!("{text} is not a netmask: its ones are not in one block")));
    }
    Ok(Value::Int(i64::from(bits.leading_ones())))
}
