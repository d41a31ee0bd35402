//! `cargo lab soak disk`: the power fails at random moments while image2disk writes. Afterwards the machine boots the old system,
//! nothing, or the whole image, and the next attempt ends well.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::dice::Dice;
use crate::disk_image::sector::{self, Said};
use crate::machine::{Disk, NicModel, Parts, Vm};
use crate::objects::{Station, Step, workflow};
use crate::provisioner::{Options, Provisioner};
use crate::registry::Registry;
use crate::scene::{BOOTS_WITHIN, MEMORY_MIB, Scene};

const IMAGE_BYTES: u64 = 48 << 20;
const DISK_BYTES: u64 = 64 << 20;
const WRITES_WITHIN: Duration = Duration::from_secs(120);
const RUNS: &str = "action write: running";

struct Bench<'a> {
    scene: &'a Scene,
    provisioner: &'a Provisioner,
    registry: &'a Registry,
    station: Station,
    parts: Parts,
    url: String,
    image: PathBuf,
    disk: PathBuf,
    workflows: u32,
}

pub fn run(scene: &Scene, cuts: u32, seed: u64) -> Result<()> {
    println!("{cuts} power cuts in an image write; to repeat the choices: --seed {seed}");
    let (registry, provisioner, station) = (scene.registry()?, scene.provisioner(Options::default())?, Station { number: 1 });
    scene.push_actions(&registry)?;
    provisioner.apply(&station.hardware())?;
    let folder = scene.place("disks")?;
    let (image, disk) = (folder.join("image.raw"), folder.join("disk.raw"));
    sector::image(&image, IMAGE_BYTES)?;
    let url = provisioner.serve(&image, "image.raw")?;
    let (boot, nic) = (scene.direct(&provisioner, &station)?, scene.nic(&station, 0, NicModel::Virtio)?);
    let parts = Parts { disks: vec![Disk::virtio(&disk)], ..Parts::new(boot, MEMORY_MIB, vec![nic]) };
    let mut bench =
        Bench { scene, provisioner: &provisioner, registry: &registry, station, parts, url, image, disk, workflows: 0 };
    let whole = bench.undisturbed().context("before any cut")?;
    let (mut dice, mut found) = (Dice::new(seed), BTreeMap::<Said, u32>::new());
    for cut in 1..=cuts {
        let after = dice.time(whole.mul_f64(1.1));
        let said =
            bench.cut(after).with_context(|| format!("seed {seed}, cut {cut}, {} ms after its start", after.as_millis()))?;
        *found.entry(said).or_default() += 1;
    }
    bench.undisturbed().context("after the last cut")?;
    found.iter().for_each(|(said, count)| println!("  {count:>5}  {said:?}"));
    println!("the write takes {:.1} s, and ended well after each cut", whole.as_secs_f64());
    Ok(())
}

impl Bench<'_> {
    fn name(&self) -> String {
        format!("write-{}", self.workflows)
    }

    /// Work for the machine, if it has none. An interrupted action is run again.
    fn give_work(&mut self) -> Result<()> {
        if self.workflows > 0 && self.provisioner.workflow(&self.name())?.state() != "SUCCESS" {
            return Ok(());
        }
        self.workflows += 1;
        let step = Step::image("write", &self.registry.reference("image2disk:v1")).timeout(WRITES_WITHIN.as_secs());
        let step = step.environment("IMG_URL", &self.url).environment("DEST_DISK", "/dev/vda");
        self.provisioner.apply(&workflow(&self.name(), &self.station, &[step]))
    }

    /// Another system is on the disk, and the action has begun to write when this returns.
    fn begin(&mut self) -> Result<Vm> {
        self.give_work()?;
        sector::old(&self.disk, DISK_BYTES)?;
        let mut machine = self.scene.start(&self.station, &self.parts)?;
        machine.serial.expect(RUNS, BOOTS_WITHIN)?;
        Ok(machine)
    }

    /// How long the write takes. The result is the image.
    fn undisturbed(&mut self) -> Result<Duration> {
        let machine = self.begin()?;
        let start = Instant::now();
        let ended = self.provisioner.wait_ended(&self.name(), WRITES_WITHIN)?;
        let took = start.elapsed();
        ensure!(ended.state() == "SUCCESS", "{} ended as {}: {}", self.name(), ended.state(), ended.failure());
        drop(machine);
        ensure!(self.said()? == Said::Whole, "the disk does not boot after a whole write");
        Ok(took)
    }

    fn cut(&mut self, after: Duration) -> Result<Said> {
        let machine = self.begin()?;
        // The moment itself is what the test is about, so this sleeps instead of waiting for a state.
        std::thread::sleep(after);
        drop(machine);
        self.said()
    }

    /// Starts the disk alone. What says that it is whole is compared.
    fn said(&self) -> Result<Said> {
        let said = sector::start(&self.disk, self.scene.setup.accelerator, &self.scene.place("alone")?)?;
        if said == Said::Whole {
            let equal = is_start_of(&self.image, &self.disk).context("cannot compare the disk with the image")?;
            ensure!(equal, "the disk boots, and differs from the image");
        }
        Ok(said)
    }
}

fn is_start_of(image: &PathBuf, disk: &PathBuf) -> std::io::Result<bool> {
    let (image, disk) = (File::open(image)?, File::open(disk)?);
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for at in (0..IMAGE_BYTES).step_by(1 << 20) {
        image.read_exact_at(&mut left, at)?;
        disk.read_exact_at(&mut right, at)?;
        if left != right {
            return Ok(false);
        }
    }
    Ok(true)
}
