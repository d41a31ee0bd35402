//! `thimble render`: the actions of workflows with every value in its place, from files or from the server.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use model::{Mistake, Object, ObjectName, parse_documents};
use serde_json::Value;

use crate::client::{self, Connection, Files, Namespace, Output, ServerArgs, Usage, render};

#[derive(Args, Debug)]
pub struct Arguments {
    /// Workflows, as NAME or NAMESPACE/NAME; without names all of the files
    names: Vec<String>,
    /// Files with the Workflows, and with the Templates and Hardware that they name. No server is asked then
    #[arg(short, long = "file", value_name = "FILE", num_args = 1..)]
    files: Vec<PathBuf>,
    /// Skip kinds in the files that are not Tinkerbell's, with a line each; otherwise they are mistakes
    #[arg(long, requires = "files")]
    skip_foreign: bool,
    /// A Template in place of a Workflow
    #[arg(long, value_name = "NAME", conflicts_with = "names")]
    template: Option<String>,
    /// The Hardware that the Template is rendered for
    #[arg(long, value_name = "NAME", requires = "template")]
    hardware: Option<String>,
    /// A value of hardwareMap; the default is device_1=MAC with the first interface of the Hardware
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "template")]
    values: Vec<String>,
    #[arg(short, long, value_enum, default_value_t = Output::Yaml)]
    output: Output,
    #[command(flatten)]
    namespace: Namespace,
    #[command(flatten)]
    server: ServerArgs,
}

/// Of the Workflow that stands for a Template and a Hardware.
const NAME: &str = "rendered-once";

pub fn run(arguments: &Arguments, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    if arguments.files.is_empty() {
        return client::block_on(async {
            let found = by_server(arguments).await?;
            render::print(&found, arguments.output, out)
        });
    }
    match from_files(arguments)? {
        Ok(found) => render::print(&found, arguments.output, out),
        Err(mistakes) => client::print_mistakes(out, &mistakes),
    }
}

fn values(arguments: &Arguments, mac: Option<String>) -> Result<Vec<(String, String)>, Usage> {
    let pair = |text: &String| {
        let (key, value) = text.split_once('=').ok_or_else(|| Usage(format!("--set {text:?} is not KEY=VALUE")))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    let given: Vec<(String, String)> = arguments.values.iter().map(pair).collect::<Result<_, Usage>>()?;
    if given.is_empty() { Ok(mac.map(|mac| ("device_1".to_owned(), mac)).into_iter().collect()) } else { Ok(given) }
}

async fn by_server(arguments: &Arguments) -> anyhow::Result<Vec<Value>> {
    let server = Connection::to(&arguments.server)?;
    let name = |word: &str| arguments.namespace.name(word, &server);
    let Some(template) = &arguments.template else {
        if arguments.names.is_empty() {
            return Err(Usage("name a Workflow, or a --template, or give files with -f".to_owned()).into());
        }
        let names: Vec<ObjectName> = arguments.names.iter().map(|word| name(word)).collect::<Result<_, _>>()?;
        return render::stored(&server, &names).await;
    };
    let template = name(template)?;
    let mut mac = None;
    if let Some(hardware) = &arguments.hardware {
        let found = render::hardware(&server, &ObjectName::new(&template.namespace, hardware)).await?;
        let found = found.with_context(|| format!("Hardware {}/{hardware} does not exist", template.namespace))?;
        mac = render::first_mac(&found);
    }
    let place = ObjectName::new(&template.namespace, NAME);
    let workflow = render::workflow(&place, &template.name, arguments.hardware.as_deref(), &values(arguments, mac)?);
    Ok(vec![render::tried(&server, &workflow).await?])
}

fn from_files(arguments: &Arguments) -> anyhow::Result<Result<Vec<Value>, Vec<Mistake>>> {
    let files = Files { files: arguments.files.clone(), skip_foreign: arguments.skip_foreign };
    let mut objects = match client::read(&files)? {
        Ok(objects) => objects,
        Err(mistakes) => return Ok(Err(mistakes)),
    };
    let namespace = arguments.namespace.namespace.as_deref().unwrap_or("default");
    let mut wanted: Vec<ObjectName> = Vec::new();
    for word in &arguments.names {
        let (namespace, name) = word.split_once('/').unwrap_or((namespace, word));
        let name = ObjectName::new(namespace, name);
        let is_there = |object: &Object| object.kind().word() == "Workflow" && object.name() == name;
        if !objects.iter().any(is_there) {
            anyhow::bail!("Workflow {name} is not in these files");
        }
        wanted.push(name);
    }
    if let Some(template) = &arguments.template {
        let named = |kind: &str, wanted: &str| {
            let is = |object: &&Object| object.kind().word() == kind && object.name() == ObjectName::new(namespace, wanted);
            objects.iter().find(is).with_context(|| format!("{kind} {namespace}/{wanted} is not in these files"))
        };
        named("Template", template)?;
        let hardware = arguments.hardware.as_deref().map(|name| named("Hardware", name)).transpose()?;
        let mac = hardware.map(serde_json::to_value).transpose()?.as_ref().and_then(render::first_mac);
        let place = ObjectName::new(namespace, NAME);
        let workflow = render::workflow(&place, template, arguments.hardware.as_deref(), &values(arguments, mac)?);
        match parse_documents(&workflow.to_string(), "the command line") {
            Ok(workflow) => objects.extend(workflow),
            Err(mistakes) => return Ok(Err(mistakes)),
        }
        wanted.push(place);
    }
    let rendered = match server::rendered(objects) {
        Ok(rendered) => rendered,
        Err(mistakes) => return Ok(Err(mistakes)),
    };
    let is_wanted = |workflow: &&model::Workflow| wanted.is_empty() || wanted.contains(&workflow.name());
    Ok(Ok(rendered.iter().filter(is_wanted).map(serde_json::to_value).collect::<Result<_, _>>()?))
}
