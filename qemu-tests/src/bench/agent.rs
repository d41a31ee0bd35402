//! `cargo lab bench agent`: the ramdisk's agent compared with crun, runc and containerd, on this host and in one run.
//!
//! Start latency is the time from one action's end to the next one's, including journal and log. It is compared with `crun
//! run` and `runc run` of the bundle that the agent wrote for the same image, with the files as a plain folder. A pull is
//! measured by the processor time and memory of the unpacking program.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::board::Board;
use crate::cargo;
use crate::command::{self, wait_for};
use crate::oci::Image;
use crate::prepare::Purpose;
use crate::registry::Registry;
use crate::setup::{Setup, workspace};

mod ahead;

const FOLDER: &str = "/run/lab-bench";
const REGISTRY: &str = "127.0.0.1:5077";
const ACTIONS: usize = 20;
const TRUE: &[&str] = &["/bin/true"];
const STARTS_WITHIN: Duration = Duration::from_secs(30);
/// The folders that fill a layer, and how many bytes of each: about 66 MB in all when compressed.
const LAYERS: [(&str, u64); 3] = [("/usr/bin", 60 << 20), ("/usr/lib/x86_64-linux-gnu", 60 << 20), ("/usr/sbin", 30 << 20)];
/// A mount namespace like the ramdisk's.
const NAMESPACE: &str =
    "set -e; umount -R /sys/fs/cgroup 2>/dev/null || true; mount -t cgroup2 -o favordynmods cgroup2 /sys/fs/cgroup
