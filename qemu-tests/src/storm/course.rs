//! The course of a storm: the network of its machines, and the faults at their times.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use storm::faults::{Faults, Program};
use storm::report::Outcome;
use storm::site;

use super::{Arguments, Programs};
use crate::command::{Daemon, effect, output, tail};
use crate::namespace::{Namespace, ip};
use crate::registry::Registry;
use crate::segment::{self, BRIDGE};

const CARD: &str = "lan";
const LOOK: Duration = Duration::from_millis(50);
/// How much longer than the limit the simulator may take.
const AROUND: Duration = Duration::from_secs(60);
/// nftables has no fractions: so many of so many packets are lost.
const PACKETS: f64 = 100_000.0;

/// The namespaces of a storm. They end with it.
pub struct Course {
    machines: Namespace,
    faults: Faults,
    rogue: Option<Namespace>,
}

/// What happens at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Blow {
    KillServer,
    StartServer,
    StopRegistry,
    StartRegistry,
    /// A program of a host of the site. Hosts count from 1.
    Kill(Program, usize),
    /// By SIGTERM, and it ends by itself.
    End(Program, usize),
    Start(Program, usize),
    CutOff(usize),
    Join(usize),
}

/// What serves the machines: one host, or the hosts of a site.
pub trait Served {
    /// # Errors
    /// When a program cannot be killed or started.
    fn strike(&mut self, blow: Blow) -> Result<()>;

    /// # Errors
    /// When a program has ended by itself.
    fn check(&mut self) -> Result<()>;
}

/// All of them in the order of their times.
fn schedule(faults: &Faults) -> Vec<(Duration, Blow)> {
    let both =
        |at: f64, seconds: f64, down, up| [(Duration::from_secs_f64(at), down), (Duration::from_secs_f64(at + seconds), up)];
    let server = faults.server_killed.iter().flat_map(|o| both(o.at, o.seconds, Blow::KillServer, Blow::StartServer));
    let registry = faults.registry_down.iter().flat_map(|o| both(o.at, o.seconds, Blow::StopRegistry, Blow::StartRegistry));
    let killed = faults
        .killed
        .iter()
        .flat_map(|one| both(one.at, one.seconds, Blow::Kill(one.program, one.host), Blow::Start(one.program, one.host)));
    let restarted = faults
        .restarted
        .iter()
        .flat_map(|one| both(one.at, one.seconds, Blow::End(one.program, one.host), Blow::Start(one.program, one.host)));
    let cut_off = faults.cut_off.iter().flat_map(|one| both(one.at, one.seconds, Blow::CutOff(one.host), Blow::Join(one.host)));
    let mut all: Vec<_> = server.chain(registry).chain(killed).chain(restarted).chain(cut_off).collect();
    all.sort_by_key(|(at, _)| *at);
    all
}

impl Course {
    /// Gives the segment room for the machines, and makes their namespace.
    pub fn prepare(folder: &Path, faults: &Faults) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        ip(&format!("addr del {}/24 dev {BRIDGE}", segment::HOST))?;
        ip(&format!("addr add {}/{} dev {BRIDGE}", site::HOST, site::PREFIX))?;
        let machines = Namespace::start(folder, "machines")?;
        machines.plug(CARD, BRIDGE)?;
        machines.ip(&format!("addr add {}/{} dev {CARD}", site::GATE, site::PREFIX))?;
        // A socket may have any of these addresses, and no command adds thousands of them.
        machines.ip(&format!("route add local {} dev lo", site::MACHINES))?;
        // All machines have one neighbour's entry, because all namespaces of a host share the limit of that table.
        ip(&format!("route add {} via {} dev {BRIDGE}", site::MACHINES, site::GATE))?;
        firewall(&mut machines.command("nft"), NO_POWER)?;
        if faults.loss > 0.0 {
            firewall(&mut Command::new("nft"), &losing("loss", &machines.port(CARD), faults.loss))?;
        }
        let rogue = faults.wrong_dhcp.map(|_| {
            let rogue = Namespace::start(folder, "rogue")?;
            rogue.plug(CARD, BRIDGE)?;
            rogue.ip(&format!("addr add {}/{} dev {CARD}", site::ROGUE, site::PREFIX))?;
            Ok::<_, anyhow::Error>(rogue)
        });
        Ok(Self { machines, faults: faults.clone(), rogue: rogue.transpose()? })
    }

    /// The bytes that have left for the machines, with all headers.
    pub fn sent_bytes(&self) -> Result<u64> {
        let text = output(Command::new("ip").args(["-j", "-s", "link", "show", "dev", &self.machines.port(CARD)]))?;
        let links: serde_json::Value = serde_json::from_str(&text).context("cannot read what ip shows")?;
        links.pointer("/0/stats64/tx/bytes").and_then(serde_json::Value::as_u64).context("ip shows no bytes")
    }

    /// Starts the machines, lets things go wrong, and waits for the end.
    pub fn run(
        &self,
        programs: &Programs,
        folder: &Path,
        arguments: &Arguments,
        seed: u64,
        served: &mut dyn Served,
        mut registry: Option<&mut Registry>,
    ) -> Result<Outcome> {
        let out = folder.join("outcome.json");
        let _rogue = self.start_rogue(programs, folder)?;
        let mut command = self.machines.command(&programs.storm);
        command.args(["machines", "--interface", CARD, "--count", &arguments.machines.to_string()]);
        if let Some(path) = &arguments.faults {
            command.arg("--faults").arg(path);
        }
        for (flag, value) in [("--within", arguments.within), ("--limit", arguments.limit), ("--work", arguments.work)] {
            command.args([flag, &value.to_string()]);
        }
        command.args(["--kernel", "1", "--lines", &arguments.lines.to_string(), "--seed", &seed.to_string()]);
        command.arg("--out").arg(&out);
        let log = folder.join("storm.log");
        let mut machines = Daemon::start(&mut command, &log)?;
        let began = Instant::now();
        let mut due = schedule(&self.faults).into_iter().peekable();
        loop {
            if let Some(status) = machines.exited()? {
                if !status.success() {
                    bail!("the machines failed ({status}):\n{}", tail(&log, 20));
                }
                break;
            }
            if began.elapsed() > Duration::from_secs_f64(arguments.limit) + AROUND {
                bail!("the simulator has not ended; see {}", log.display());
            }
            if let Some((at, blow)) = due.next_if(|(at, _)| *at <= began.elapsed()) {
                println!("{:>6.1} s  {blow:?}", at.as_secs_f64());
                strike(blow, served, registry.as_deref_mut())?;
                continue;
            }
            served.check()?;
            std::thread::sleep(LOOK);
        }
        if let Some((at, blow)) = due.peek() {
            println!("the storm ended before {blow:?} at {} s: give its faults earlier times", at.as_secs_f64());
        }
        for (_, blow) in due.filter(|(_, blow)| blow.is_mending()) {
            strike(blow, served, registry.as_deref_mut())?;
        }
        let text = fs::read(&out).with_context(|| format!("cannot read {}", out.display()))?;
        serde_json::from_slice(&text).context("the result of the machines cannot be read")
    }

    fn start_rogue(&self, programs: &Programs, folder: &Path) -> Result<Option<Daemon>> {
        let (Some(wrong), Some(namespace)) = (self.faults.wrong_dhcp, &self.rogue) else { return Ok(None) };
        let mut command = namespace.command(&programs.storm);
        command.args(["rogue", "--interface", CARD, "--share", &wrong.share.to_string()]);
        Daemon::start(&mut command, &folder.join("rogue.log")).map(Some)
    }
}

