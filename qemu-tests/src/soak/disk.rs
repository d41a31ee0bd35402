//! `cargo lab soak disk`: the power fails at random moments while image2disk writes. Afterwards the machine boots the old system,
//! nothing, or the whole image, and the next attempt ends well.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

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
const GLANCE: Duration = Duration::from_millis(2);
const RUNS: &str = "action write: running";

/// What a moment counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    Action,
    Erasing,
}

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
        // Most cuts come between the first byte that is erased and the last one that is written.
        let begins = if dice.roll(6) == 0 { Begins::Action } else { Begins::Erasing };
        let after = dice.time(whole.mul_f64(1.1));
        let said = bench.cut(begins, after);
        let said = said.with_context(|| format!("seed {seed}, cut {cut}, {} ms after the {begins:?}", after.as_millis()))?;
        *found.entry(said).or_default() += 1;
    }
    bench.undisturbed().context("after the last cut")?;
    found.iter().for_each(|(said, count)| println!("  {count:>5}  {said:?}"));
    println!("between two systems for {:.1} s; the next write ended well after each cut", whole.as_secs_f64());
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

    /// Another system is on the disk, and the action runs when this returns. Its first sector comes back, too.
    fn begin(&mut self) -> Result<(Vm, [u8; 512])> {
        self.give_work()?;
        sector::old(&self.disk, DISK_BYTES)?;
        let mut old = [0; 512];
        let read = File::open(&self.disk).and_then(|disk| disk.read_exact_at(&mut old, 0));
        read.context("cannot read the disk")?;
        let mut machine = self.scene.start(&self.station, &self.parts)?;
        machine.serial.expect(RUNS, BOOTS_WITHIN)?;
        Ok((machine, old))
    }

    /// How long the disk is between two systems. The result is the image.
    fn undisturbed(&mut self) -> Result<Duration> {
        let (machine, old) = self.begin()?;
        self.wait_for(|sector| sector != old)?;
        let start = Instant::now();
        self.wait_for(ends_as_mbr)?;
        let took = start.elapsed();
        let ended = self.provisioner.wait_ended(&self.name(), WRITES_WITHIN)?;
        ensure!(ended.state() == "SUCCESS", "{} ended as {}: {}", self.name(), ended.state(), ended.failure());
        drop(machine);
        ensure!(self.said()? == Said::Whole, "the disk does not boot after a whole write");
        Ok(took)
    }

    fn cut(&mut self, begins: Begins, after: Duration) -> Result<Said> {
        let (machine, old) = self.begin()?;
        if begins == Begins::Erasing {
            self.wait_for(|sector| sector != old)?;
        }
        // The moment itself is what the test is about, so this sleeps instead of waiting for a state.
        std::thread::sleep(after);
        drop(machine);
        self.said()
    }

    /// Looks at the disk's first sector, often.
    fn wait_for(&self, state: impl Fn(&[u8]) -> bool) -> Result<()> {
        let (disk, start) = (File::open(&self.disk).context("cannot open the disk")?, Instant::now());
        let mut sector = [0; 512];
        while start.elapsed() < WRITES_WITHIN {
            disk.read_exact_at(&mut sector, 0).context("cannot read the disk")?;
            if state(&sector) {
                return Ok(());
            }
            std::thread::sleep(GLANCE);
        }
        bail!("the first sector of the disk did not change within {} s", WRITES_WITHIN.as_secs())
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

fn ends_as_mbr(sector: &[u8]) -> bool {
    sector.ends_with(&[0x55, 0xaa])
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
