//! The YAML that the lab sends to the server: Hardware for its machines, and workflows of a few test actions.

use crate::registry::Registry;

const HARDWARE: &str = include_str!("../scenarios/hardware.yaml");
const INSTALL: &str = include_str!("../scenarios/install.yaml");

/// A machine of the segment by its number, which determines its name, MAC and address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Station {
    pub number: u8,
}

impl Station {
    pub fn name(&self) -> String {
        format!("machine-{}", self.number)
    }

    pub fn mac(&self) -> String {
        self.nic_mac(0)
    }

    /// The MAC of one of several network cards. The first one is the machine's.
    pub fn nic_mac(&self, index: u8) -> String {
        format!("52:54:00:77:{index:02x}:{:02x}", self.number)
    }

    /// The segment's end of the cable.
    pub fn tap(&self, index: u8) -> String {
        if index == 0 { format!("tap{}", self.number) } else { format!("tap{}n{index}", self.number) }
    }

    pub fn address(&self) -> String {
        format!("10.77.0.{}", 100 + u16::from(self.number))
    }

    pub fn hardware(&self) -> String {
        self.fill(HARDWARE)
    }

    /// The main job's Template and Workflow.
    pub fn install(&self) -> String {
        self.fill(INSTALL)
    }

    fn fill(&self, text: &str) -> String {
        text.replace("NAME", &self.name()).replace("ADDRESS", &self.address()).replace("MAC", &self.mac())
    }
}

/// One step of a test workflow.
#[derive(Debug, Clone)]
pub struct Step {
    name: String,
    image: String,
    command: Vec<String>,
    timeout: u64,
    host_pid: bool,
    volumes: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Step {
    /// Runs `script` in the busybox image.
    pub fn busybox(name: &str, registry: &Registry, script: &str) -> Self {
        Self::image(name, &registry.reference("busybox:1")).shell(script)
    }

    /// Runs `script` instead of the image's command.
    pub fn shell(self, script: &str) -> Self {
        Self { command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(), ..self }
    }

    /// Runs an image unchanged.
    pub fn image(name: &str, image: &str) -> Self {
        Self {
            name: name.into(),
            image: image.into(),
            command: Vec::new(),
            timeout: 120,
            host_pid: false,
            volumes: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// The same step under another name.
    pub fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    pub fn command(self, program: &str) -> Self {
        Self { command: vec![program.to_owned()], ..self }
    }

    pub fn timeout(self, seconds: u64) -> Self {
        Self { timeout: seconds, ..self }
    }

    pub fn host_pid(self) -> Self {
        Self { host_pid: true, ..self }
    }

    pub fn volume(mut self, bind: &str) -> Self {
        self.volumes.push(bind.into());
        self
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    fn yaml(&self) -> String {
        let mut text = format!("- name: {}\n  image: {:?}\n  timeout: {}\n", self.name, self.image, self.timeout);
        if !self.command.is_empty() {
            // A JSON list is a YAML list.
            text += &format!("  command: {}\n", serde_json::json!(self.command));
        }
        if self.host_pid {
            text += "  pid: host\n";
        }
        if !self.volumes.is_empty() {
            text += &format!("  volumes: [{}]\n", self.volumes.join(", "));
        }
        if !self.environment.is_empty() {
            text += "  environment:\n";
            text.extend(self.environment.iter().map(|(name, value)| format!("    {name}: {value:?}\n")));
        }
        text
    }
}

/// A Template and a Workflow with this name, for this station.
pub fn workflow(name: &str, station: &Station, steps: &[Step]) -> String {
    let actions: String = steps.iter().map(Step::yaml).collect();
    let data = format!(
        "version: \"0.1\"\nname: {name}\nglobal_timeout: 1800\ntasks:\n- name: {name}\n  worker: \"{}\"\n  actions:\n{}",
        station.mac(),
        indented(&actions, 2)
    );
    let head = "apiVersion: tinkerbell.org/v1alpha1\nkind:";
    format!(
        "{head} Template\nmetadata:\n  name: {name}\nspec:\n  data: |\n{}---\n{head} Workflow\nmetadata:\n  name: {name}\n\
         spec:\n  templateRef: {name}\n  hardwareRef: {}\n",
        indented(&data, 4),
        station.name()
    )
}

fn indented(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{:by$}{line}\n", "")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_keeps_its_script_on_one_line() {
        let step = Step::image("x", "r/x:1").command("echo \"a\"\nexit 7").volume("/worker:/worker").host_pid();
        assert_eq!(
            step.yaml(),
            "- name: x\n  image: \"r/x:1\"\n  timeout: 120\n  command: [\"echo \\\"a\\\"\\nexit 7\"]\n  pid: host\n  volumes: [/worker:/worker]\n"
        );
    }

    #[test]
    fn stations_fill_their_places() {
        let text = Station { number: 1 }.hardware() + &Station { number: 1 }.install();
        assert!(
            text.contains("mac: \"52:54:00:77:00:01\"")
                && text.contains("address: 10.77.0.101")
                && text.contains("hardwareRef: machine-1")
        );
        assert!(!text.contains("NAME") && !text.contains("ADDRESS\n") && !text.contains("\"MAC\""));
    }
}
