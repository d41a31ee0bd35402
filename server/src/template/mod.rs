//! Template + Hardware + the workflow's `hardwareMap` -> the tasks of a workflow. Pure: the same input gives the same text.

mod blocks;
mod data;
mod functions;
mod lines;

use std::fmt;

use gotmpl::{MissingKey, TemplateError, Value};
use model::{Document, Hardware, Mistake, Template, Workflow};

use lines::LineWriter;

/// Tinkerbell's limit of a rendered template.
const MAX_OUTPUT: usize = 256 << 10;
/// No real template loops this often; one that does would hold the server's processor.
const MAX_LOOPS: u64 = 100_000;

/// Renders the workflow's document.
///
/// # Errors
/// What is wrong in the template (with its line) or in the rendered text (every mistake).
pub fn render(template: &Template, workflow: &Workflow, hardware: Option<&Hardware>) -> Result<Document, Vec<Mistake>> {
    let file = format!("template {}", template.metadata.name);
    let data = data::build(&workflow.spec.hardware_map, hardware);
    let text = execute(&file, &template.spec.data, &data).map_err(|mistake| vec![mistake])?;
    Document::parse(&text, &format!("{file} as rendered for workflow {}", workflow.metadata.name)).map_err(|mut mistakes| {
        for mistake in mistakes.iter_mut().filter(|mistake| mistake.hint.is_none()) {
            mistake.hint = shown(&text, mistake.line);
        }
        mistakes
    })
}

/// Checks a template as far as that is possible without data.
///
/// # Errors
/// The first mistake of its syntax.
pub fn check_syntax(template: &Template) -> Result<(), Mistake> {
    let file = format!("template {}", template.metadata.name);
    prepared(&template.spec.data).map(drop).map_err(|error| mistake(&file, error, 0, &Value::Nil))
}

/// The line of a mistake, because a person does not have the rendered text at hand.
fn shown(text: &str, line: usize) -> Option<String> {
    let line = text.lines().nth(line.checked_sub(1)?)?.trim();
    (!line.is_empty()).then(|| format!("the line reads: {}", line.chars().take(120).collect::<String>()))
}

const MAIN: &str = "main";

fn prepared(source: &str) -> Result<gotmpl::Template, TemplateError> {
    let parsed = gotmpl::Template::new(MAIN).parse(source)?;
    blocks::check(source).map_err(|blocks::Unpaired { line, message }| TemplateError::Parse {
        name: None,
        line,
        col: 1,
        message,
    })?;
    let marked = gotmpl::Template::new(MAIN).missing_key(MissingKey::Error).max_range_iters(MAX_LOOPS).funcs(functions::all());
    let mut names = parsed.templates();
    names.push(MAIN);
    Ok(names.into_iter().fold(marked, |marked, name| match parsed.lookup(name) {
        Some(tree) => marked.add_parse_tree(name, lines::marked(tree.clone())),
        None => marked,
    }))
}

fn execute(file: &str, source: &str, data: &Value) -> Result<String, Mistake> {
    let template = prepared(source).map_err(|error| mistake(file, error, 0, data))?;
    let mut out = LineWriter::new(MAX_OUTPUT);
    let done = template.execute_template_fmt(&mut out, MAIN, data);
    if out.full {
        return Err(plain(file, out.line, format!("renders to more than {MAX_OUTPUT} bytes")));
    }
    done.map_err(|error| mistake(file, error, out.line, data))?;
    Ok(out.text)
}

fn plain(file: &str, line: usize, message: impl fmt::Display) -> Mistake {
    let column = usize::from(line > 0);
    Mistake { file: file.to_owned(), line, column, path: String::new(), message: message.to_string(), hint: None }
}

fn mistake(file: &str, error: TemplateError, line: usize, data: &Value) -> Mistake {
    match error {
        TemplateError::Parse { line, col, message, .. } | TemplateError::Lex { line, col, message, .. } => {
            Mistake { column: col, ..plain(file, line, message) }
        }
        TemplateError::MissingKey { key } => {
            let mut mistake = plain(file, line, format!("there is no value for {key:?}"));
            mistake.hint = Some(match data {
                Value::Map(keys) if !keys.is_empty() => {
                    let known = keys.keys().map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
                    format!("the workflow's hardwareMap gives top level values; known at top level: {known}")
                }
                _ => "the workflow's hardwareMap gives top level values".to_owned(),
            });
            mistake
        }
        TemplateError::UndefinedFunction(name) => {
            let mut mistake = plain(file, line, format!("the function {name:?} is not known"));
            mistake.hint =
                Some("functions that ask for time, random numbers, environment or network are left out on purpose".to_owned());
            mistake
        }
        TemplateError::RangeIterLimit => plain(file, line, format!("loops more than {MAX_LOOPS} times")),
        TemplateError::Exec(message) => plain(file, line, message),
        other => plain(file, line, other),
    }
}

#[cfg(test)]
mod tests;
