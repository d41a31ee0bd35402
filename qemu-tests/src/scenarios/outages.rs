//! Services that are unavailable for a while.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::objects::Step;
use crate::oci::Image;
use crate::provisioner::Options;
use crate::scene::{ACTS_WITHIN, Scene};

/// While the registry is down the machine reports it once. When it is back, work continues: the pull itself, or the next
/// workflow.
pub fn registry_down_and_up(scene: &Scene) -> Result<()> {
    let mut ready = scene.ready(Options::default())?;
    Image::busybox("echo never pulled before", 1000)?.push(ready.registry.address(), "fresh", "1")?;
    ready.registry.down();
    let step = Step::image("pull", &ready.registry.reference("fresh:1")).timeout(60);
    ready.begin("outage", std::slice::from_ref(&step))?;
    ready.machine.serial.expect("workflow default/outage action pull: .*(registry|cannot|10.77.0.1:5000)", ACTS_WITHIN)?;
    let failed_at_once = ready.provisioner.wait_ended("outage", Duration::from_secs(3)).ok();
    ready.registry.up()?;
    if failed_at_once.is_none() {
        let workflow = ready.provisioner.wait_ended("outage", ACTS_WITHIN)?;
        if workflow.state() == "SUCCESS" {
            return Ok(());
        }
    }
    let workflow = ready.provisioner.workflow("outage")?;
    let message = workflow.message("pull");
    ensure!(message.contains("NetLost") || message.contains("ImagePull"), "the server's message has no reason: {message:?}");
    let again = ready.run("again", &[step])?;
    ensure!(again.state() == "SUCCESS", "the pull after the outage ended as {}: {}", again.state(), again.status());
    Ok(())
}
