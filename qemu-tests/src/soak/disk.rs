//! `cargo lab soak disk`: the power fails at random moments while image2disk writes. What the disk had not been asked to flush is
//! then lost as a whole, in part, or not at all. Afterwards the machine boots the old system, nothing, or the whole image, and the
//! next attempt ends well.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::dice::Dice;
use crate::disk_image::sector::{self, Said};
use crate::disk_image::write_log::WriteLog;
use crate::machine::{Between, Disk, NicModel, Parts, Vm};
use crate::objects::{Station, Step, workflow};
use crate::provisioner::{Options, Provisioner};
use crate::registry::Registry;
use crate::scene::{BOOTS_WITHIN, MEMORY_MIB, Scene, copy_disk};

const IMAGE_BYTES: u64 = 48 << 20;
const DISK_BYTES: u64 = 64 << 20;
const WRITES_WITHIN: Duration = Duration::from_secs(120);
const GLANCE: Duration = Duration::from_millis(2);
const RUNS: &str = "action write: running";
/// Moments in each write that ended well. Their disks are compared with the image, and not started.
const MOMENTS: u32 = 20;
const LAST: u64 = 8;

/// What becomes of the pieces that were not flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unflushed {
    Kept,
    Lost,
    /// Each by itself.
    Random,
}

struct Bench<'a> {
    scene: &'a Scene,
    provisioner: &'a Provisioner,
    registry: &'a Registry,
    station: Station,
    parts: Parts,
    url: String,
    image: PathBuf,
    /// Before the machine starts, and after it a copy of that.
    disk: PathBuf,
    before: PathBuf,
    log: PathBuf,
    workflows: u32,
    dice: Dice,
    /// Of the moments that were only compared: how many disks begin with the image's boot sector.
    compared: (u32, u32),
}

