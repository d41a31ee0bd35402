//! Processors from `/proc/cpuinfo`.

use std::collections::{BTreeMap, BTreeSet};

use proto::{Cpu, Processor};

#[derive(Default)]
struct Package {
    cores: BTreeSet<u32>,
    threads: u32,
    vendor: Option<String>,
    model: Option<String>,
    flags: Vec<String>,
}

/// The file has one block per thread, and the blocks of one package share `physical id`. Machines without that field
/// (arm64, some guests) count as one package.
pub fn parse(cpuinfo: &str) -> Cpu {
    let mut packages: BTreeMap<u32, Package> = BTreeMap::new();
    for block in cpuinfo.split("\n\n") {
        let field =
            |name: &str| block.lines().find_map(|l| l.split_once(':').filter(|(k, _)| k.trim() == name)).map(|(_, v)| v.trim());
        let number = |name: &str| field(name).and_then(|v| v.parse::<u32>().ok());
        let Some(thread) = number("processor") else { continue };
        let package = packages.entry(number("physical id").unwrap_or(0)).or_default();
        package.threads += 1;
        package.cores.insert(number("core id").unwrap_or(thread));
        if package.threads == 1 {
            package.vendor = field("vendor_id").or(field("CPU implementer")).map(str::to_owned);
            package.model = field("model name").map(str::to_owned);
            let flags = field("flags").or(field("Features")).unwrap_or_default();
            package.flags = flags.split_whitespace().map(str::to_owned).collect();
        }
    }
    let processors: Vec<Processor> = packages.into_iter().map(processor).collect();
    let sum = |part: fn(&Processor) -> Option<u32>| Some(processors.iter().filter_map(part).sum());
    Cpu { total_cores: sum(|p| p.cores), total_threads: sum(|p| p.threads), processors }
}

fn processor((id, package): (u32, Package)) -> Processor {
    Processor {
        id: Some(id),
        cores: u32::try_from(package.cores.len()).ok(),
        threads: Some(package.threads),
        vendor: package.vendor,
        model: package.model,
        capabilities: package.flags,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_grouped_by_core_and_package() {
        let block = |thread: u32, package: u32, core: u32| {
            format!(
                "processor\t: {thread}\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon\nphysical id\t: {package}\ncore id\t: {core}\nflags\t: fpu vmx\n"
            )
        };
        let text = [block(0, 0, 0), block(1, 0, 1), block(2, 0, 0), block(3, 1, 0)].join("\n");
        let cpu = parse(&text);
        assert_eq!((cpu.total_cores, cpu.total_threads, cpu.processors.len()), (Some(3), Some(4), 2));
        assert_eq!(cpu.processors[0].capabilities, ["fpu", "vmx"]);
    }

    #[test]
    fn arm64_without_packages_is_one() {
        let cpu =
            parse("processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n\nprocessor\t: 1\nFeatures\t: fp asimd\n\n");
        assert_eq!((cpu.total_cores, cpu.processors.len()), (Some(2), 1));
        assert_eq!(cpu.processors[0].vendor.as_deref(), Some("0x41"));
        assert_eq!(parse("").total_threads, Some(0));
    }
}
