//! `cargo lab demo`: the main job with a live view, and numbers at the end.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::board::Board;
use crate::install::{self, Observer};
use crate::machine::Boot;
use crate::prepare::Purpose;
use crate::scene::{MEMORY_MIB, Scene};
use crate::segment;
use crate::setup::Setup;
use crate::view::View;

const NAME: &str = "demo";
const BUDGET_MINUTES: u32 = 8;
/// The times are those of the first run on two cores. Later runs only do the last step.
const PLAN: &[&str] = &[
    "A blank virtual machine network-boots, installs Debian through a workflow, and boots it. The steps:",
    "1. install missing Debian packages; meanwhile compile thimble, /init and the actions, and make a Debian disk image (5 min)",
    "2. make kernel and ramdisk (15 s)",
    "3. start registry, `thimble up` and the machine, and follow it from power-on to the login prompt (2 min)",
    "Nothing reaches your network. Later runs begin at step 3.",
];

/// Outside the segment: builds everything, then runs the rest inside.
pub fn outside() -> Result<ExitCode> {
    let start = Instant::now();
    let board = Board::new("== ");
    PLAN.iter().for_each(|line| board.say(line));
    let setup = Setup::build(Purpose::Demo, &board)?;
    let folder = setup.run_folder(NAME)?;
    board.say(&format!("3. the machine, in a network namespace of its own; logs are in {}", folder.display()));
    let status = segment::command(&["demo-inside"])?.status().context("cannot start the lab inside a segment")?;
    if !status.success() {
        eprintln!("the logs are in {}", folder.display());
        return Ok(ExitCode::FAILURE);
    }
    println!("\nThe whole demo took {:.1} min of {BUDGET_MINUTES}.", start.elapsed().as_secs_f64() / 60.0);
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
        "disk                      equal to the image in {} bytes; {} blocks changed by writefile, as the template says",
        installed.verified.bytes, installed.verified.changed_blocks
    ));
    view.line(&format!("announced                 {}", installed.announced));
    view.line("\nA blank machine has installed Debian and booted it.");
    Ok(ExitCode::SUCCESS)
}
