//! The commands below `machine`: show, list, and the orders for machines.

use std::io::Write;
use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::Context;
use api::paths::{MACHINES, machine as path, machine_intent};
use api::{Decision, Intent, Machine, MachineLine, MachineState, Order, OrderKind};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use model::{Mac, ObjectName};
use reqwest::Method;
use serde_json::{Value, json};

use super::connection::Connection;
use super::output::{Done, Output, Results, print_value};
use super::resources::{Kind, name_of, text};
use super::scope::{Scope, Target, Usage, Which};
use super::table::{age, local, print};
use super::{ServerArgs, about_machine, escape, kube};

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct MachineArgs {
    #[command(subcommand)]
    command: Option<MachineCommand>,
    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Subcommand, Debug)]
pub enum MachineCommand {
    /// What it should boot, when its agent called, how its boot went, what it lacks. The word `show` can be left out
    Show(ShowArgs),
    /// List machines that wait for approval: discovered or held ones
    List {
        /// List all machines that have an intent
        #[arg(short, long)]
        all: bool,
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Boot the ramdisk with rescue, without work; an unfinished workflow waits for reinstall
    Rescue(OrderArgs),
    /// Boot nothing, until approve or another order
    Hold(OrderArgs),
    /// Boot its disk
    Local(OrderArgs),
    /// Continue its unfinished workflow, or run the newest one once more as a new Workflow
    Reinstall(OrderArgs),
    /// End a hold, or approve a discovered machine; its orders then continue
    Approve(OrderArgs),
}

/// The machines that a command means.
#[derive(Args, Debug)]
pub struct Machines {
    /// MAC or IP address of one of its interfaces, or the name of its Hardware; several, or those of a selector
    #[arg(required_unless_present_any = ["selector", "field_selector"])]
    machines: Vec<String>,
    #[command(flatten)]
    scope: Scope,
}

#[derive(Args, Debug)]
pub struct ShowArgs {
    #[command(flatten)]
    machines: Machines,
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
pub struct OrderArgs {
    #[command(flatten)]
    machines: Machines,
    /// One line that the machine's console and `thimble machine` will show
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Do not ask before several machines are installed
    #[arg(short, long)]
    yes: bool,
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: MachineArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let (order, args) = match args.command {
        None => return show(&args.show, out).await,
        Some(MachineCommand::Show(args)) => return show(&args, out).await,
        Some(MachineCommand::List { all, output, server }) => return list(&Connection::to(&server)?, all, output, out).await,
        Some(MachineCommand::Rescue(args)) => (OrderKind::Rescue, args),
        Some(MachineCommand::Hold(args)) => (OrderKind::Hold, args),
        Some(MachineCommand::Local(args)) => (OrderKind::Local, args),
        Some(MachineCommand::Reinstall(args)) => (OrderKind::Reinstall, args),
        Some(MachineCommand::Approve(args)) => (OrderKind::Approve, args),
    };
    order_each(order, &args, out).await
}

impl Machines {
    /// The words for the server: addresses, or names of Hardware.
    async fn meant(&self, server: &Connection) -> anyhow::Result<Vec<String>> {
        let scope = &self.scope;
        if !self.machines.is_empty() {
            if scope.is_selective() || scope.all_namespaces {
                return Err(Usage("machines exclude a selector and -A".to_owned()).into());
            }
            return Ok(self.machines.iter().map(|word| self.word(word, server)).collect());
        }
        let Some(kind) = Kind::named("hardware") else { return Ok(Vec::new()) };
        let target = Target { kind, which: Which::Listed(scope.listed(server.namespace())) };
        Ok(kube::all_of(server, &target, scope).await?.iter().map(|item| name_of(item).to_string()).collect())
    }

