//! A machine's own list of its PCI devices: the part of a script that makes iPXE send it, and the query that iPXE sends.

use std::collections::BTreeSet;

use devices::modalias::Device;

/// Longer lists are cut. The largest servers have some hundred functions.
const MOST: usize = 2048;

/// Lines that gather the functions in `found` and go to `url` with them. An iPXE that cannot read PCI, or that gets no
/// answer, goes on with the lines after these.
///
/// Every slot of every bus is looked at: larger servers have further root buses that no bridge leads to, and `pciscan` is
/// in few builds. Commands are what takes time, so one command finds an empty bus. Functions beyond the first count only
/// if the header announces them, since some devices answer to all eight numbers. Bridges need no driver from a pack.
#[must_use]
pub fn script(url: &str) -> String {
    let slots = || (0..0x100).step_by(8);
    let empty_bus = format!(
        "iseq {} {} && goto empty_bus ||\n",
        slots().map(|slot| format!("${{pci/0x${{bus:hexraw}}{slot:02x}.0.4}}")).collect::<String>(),
        "f".repeat(8 * slots().count()),
    );
    let chain = format!("chain --replace --autofree {url}?pci=${{found}} ||\n");
    [BEGIN, &empty_bus, WALK, "isset ${found} || goto reported\n", &chain, ":reported\n"].concat()
}

const BEGIN: &str = "isset ${pci/0.0.4} || goto reported
set found
set buses:int32 0
set bus:uint8 0
:bus
";

const WALK: &str = "set at:int32 0x${bus:hexraw}00
set slot:int32 0
:slot
iseq ${pci/${at}.0.4} ffffffff || goto first
:empty
inc at 8
:walked
inc slot
iseq ${slot} 32 || goto slot
:empty_bus
inc buses
iseq ${buses} 256 && goto all ||
inc bus
goto bus
:first
isset ${pci/${at}.0.4} || goto empty
iseq ${pci/${at}.0.4} 00000000 && goto empty ||
set header ${pci/${at}.14.1}
set function:int32 0
:function
iseq ${pci/${at}.0.4} ffffffff && goto further ||
iseq ${pci/${at}.11.1} 06 || set found ${found}${pci/${at}.0.4}.${pci/${at}.8.4},
iseq ${header} 00 && goto empty ||
iseq ${header} 01 && goto empty ||
iseq ${header} 02 && goto empty ||
:further
inc at
inc function
iseq ${function} 8 && goto walked || goto function
:all
";

/// The devices of `pci=ID.CLASS,...`, each kind once: the first and the third word of each function's configuration space.
/// `None` if the query has no such part.
#[must_use]
pub fn reported(query: &str) -> Option<Vec<Device>> {
    let list = query.split('&').find_map(|part| part.strip_prefix("pci="))?;
    let all: BTreeSet<Device> = list.split(',').take(MOST).filter_map(device).collect();
    Some(all.into_iter().collect())
}

fn device(text: &str) -> Option<Device> {
    let (id, class) = text.split_once('.')?;
    let [device, vendor] = halves(word(id)?);
    Some(Device::pci(vendor, device, word(class).map(|class| class >> 8)))
}

fn word(text: &str) -> Option<u32> {
    let is_word = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_word.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

fn halves(word: u32) -> [u16; 2] {
    let [a, b, c, d] = word.to_be_bytes();
    [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ipxe_asks_for_names_its_devices() {
        for (case, query, expected) in [
            ("no question", "", None),
            ("another question", "mac=1", None),
            ("no device", "pci=", Some(vec![])),
            (
                "a list as iPXE writes it",
                "pci=29c08086.06000000,00101b36.01080202,",
                Some(vec![Device::pci(0x1b36, 0x0010, Some(0x01_08_02)), Device::pci(0x8086, 0x29c0, Some(0x06_00_00))]),
            ),
            ("a class that could not be read", "x=1&pci=29c08086.", Some(vec![Device::pci(0x8086, 0x29c0, None)])),
            ("nonsense in between", "pci=,.,29c0808.06,+9c08086.0,zz,\u{e9}.,%2c", Some(vec![])),
        ] {
            assert_eq!(reported(query), expected, "{case}");
        }
        let list = |count: u32| (0..count).map(|id| format!("{id:08x}.01080202,")).collect::<String>();
        assert_eq!(reported(&format!("pci={}", list(10_000))).unwrap().len(), MOST);
        assert_eq!(reported(&format!("pci={0}{0}", list(5))).unwrap().len(), 5);
    }
}