fn strike(blow: Blow, served: &mut dyn Served, registry: Option<&mut Registry>) -> Result<()> {
    match (blow, registry) {
        (Blow::StopRegistry, Some(registry)) => registry.down(),
        (Blow::StartRegistry, Some(registry)) => registry.up()?,
        (Blow::StopRegistry | Blow::StartRegistry, None) => {}
        (blow, _) => served.strike(blow)?,
    }
    Ok(())
}

impl Blow {
    /// Whether it ends another one.
    const fn is_mending(self) -> bool {
        matches!(self, Self::StartServer | Self::StartRegistry | Self::Start(..) | Self::Join(_))
    }
}

/// A socket whose machine has no power sends nothing, and neither does the kernel in its place.
const NO_POWER: &str = "table ip power { chain out { type filter hook output priority 0; meta mark 1 drop; \
                        icmp type destination-unreachable drop; }; }";

/// Loses packets of both directions at the switch's end of the cable.
pub fn losing(table: &str, port: &str, share: f64) -> String {
    let lost = (share * PACKETS).round();
    // nftables refuses a number that is out of reach.
    let which = if lost < PACKETS { format!("numgen random mod {PACKETS} < {lost} ") } else { String::new() };
    let chain = |hook: &str| format!("chain {hook} {{ type filter hook {hook} device \"{port}\" priority 0; {which}drop; }};");
    format!("table netdev {table} {{ {} {} }}", chain("ingress"), chain("egress"))
}

pub fn firewall(nft: &mut Command, rules: &str) -> Result<()> {
    effect(nft.arg(rules)).with_context(|| format!("nft {rules}"))
}

#[cfg(test)]
mod tests {
    use storm::faults::Outage;

    use super::*;

    #[test]
    fn faults_happen_in_the_order_of_their_times() {
        let faults = Faults {
            server_killed: vec![Outage { at: 20.0, seconds: 3.0 }, Outage { at: 5.0, seconds: 0.0 }],
            registry_down: vec![Outage { at: 21.0, seconds: 10.0 }],
            ..Faults::default()
        };
        let blows: Vec<_> = schedule(&faults).into_iter().map(|(at, blow)| (at.as_secs(), blow)).collect();
        assert_eq!(
            blows,
            [
                (5, Blow::KillServer),
                (5, Blow::StartServer),
                (20, Blow::KillServer),
                (21, Blow::StopRegistry),
                (23, Blow::StartServer),
                (31, Blow::StartRegistry)
            ]
        );
    }

    #[test]
    fn a_share_of_the_packets_is_lost_in_both_directions() {
        let rules = losing("loss", "machines-lan", 0.01);
        assert_eq!(rules.matches("numgen random mod 100000 < 1000 drop").count(), 2, "{rules}");
        assert_eq!(losing("cut", "host1-lan", 1.0).matches("priority 0; drop").count(), 2);
        assert!(rules.contains("hook ingress device \"machines-lan\"") && rules.contains("hook egress"), "{rules}");
    }
}
