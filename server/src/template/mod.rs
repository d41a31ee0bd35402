//! Template + Hardware + the workflow's `hardwareMap` -> the tasks of a workflow. Pure: the same input gives the same text.

mod costly;
mod data;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gotemplate::{Budget, Fault, Limits, Outline};
use jiff::Timestamp;
use model::{Document, Hardware, Ignored, Mistake, Template, Workflow};

use crate::references::References;
use data::Data;
pub(crate) use data::hardware_data;

/// Tinkerbell's name for every template. Go's error texts show it.
const NAME: &str = "workflow-template";

/// Renders the workflow's document.
///
/// # Errors
/// The mistake in the template with its line, or every mistake in the rendered text.
pub fn render(template: &Template, workflow: &Workflow, hardware: Option<&Hardware>) -> Result<Document, Vec<Mistake>> {
    render_with(template, workflow, hardware, References::default()).map_err(|mistakes| located(template, mistakes))
}

/// The same with what the Hardware refers to. Mistakes name the line of the template, not that of its file.
pub(crate) fn render_with(
    template: &Template,
    workflow: &Workflow,
    hardware: Option<&Hardware>,
    references: References,
) -> Result<Document, Vec<Mistake>> {
    let data = Data::new(&workflow.spec.hardware_map, hardware, references);
    let text = execute(&template.spec.data, &data, Limits::default()).map_err(|fault| vec![mistake(template, fault, &data)])?;
    let file = format!("template {} as rendered for workflow {}", template.metadata.name, workflow.metadata.name);
    Document::parse(&text, &file).map_err(|mut mistakes| {
        for mistake in mistakes.iter_mut().filter(|mistake| mistake.hint.is_none()) {
            mistake.hint = shown(&text, mistake.line);
        }
        mistakes
    })
}

