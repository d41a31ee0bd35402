//! Memory is the machine's only disk while it installs. Images that do not fit are refused, and an action that fills memory
//! fails alone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use regex::Regex;

use crate::objects::Step;
use crate::oci::Image;
use crate::provisioner::Options;
use crate::scene::Scene;

/// More than the memory of a machine with 128 MiB.
const TOO_LARGE: usize = 160 << 20;

const CLOUD_LIMIT: u64 = 4_000_000;
const METAL_LIMIT: u64 = 16_000_000;

/// A ramdisk takes memory of every machine that starts it, and old firmware truncates long ones.
pub fn ramdisk_sizes(scene: &Scene) -> Result<()> {
    for (name, kit, limit) in [("cloud", &scene.setup.cloud, CLOUD_LIMIT), ("metal", &scene.setup.metal, METAL_LIMIT)] {
        let (kernel, ramdisk) = kit.sizes()?;
        println!("{name:<8}kernel {kernel:>9} bytes, ramdisk {ramdisk:>9} bytes of at most {limit}");
        ensure!(ramdisk <= limit, "the {name} ramdisk has {ramdisk} bytes, more than {limit}");
    }
    Ok(())
}

pub fn image_too_large(scene: &Scene) -> Result<()> {
    let ready = scene.ready(Options::default())?;
    let image = Image::busybox("echo never", TOO_LARGE)?;
    image.push(ready.registry.address(), "large", "1")?;
    let workflow = ready.run("large", &[Step::image("large", &ready.registry.reference("large:1"))])?;
    let message = workflow.message("large");
    ensure!(workflow.state() == "FAILED" && message.contains("NoSpace"), "ended as {}: {message:?}", workflow.state());
    let numbers = Regex::new(r"needs about (\d+) MiB .* only (\d+) MiB").context("the pattern for both numbers")?;
    let found = numbers.captures(message).with_context(|| format!("{message:?} does not contain both numbers"))?;
    let number = |n: usize| found.get(n).and_then(|digits| digits.as_str().parse::<u64>().ok()).unwrap_or(0);
    ensure!(number(1) >= 160 && number(2) < 128, "{} MiB needed and {} MiB free cannot be right", number(1), number(2));
    let pulled = ready.registry.served_blob(&image.layer_digest());
    ensure!(!pulled, "the layer was pulled although it cannot fit");
    ready.still_works("afterwards")
}

/// The image goes to an emulated disk and comes back, a page at a time, while other machines have the processor.
const SWAPPED_WITHIN: Duration = Duration::from_secs(300);

/// More than the free memory of a machine with 128 MiB, on a disk that has room for it.
pub fn scratch_disk(scene: &Scene) -> Result<()> {
    const LARGE: usize = 112 << 20;
    let ready = scene.ready(Options::default())?;
    Image::busybox("wc -c /padding; cat /proc/swaps", LARGE)?.push(ready.registry.address(), "large", "1")?;
    let lent = Step::image("large", &ready.registry.reference("large:1")).environment("THIMBLE_SCRATCH", "/dev/vda");
    ready.begin("large", &[lent.timeout(SWAPPED_WITHIN.as_secs())])?;
    let workflow = ready.provisioner.wait_ended("large", SWAPPED_WITHIN)?;
    ensure!(workflow.state() == "SUCCESS", "ended as {}: {:?}", workflow.state(), workflow.message("large"));
    let serial = &ready.machine.serial;
    for line in [format!(r"A\| {LARGE} /padding"), r"/dev/vda: \d+ MiB lent as memory".into(), "/dev/vda: given back".into()] {
        ensure!(!serial.all(&line)?.is_empty(), "the console does not show {line:?}");
    }
    ready.still_works("afterwards")?;
    let missing = Step::image("large", &ready.registry.reference("large:1")).environment("THIMBLE_SCRATCH", "/dev/sdz");
    let workflow = ready.run("missing", &[missing])?;
    ensure!(workflow.message("large").contains("cannot find the scratch disk /dev/sdz"), "{:?}", workflow.message("large"));
    let swaps = ready.run("swaps", &[ready.shell("swaps", "cat /proc/swaps; ! grep vda /proc/swaps")])?;
    ensure!(swaps.state() == "SUCCESS", "the disk is still swap space");
    Ok(())
}

pub fn full_tmpfs(scene: &Scene) -> Result<()> {
    let ready = scene.ready(Options::default())?;
    let script = "dd if=/dev/zero of=/fill bs=1M count=4000; echo dd ended with $?; [ -s /fill ] && exit 28";
    let workflow = ready.run("fill", &[ready.shell("fill", script)])?;
    ensure!(workflow.state() == "FAILED", "the workflow ended as {}: {}", workflow.state(), workflow.status());
    let message = workflow.message("fill");
    let said = ["NonZeroExit: exit code 28", "OOMKilled", "NoSpace"].iter().any(|reason| message.contains(reason));
    ensure!(said, "the server's message has no reason: {message:?}");
    let greedy = ready.run("greedy", &[ready.shell("greedy", "busybox tail /dev/zero")])?;
    let message = greedy.message("greedy");
    ensure!(message.contains("OOMKilled"), "an action that took all memory ended as {}: {message:?}", greedy.state());
    ready.still_works("afterwards")?;
    let swap = ready.machine.serial.all("thimble: compressed memory: .* of swap")?;
    ensure!(!swap.is_empty(), "a machine of 128 MiB works without compressed memory");
    Ok(())
}
