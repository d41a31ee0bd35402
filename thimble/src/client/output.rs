//! The forms of what commands print, and the results of commands that change things.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::anyhow;
use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use super::escape::{clean, json, yaml};

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Table,
    /// With more columns
    Wide,
    Json,
    Yaml,
    /// KIND/NAME, one a line
    Name,
}

/// Of what is not a list of objects: lines, events, results.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    #[value(alias = "table")]
    Text,
    Json,
    Yaml,
}

/// Prints an answer as the server sent it.
pub fn print_value(value: &Value, as_yaml: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if as_yaml {
        write!(out, "{}", yaml(value)?)?
    } else {
        writeln!(out, "{}", json(value, false)?)?
    }
    Ok(())
}

/// What a command did to one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Done {
    /// KIND/NAME as `-o name` prints it.
    #[serde(skip)]
    pub reference: String,
    pub kind: String,
    /// With its namespace.
    pub name: String,
    /// One word: `created`, `deleted`, `paused`.
    pub change: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Refused {
    kind: String,
    name: String,
    error: String,
}

#[derive(Serialize)]
struct Report<'r> {
    done: &'r [Done],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    refused: &'r [Refused],
}

/// The results of one command.
pub struct Results<'o> {
    output: Output,
    out: &'o mut dyn Write,
    done: Vec<Done>,
    refused: Vec<Refused>,
}

impl<'o> Results<'o> {
    pub fn new(output: Output, out: &'o mut dyn Write) -> Self {
        Self { output, out, done: Vec::new(), refused: Vec::new() }
    }

    /// Prints a result at once, unless it is a part of one JSON or YAML text. `line` is for people.
    pub fn done(&mut self, done: Done, line: &str) -> io::Result<()> {
        match self.output {
            Output::Table | Output::Wide => writeln!(self.out, "{}", clean(line))?,
            Output::Name => writeln!(self.out, "{}", clean(&done.reference))?,
            Output::Json | Output::Yaml => {}
        }
        self.done.push(done);
        Ok(())
    }

    /// Notes what was not done. The command goes on with the others.
    pub fn refused(&mut self, kind: &str, name: &str, error: &anyhow::Error) -> io::Result<()> {
        let refused = Refused { kind: kind.to_owned(), name: name.to_owned(), error: format!("{error:#}") };
        if !matches!(self.output, Output::Json | Output::Yaml) {
            self.out.flush()?;
            let begins = refused.error.starts_with(&format!("{kind} {name}"));
            let line = if begins { refused.error.clone() } else { format!("{kind} {name}: {}", refused.error) };
            writeln!(io::stderr(), "{}", clean(&line))?;
        }
        self.refused.push(refused);
        Ok(())
    }

    /// The exit code. A refusal that was the only result is an error.
    pub fn end(self) -> anyhow::Result<ExitCode> {
        if matches!(self.output, Output::Json | Output::Yaml) {
            let report = serde_json::to_value(Report { done: &self.done, refused: &self.refused })?;
            print_value(&report, self.output == Output::Yaml, self.out)?;
        }
        match self.refused.len() {
            0 => Ok(ExitCode::SUCCESS),
            _ if matches!(self.output, Output::Json | Output::Yaml) => Ok(ExitCode::FAILURE),
            count => Err(anyhow!("{count} of {} were refused", count + self.done.len())),
        }
    }
}
