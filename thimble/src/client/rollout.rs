//! The command rollout: one order for many machines.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail};
use api::paths::{ROLLOUTS, of_rollout, rollout};
use api::{List, MemberState, Rollout, RolloutChange, RolloutOrder, RolloutProgress, RolloutSpec, RolloutState};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use model::{Metadata, ObjectName};
use reqwest::Method;
use serde::Deserialize;

use super::ServerArgs;
use super::apply::confirmed;
use super::connection::Connection;
use super::output::{Format, print_value};
use super::table::{age, clean, print};

#[derive(Subcommand, Debug)]
pub enum RolloutCommand {
    /// Make a Workflow for each selected machine, wave by wave
    Start(StartArgs),
    /// Print a rollout and each of its machines. The exit code is 0 unless the rollout is stopped
    Show {
        /// NAME or NAMESPACE/NAME
        name: ObjectName,
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List rollouts
    List {
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Start no further machine; those that have begun continue
    Pause(ChangeArgs),
    /// Continue, also after failures
    Resume(ChangeArgs),
    /// End it; machines that have begun continue
    Stop(ChangeArgs),
    /// Delete a rollout that is not running; its Workflows stay
    Delete {
        /// NAME or NAMESPACE/NAME
        name: ObjectName,
        #[command(flatten)]
        server: ServerArgs,
    },
}

#[derive(Args, Debug)]
pub struct StartArgs {
    /// NAME or NAMESPACE/NAME; its Workflows are called NAME-HARDWARE
    name: ObjectName,
    /// Labels of the Hardware, in kubectl's syntax: rack=7,role!=db,zone in (a,b)
    #[arg(short = 'l', long)]
    selector: String,
    /// The Template that each machine runs
    #[arg(long, value_name = "NAME")]
    template: String,
    /// The key of hardwareMap that gets the machine's agent
    #[arg(long, value_name = "KEY", default_value = "device_1")]
    worker_key: String,
    /// How many machines work at the same time
    #[arg(long, value_name = "N", default_value_t = 1)]
    at_once: u32,
    /// Sizes of the first waves, such as 1,10; a wave begins when the previous one has ended
    #[arg(long, value_name = "N", value_delimiter = ',')]
    waves: Vec<u32>,
    /// Stop when this many machines have failed; 0 means never
    #[arg(long, value_name = "N", default_value_t = 1)]
    stop_after: u32,
    /// Seconds after which a machine that has not finished counts as failed; 0 means never
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    machine_timeout: u32,
    /// Only print which machines would be installed
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before several machines are installed
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
pub struct ChangeArgs {
    /// NAME or NAMESPACE/NAME
    name: ObjectName,
    /// One line that `rollout show` will print
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(command: RolloutCommand, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match command {
        RolloutCommand::Start(args) => start(args, out).await,
        RolloutCommand::Show { name, output, server } => show(&Connection::to(&server)?, &name, output, out).await,
        RolloutCommand::List { output, server } => list(&Connection::to(&server)?, output, out).await,
        RolloutCommand::Pause(args) => change(args, RolloutChange::Pause, out).await,
        RolloutCommand::Resume(args) => change(args, RolloutChange::Resume, out).await,
        RolloutCommand::Stop(args) => change(args, RolloutChange::Stop, out).await,
        RolloutCommand::Delete { name, server } => {
            let answer = Connection::to(&server)?.call(Method::DELETE, &rollout(&name), String::new()).await?;
            if !answer.code.is_success() {
                return Err(answer.refusal());
            }
            writeln!(out, "rollout {name} deleted")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A Rollout as the API lists it.
#[derive(Deserialize)]
struct Listed {
    metadata: Metadata,
    spec: RolloutSpec,
    status: Summary,
}

#[derive(Deserialize)]
struct Summary {
    state: RolloutState,
    reason: String,
    machines: usize,
}

fn person() -> String {
    std::env::var("USER").unwrap_or_default()
}

async fn start(args: StartArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let server = Connection::to(&args.server)?;
    let spec = RolloutSpec {
        selector: args.selector,
        template_ref: args.template,
        worker_key: args.worker_key,
        at_once: args.at_once,
        waves: args.waves,
        stop_after: args.stop_after,
        machine_timeout: args.machine_timeout,
    };
    let body = serde_json::to_string(&spec)?;
    let post = async |dry_run: bool| {
        // The user's name must not add parts to the path.
        let by: String = person().chars().filter(char::is_ascii_alphanumeric).collect();
        let path = format!("{}?by={by}{}", of_rollout(&args.name, "start"), if dry_run { "&dryRun=All" } else { "" });
        let answer = server.call(Method::POST, &path, body.clone()).await?;
        if answer.code.is_success() { answer.read::<Rollout>() } else { Err(answer.refusal()) }
    };
    let planned = post(true).await?;
    let machines: Vec<String> = planned.waves.iter().flatten().cloned().collect();
    if args.dry_run {
        for (wave, machines) in planned.waves.iter().enumerate() {
            writeln!(out, "wave {}: {}", wave + 1, clean(&machines.join(" ")))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if machines.len() > 1 && !args.yes && !confirmed(&machines)? {
        bail!("nothing was changed; --yes installs without a question");
    }
    let rollout = post(false).await?;
    let count: usize = rollout.waves.iter().map(Vec::len).sum();
    writeln!(out, "rollout {} orders {count} machines in {} waves", args.name, rollout.waves.len())?;
    Ok(ExitCode::SUCCESS)
}

async fn show(server: &Connection, name: &ObjectName, output: Format, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let progress: RolloutProgress = server.get(&of_rollout(name, "progress")).await?;
    let code = if progress.rollout.state == RolloutState::Stopped { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    if output != Format::Text {
        print_value(&serde_json::to_value(&progress)?, output == Format::Yaml, out)?;
        return Ok(code);
    }
    let RolloutProgress { rollout, members } = progress;
    let count = |state: MemberState| members.iter().filter(|member| member.state == state).count();
    let states =
        [MemberState::Waiting, MemberState::Ordered, MemberState::Succeeded, MemberState::Failed, MemberState::Withdrawn];
    let counts = states.map(|state| format!("{} {state}", count(state))).join(", ");
    writeln!(out, "{}", clean(&format!("{name} is {}: {}", rollout.state, rollout.reason)))?;
    writeln!(out, "{counts}\n")?;
    let rows = members
        .into_iter()
        .map(|member| [member.wave.to_string(), member.hardware, member.state.to_string(), member.workflow, member.message]);
    print(out, ["WAVE", "HARDWARE", "STATE", "WORKFLOW", "MESSAGE"], &rows.collect::<Vec<_>>())?;
    Ok(code)
}

async fn list(server: &Connection, output: Format, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let rollouts: serde_json::Value = server.get(ROLLOUTS).await?;
    if output != Format::Text {
        print_value(&rollouts, output == Format::Yaml, out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rollouts: List<Listed> =
        serde_json::from_value(rollouts).context("cannot read the rollouts in the answer of the server")?;
    let now = Timestamp::now();
    let rows = rollouts.items.into_iter().map(|Listed { metadata, spec, status }| {
        let name = format!("{}/{}", metadata.namespace, metadata.name);
        let age = age(metadata.creation_timestamp, now);
        [name, status.state.to_string(), status.machines.to_string(), spec.selector, age, status.reason]
    });
    print(out, ["NAME", "STATE", "MACHINES", "SELECTOR", "AGE", "REASON"], &rows.collect::<Vec<_>>())?;
    Ok(ExitCode::SUCCESS)
}

async fn change(args: ChangeArgs, order: RolloutChange, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let server = Connection::to(&args.server)?;
    let body = serde_json::to_string(&RolloutOrder { order, by: person(), reason: args.reason.unwrap_or_default() })?;
    let answer = server.call(Method::POST, &of_rollout(&args.name, "change"), body).await?;
    if !answer.code.is_success() {
        return Err(answer.refusal());
    }
    let rollout: Rollout = answer.read()?;
    writeln!(out, "{}", clean(&format!("{}: {}", args.name, rollout.reason)))?;
    Ok(ExitCode::SUCCESS)
}
