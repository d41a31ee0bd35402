//! `cargo lab shell`: a registry, `thimble up` and a machine that waits for work, with a shell to try workflows.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::board::Board;
use crate::objects::{Station, Step, workflow};
use crate::prepare::Purpose;
use crate::provisioner::Options;
use crate::scene::{DISK_BYTES, Scene};
use crate::segment;
use crate::setup::Setup;

const NAME: &str = "shell";

pub fn outside() -> Result<ExitCode> {
    let setup = Setup::build(Purpose::Demo, &Board::new("== "))?;
    setup.run_folder(NAME)?;
    let status = segment::command(&["shell-inside"])?.status().context("cannot start the lab inside a segment")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub fn inside() -> Result<ExitCode> {
    let scene = Scene::new(NAME)?;
    let ready = scene.ready(Options::default())?;
    scene.push_actions(&ready.registry)?;
    let example = scene.folder.join("hello.yaml");
    let steps = [Step::busybox("hello", &ready.registry, "uname -a; cat /proc/meminfo")];
    std::fs::write(&example, workflow("hello", &Station { number: 1 }, &steps)).context("cannot write the example")?;
    println!("{} waits for work, with an empty disk of {} MiB. Inside this shell:", ready.station.name(), DISK_BYTES >> 20);
    println!("  thimble apply {}      give it work", example.display());
    println!("  tail -f {}   its console", ready.machine.serial.log().display());
    println!("  exit                  ends everything");
    let path = std::env::var("PATH").unwrap_or_default();
    let tools = ready_tools(&scene)?;
    Command::new("bash")
        .arg("--norc")
        .env("PATH", format!("{tools}:{path}"))
        .env("PS1", "lab$ ")
        .status()
        .context("cannot start a shell")?;
    Ok(ExitCode::SUCCESS)
}

fn ready_tools(scene: &Scene) -> Result<String> {
    let folder = scene.setup.thimble.parent().context("thimble has no folder")?;
    Ok(folder.display().to_string())
}
