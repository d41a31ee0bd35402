//! Programs that die during their work: the agent, repeatedly, and the server before it acknowledges a report.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::links::{METAL_MIB, of_kit};
use crate::command::wait_for;
use crate::kit::Kit;
use crate::machine::{Disk, NicModel, Parts};
use crate::objects::{Station, Step, workflow};
use crate::provisioner::{GRPC, Options};
use crate::proxy::Proxy;
use crate::scene::{ACTS_WITHIN, BOOTS_WITHIN, MEMORY_MIB, Scene};

/// A script that sends the signal to the agent, whose role is `run`, from an action that sees the machine's processes.
macro_rules! signal_agent {
    ($signal:literal) => {
        concat!(
            "for process in /proc/[0-9]*; do
  line=$(cat $process/cmdline 2>/dev/null | tr '\\0' ' ')
  case $line in '/proc/self/exe run '*) kill -",
            $signal,
            " ${process#/proc/};; esac
done"
        )
    };
}

/// Kills the agent with SIGKILL, from an action that sees the machine's processes.
const KILL_AGENT: &str = concat!(signal_agent!("KILL"), "\nsleep 60\necho the agent was not killed; exit 9");
/// The agent stops for good, and PID 1 ends it. The second time PID 1's watchdog service stops, too, and the hardware
/// restarts the machine. The disk records how often.
const HANG_TWICE: &str = concat!(
    "word=$(dd if=/dev/vda bs=4 count=1 2>/dev/null | tr -d '\\0')\n[ \"$word\" = last ] && echo BACK AGAIN && exit 0\n\
     if [ \"$word\" = once ]; then next=last; else next=once; fi\n\
     echo $next > /mark; dd if=/mark of=/dev/vda conv=notrunc,fsync 2>/dev/null\n\
     if [ $next = last ]; then for process in /proc/[0-9]*; do\n\
       [ \"$(cat $process/comm 2>/dev/null)\" = watchdog ] && kill -STOP ${process#/proc/}\ndone; fi\n",
    signal_agent!("STOP"),
    "\nsleep 600"
);
/// The time limits of the watchdog service and of the hardware, and reserve for a slow host.
const RESTARTS_WITHIN: Duration = Duration::from_secs(300);

/// One machine's agent hangs, and PID 1 and then the watchdog end that. Another one's fails ten times in a row, and the
/// policy ends that.
pub fn agent_hangs_or_fails(scene: &Scene) -> Result<()> {
    let (provisioner, registry) = (scene.provisioner(Options::default())?, scene.registry()?);
    let (hanging, failing) = (Station { number: 1 }, Station { number: 2 });
    let start = |station: &Station, kit: &Kit, mib: u32, more: &str| {
        provisioner.apply(&station.hardware())?;
        let boot = of_kit(scene.direct(&provisioner, station)?, kit).with_arguments(more);
        let (nic, disk) = (scene.nic(station, 0, NicModel::Virtio)?, scene.disk(station)?);
        let disks = vec![Disk::virtio(&disk)];
        // This is the setting of real chipsets. By default q35 does not let the watchdog restart the machine.
        let globals = vec!["ICH9-LPC.noreboot=false"];
        scene.start(station, &Parts { disks, globals, ..Parts::new(boot, mib, vec![nic]) })
    };
    let mut hung = start(&hanging, &scene.setup.metal, METAL_MIB, "")?;
    let mut failed = start(&failing, &scene.setup.cloud, MEMORY_MIB, "thimble.on_failure=reboot")?;
    hung.serial.expect("thimble: watchdog: iTCO_wdt restarts the machine", BOOTS_WITHIN)?;
    let hang = Step::busybox("hang", &registry, HANG_TWICE).host_pid().timeout(900);
    provisioner.apply(&workflow("hang", &hanging, &[hang]))?;
    let fail = Step::busybox("fail", &registry, KILL_AGENT).host_pid().timeout(900);
    provisioner.apply(&workflow("fail", &failing, &[fail]))?;

    failed.serial.expect("agent .* has failed 10 times in a row: thimble.on_failure ends this", RESTARTS_WITHIN)?;
    failed.serial.expect("thimble: rebooting in [0-9] s", BOOTS_WITHIN)?;
    failed.serial.expect("thimble: init .* started", BOOTS_WITHIN)?;
    hung.serial.expect("the agent has been silent for .* s, so it is ended", RESTARTS_WITHIN)?;
    hung.serial.expect("hang was interrupted", BOOTS_WITHIN)?;
    hung.serial.expect("thimble: init .* started", RESTARTS_WITHIN)?;
    hung.serial.expect(r"A\| BACK AGAIN", BOOTS_WITHIN)?;
    let ended = provisioner.wait_ended("hang", ACTS_WITHIN)?;
    ensure!(ended.state() == "SUCCESS", "the workflow ended as {}: {}", ended.state(), ended.status());
    Ok(())
}

