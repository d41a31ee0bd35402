//! Things die in the middle: the agent, again and again, and the server between a report and its acknowledgement.

use std::net::SocketAddr;

use anyhow::{Result, ensure};

use crate::command::wait_for;
use crate::provisioner::{GRPC, Options};
use crate::proxy::Proxy;
use crate::scene::{ACTS_WITHIN, Scene};

/// Ends the agent by SIGKILL, from an action that sees the machine's processes: `run` is the agent's role.
const KILL_AGENT: &str = "\
for process in /proc/[0-9]*; do
  line=$(cat $process/cmdline 2>/dev/null | tr '\\0' ' ')
  case $line in '/proc/self/exe run '*) kill -9 ${process#/proc/};; esac
done
sleep 60
echo the agent was not killed; exit 9";

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
    ensure!(workflow.state() == "SUCCESS", "the workflow ended as {}: {}", workflow.state(), workflow.0["status"]);
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
    ensure!(workflow.state() == "SUCCESS", "the workflow ended as {}: {}", workflow.state(), workflow.0["status"]);
    let connected = ready.machine.serial.all("thimble: agent .* connected to")?.len();
    ensure!(connected == TIMES + 1, "the agent connected {connected} times, not {}", TIMES + 1);
    ready.still_works("afterwards")
}

/// The report arrives and is stored; its acknowledgement is held back until the server is dead.
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
    proxy.release(); // cuts what was held back: the acknowledgement never arrives
    ready.machine.serial.expect("cannot report the result", ACTS_WITHIN)?;
    ready.provisioner.up()?;
    let workflow = ready.provisioner.wait_ended("lost-ack", ACTS_WITHIN)?;
    ensure!(workflow.state() == "SUCCESS", "the workflow ended as {}: {}", workflow.state(), workflow.0["status"]);
    let counted = ready.machine.serial.all(r"A\| in all 1 run")?;
    ensure!(counted.len() == 1, "the action did not run exactly once:\n{}", ready.machine.serial.last_lines());
    Ok(())
}
