//! The command get: objects as a table, as JSON or YAML, or as names; once, or as they change.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Args;
use jiff::Timestamp;
use model::{Hardware, Object};
use serde_json::{Value, json};

use super::columns::{self, Column};
use super::connection::Connection;
use super::kube::{Listed, Seen, Watch, list, one};
use super::output::{Output, print_value};
use super::resources::{Kind, name_of, text};
use super::scope::{Scope, Target, Usage, Which};
use super::table::{Grid, Paint};
use super::{ServerArgs, escape};

#[derive(Args, Debug)]
pub struct GetArgs {
    /// KIND[,KIND] [NAME...] or KIND/NAME...; `all` stands for Tinkerbell's kinds. A NAME can be NAMESPACE/NAME
    #[arg(required = true, value_name = "KIND")]
    words: Vec<String>,
    #[command(flatten)]
    scope: Scope,
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Sort by this column (`age`), or by a field (`.spec.templateRef`)
    #[arg(long, value_name = "COLUMN")]
    sort_by: Option<String>,
    /// Leave out the headings of tables
    #[arg(long)]
    no_headers: bool,
    /// Add a column with the labels
    #[arg(long)]
    show_labels: bool,
    /// Continue with what changes; for one kind
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: GetArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let server = Connection::to(&args.server)?;
    let targets = args.scope.targets(&args.words, server.namespace())?;
    if args.watch {
        return watch(&server, &args, &targets, out).await;
    }
    let mut found: Vec<(&'static Kind, Vec<Value>)> = Vec::new();
    for Target { kind, which } in &targets {
        let items = match which {
            Which::Named(name) => vec![one(&server, kind, name).await?],
            Which::Listed(namespace) => list(&server, kind, namespace.as_deref(), &args.scope).await?.items,
        };
        match found.iter_mut().find(|(of, _)| of == kind) {
            Some((_, all)) => all.extend(items),
            None => found.push((kind, items)),
        }
    }
    for (kind, items) in &mut found {
        columns::sort(kind, items, args.sort_by.as_deref()).map_err(Usage)?;
    }
    let is_one = matches!(targets.as_slice(), [Target { which: Which::Named(_), .. }]);
    print(&args, found, is_one, out)?;
    Ok(ExitCode::SUCCESS)
}

/// The Hardware of all namespaces.
pub async fn all_hardware(server: &ServerArgs) -> anyhow::Result<Vec<Hardware>> {
    let server = Connection::to(server)?;
    let kind = Kind::named("hardware").context("there is no kind hardware")?;
    let items = list(&server, kind, None, &Scope::default()).await?.items;
    let objects = items.iter().map(|item| model::parse_documents(&item.to_string(), "the server's Hardware"));
    let objects = objects.collect::<Result<Vec<_>, _>>().map_err(|mistakes| match mistakes.first() {
        Some(mistake) => anyhow!("{mistake}"),
        None => anyhow!("the server's Hardware cannot be read"),
    })?;
    let hardware = |object| if let Object::Hardware(hardware) = object { Some(*hardware) } else { None };
    Ok(objects.into_iter().flatten().filter_map(hardware).collect())
}

fn print(args: &GetArgs, found: Vec<(&'static Kind, Vec<Value>)>, is_one: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    match args.output {
        Output::Json | Output::Yaml => {
            let mut items: Vec<Value> = found.into_iter().flat_map(|(_, items)| items).collect();
            let value = match items.pop() {
                Some(item) if is_one => item,
                last => {
                    items.extend(last);
                    json!({"apiVersion": "v1", "kind": "List", "items": items})
                }
            };
            print_value(&value, args.output == Output::Yaml, out)
        }
        Output::Name => {
            let names = found.iter().flat_map(|(kind, items)| items.iter().map(|item| reference(kind, item)));
            names.into_iter().try_for_each(|name| Ok(writeln!(out, "{name}")?))
        }
        Output::Table | Output::Wide => {
            let some: Vec<_> = found.iter().filter(|(_, items)| !items.is_empty()).collect();
            if some.is_empty() {
                writeln!(io::stderr(), "no objects found; -A looks in all namespaces")?;
            }
            for (number, (kind, items)) in some.into_iter().enumerate() {
                if number > 0 {
                    writeln!(out)?;
                }
                let mut table = Table::new(args, kind, Paint::of_this_process());
                table.print(items, Timestamp::now(), out)?;
            }
            Ok(())
        }
    }
}

fn reference(kind: &Kind, item: &Value) -> String {
    escape::clean(&kind.reference(text(item, "/metadata/name")))
}

/// A table that is continued with rows of changed objects.
struct Table {
    kind: &'static Kind,
    is_wide: bool,
    has_namespaces: bool,
    has_labels: bool,
    wants_headings: bool,
    grid: Grid,
}

impl Table {
    fn new(args: &GetArgs, kind: &'static Kind, paint: Paint) -> Self {
        Self {
            kind,
            is_wide: args.output == Output::Wide,
            has_namespaces: args.scope.all_namespaces && kind.namespaced,
            has_labels: args.show_labels,
            wants_headings: !args.no_headers,
            grid: Grid::new(paint),
        }
    }