pub fn run(scene: &Scene, cuts: u32, seed: u64) -> Result<()> {
    println!("{cuts} power cuts in an image write; to repeat the choices: --seed {seed}");
    let (registry, provisioner, station) = (scene.registry()?, scene.provisioner(Options::default())?, Station { number: 1 });
    scene.push_actions(&registry)?;
    provisioner.apply(&station.hardware())?;
    let folder = scene.place("disks")?;
    let [image, disk, before, log] = ["image.raw", "disk.raw", "before.raw", "writes.log"].map(|name| folder.join(name));
    sector::image(&image, IMAGE_BYTES)?;
    let url = provisioner.serve(&image, "image.raw")?;
    // On a busy host the emulated timer may come too late for the kernel's test, which then panics.
    let boot = scene.direct(&provisioner, &station)?.with_arguments("no_timer_check");
    let nic = scene.nic(&station, 0, NicModel::Virtio)?;
    let disks = vec![Disk { between: Between::WriteLog(log.clone()), ..Disk::virtio(&disk) }];
    let parts = Parts { disks, ..Parts::new(boot, MEMORY_MIB, vec![nic]) };
    let (dice, compared) = (Dice::new(seed), (0, 0));
    let (provisioner, registry) = (&provisioner, &registry);
    let mut bench =
        Bench { scene, provisioner, registry, station, parts, url, image, disk, before, log, workflows: 0, dice, compared };
    sector::old(&bench.disk, DISK_BYTES)?;
    let whole = bench.undisturbed().context("before any cut")?;
    let mut found = BTreeMap::<Said, u32>::new();
    for cut in 1..=cuts {
        // Each of the cuts comes in a part of the write of its own, so that together they cover all of it.
        let part = whole / u64::from(cuts);
        let written = u64::from(cut - 1) * part + bench.dice.roll(part);
        let unflushed = bench.dice.pick(&[Unflushed::Kept, Unflushed::Lost, Unflushed::Random, Unflushed::Random]);
        let unflushed = unflushed.unwrap_or(Unflushed::Random);
        let about = || format!("seed {seed}, cut {cut}, after {written} of {whole} bytes of the log, unflushed {unflushed:?}");
        let said = bench.cut(written, unflushed).with_context(about)?;
        println!("  cut {cut} at {}% of the write, unflushed {unflushed:?}: {said:?}", written * 100 / whole.max(1));
        *found.entry(said).or_default() += 1;
        bench.undisturbed().with_context(|| format!("the next write; {}", about()))?;
    }
    found.iter().for_each(|(said, count)| println!("  {count:>5}  {said:?}"));
    let (compared, whole) = bench.compared;
    println!(
        "the next write ended well after each cut; of {compared} more moments {whole} left the whole image, and none a half one"
    );
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

    /// The action runs when this returns, or has ended.
    fn begin(&mut self) -> Result<Vm> {
        self.give_work()?;
        copy_disk(&self.disk, &self.before)?;
        File::create(&self.log).context("cannot make an empty log")?;
        let mut machine = self.scene.start(&self.station, &self.parts)?;
        machine.serial.expect(RUNS, BOOTS_WITHIN)?;
        Ok(machine)
    }

    /// Writes onto whatever the disk has. The result is the image. Returns the length of the log.
    fn undisturbed(&mut self) -> Result<u64> {
        let machine = self.begin()?;
        let ended = self.provisioner.wait_ended(&self.name(), WRITES_WITHIN)?;
        ensure!(ended.state() == "SUCCESS", "{} ended as {}: {}", self.name(), ended.state(), ended.failure());
        drop(machine);
        // Success was reported, so also a machine that now loses its power has the image.
        let length = fs::metadata(&self.log).context("cannot read the log")?.len();
        let all = WriteLog::open(&self.log)?.len();
        self.remaining(all, Unflushed::Lost)?;
        ensure!(self.said()? == Said::Whole, "the disk does not boot after a whole write");
        self.compare_moments(all)?;
        // The whole image, for what comes next.
        self.remaining(all, Unflushed::Kept).map(|()| length)
    }

    /// Another system is on the disk. The power fails when the log has so many bytes.
    fn cut(&mut self, written: u64, unflushed: Unflushed) -> Result<Said> {
        sector::old(&self.disk, DISK_BYTES)?;
        let (machine, start) = (self.begin()?, Instant::now());
        while fs::metadata(&self.log).context("cannot read the log")?.len() < written {
            ensure!(start.elapsed() < WRITES_WITHIN, "the action did not write so much within {} s", WRITES_WITHIN.as_secs());
            std::thread::sleep(GLANCE);
        }
        drop(machine);
        let all = WriteLog::open(&self.log)?.len();
        self.remaining(all, unflushed)?;
        self.said()
    }

    /// Gives the disk what remains of it if the power fails behind so many entries of the log.
    fn remaining(&mut self, until: usize, unflushed: Unflushed) -> Result<()> {
        copy_disk(&self.before, &self.disk)?;
        let Self { dice, log, disk, .. } = self;
        WriteLog::open(log)?.replay(disk, until, || match unflushed {
            Unflushed::Kept => true,
            Unflushed::Lost => false,
            Unflushed::Random => dice.roll(2) == 0,
        })
    }

    /// A disk with the image's boot sector has all of the image.
    fn compare_moments(&mut self, all: usize) -> Result<()> {
        let first = |path: &PathBuf| -> Result<[u8; 512]> {
            let mut sector = [0; 512];
            let read = File::open(path).and_then(|file| file.read_exact_at(&mut sector, 0));
            read.with_context(|| format!("cannot read {}", path.display())).map(|()| sector)
        };
        // Onto a disk with the image, also a write that has not begun would look whole.
        let (image, before) = (first(&self.image)?, first(&self.before)?);
        for moment in 0..if image == before { 0 } else { MOMENTS } {
            // The last entries are what makes the disk bootable.
            let back = if moment % 2 == 0 { self.dice.roll(LAST) } else { self.dice.roll(all as u64 + 1) };
            let until = all.saturating_sub(usize::try_from(back)?);
            self.remaining(until, Unflushed::Random)?;
            let begins = first(&self.disk)? == image;
            if begins && !is_start_of(&self.image, &self.disk).context("cannot compare the disk with the image")? {
                bail!("after a cut behind {until} of {all} entries the disk begins with the image's boot sector, and differs");
            }
            self.compared = (self.compared.0 + 1, self.compared.1 + u32::from(begins));
        }
        Ok(())
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
