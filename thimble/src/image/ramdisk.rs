//! `thimble image build`: arguments to a request, the report to text or JSON.

use super::{BuildArguments, Profile};
use anyhow::Context;
use initramfs::{CaBundle, KernelSource, Report, Request};
use std::fmt::Write;
use std::path::PathBuf;

/// A ramdisk beyond this no longer fits the smallest machines we promise (128 MiB).
const LIMIT: usize = 4_500_000;

pub fn run(arguments: &BuildArguments) -> anyhow::Result<()> {
    let report = initramfs::build(&request(arguments)?).context("cannot build kernel and ramdisk")?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", table(&report));
    }
    Ok(())
}

fn request(arguments: &BuildArguments) -> anyhow::Result<Request> {
    let kernel = match (&arguments.kernel, &arguments.kernel_dir) {
        (Some(package), None) => KernelSource::Deb(package.clone()),
        (None, Some(folder)) => KernelSource::Directory(folder.clone()),
        _ => anyhow::bail!("give either --kernel DEB or --kernel-dir DIR"),
    };
    let ca = match arguments.ca.as_str() {
        "host" => CaBundle::Host,
        "none" => CaBundle::None,
        file => CaBundle::File(PathBuf::from(file)),
    };
    Ok(Request {
        kernel,
        init: arguments.init.clone(),
        profile: match arguments.profile {
            Profile::Cloud => initramfs::Profile::Cloud,
        },
        modules: arguments.modules.clone(),
        ca,
        mtime: arguments.source_date_epoch,
        output: arguments.output.clone(),
    })
}

fn table(report: &Report) -> String {
    let mut text = format!("kernel {} with the drivers of profile {}\n\n", report.kernel_version, report.profile);
    let _ = writeln!(text, "{:>10} {:>10}  file (compressed alone)", "bytes", "compressed");
    for part in &report.parts {
        let _ = writeln!(text, "{:>10} {:>10}  {}", part.size, part.compressed, part.path);
    }
    let ramdisk = &report.initramfs;
    let _ = writeln!(text, "{:>10} {:>10}  the whole ramdisk\n", report.unpacked, ramdisk.size);
    for artifact in [&report.kernel, ramdisk] {
        let _ = writeln!(text, "{}  {}  {} bytes", artifact.sha256, artifact.path.display(), artifact.size);
    }
    if ramdisk.size > LIMIT {
        let _ = writeln!(text, "warning: the ramdisk is larger than {LIMIT} bytes: machines with 128 MiB may not unpack it");
    }
    text
}