mount -t tmpfs none /run; mkdir -p /run/thimble /worker; exec \"$@\"";
const CONTAINERD: &str = "version = 2
root = \"/run/lab-bench/containerd\"
state = \"/run/lab-bench/containerd-state\"
disabled_plugins = [\"io.containerd.grpc.v1.cri\"]
[grpc]
  address = \"/run/lab-bench/containerd.sock\"
";

pub fn outside(runs: usize, reuse: bool) -> Result<ExitCode> {
    Setup::obtain(Purpose::Bench, reuse, &Board::new("== "))?;
    let this = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", NAMESPACE, "sh"]).arg(this);
    command.args(["bench", "agent", "--inside", "--runs", &runs.to_string()]);
    let status = command.status().context("cannot execute unshare")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub fn inside(runs: usize) -> Result<()> {
    let setup = Setup::load()?;
    let folder = Path::new(FOLDER);
    fs::create_dir_all(folder).with_context(|| format!("cannot make {FOLDER}"))?;
    let address = REGISTRY.parse().context("the registry's address")?;
    let registry = Registry::start_at(&made(&folder.join("registry"))?, address)?;
    let digest = Image::busybox("true", 0)?.push(address, "busybox", "1")?;
    let large = Image::of_folders(&LAYERS.map(|(path, bytes)| (Path::new(path), bytes)))?;
    large.push(address, "large", "1")?;
    let image = format!("busybox@{digest}");
    let bench = Bench { agent: setup.init, registry, image, bundle: folder.join("bundle") };
    bench.lay_out_bundle()?;
    let starts = bench.starts(runs)?;
    let pulls = bench.pulls(runs)?;
    report(&starts, &pulls, large.size());
    bench.five_images(address, runs)?;
    bench.memory()
}

struct Bench {
    agent: PathBuf,
    registry: Registry,
    /// By digest, because a tag would be resolved again at each start.
    image: String,
    bundle: PathBuf,
}

/// Times in milliseconds.
#[derive(Default)]
struct Starts {
    agent: Vec<f64>,
    crun: Vec<f64>,
    runc: Vec<f64>,
}

#[derive(Default)]
struct Pulls {
    agent: Vec<Cost>,
    containerd: Vec<Cost>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Cost {
    user_seconds: f64,
    all_seconds: f64,
    wall_seconds: f64,
    /// The peak of resident memory in MiB, and what is kept beside the unpacked files.
    resident_mib: f64,
    kept_mib: f64,
}

impl Bench {
    /// The three take turns, so that other load on the host slows all of them alike.
    fn starts(&self, runs: usize) -> Result<Starts> {
        let mut starts = Starts::default();
        for run in 0..runs {
            println!("== starts, run {} of {runs}", run + 1);
            starts.agent.extend(self.actions(&self.image, TRUE, ACTIONS)?.0);
            for (runtime, series) in [("crun", &mut starts.crun), ("runc", &mut starts.runc)] {
                for number in 0..ACTIONS {
                    let mut start = Command::new(runtime);
                    start.args(["run", &format!("{runtime}-{run}-{number}")]).current_dir(&self.bundle);
                    let began = Instant::now();
                    let output = start.stdin(Stdio::null()).output().with_context(|| format!("cannot execute {runtime}"))?;
                    series.push(began.elapsed().as_secs_f64() * 1000.0);
                    ensure!(output.status.success(), "{runtime}: {}", String::from_utf8_lossy(&output.stderr));
                }
            }
        }
        Ok(starts)
    }

    /// Starts the agent with a workflow of this many actions. Returns it and the folder of its state.
    fn workflow(&self, image: &str, command: &[&str], actions: usize) -> Result<(Child, PathBuf)> {
        self.workflow_of(&vec![image; actions], command, &[])
    }

    /// One action for each image. `settings` are further variables of the agent.
    fn workflow_of(&self, images: &[&str], command: &[&str], settings: &[(&str, &str)]) -> Result<(Child, PathBuf)> {
        let file = Path::new(FOLDER).join("workflow.json");
        let action = |(number, image)| {
            let image = self.registry.reference(image);
            json!({"name": format!("a{number}"), "image": image, "command": command, "timeout": 300})
        };
        let actions: Vec<Value> = images.iter().copied().enumerate().map(action).collect();
        fs::write(&file, json!(actions).to_string()).context("cannot write the workflow")?;
        let state = made(&Path::new(FOLDER).join("state"))?;
        let mut agent = Command::new(&self.agent);
        agent.args(["run", "-workflow"]).arg(&file).arg("-state-dir").arg(&state);
        agent.env("THIMBLE_LOG", "stderr").env("INSECURE_REGISTRIES", REGISTRY).envs(settings.iter().copied());
        agent.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Ok((agent.spawn().context("cannot execute the agent")?, state))
    }

    /// Writes the agent's configuration for the image, and the same files as a plain folder for the other runtimes.
    fn lay_out_bundle(&self) -> Result<()> {
        let (mut agent, state) = self.workflow(&self.image, &["/bin/sleep", "1000"], 1)?;
        let found = wait_for("the agent's bundle", STARTS_WITHIN, || {
            let bundle = fs::read_dir(state.join("containers")).into_iter().flatten().flatten().next().map(|entry| entry.path());
            // The state appears once the container is being made, when everything it needs is in place.
            Ok(bundle.filter(|bundle| bundle.join("state").exists()))
        })?;
        let mut copy = Command::new("cp");
        command::run(copy.arg("-aT").arg(&found).arg(&self.bundle), &self.bundle.with_extension("log"), STARTS_WITHIN)?;
        kill(Pid::from_raw(agent.id().cast_signed()), Signal::SIGTERM).context("cannot end the agent")?;
        agent.wait().context("the agent")?;
        fs::remove_dir_all(&state).context("cannot remove the agent's state")?;
        let file = self.bundle.join("config.json");
        let text = fs::read_to_string(&file).context("no config.json")?;
        let text = text.replace(&*found.to_string_lossy(), &self.bundle.to_string_lossy());
        let mut config: Value = serde_json::from_str(&text).context("the agent's config.json")?;
        *config.pointer_mut("/process/args").context("no arguments in the agent's config.json")? = json!(TRUE);
        fs::write(&file, config.to_string()).context("cannot write config.json")
    }

    /// Runs the image this many times. Returns the milliseconds from one end to the next, and the peak memory in MiB.
    fn actions(&self, image: &str, command: &[&str], count: usize) -> Result<(Vec<f64>, f64)> {
        let (mut child, state) = self.workflow(image, command, count + 1)?;
        let (mut ends, mut peak, mut said) = (Vec::new(), 0.0, String::new());
        for line in BufReader::new(child.stderr.take().context("no output")?).lines() {
            let (line, now) = (line.context("cannot read the agent's output")?, Instant::now());
            if line.contains(": SUCCESS in ") || line.contains(": FAILED in ") {
                ends.push(now);
            }
            let peak_of = |line: &str| line.split_once("VmHWM ")?.1.split(' ').next()?.parse::<f64>().ok();
            peak = peak_of(&line).map_or(peak, |kilobytes| kilobytes / 1024.0);
            said += &format!("{line}\n");
        }
        child.wait().context("the agent")?;
        fs::remove_dir_all(&state).context("cannot remove the agent's state")?;
        ensure!(ends.len() > count, "the agent ended {} actions of {}:\n{said}", ends.len(), count + 1);
        let between = ends.windows(2).filter_map(|pair| Some(pair.last()?.duration_since(*pair.first()?).as_secs_f64() * 1000.0));
        Ok((between.collect(), peak))
    }

    /// While waiting and during a pull, both over TLS: the agent's test, run for this agent. It fails above the limits.
    fn memory(&self) -> Result<()> {
        println!("\nresident over TLS (bars: 8 MiB waiting, 10 MiB in a pull, 12 MiB where zstd's window has 8, in a file)");
        let agent = self.agent.to_str().context("the agent's path is not text")?;
        let test = ["test", "--quiet", "--package", "agent", "--test", "memory", "--", "--nocapture"];
        cargo::run(&workspace()?, &test, &[("AGENT_UNDER_TEST", agent)])
    }

    fn pulls(&self, runs: usize) -> Result<Pulls> {
        let mut pulls = Pulls::default();
        for run in 1..=runs {
            println!("== pulls, run {run} of {runs}");
            pulls.agent.push(self.pull_by_agent()?);
            pulls.containerd.push(self.pull_by_containerd()?);
        }
        Ok(pulls)
    }

    /// The image has no program to start, so the action fails after the pull.
    fn pull_by_agent(&self) -> Result<Cost> {
        let (before, began) = (children()?, Instant::now());
        let (_, resident_mib) = self.actions("large:1", &[], 0)?;
        let (after, wall_seconds) = (children()?, began.elapsed().as_secs_f64());
        Ok(Cost { user_seconds: after.0 - before.0, all_seconds: after.1 - before.1, wall_seconds, resident_mib, kept_mib: 0.0 })
    }

    fn pull_by_containerd(&self) -> Result<Cost> {
        let folder = Path::new(FOLDER);
        let config = folder.join("containerd.toml");
        fs::write(&config, CONTAINERD).context("cannot write containerd's configuration")?;
        let ctr = || {
            let mut ctr = Command::new("ctr");
            ctr.arg("--address").arg(folder.join("containerd.sock")).stdin(Stdio::null()).stdout(Stdio::null());
            ctr
        };
        let mut daemon =
            Command::new("containerd").arg("--config").arg(&config).stderr(Stdio::null()).spawn().context("containerd")?;
        wait_for("containerd", STARTS_WITHIN, || {
            Ok(ctr().arg("version").stderr(Stdio::null()).status()?.success().then_some(()))
        })?;
        let (idle, ready) = (used(&daemon)?, children()?);
        let began = Instant::now();
        let mut pull = ctr();
        pull.args(["images", "pull", "--plain-http"]).arg(self.registry.reference("large:1"));
        command::run(&mut pull, &folder.join("ctr.log"), Duration::from_secs(300))?;
        let wall_seconds = began.elapsed().as_secs_f64();
        let (busy, client) = (used(&daemon)?, children()?);
        let resident_mib = peak(&daemon)?;
        let kept = size(&folder.join("containerd/io.containerd.content.v1.content"))?;
        daemon.kill().and_then(|()| daemon.wait().map(drop)).context("cannot end containerd")?;
        for state in ["containerd", "containerd-state"] {
            fs::remove_dir_all(folder.join(state)).with_context(|| format!("cannot remove {state}"))?;
        }
        Ok(Cost {
            user_seconds: busy.0 - idle.0 + client.0 - ready.0,
            all_seconds: busy.1 - idle.1 + client.1 - ready.1,
            wall_seconds,
            resident_mib,
            kept_mib: kept as f64 / f64::from(1 << 20),
        })
    }
}

fn made(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.to_owned())
}

/// Seconds of user time and of all processor time of this process's ended children.
fn children() -> Result<(f64, f64)> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage")?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let (user, system) = (seconds(usage.user_time()), seconds(usage.system_time()));
    Ok((user, user + system))
}

/// The same for a running process, from proc(5) in hundredths of a second.
fn used(process: &Child) -> Result<(f64, f64)> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.id())).context("cannot read /proc")?;
    let fields: Vec<&str> = stat.rsplit_once(") ").context("not a stat file")?.1.split(' ').collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).context("not a stat file");
    let (user, system) = (ticks(11)? / 100.0, ticks(12)? / 100.0);
    Ok((user, user + system))
}