/// Checks a template as far as possible without data.
///
/// # Errors
/// The first mistake of its syntax, or all mistakes of its outline: unknown keys, and texts that are not names of images.
pub fn check(template: &Template) -> Result<(), Vec<Mistake>> {
    let refused = |fault| located(template, vec![mistake(template, fault, &Data::default())]);
    let outlines = outlines(template).map_err(refused)?;
    let found = in_outlines(template, &outlines, |text| Document::outline(text, UNKNOWN, ""));
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// What Tinkerbell would silently ignore in a template. Nothing if the template cannot be read.
#[must_use]
pub fn ignored(template: &Template) -> Vec<Ignored> {
    let Ok(outlines) = outlines(template) else { return Vec::new() };
    in_outlines(template, &outlines, model::ignored_keys)
}

fn outlines(template: &Template) -> Result<[Outline; 2], Fault> {
    let (source, limits) = (template.spec.data.clone(), Limits::default());
    let parsed = gotemplate::on_a_thread(&limits, move |_| {
        let template = gotemplate::Template::parse(NAME, &source, &limits)?;
        template.check().map(|()| template.outlines(UNKNOWN))
    });
    parsed.unwrap_or_else(|message| Err(plain(message)))
}

/// What is said of any of the outlines, with the places of the template.
fn in_outlines(template: &Template, outlines: &[Outline], judge: impl Fn(&str) -> Vec<Mistake>) -> Vec<Mistake> {
    let mut found: Vec<Mistake> = Vec::new();
    for outline in outlines {
        for mut mistake in judge(&outline.text) {
            if found.len() >= MOST_MISTAKES {
                return located(template, found);
            }
            // In an outline the columns are others.
            let line = outline.lines.get(mistake.line.saturating_sub(1)).copied().unwrap_or(0);
            let path = std::mem::take(&mut mistake.path);
            mistake.message = if path.is_empty() { mistake.message } else { format!("{path}: {}", mistake.message) };
            put(&mut mistake, template, line, 1);
            if !found.contains(&mistake) {
                found.push(mistake);
            }
        }
    }
    located(template, found)
}

/// A person mends the first of them anyway, and each is compared with all others.
const MOST_MISTAKES: usize = 100;

/// Stands for every value in an outline.
const UNKNOWN: char = '⁇';

/// The line of a mistake, because the operator does not have the rendered text at hand.
fn shown(text: &str, line: usize) -> Option<String> {
    let line = text.lines().nth(line.checked_sub(1)?)?.trim();
    (!line.is_empty()).then(|| format!("the line reads: {}", line.chars().take(120).collect::<String>()))
}

/// A fault without a line.
fn plain(message: String) -> Fault {
    Fault { text: format!("template: {NAME}: {message}"), message, line: 0, column: 0 }
}

fn execute(source: &str, data: &Data, limits: Limits) -> Result<String, Fault> {
    if let Some(fault) = costly::recent(source) {
        return Err(fault);
    }
    let (source, data, now) = (source.to_owned(), data.clone(), Timestamp::now().as_second());
    let rendered = gotemplate::on_a_thread(&limits, move |stop| rendered(&source, &data, limits, stop, now));
    rendered.unwrap_or_else(|message| Err(plain(message)))
}

fn rendered(source: &str, data: &Data, limits: Limits, stop: Arc<AtomicBool>, now: i64) -> Result<String, Fault> {
    let template = gotemplate::Template::parse(NAME, source, &limits)?;
    let budget = Budget::new(limits, stop);
    let data = budget.data_with(&data.map, data.hardware.as_ref(), &data.references.data()).map_err(plain)?;
    let text = template.render(data, &budget, now);
    if let Err(fault) = &text
        && budget.is_spent()
    {
        costly::remember(source, fault);
    }
    let text = text?;
    String::from_utf8(text)
        .map_err(|error| plain(format!("renders to text that is not UTF-8, from byte {}", error.utf8_error().valid_up_to())))
}

fn title(template: &Template) -> String {
    format!("template {}", template.metadata.name)
}

/// Puts a mistake at a place of the template.
fn put(mistake: &mut Mistake, template: &Template, line: usize, column: usize) {
    let column = if line > 0 { column.max(1) } else { 0 };
    (mistake.file, mistake.line, mistake.column) = (title(template), line, column);
}

/// Mistakes in a template that was read from a file just now: they name the file and its line.
pub(crate) fn located(template: &Template, mut mistakes: Vec<Mistake>) -> Vec<Mistake> {
    let title = title(template);
    for mistake in mistakes.iter_mut().filter(|mistake| mistake.file == title) {
        if let Some((file, line, column)) = template.spec.written.place(mistake.line, mistake.column) {
            (mistake.file, mistake.line, mistake.column) = (file.to_owned(), line, column);
            mistake.path = "spec.data".to_owned();
        }
    }
    mistakes
}

fn mistake(template: &Template, fault: Fault, data: &Data) -> Mistake {
    let Fault { message, line, column, .. } = fault;
    let hint = hint(&message, data);
    let mut mistake = Mistake { file: String::new(), line: 0, column: 0, path: String::new(), message, hint };
    put(&mut mistake, template, line, column);
    mistake
}

fn hint(message: &str, data: &Data) -> Option<String> {
    if message.contains("map has no entry for key ") {
        if let Some(reason) = data.references.hint(message) {
            return Some(reason);
        }
        let known = data.map.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        return Some(match known.as_str() {
            "" => "the workflow's hardwareMap gives top level values".to_owned(),
            known => format!("the workflow's hardwareMap gives top level values; it has {known}"),
        });
    }
    let (_, function) = message.split_once("function \"")?;
    let (function, _) = function.split_once("\" not defined")?;
    const REMOVED: [&str; 17] = [
        "date",
        "date_in_zone",
        "dateInZone",
        "date_modify",
        "dateModify",
        "now",
        "htmlDate",
        "htmlDateInZone",
        "randAlphaNum",
        "randAlpha",
        "randAscii",
        "randNumeric",
        "randBytes",
        "uuidv4",
        "env",
        "expandenv",
        "getHostByName",
    ];
    REMOVED.contains(&function).then(|| "Tinkerbell has removed it: its result changes from one rendering to the next".to_owned())
}

#[cfg(test)]
mod tests;
