//! The check inside the installed system: a script that runs at its boot and prints its facts on the console, where the lab
//! compares them.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::row::Fact;
use crate::machine::Vm;

/// From the end of the installation to the end of the script. OVMF tries the network in several ways before the disk.
const BOOTS_WITHIN: Duration = Duration::from_secs(600);
const MARK: &str = "lab check: ";
const END: &str = "lab check ends";
/// Lines after which no check follows.
const FAILURES: &[&str] = &[
    "Kernel panic",
    "grub rescue>",
    "No bootable device",
    "BdsDxe: No bootable option",
    r"\(initramfs\)",
    "emergency mode",
    "cannot start the installation environment",
];

/// Debian's systemd runs /etc/rc.local while the network is still coming up.
pub fn script(facts: &[Fact]) -> String {
    let mut text = "#!/bin/sh\nexec > /dev/ttyS0 2>&1\n".to_owned();
    // The prompt of the login may be on the line.
    text.extend(facts.iter().map(|Fact { name, shell, .. }| format!("printf '\\n{MARK}%s=%s\\n' {name} \"$({shell})\"\n")));
    text + &format!("printf '\\n{END}\\n'\n")
}

/// Waits for the end of the script, and compares the facts.
pub fn run(machine: &mut Vm, facts: &[Fact]) -> Result<()> {
    let serial = &mut machine.serial;
    let line =
        serial.expect(&format!("^{END}|{}", FAILURES.join("|")), BOOTS_WITHIN).context("the installed system is not up")?;
    if !line.text.starts_with(END) {
        bail!("the installed system does not boot: {}\n{}", line.text, serial.last_lines());
    }
    let said: Vec<String> = serial.all(&format!("^{MARK}"))?.into_iter().map(|line| line.text).collect();
    let wrong: Vec<String> = facts.iter().filter_map(|fact| mismatch(fact, &said)).collect();
    ensure!(wrong.is_empty(), "in the installed system, {}", wrong.join("; "));
    Ok(())
}

fn mismatch(fact: &Fact, said: &[String]) -> Option<String> {
    let Fact { name, is, .. } = fact;
    let found = said.iter().find_map(|line| line.strip_prefix(MARK)?.strip_prefix(name)?.strip_prefix('='));
    match found.map(str::trim_end) {
        Some(found) if found == is => None,
        Some(found) => Some(format!("{name} is {found:?} instead of {is:?}")),
        None => Some(format!("{name} was not reported")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_prints_each_fact_on_a_line_of_its_own() {
        let facts = [Fact::new("root", "echo /dev/vda2; true", "/dev/vda2"), Fact::new("name", "echo \"a b\"", "a b")];
        let script = script(&facts).replace("exec > /dev/ttyS0 2>&1\n", "");
        let said = crate::command::output(std::process::Command::new("sh").args(["-c", &script])).unwrap();
        assert_eq!(said, "\nlab check: root=/dev/vda2\n\nlab check: name=a b\n\nlab check ends\n");
        let lines: Vec<String> = said.lines().map(str::to_owned).collect();
        assert!(facts.iter().all(|fact| mismatch(fact, &lines).is_none()));
    }

    #[test]
    fn a_wrong_fact_and_a_missing_one_are_named() {
        let said = ["lab check: root=/dev/vda1".to_owned()];
        let wrong = |name, is| mismatch(&Fact::new(name, "", is), &said);
        assert_eq!(wrong("root", "/dev/vda2").as_deref(), Some("root is \"/dev/vda1\" instead of \"/dev/vda2\""));
        assert_eq!(wrong("roo", "x").as_deref(), Some("roo was not reported"));
    }
}
