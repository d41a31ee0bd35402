//! `docs/kernel-arguments.md`, written from the table.

use crate::foreign::FOREIGN;
use crate::{ARGUMENTS, Argument, BLACKLISTS, MAX_LEN, MODULES, Setting};

const INTRODUCTION: &str = "\
<!-- Written by: cargo run -p cmdline --example kernel-arguments > docs/kernel-arguments.md -->
# Kernel arguments

The names are Tinkerbell's, so a machine that smee boots is understood as well. Thimble's own begin with `thimble.`.

| the words come from, first to last | written by |
|---|---|
| `/etc/thimble/cmdline` in the ramdisk | `thimble image build --cmdline` |
| `/etc/thimble/site`, the table of machines in the ISO image of a site | `thimble image iso`, from the settings and each Hardware |
| boots | itself: the server, the syslog host, the machine's MAC address and agent, the time |
| `--kernel-args` of `thimble up` | you, for every machine |
| `osie.kernelParams` of the Hardware | you, for one machine |

| rule | |
|---|---|
| The last word wins | Only `console`, `ssh_key` and `thimble.mirror` add up |
| `NAME=` | The argument is not set |
| A value that makes no sense | One line in the log. The machine boots without the word |
| `NAME=\"a b\"` | A value with a space. A quote in a value cannot be written |
";

/// The names of passed words, their reader, and what they do.
fn passed() -> [[String; 2]; 6] {
    let names = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    [
        [
            names(&MODULES),
            "PID 1 loads these modules, separated by commas. `ipmi_si` loads only if one of them names it. \
             A module that the ramdisk lacks is a warning, except for the four that smee always names."
                .to_owned(),
        ],
        [names(&BLACKLISTS), "PID 1 loads none of these modules for a device.".to_owned()],
        [names(&["MODULE.OPTION"]), "The option goes to the module when PID 1 loads it.".to_owned()],
        [
            names(&["loglevel", "debug", "ignore_loglevel"]),
            "The kernel's. PID 1 makes the console as loud as they say.".to_owned(),
        ],
        [
            names(&["sysctl.kernel.panic_on_oops"]),
            "The kernel's. Without it `panic` makes an oops end the machine as a panic does.".to_owned(),
        ],
        [
            names(&["initrd"]),
            "Boots writes one for each file of the ramdisk. The kernel's EFI stub loads the files by it.".to_owned(),
        ],
    ]
}

/// The whole page.
pub fn page() -> String {
    let settings: Vec<(&Argument, &Setting)> = ARGUMENTS.iter().filter_map(|a| Some((a, a.setting.as_ref()?))).collect();
    let example = |argument: &Argument| format!("`{}={}`", argument.name, argument.example);
    let codes =
        |names: &[&str], before: &str| names.iter().map(|name| format!("`{before}{name}`")).collect::<Vec<_>>().join(", ");
    let sections = [
        format!("The kernel keeps {MAX_LEN} bytes of the line. Boots logs what it had to leave out."),
        "## What the agent receives\nPID 1 hands these to the agent in the variable. On an ordinary host, `thimble agent` takes them \
         from the kernel command line as if the flag were given. A variable wins over a flag, a flag over the kernel argument."
            .to_owned(),
        table(
            ["for example", "meaning", "variable", "flag"],
            settings.iter().map(|(argument, setting)| {
                let variable = codes(setting.variables.last().map_or(&[], std::slice::from_ref), "");
                [example(argument), argument.meaning.to_owned(), variable, format!("`-{}`", setting.flag)]
            }),
        ),
        "## What only PID 1 reads".to_owned(),
        table(
            ["for example", "meaning"],
            ARGUMENTS.iter().filter(|argument| argument.setting.is_none()).map(|a| [example(a), a.meaning.to_owned()]),
        ),
        "## Words for the kernel and for drivers\nThimble passes every word on. It reads these itself as well.".to_owned(),
        table(["word", "effect"], passed().into_iter()),
        "## Other names of the agent's settings\nTinkerbell's agents (tink-agent, tink-worker) use these. The last variable that is set wins."
            .to_owned(),
        table(
            ["flag", "also", "variables"],
            settings.iter().filter(|(_, setting)| setting.variables.len() > 1).map(|(_, setting)| {
                [format!("`-{}`", setting.flag), codes(setting.aliases, "-"), codes(setting.variables, "")]
            }),
        ),
        "## Without effect\nOSIE, HookOS and CaptainOS read these. PID 1 logs one line for each that it meets.".to_owned(),
        table(["argument", "instead"], FOREIGN.iter().map(|(name, reason)| [format!("`{name}`"), (*reason).to_owned()])),
    ];
    format!("{INTRODUCTION}\n{}\n", sections.map(|section| section.trim_end().to_owned()).join("\n\n"))
}

fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head = format!("{}|{}\n", line(&head.map(str::to_owned)), "---|".repeat(N));
    rows.fold(head, |text, row| text + &line(&row))
}
