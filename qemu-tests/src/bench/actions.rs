//! `cargo lab bench actions`: image2disk onto a RAM disk beside the programs that people write disks with, in the same run. And
//! oci2root onto ext4 there, beside umoci.
//!
//! The RAM disk is a loop device over a file on tmpfs, and the image is there, too. So what counts is decoding and writing. The
//! programs take turns, so that other work on the host slows all of them.

mod layers;
mod machine;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use super::{Arguments, median};
use crate::cargo;
use crate::command::{effect, output};
use crate::setup::workspace;

const FOLDER: &str = "/dev/shm/thimble-bench-actions";
const RAMDISK: &str = ".cargo/ramdisk.toml";
const TARGET: &str = "x86_64-unknown-linux-gnu";
const MIB: u64 = 1 << 20;
const SIZE: u64 = 512 * MIB;
const LOOK: Duration = Duration::from_millis(5);

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.machine {
        return machine::run(arguments);
    }
    let runs = arguments.runs;
    let root = workspace()?;
    if !arguments.reuse {
        println!("== building the actions as they are in their image");
        cargo::run(
            &root,
            &["build", "--config", RAMDISK, "--profile", "image", "--target", TARGET, "--package", "actions"],
            &[],
        )?;
    }
    let bench = Bench::start(root.join("target").join(TARGET).join("image/actions"))?;
    let mut table = BTreeMap::<usize, Vec<Measured>>::new();
    for run in 1..=runs {
        println!("== run {run} of {runs}");
        for (number, row) in bench.rows().iter().enumerate() {
            shell(&row.before)?;
            table.entry(number).or_default().push(measure(&row.command).with_context(|| row.name.to_owned())?);
        }
    }
    print(&bench, &table);
    Ok(ExitCode::SUCCESS)
}

struct Measured {
    seconds: f64,
    /// Processor time of all its processes and threads, which other work on the host hardly changes.
    processor: f64,
    /// Of the process that is started itself, in KiB.
    memory: u64,
}

struct Row {
    name: &'static str,
    /// The row that it is compared with.
    floor: Option<usize>,
    /// What it writes.
    bytes: u64,
    /// A line of shell that runs before, and does not count.
    before: String,
    command: Vec<String>,
}

struct Bench {
    actions: PathBuf,
    disk: String,
    image: layers::Served,
}

impl Bench {
    fn start(actions: PathBuf) -> Result<Self> {
        let folder = Path::new(FOLDER);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {FOLDER}"))?;
        println!("== an image of {} MiB of this host's /usr", SIZE / MIB);
        image(folder, SIZE)?;
        shell(&format!("truncate -s {} disk", SIZE + 8 * MIB))?;
        shell(
            "gzip -1 -c raw > raw.gz; qemu-img convert -O qcow2 raw plain.qcow2; qemu-img convert -c -O qcow2 raw packed.qcow2",
        )?;
        let disk = output(Command::new("losetup").args(["--find", "--show", "disk"]).current_dir(folder))?.trim().to_owned();
        Ok(Self { actions, disk, image: layers::Served::start(folder)? })
    }

    fn rows(&self) -> Vec<Row> {
        let row = |name, floor, command| Row { name, floor, bytes: SIZE, before: String::new(), command };
        let shell = |name, floor, script: String| row(name, floor, ["sh", "-c", &script].map(str::to_owned).to_vec());
        let action = |name, floor, file: &str| {
            let words = ["env".to_owned(), format!("IMG_URL={FOLDER}/{file}"), format!("DEST_DISK={}", self.disk)];
            let program = [self.actions.display().to_string(), "image2disk".to_owned()];
            row(name, floor, words.into_iter().chain(program).collect())
        };
        let pipe = |unpack: &str, file: &str| {
            format!(
                "curl -s file://{FOLDER}/{file} | {unpack} | dd of={} bs=1M oflag=direct iflag=fullblock status=none",
                self.disk
            )
        };
        let qemu = |file: &str| format!("exec qemu-img convert -n -O raw {FOLDER}/{file} {}", self.disk);
        let rows = vec![
            shell("zstd -dc > /dev/null", None, format!("exec zstd -dc {FOLDER}/one.zst > /dev/null")),
            action("image2disk, zstd", Some(0), "one.zst"),
            action("image2disk, zstd of many frames", Some(0), "many.zst"),
            shell("curl | zstd -dc | dd", Some(0), pipe("zstd -dc", "one.zst")),
            shell("gzip -dc > /dev/null", None, format!("exec gzip -dc {FOLDER}/raw.gz > /dev/null")),
            action("image2disk, gzip", Some(4), "raw.gz"),
            shell("curl | gzip -dc | dd", Some(4), pipe("gzip -dc", "raw.gz")),
            action("image2disk, raw", None, "raw"),
            shell("curl | dd", Some(7), pipe("cat", "raw")),
            shell("qemu-img convert, qcow2", None, qemu("plain.qcow2")),
            action("image2disk, qcow2", Some(9), "plain.qcow2"),
            shell("qemu-img convert, compressed qcow2", None, qemu("packed.qcow2")),
            action("image2disk, compressed qcow2", Some(11), "packed.qcow2"),
            shell("dd", None, format!("exec dd if={FOLDER}/raw of={} bs=1M oflag=direct status=none", self.disk)),
        ];
        let number = rows.len();
        rows.into_iter().chain(self.image.rows(number, &self.actions, &self.disk)).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _gone = Command::new("losetup").args(["--detach", &self.disk]).status();
        let _gone = fs::remove_dir_all(FOLDER);
    }
}