    /// A name gets the namespace that was given. Addresses are in none.
    fn word(&self, word: &str, server: &Connection) -> String {
        let namespace = self.scope.namespace.as_deref().or(server.namespace());
        let is_address = word.parse::<Mac>().is_ok() || word.parse::<IpAddr>().is_ok();
        match namespace {
            Some(namespace) if !is_address && !word.contains('/') => format!("{namespace}/{word}"),
            _ => word.to_owned(),
        }
    }
}

async fn show(args: &ShowArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let server = Connection::to(&args.server)?;
    let mut found: Vec<Value> = Vec::new();
    for word in args.machines.meant(&server).await? {
        found.push(server.get(&path(&word)).await?);
    }
    match args.output {
        Output::Json | Output::Yaml => {
            let value = if found.len() == 1 { found.swap_remove(0) } else { json!(found) };
            print_value(&value, args.output == Output::Yaml, out)?;
        }
        Output::Name => {
            for machine in &found {
                writeln!(out, "{}", escape::clean(&reference(text(machine, "/hardware/metadata/name"))))?;
            }
        }
        Output::Table | Output::Wide => {
            for (number, machine) in found.into_iter().enumerate() {
                if number > 0 {
                    writeln!(out)?;
                }
                print_machine(machine, out)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn print_machine(machine: Value, out: &mut dyn Write) -> anyhow::Result<()> {
    let machine: Machine = serde_json::from_value(machine).context("cannot read the machine in the answer of the server")?;
    for (label, text) in about_machine::lines(&machine) {
        writeln!(out, "{label:<10}{}", escape::clean(&text))?;
    }
    Ok(())
}

fn reference(name: &str) -> String {
    Kind::named("hardware").map(|kind| kind.reference(name)).unwrap_or_default()
}

/// Lists the machines that wait for a person, or all.
async fn list(server: &Connection, all: bool, output: Output, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let now = Timestamp::now();
    let machines: Vec<MachineLine> = server.get(MACHINES).await?;
    let waits = |machine: &MachineLine| all || matches!(machine.decision.intent, Intent::Discover | Intent::Hold);
    let machines: Vec<MachineLine> = machines.into_iter().filter(waits).collect();
    match output {
        Output::Json | Output::Yaml => print_value(&serde_json::to_value(&machines)?, output == Output::Yaml, out)?,
        Output::Name => {
            for machine in &machines {
                let name = machine.hardware.rsplit('/').next().unwrap_or_default();
                writeln!(out, "{}", escape::clean(&reference(name)))?;
            }
        }
        Output::Table | Output::Wide => {
            let rows: Vec<[String; 6]> = machines.iter().map(|machine| row(machine, now)).collect();
            print(out, ["HARDWARE", "INTENT", "SINCE", "ADDRESS", "SEEN", "REASON"], &rows)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(machine: &MachineLine, now: Timestamp) -> [String; 6] {
    let address = machine.address.map_or_else(|| "-".to_owned(), |address| address.ip().to_string());
    [
        machine.hardware.clone(),
        machine.decision.intent.to_string(),
        age(Some(machine.decision.at), now),
        address,
        age(machine.last_seen, now),
        machine.decision.reason.clone(),
    ]
}

/// `install by apply at ...: workflow default/w was ordered`
pub(super) fn intent(state: &MachineState) -> String {
    let Decision { intent, by, at, reason } = &state.decision;
    format!("{intent} by {by} at {}: {reason}", local(*at))
}

/// Gives an order for each of the machines that are meant.
async fn order_each(order: OrderKind, args: &OrderArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let server = Connection::to(&args.server)?;
    let machines = args.machines.meant(&server).await?;
    let installs = matches!(order, OrderKind::Reinstall) && args.machines.machines.is_empty();
    if installs && machines.len() > 1 && !args.yes && !super::apply::confirmed(&machines)? {
        anyhow::bail!("nothing was changed; --yes installs without a question");
    }
    if machines.is_empty() {
        writeln!(std::io::stderr(), "no Hardware is selected")?;
    }
    let mut results = Results::new(args.output, out);
    for machine in &machines {
        match ordered(&server, machine, order, args.reason.as_deref()).await {
            Ok(state) => {
                let Ok(name) = machine.parse::<ObjectName>();
                let done = Done {
                    reference: reference(&name.name),
                    kind: "Hardware".to_owned(),
                    name: machine.clone(),
                    change: state.decision.intent.to_string(),
                    message: state.decision.reason.clone(),
                };
                results.done(done, &format!("{machine}: {}", intent(&state)))?;
            }
            Err(error) if machines.len() == 1 => return Err(error),
            Err(error) => results.refused("machine", machine, &error)?,
        }
    }
    results.end()
}

/// Gives an order for a machine. The answer is what it boots from now on.
async fn ordered(server: &Connection, machine: &str, order: OrderKind, reason: Option<&str>) -> anyhow::Result<MachineState> {
    let by = std::env::var("USER").unwrap_or_default();
    let body = serde_json::to_string(&Order { order, by, reason: reason.unwrap_or_default().to_owned() })?;
    let answer = server.call(Method::POST, &machine_intent(machine), body).await?;
    if answer.code.is_success() { answer.read() } else { Err(answer.refusal()) }
}