fn peak(process: &Child) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).context("cannot read /proc")?;
    let value = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    value.map(|kilobytes| kilobytes / 1024.0).context("no VmHWM")
}

fn size(path: &Path) -> Result<u64> {
    let data = fs::symlink_metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !data.is_dir() {
        return Ok(data.len());
    }
    let entries = fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?;
    entries.flatten().map(|entry| size(&entry.path())).sum()
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

type Field = fn(&Cost) -> f64;

fn report(starts: &Starts, pulls: &Pulls, bytes: usize) {
    let [agent, crun, runc] = [&starts.agent, &starts.crun, &starts.runc].map(|series| median(series.iter().copied()));
    println!("\nstart to end of `true`, median of {} each", starts.agent.len());
    println!(
        "  agent {agent:6.2} ms, {:.2} of crun's {crun:6.2} ms and {:.2} of runc's {runc:6.2} ms",
        agent / crun,
        agent / runc
    );
    let of = |costs: &[Cost], field: Field| median(costs.iter().map(field));
    println!("\npull and unpack of {:.1} MB in three layers, median of {}", bytes as f64 / 1e6, pulls.agent.len());
    println!("{:14}{:>10}{:>12}{:>10}", "", "agent", "containerd", "ratio");
    let rows: [(&str, Field); 5] = [
        ("user s", |cost| cost.user_seconds),
        ("user+system s", |cost| cost.all_seconds),
        ("wall s", |cost| cost.wall_seconds),
        ("resident MiB", |cost| cost.resident_mib),
        ("kept MiB", |cost| cost.kept_mib),
    ];
    for (name, field) in rows {
        let (ours, theirs) = (of(&pulls.agent, field), of(&pulls.containerd, field));
        println!("{name:14}{ours:>10.2}{theirs:>12.2}{:>10.2}", ours / theirs);
    }
    println!("(resident: the peak of the process; kept: the files beside the unpacked ones)");
}