pub fn agent_killed_in_an_action(scene: &Scene) -> Result<()> {
    let mut ready = scene.ready(Options::default())?;
    let once = format!("[ -e /worker/killed ] && echo second time && exit 0\ntouch /worker/killed\n{KILL_AGENT}");
    let steps = [
        ready.shell("before", "echo before"),
        ready.shell("killed", &once).host_pid().volume("/worker:/worker"),
        ready.shell("after", "echo after"),
    ];
    ready.begin("killed", &steps)?;
    ready.machine.serial.expect(r"agent ended \(killed by signal 9", ACTS_WITHIN)?;
    ready.machine.serial.expect("killed.*interrupted", ACTS_WITHIN)?;
    let workflow = ready.provisioner.wait_ended("killed", ACTS_WITHIN)?;
    ensure!(workflow.state() == "SUCCESS", "the workflow ended as {}: {}", workflow.state(), workflow.status());
    ready.machine.serial.expect(r"A\| second time", ACTS_WITHIN)?;
    let before = ready.machine.serial.all(r"action before: running")?;
    ensure!(before.len() == 1, "the action before the kill ran {} times", before.len());
    Ok(())
}

pub fn agent_killed_in_a_loop(scene: &Scene) -> Result<()> {
    const TIMES: usize = 4;
    let ready = scene.ready(Options::default())?;
    let script = format!(
        "n=$(cat /worker/count 2>/dev/null || echo 0)\n[ $n -ge {TIMES} ] && echo survived $n kills && exit 0\n\
         echo $((n + 1)) > /worker/count\n{KILL_AGENT}"
    );
    let step = ready.shell("loop", &script).host_pid().volume("/worker:/worker").timeout(300);
    ready.begin("loop", &[step])?;
    let workflow = ready.provisioner.wait_ended("loop", ACTS_WITHIN * 3)?;
    ensure!(workflow.state() == "SUCCESS", "the workflow ended as {}: {}", workflow.state(), workflow.status());
    let connected = ready.machine.serial.all("thimble: agent .* connected to")?.len();
    ensure!(connected == TIMES + 1, "the agent connected {connected} times instead of {}", TIMES + 1);
    ready.still_works("afterwards")
}

/// The report arrives and is stored. Its acknowledgement is held back until the server is dead.
pub fn server_killed_before_acknowledging(scene: &Scene) -> Result<()> {
    let listen = SocketAddr::new(GRPC.ip(), 42114);
    let proxy = Proxy::start(listen, GRPC)?;
    let options = Options { grpc_authority: Some(proxy.address().to_string()), ..Options::default() };
    let mut ready = scene.ready(options)?;
    let steps = [
        ready.shell("once", "echo x >> /worker/runs; echo ran $(wc -l < /worker/runs) times; sleep 2").volume("/worker:/worker"),
        ready.shell("count", "echo in all $(wc -l < /worker/runs) run").volume("/worker:/worker"),
    ];
    ready.begin("lost-ack", &steps)?;
    ready.machine.serial.expect(r"A\| ran 1 times", ACTS_WITHIN)?;
    proxy.hold();
    ready.provisioner.wait_action("lost-ack", "once", "SUCCESS", ACTS_WITHIN)?;
    wait_for("the acknowledgement at the proxy", ACTS_WITHIN, || Ok((proxy.waiting() > 0).then_some(())))?;
    ready.provisioner.kill();
    proxy.release(); // the held answers are lost, so the acknowledgement never arrives
    ready.machine.serial.expect("cannot report the result", ACTS_WITHIN)?;
    ready.provisioner.up()?;
    let workflow = ready.provisioner.wait_ended("lost-ack", ACTS_WITHIN)?;
    ensure!(workflow.state() == "SUCCESS", "the workflow ended as {}: {}", workflow.state(), workflow.status());
    let counted = ready.machine.serial.all(r"A\| in all 1 run")?;
    ensure!(counted.len() == 1, "the action did not run exactly once:\n{}", ready.machine.serial.last_lines());
    Ok(())
}
