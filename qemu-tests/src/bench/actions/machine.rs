//! `cargo lab bench actions --machine`: image2disk beside its decoder alone, onto a disk that takes data without a copy.
//!
//! A disk takes data by DMA. A RAM disk copies it, which costs about as much as the decoding. So this bench runs in machines with
//! `null_blk` of Debian's kernel, and the images lie in their memory. The first machine has one processor, and its clock counts
//! instructions. So its numbers are the same on any host, however busy. The second one has two processors and the host's clock.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Arguments, MIB, image, median};
use crate::board::Board;
use crate::busybox::{self, Guest};
use crate::machine::{Boot, Clock, Firmware, Parts, Vm};
use crate::prepare::Purpose;
use crate::setup::Setup;

const NAME: &str = "bench-actions";
/// An emulated processor decodes it in seconds, and all of it fits the machine's memory in three forms.
const SIZE: u64 = 256 * MIB;
const BOOTED_WITHIN: Duration = Duration::from_secs(300);
/// On a busy host.
const ROW_WITHIN: Duration = Duration::from_secs(300);
const MODULES: &[&str] = &["configfs", "null_blk"];
/// Each row writes a line: its number, then the seconds of the clock, of the program and of the kernel for it. Linux gives
/// `rounds` and `machine` of the kernel's command line to /init as variables.
const HEAD: &str = "insmod /configfs.ko; insmod /null_blk.ko gb=2
export PATH=/bb:/bin DEST_DISK=/dev/nullb0 PROGRESS_INTERVAL_SECONDS=3600
/bb/busybox chmod 755 /bin/actions
row() {
  number=$1; shift
  if /bb/busybox time -o /took -f '%e %U %S' /bb/busybox \"$@\" > /dev/null 2> /log
  then echo \"lab: row $number $(/bb/busybox cat /took)\"
  else echo \"lab: failed $(/bb/busybox tail -n 1 /log)\"
  fi
}
echo lab: begin
for round in $(/bb/busybox seq $rounds); do
";
/// A whole line, because a console also shows the start of one.
const LINE: &str = r"lab: (row \d+( \d+\.\d\d){3}|failed|end)";
const TAIL: &str = "done
echo lab: end
poweroff -f
";

/// What a row of the table runs, as words for busybox.
const ROWS: [(&str, &str); 5] = [
    ("zstd -dc > /dev/null", "env zstd -dc /one.zst"),
    ("image2disk", "env IMG_URL=/one.zst actions image2disk"),
    ("zstd -dc > /dev/null, many frames", "env zstd -dc /many.zst"),
    ("image2disk, many frames", "env IMG_URL=/many.zst actions image2disk"),
    // What the host's two processors can do together.
    ("two of zstd -dc at once", "sh -c 'zstd -dc /one.zst > /dev/null & zstd -dc /one.zst; wait $!'"),
];
const ONE: usize = 0;
const ACTION: usize = 1;
const FRAMES: usize = 3;
const TWO: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq)]
struct Took {
    row: usize,
    seconds: f64,
    processor: f64,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let setup = Setup::obtain(Purpose::Bench, arguments.reuse, &Board::new("== "))?;
    let folder = setup.run_folder(NAME)?;
    let bench = Bench { initrd: ramdisk(&setup, &folder)?, setup, folder, memory_mib: arguments.memory };
    println!("== a machine with one processor, which counts instructions");
    let counted = bench.machine("counted", 1, Clock::Instructions, 1)?;
    println!("== a machine with two processors ({}), {} rounds", bench.setup.accelerator.name(), arguments.runs);
    let clocked = bench.machine("clocked", 2, Clock::Host, arguments.runs)?;
    print(&counted, &clocked);
    Ok(ExitCode::SUCCESS)
}

/// Images, programs and script.
fn ramdisk(setup: &Setup, folder: &Path) -> Result<PathBuf> {
    println!("== an image of {} MiB of this host's /usr", SIZE / MIB);
    image(folder, SIZE)?;
    let (one, many) = (folder.join("one.zst"), folder.join("many.zst"));
    let guest = Guest {
        programs: &[("bin/zstd", Path::new("/usr/bin/zstd"))],
        files: &[("bin/actions", &setup.actions), ("one.zst", &one), ("many.zst", &many)],
        folders: &["bin"],
        modules: MODULES,
        script: &script()?,
    };
    let ramdisk = busybox::guest(setup, folder, "guest", &guest)?;
    for name in ["raw", "one.zst", "many.zst", "guest.cpio"] {
        fs::remove_file(folder.join(name)).with_context(|| format!("cannot remove {name} of {}", folder.display()))?;
    }
    Ok(ramdisk)
}

fn script() -> Result<String> {
    let mut script = HEAD.to_owned();
    for (number, (_, words)) in ROWS.iter().enumerate() {
        let only = if number == TWO { "[ $machine = counted ] || " } else { "" };
        writeln!(script, "{only}row {number} {words}").context("cannot write the script")?;
    }
    Ok(script + TAIL)
}

struct Bench {
    setup: Setup,
    folder: PathBuf,
    initrd: PathBuf,
    memory_mib: u32,
}