/// `raw`, and the same as `one.zst` of one frame and `many.zst` of many.
fn image(folder: &Path, size: u64) -> Result<()> {
    let shell = |script: &str| shell_in(folder, script);
    shell(&format!("(tar -C / -cf - usr 2>/dev/null || true) | head -c {size} > raw; truncate -s {size} raw"))?;
    // One Linux partition, so that it is a disk and not an archive.
    shell("dd if=/dev/zero of=raw bs=1M count=1 conv=notrunc status=none; echo 'start=2048, type=83' | sfdisk -q raw")?;
    // Frames as `thimble image compress` makes them.
    shell("zstd -q -f -3 raw -o one.zst; split -b 1M --filter='zstd -q -3 -c --stream-size=1048576' raw > many.zst")
}

fn shell(script: &str) -> Result<()> {
    shell_in(Path::new(FOLDER), script)
}

fn shell_in(folder: &Path, script: &str) -> Result<()> {
    effect(Command::new("sh").args(["-ec", script]).current_dir(folder)).context(script.to_owned())
}

fn measure(command: &[String]) -> Result<Measured> {
    let (program, arguments) = command.split_first().context("an empty command")?;
    let (start, before) = (Instant::now(), processor()?);
    let mut child = Command::new(program).args(arguments).stdout(Stdio::null()).spawn().context("cannot start it")?;
    let mut memory = 0;
    let status = loop {
        memory = memory.max(high_water(&child));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        sleep(LOOK);
    };
    ensure!(status.success(), "{program} ended with {status}");
    Ok(Measured { seconds: start.elapsed().as_secs_f64(), processor: processor()? - before, memory })
}

/// Seconds of all children that have ended. The kernel's own threads, such as those of a loop device, do not count.
fn processor() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("cannot ask for the processor time")?;
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

fn high_water(child: &Child) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

fn print(bench: &Bench, table: &BTreeMap<usize, Vec<Measured>>) {
    let middle = |number: usize, of: fn(&Measured) -> f64| {
        median(&table.get(&number).into_iter().flatten().map(of).collect::<Vec<_>>()).unwrap_or(f64::NAN)
    };
    let seconds = |number: usize| middle(number, |measured| measured.seconds);
    println!("\n{:36} {:>8} {:>9} {:>10} {:>10} {:>10}", "", "seconds", "MB/s", "of floor", "CPU s", "memory MiB");
    for (number, Row { name, floor, bytes, .. }) in bench.rows().iter().enumerate() {
        let own = seconds(number);
        let ratio = floor.map_or("-".to_owned(), |floor| format!("{:.2}", own / seconds(floor)));
        let memory = table.get(&number).into_iter().flatten().map(|measured| measured.memory).max().unwrap_or(0);
        println!(
            "{name:36} {own:>8.2} {:>9.0} {ratio:>10} {:>10.2} {:>10.1}",
            *bytes as f64 / 1e6 / own,
            middle(number, |measured| measured.processor),
            memory as f64 / 1024.0
        );
    }
    // However many threads decode, the RAM disk has to take what they write.
    let [decoder, one, many, disk] = [0, 1, 2, 13].map(seconds);
    println!("\nzstd takes {:.2} of the time of the decoder alone (wanted: at most 1.10)", one / decoder);
    println!("zstd of many frames is {:.2} times as fast as one decoder (wanted: 1.70)", decoder / many);
    println!(
        "dd, which decodes nothing, takes {:.2} of it; at its pace {:.2} times would be the most",
        disk / decoder,
        decoder / disk
    );
    println!("this RAM disk copies what it is given; `cargo lab bench actions --machine` writes to a disk that does not");
}