    fn columns(&self) -> impl Iterator<Item = &'static Column> + use<> {
        let is_wide = self.is_wide;
        columns::of(self.kind).iter().filter(move |column| is_wide || !column.is_wide)
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<String> {
        let namespace = self.has_namespaces.then(|| text(object, "/metadata/namespace").to_owned());
        let labels = self.has_labels.then(|| labels(object));
        namespace.into_iter().chain(self.columns().map(|column| column.cell(object, now))).chain(labels).collect()
    }

    fn headings(&self) -> Vec<String> {
        let namespace = self.has_namespaces.then_some("NAMESPACE");
        let labels = self.has_labels.then_some("LABELS");
        let headings = namespace.into_iter().chain(self.columns().map(|column| column.heading)).chain(labels);
        headings.map(str::to_owned).collect()
    }

    fn print(&mut self, items: &[Value], now: Timestamp, out: &mut dyn Write) -> io::Result<()> {
        let headings = std::mem::take(&mut self.wants_headings).then(|| self.headings());
        let rows: Vec<_> = headings.into_iter().chain(items.iter().map(|item| self.row(item, now))).collect();
        self.grid.print(out, &rows)
    }
}

pub(super) fn labels(object: &Value) -> String {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    let labels: Vec<String> = labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    if labels.is_empty() { "-".to_owned() } else { labels.join(",") }
}

/// The list or the object, then each change.
async fn watch(server: &Connection, args: &GetArgs, targets: &[Target], out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let [Target { kind, which }] = targets else {
        return Err(Usage("--watch is for one kind, and for one object or all of them".to_owned()).into());
    };
    let kind: &'static Kind = kind;
    let mut scope = args.scope.clone();
    let namespace = match which {
        Which::Listed(namespace) => namespace.clone(),
        Which::Named(name) => {
            one(server, kind, name).await?; // a wrong name is reported
            scope.field_selector = Some(format!("metadata.name={}", name.name));
            Some(name.namespace.clone())
        }
    };
    let Listed { mut items, revision } = list(server, kind, namespace.as_deref(), &scope).await?;
    columns::sort(kind, &mut items, args.sort_by.as_deref()).map_err(Usage)?;
    let mut table = Table::new(args, kind, Paint::of_this_process());
    // Some kinds report every change of what is behind them, also where nothing that is shown has changed.
    let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let remembered = |item: &Value, table: &Table| (name_of(item).to_string(), table.row(item, Timestamp::UNIX_EPOCH));
    shown.extend(items.iter().map(|item| remembered(item, &table)));
    changed(args, kind, &mut table, &items, out)?;
    let mut watch = Watch::new(server, kind, namespace, scope, revision);
    loop {
        out.flush()?;
        let is_table = matches!(args.output, Output::Table | Output::Wide);
        match watch.next().await? {
            Seen::Is(item) => {
                let (name, row) = remembered(&item, &table);
                if shown.insert(name, row.clone()).as_ref() != Some(&row) || !is_table {
                    changed(args, kind, &mut table, &[item], out)?;
                }
            }
            Seen::Deleted(item) => {
                shown.remove(&name_of(&item).to_string());
                if is_table {
                    writeln!(io::stderr(), "{} {} deleted", kind.shown(), escape::clean(&kind.full_name(&name_of(&item))))?;
                }
            }
        }
    }
}

fn changed(args: &GetArgs, kind: &Kind, table: &mut Table, items: &[Value], out: &mut dyn Write) -> anyhow::Result<()> {
    match args.output {
        Output::Table | Output::Wide => table.print(items, Timestamp::now(), out)?,
        Output::Name => items.iter().try_for_each(|item| writeln!(out, "{}", reference(kind, item)))?,
        Output::Json => {
            for item in items {
                writeln!(out, "{}", escape::json(item, true)?)?;
            }
        }
        Output::Yaml => {
            for item in items {
                write!(out, "---\n{}", escape::yaml(item)?)?;
            }
        }
    }
    Ok(())
}