impl Bench {
    fn machine(&self, name: &str, processors: u8, clock: Clock, rounds: usize) -> Result<Vec<Took>> {
        let boot = Boot::Direct {
            firmware: Firmware::SeaBios,
            kernel: self.setup.cloud.kernel.clone(),
            initrd: self.initrd.clone(),
            arguments: format!("console=ttyS0 quiet panic=-1 rounds={rounds} machine={name}"),
        };
        let parts = Parts { processors, clock, ..Parts::new(boot, self.memory_mib, Vec::new()) };
        let mut machine = Vm::power_on(&parts, self.setup.accelerator, &self.folder.join(name))?;
        machine.serial.expect("lab: begin", BOOTED_WITHIN)?;
        let mut table = Vec::new();
        loop {
            let line = machine.serial.expect(LINE, ROW_WITHIN)?.text;
            if line.contains("lab: failed") {
                bail!("in the machine: {line}; its console is in {}", machine.serial.log().display());
            }
            let Some(took) = Took::of(&line) else { return Ok(table) };
            table.push(took);
        }
    }
}

impl Took {
    fn of(line: &str) -> Option<Self> {
        let (_, numbers) = line.split_once("lab: row ")?;
        let [row, seconds, program, kernel] = numbers.split_whitespace().collect::<Vec<_>>().try_into().ok()?;
        let number = |text: &str| text.parse::<f64>().ok();
        Some(Self { row: row.parse().ok()?, seconds: number(seconds)?, processor: number(program)? + number(kernel)? })
    }
}

fn all(table: &[Took], row: usize, of: fn(&Took) -> f64) -> Vec<f64> {
    table.iter().filter(|took| took.row == row).map(of).collect()
}

fn print(counted: &[Took], clocked: &[Took]) {
    println!("\n{:36} {:>16} {:>9} {:>9} {:>9}", "", "10^9 instructions", "seconds", "MB/s", "CPU s");
    for (number, (name, _)) in ROWS.iter().enumerate() {
        let middle = |table, of| median(&all(table, number, of));
        let cell = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        let (count, seconds) = (middle(counted, |took| took.seconds), middle(clocked, |took| took.seconds));
        let rate = seconds.map(|seconds| SIZE as f64 / 1e6 / seconds);
        let cells = [seconds, rate, middle(clocked, |took| took.processor)].map(cell);
        println!("{name:36} {:>16} {:>9} {:>9} {:>9}", cell(count), cells[0], cells[1], cells[2]);
    }
    println!("\nwith two processors: the median of the rounds, and the least and most");
    println!("image2disk takes {} of the time of the decoder alone (wanted: at most 1.10)", ratio(clocked, ACTION, ONE, 1.0));
    println!("of many frames it is {} times as fast as one decoder (wanted: 1.70)", ratio(clocked, ONE, FRAMES, 1.0));
    println!("both processors together decode {} times what one does", ratio(clocked, ONE, TWO, 2.0));
    println!("with one processor");
    println!("image2disk takes {} of the instructions of the decoder alone", ratio(counted, ACTION, ONE, 1.0));
}

/// Of the same rounds, because other work on the host slows a whole round.
fn ratio(table: &[Took], above: usize, below: usize, times: f64) -> String {
    let [above, below] = [above, below].map(|row| all(table, row, |took| took.seconds));
    let each: Vec<f64> = above.iter().zip(&below).map(|(above, below)| times * above / below).collect();
    let end = |pick: fn(f64, f64) -> f64| each.iter().copied().reduce(pick).unwrap_or(f64::NAN);
    let middle = median(&each).unwrap_or(f64::NAN);
    if each.len() == 1 { format!("{middle:.2}") } else { format!("{middle:.2} ({:.2} to {:.2})", end(f64::min), end(f64::max)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_the_console_is_its_number_and_its_seconds() {
        let took = Took { row: 3, seconds: 2.5, processor: 2.75 };
        assert_eq!(Took::of("lab: row 3 2.50 2.50 0.25"), Some(took));
        for line in ["lab: end", "lab: row 3 2.50", "lab: row x 1 1 1"] {
            assert_eq!(Took::of(line), None, "{line}");
        }
    }

    #[test]
    fn a_ratio_compares_rows_of_the_same_round() {
        let round = |first, second| [(0, first), (1, second)].map(|(row, seconds)| Took { row, seconds, processor: 0.0 });
        let table = [round(2.0, 1.0), round(20.0, 20.0), round(3.0, 1.0)].concat();
        assert_eq!(ratio(&table, 0, 1, 1.0), "2.00 (1.00 to 3.00)");
        assert_eq!(ratio(&round(3.0, 2.0), 0, 1, 2.0), "3.00");
    }

    #[test]
    fn only_the_machine_of_two_processors_decodes_twice_at_once() {
        let script = script().unwrap();
        let rows: Vec<&str> = script.lines().filter(|line| line.contains("row ") && line.contains(".zst")).collect();
        assert_eq!(rows.len(), ROWS.len());
        assert!(rows.iter().all(|line| line.starts_with("row ") != line.contains("-dc /one.zst > /dev/null &")), "{rows:?}");
    }
}
