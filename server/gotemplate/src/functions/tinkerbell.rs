//! Tinkerbell's own functions.

use std::net::{IpAddr, Ipv4Addr};

use super::arguments::{int, string, text};
use super::{Entry, Param, plain};

pub(super) static FUNCTIONS: &[Entry] = &[
    plain("formatPartition", &[Param::Text, Param::Int], |context, args| {
        let (device, partition) = (text(args, 0), int(args, 1));
        let between = match device.last() {
            _ if device.starts_with(b"/dev/disk/") => "-part",
            Some(b'0'..=b'9') => "p",
            _ => "",
        };
        context.budget.text([&*device, between.as_bytes(), partition.to_string().as_bytes()].concat())
    }),
    plain("netmaskToPrefixLength", &[Param::Text], |context, args| {
        let netmask = string(args, 0);
        let address: IpAddr = netmask.parse().map_err(|_| format!("invalid netmask format: {netmask}"))?;
        let address = match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(address) => address.to_ipv4_mapped(),
        };
        let address = address.ok_or_else(|| format!("netmask must be IPv4: {netmask}"))?;
        context.budget.text(ones(address).to_string())
    }),
];

/// Go's `IPMask.Size`: 0 if the mask is not a run of ones.
fn ones(mask: Ipv4Addr) -> u32 {
    let bits = mask.to_bits();
    if bits.leading_ones() + bits.trailing_zeros() >= 32 { bits.leading_ones() } else { 0 }
}
