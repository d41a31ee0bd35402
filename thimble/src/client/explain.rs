//! The command boots explain: how a machine booted, and the likely cause if it goes no further.

use std::io::Write;
use std::process::ExitCode;

use api::paths::machine_boots;
use api::{BootHistory, BootStep, Diagnosis, Verdict};
use clap::Args;
use jiff::tz::TimeZone;
use model::Mac;

use super::connection::Connection;
use super::output::{Format, print_value};
use super::table::{Paint, RED, clean, print};
use super::{ServerArgs, workflow};

#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// MAC or IP address of one of its interfaces, or the name of its Hardware. A MAC may be without Hardware
    pub machine: String,
    #[command(flatten)]
    namespace: workflow::Namespace,
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

/// Asks the server.
///
/// # Errors
/// If it does not answer, or the word means no machine.
pub async fn explain(args: ExplainArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let server = Connection::to(&args.server)?;
    let is_address = args.machine.parse::<Mac>().is_ok() || args.machine.parse::<std::net::IpAddr>().is_ok();
    let word = if is_address { args.machine } else { args.namespace.name(&args.machine, &server)?.to_string() };
    let history: BootHistory = server.get(&machine_boots(&word)).await?;
    show_boots(&history, args.output, out)
}

/// Prints it. The exit code is 1 if the machine goes no further.
///
/// # Errors
/// If it cannot be written.
pub fn show_boots(history: &BootHistory, output: Format, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match output {
        Format::Json | Format::Yaml => print_value(&serde_json::to_value(history)?, output == Format::Yaml, out)?,
        Format::Text => text(history, out)?,
    }
    Ok(if history.diagnosis.verdict == Verdict::Stuck { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn text(history: &BootHistory, out: &mut dyn Write) -> anyhow::Result<()> {
    let macs: Vec<String> = history.macs.iter().map(ToString::to_string).collect();
    writeln!(out, "Machine   {}", macs.join(", "))?;
    writeln!(out, "Hardware  {}", clean(history.hardware.as_deref().unwrap_or("none")))?;
    if let Some(boots) = &history.boots {
        writeln!(out, "Boots     {}", clean(&format!("{}: {}", boots.word(), boots.reason())))?;
    }
    if !history.steps.is_empty() {
        writeln!(out)?;
        // The MAC has a column of its own only if there are several.
        let several = history.macs.len() > 1;
        let rows: Vec<[String; 4]> = history
            .steps
            .iter()
            .map(|one| {
                let asked = if several { format!("{} {}", one.mac, one.step.asked) } else { one.step.asked.clone() };
                [when(&one.step), one.step.protocol().to_owned(), asked, answered(&one.step)]
            })
            .collect();
        print(out, ["TIME", "PROTOCOL", "ASKED", "ANSWERED"], &rows)?;
    }
    for reason in &history.missing {
        writeln!(out, "{}; the steps that it has are missing here", clean(reason))?;
    }
    writeln!(out)?;
    diagnosis(&history.diagnosis, out)
}

fn when(step: &BootStep) -> String {
    let at = |time: jiff::Timestamp| time.to_zoned(TimeZone::system()).strftime("%F %T").to_string();
    match step.count {
        0 | 1 => at(step.at),
        count => format!("{} ({count}x until {})", at(step.at), step.latest().to_zoned(TimeZone::system()).strftime("%T")),
    }
}

fn answered(step: &BootStep) -> String {
    let whole = step.to_string();
    whole.split_once(" -> ").map_or_else(String::new, |(_, answered)| answered.to_owned())
}

fn diagnosis(found: &Diagnosis, out: &mut dyn Write) -> anyhow::Result<()> {
    let paint = Paint::of_this_process();
    let word = match found.verdict {
        Verdict::Fine => "Fine".to_owned(),
        Verdict::Waits => "Waits".to_owned(),
        Verdict::Stuck => paint.line("Stuck", RED),
    };
    writeln!(out, "{word}: {}", clean(&found.cause))?;
    for (number, check) in found.checks.iter().enumerate() {
        writeln!(out, "  {}. {}", number + 1, clean(check))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use api::{MachineStep, StepKind};

    use super::*;

    #[test]
    fn a_boot_is_shown_with_its_likely_cause() {
        let mac = Mac::new([2, 0, 0, 0, 0, 1]);
        let step = |second, kind| {
            let at = jiff::Timestamp::from_second(second).unwrap();
            MachineStep {
                mac,
                step: BootStep::new(at, kind, "DISCOVER of\u{1b}[2J iPXE", "OFFER 10.0.0.7").with_file("ipxe.efi"),
            }
        };
        let mut repeated = step(5, StepKind::Offered);
        (repeated.step.count, repeated.step.until) = (3, Some(jiff::Timestamp::from_second(9).unwrap()));
        let history = BootHistory {
            macs: vec![mac],
            hardware: Some("default/node-1".to_owned()),
            boots: None,
            steps: vec![step(0, StepKind::Acknowledged), repeated],
            missing: vec!["server b does not answer".to_owned()],
            diagnosis: Diagnosis {
                verdict: Verdict::Stuck,
                cause: "boots' offer was not taken".to_owned(),
                checks: vec!["look".to_owned(), "look again".to_owned()],
            },
        };
        let mut out = Vec::new();
        let code = show_boots(&history, Format::Text, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for expected in [
            "Hardware  default/node-1",
            "OFFER 10.0.0.7, boot file ipxe.efi",
            "(3x until ",
            "server b does not answer; the steps that it has are missing here\n",
            "Stuck: boots' offer was not taken\n  1. look\n  2. look again\n",
        ] {
            assert!(text.contains(expected), "{expected} is not in {text}");
        }
        assert!(!text.contains('\u{1b}') && code == ExitCode::FAILURE, "{text:?}");
    }

    /// A server of another version, or one that somebody else runs, may send anything.
    #[test]
    fn no_text_of_a_history_acts_on_the_terminal_or_begins_a_line() {
        let evil = "\u{1b}[2J\r\nStuck: no\u{202e}\u{9b}31m\u{7}".to_owned();
        let mut one = BootStep::new(jiff::Timestamp::UNIX_EPOCH, StepKind::Offered, &evil, &evil).with_file(&evil).because(&evil);
        one.server = Some([10, 0, 0, 9].into());
        let history = BootHistory {
            macs: vec![Mac::new([2; 6])],
            hardware: Some(evil.clone()),
            boots: Some(api::BootState::Wait { reason: evil.clone() }),
            steps: vec![MachineStep { mac: Mac::new([2; 6]), step: one }],
            missing: vec![evil.clone()],
            diagnosis: Diagnosis { verdict: Verdict::Waits, cause: evil.clone(), checks: vec![evil] },
        };
        let mut out = Vec::new();
        show_boots(&history, Format::Text, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().all(machine::is_harmless), "{text:?}");
        assert_eq!(text.lines().count(), 10, "{text}");
    }
}
