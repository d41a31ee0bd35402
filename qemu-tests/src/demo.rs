//! `cargo lab demo`: the main job with a live view, and the numbers at its end.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::install::{self, Watch};
use crate::machine::Boot;
use crate::scene::{MEMORY_MIB, Scene};
use crate::segment;
use crate::setup::Setup;
use crate::view::View;

const NAME: &str = "demo";

/// Outside the segment: builds everything, then runs the rest inside.
pub fn outside() -> Result<ExitCode> {
    let setup = Setup::build(&|text| println!("== {text}"))?;
    let folder = setup.run_folder(NAME)?;
    println!("== entering a network namespace of its own; logs are in {}", folder.display());
    let status = segment::command(&["demo-inside"])?.status().context("cannot start the lab inside a segment")?;
    if !status.success() {
        eprintln!("the logs are in {}", folder.display());
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Inside the segment.
pub fn inside() -> Result<ExitCode> {
    let scene = Scene::new(NAME)?;
    let mut view = View::new("machine-1");
    view.stage(&format!("QEMU with {}", scene.setup.accelerator.name()));
    let installed = install::run(&scene, Boot::Bios, MEMORY_MIB, &mut view)?;
    let (kernel, ramdisk) = scene.setup.cloud.sizes()?;
    let known = |value: Option<u64>, unit: &str| value.map_or("not measured".to_owned(), |number| format!("{number} {unit}"));
    view.line(&format!("\n{}", installed.timeline.table()));
    view.line(&format!("kernel                    {kernel} bytes"));
    view.line(&format!("ramdisk                   {ramdisk} bytes"));
    view.line(&format!(
        "memory of the machine     {} kB, touched at its peak {}",
        MEMORY_MIB * 1024,
        known(installed.memory_touched, "kB")
    ));
    view.line(&format!("least memory available    {}", known(installed.memory_low, "kB, while installing")));
    view.line(&format!("agent, largest resident   {}", known(installed.agent_peak, "kB")));
    view.line(&format!(
        "disk                      equal to the image in {} bytes; {} blocks changed by writefile, as asked for",
        installed.verified.bytes, installed.verified.changed_blocks
    ));
    view.line(&format!("announced                 {}", installed.announced));
    view.line("\nA blank machine has installed Debian and booted it.");
    Ok(ExitCode::SUCCESS)
}
