//! The command boots: the daemon, and the commands about it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use api::BootHistory;
use boots::Place;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use steps::{Situation, Steps, diagnose};
use trust::Fingerprint;

use crate::config::Settings;
use crate::reload::Sources;
use crate::{Daemon, beside_firmware, client, doctor, sandbox, serve, up};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct BootsArguments {
    #[command(subcommand)]
    command: Option<BootsCommand>,
    #[command(flatten)]
    daemon: Daemon,
    /// Ask this server what each machine boots. Of several, separated by commas, one that answers is asked
    #[arg(
        long,
        value_name = "URL[,URL]",
        value_delimiter = ',',
        conflicts_with = "hardware",
        required_unless_present = "hardware"
    )]
    server: Vec<String>,
    /// SHA-256 of the servers' certificate authority, for an https:// server, which also needs the variable THIMBLE_TOKEN
    #[arg(long, value_name = "HEX", requires = "server")]
    ca_sha256: Option<Fingerprint>,
    /// Read the machines from Hardware objects in this YAML file, in the files of this folder, or in a folder of a git repository
    /// on this host. Changes are followed
    #[arg(long, value_name = "FILE|DIR|git:REPOSITORY#REF:DIR")]
    hardware: Option<Place>,
}

#[derive(Subcommand)]
enum BootsCommand {
    /// Look for what may keep machines from booting: other DHCP and PXE servers, ports, firewall, addresses, files. It changes
    /// nothing, takes three seconds, wants root, and exits with 1 if something is wrong
    Doctor(Box<doctor::DoctorArguments>),
    /// What a machine asked while it booted, what it was answered, and the likely cause if it goes no further. It exits with 1
    /// if it does not
    Explain {
        #[command(flatten)]
        explain: client::ExplainArgs,
        /// The file of a `thimble boots --hardware`, which has no server: DATA/log/boots.jsonl. It wants a MAC
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// # Errors
/// Those of the daemon, or of the command.
pub fn run(arguments: BootsArguments) -> anyhow::Result<ExitCode> {
    let out = &mut std::io::stdout().lock();
    match arguments.command {
        None => {
            let BootsArguments { daemon, server, ca_sha256, hardware, .. } = arguments;
            let otherwise = Settings::of_servers(&server);
            let sources = Sources { otherwise, ..daemon.sources(Settings::check) };
            let config = sources.read()?;
            let folders = sources.folders(&config, hardware.as_ref());
            let confine = || {
                up::make_folders(&config)?;
                sandbox::drop_rights(&folders)?;
                log::info!("thimble boots is {}", sandbox::confine(&folders));
                Ok(())
            };
            serve(config.log_format, confine, beside_firmware, up::boots(config.clone(), sources, server, ca_sha256, hardware))
        }
        Some(BootsCommand::Doctor(arguments)) => doctor::run(*arguments, out),
        Some(BootsCommand::Explain { explain, file: None }) => client::block_on(client::explain(explain, out)),
        Some(BootsCommand::Explain { explain, file: Some(file) }) => {
            client::show_boots(&of_file(&file, &explain.machine, Timestamp::now())?, explain.output, out)
        }
    }
}

/// Without a server it is not known what the machine should boot.
fn of_file(file: &Path, word: &str, now: Timestamp) -> anyhow::Result<BootHistory> {
    let Ok(mac) = word.parse() else { bail!("{word:?} is not a MAC, and a file knows no names") };
    let steps = Steps::read(file).with_context(|| format!("cannot read how machines booted from {}", file.display()))?;
    let similar = steps.similar(mac);
    let diagnosis = diagnose(&steps.of(mac), &Situation { boots: None, similar: &similar }, now);
    Ok(BootHistory { macs: vec![mac], hardware: None, boots: None, steps: steps.of_all(&[mac]), missing: Vec::new(), diagnosis })
}
