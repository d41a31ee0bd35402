//! Templates that mount Docker's socket to reboot or kexec later, after the success was reported. The machine has no Docker
//! and need not wait, because power steps follow the acknowledgement anyway. Pure: what such an action asks of the agent.

use machine::Power;

use crate::action::Action;

/// What happens after the server has acknowledged the action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deferred {
    Power(Power),
    /// The action that the template would have started in the background.
    Run(Box<Action>),
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the action mounts Docker's socket, and this machine has no Docker; only a delayed reboot, power-off or kexec is supported \
     (environment IMAGE, or a command with reboot or poweroff)"
)]
pub struct NotUnderstood;

const SOCKETS: [&str; 2] = ["/var/run/docker.sock", "/run/docker.sock"];

/// `None` for an action that does not mount the socket.
pub fn deferred(action: &Action) -> Option<Result<Deferred, NotUnderstood>> {
    action.volumes.iter().any(|volume| is_socket(volume)).then(|| understand(action))
}

/// Without a destination the path is the name of an anonymous volume.
fn is_socket(volume: &str) -> bool {
    volume.split_once(':').is_some_and(|(source, _)| SOCKETS.contains(&source))
}

fn understand(action: &Action) -> Result<Deferred, NotUnderstood> {
    if let Some(power) = power(&action.command) {
        return Ok(Deferred::Power(power));
    }
    let variable = |entry: &String, name: &str| entry.split_once('=').filter(|(n, _)| *n == name).map(|(_, v)| v.to_owned());
    let image =
        action.environment.entries().iter().rev().find_map(|entry| variable(entry, "IMAGE")).filter(|image| !image.is_empty());
    let image = image.ok_or(NotUnderstood)?;
    // The wait daemon passes all variables except its own two to the container that it starts.
    let own = |entry: &&String| !["IMAGE", "WAIT_SECONDS"].iter().any(|name| variable(entry, name).is_some());
    Ok(Deferred::Run(Box::new(Action {
        name: format!("{} (deferred)", action.name),
        id: format!("{}-deferred", action.id),
        image,
        volumes: action.volumes.iter().filter(|volume| !is_socket(volume)).cloned().collect(),
        environment: action.environment.entries().iter().filter(own).cloned().collect::<Vec<_>>().into(),
        ..action.clone()
    })))
}

/// The power step in the words of a command, or of the script in it.
fn power(command: &[String]) -> Option<Power> {
    let words = command.iter().flat_map(|word| word.split(|c: char| c.is_whitespace() || ";&|()'\"".contains(c)));
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let name = |word: &&str| word.rsplit('/').next().unwrap_or(word).to_owned();
    words.iter().enumerate().find_map(|(at, word)| match name(word).as_str() {
        "reboot" => Some(Power::Reboot),
        "poweroff" | "halt" => Some(Power::Off),
        "shutdown" if words.iter().skip(at).any(|word| *word == "-r") => Some(Power::Reboot),
        "shutdown" => Some(Power::Off),
        "sysrq-trigger" => sysrq(words.get(..at).unwrap_or_default()),
        _ => None,
    })
}

/// `echo b > /proc/sysrq-trigger`
fn sysrq(before: &[&str]) -> Option<Power> {
    before.iter().rev().find_map(|word| match *word {
        "b" => Some(Power::Reboot),
        "o" => Some(Power::Off),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(volumes: &[&str], command: &[&str], environment: &[&str]) -> Action {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let wire = proto::ActionResponse {
            workflow_id: Some("w".into()),
            task_id: Some("t".into()),
            action_id: Some("a".into()),
            image: Some("ghcr.io/someone/waitdaemon:latest".into()),
            volumes: words(volumes),
            command: words(command),
            environment: words(environment),
            pid: Some("host".into()),
            ..Default::default()
        };
        Action::from_wire(wire).unwrap()
    }

    const SOCKET: &str = "/var/run/docker.sock:/var/run/docker.sock";

    #[test]
    fn published_templates_become_power_steps() {
        for (case, command, environment, want) in [
            ("the wait daemon with reboot", &["reboot"][..], &["IMAGE=alpine", "WAIT_SECONDS=10"][..], Power::Reboot),
            ("a script", &["sh", "-c", "sleep 5 && nsenter -t 1 -m /sbin/reboot -f"], &[], Power::Reboot),
            ("docker's own client", &["docker", "run", "-d", "alpine", "sh", "-c", "sleep 9; poweroff"], &[], Power::Off),
            ("the magic key", &["sh", "-c", "echo 1 >/proc/sys/kernel/sysrq; echo b > /proc/sysrq-trigger"], &[], Power::Reboot),
            ("shutdown that reboots", &["shutdown", "-r", "now"], &[], Power::Reboot),
        ] {
            assert_eq!(deferred(&action(&[SOCKET], command, environment)), Some(Ok(Deferred::Power(want))), "{case}");
        }
    }

    #[test]
    fn a_deferred_kexec_runs_its_own_image_without_the_daemons_variables() {
        let environment = ["BLOCK_DEVICE=/dev/sda1", "IMAGE=quay.io/tinkerbell/actions/kexec:v1", "WAIT_SECONDS=10"];
        let Some(Ok(Deferred::Run(inner))) = deferred(&action(&[SOCKET, "/data:/data"], &[], &environment)) else {
            panic!("it should be supported");
        };
        assert_eq!(inner.image, "quay.io/tinkerbell/actions/kexec:v1");
        assert_eq!(inner.environment.entries(), ["BLOCK_DEVICE=/dev/sda1"]);
        assert_eq!(inner.volumes, ["/data:/data"]);
        assert_eq!(inner.pid, "host");
    }

    #[test]
    fn other_uses_of_the_socket_are_refused_and_other_actions_are_not_deferred() {
        assert_eq!(deferred(&action(&["/run/docker.sock:/x"], &["docker", "ps"], &[])), Some(Err(NotUnderstood)));
        for other in ["/worker:/worker", "/run/docker.sock"] {
            assert_eq!(deferred(&action(&[other], &["reboot"], &["IMAGE=x"])), None, "{other}");
        }
    }
}
