//! Renders the values of a document: each text with `{{ }}` in it is a template, and everything else stays unchanged.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use gotemplate::{Budget, Fault, Limits, Template};
use model::Mistake;
use model::v1alpha2::{Places, is_template};
use serde_json::Value;

/// The most bytes of all values that one Workflow renders to.
pub const MAX_OUTPUT: usize = 1 << 20;
/// The most mistakes of one object that are shown.
const MAX_MISTAKES: usize = 20;

/// A mistake in a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The path of the value, such as `spec.actions[0].if`.
    pub path: String,
    pub fault: Fault,
}

impl Wrong {
    pub fn at(path: impl Into<String>, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { path: path.into(), fault: Fault { text: message.clone(), message, line: 0, column: 0 } }
    }

    /// The mistake with its position in the file, if that is known. Otherwise `object` names the object.
    pub fn mistake(&self, object: &str, places: &Places) -> Mistake {
        let Fault { message, line, .. } = &self.fault;
        let (file, line, column) = match places.place(&self.path) {
            Some((file, first, _)) if *line > 1 => (file, first + line - 1, 1),
            Some(place) => place,
            None => (object, 0, 0),
        };
        Mistake { file: file.to_owned(), line, column, path: self.path.clone(), message: message.clone(), hint: None }
    }
}

/// The rest of the budget for one rendering of values.
pub struct Rest {
    stop: Arc<AtomicBool>,
    deadline: Instant,
    output: usize,
    /// The time in seconds since 1970.
    now: i64,
}

impl Rest {
    pub fn new(stop: Arc<AtomicBool>, now: i64) -> Self {
        Self { stop, deadline: Instant::now() + Limits::default().time, output: MAX_OUTPUT, now }
    }

    /// Renders every template below `part`, whose path is `path`, with this data.
    ///
    /// # Errors
    /// The first template that fails.
    pub fn render(&mut self, part: &mut Value, path: &str, data: &Value) -> Result<(), Wrong> {
        if !has_templates(part) {
            return Ok(());
        }
        let time = self.deadline.saturating_duration_since(Instant::now());
        let limits = Limits { time, ..Limits::default() };
        let budget = Budget::new(limits, Arc::clone(&self.stop));
        let data = budget.json(data).map_err(|message| Wrong::at(path, message))?;
        self.each(part, path, &mut |rest, path, text| {
            let wrong = |fault| Wrong { path: path.to_owned(), fault };
            let template = Template::parse(path, text, &limits).map_err(wrong)?;
            let rendered = template.render(data.clone(), &budget, rest.now).map_err(wrong)?;
            rest.output = rest
                .output
                .checked_sub(rendered.len())
                .ok_or_else(|| Wrong::at(path, format!("the values render to more than {MAX_OUTPUT} bytes")))?;
            String::from_utf8(rendered).map_err(|_| Wrong::at(path, "renders to text that is not UTF-8"))
        })
    }

    fn each(
        &mut self,
        part: &mut Value,
        path: &str,
        render: &mut dyn FnMut(&mut Self, &str, &str) -> Result<String, Wrong>,
    ) -> Result<(), Wrong> {
        match part {
            Value::String(text) if is_template(text) => *text = render(self, path, text)?,
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.each(item, &format!("{path}[{index}]"), render)?;
                }
            }
            Value::Object(entries) => {
                for (key, value) in entries.iter_mut() {
                    self.each(value, &format!("{path}.{key}"), render)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

pub fn has_templates(part: &Value) -> bool {
    match part {
        Value::String(text) => is_template(text),
        Value::Array(items) => items.iter().any(has_templates),
        Value::Object(entries) => entries.values().any(has_templates),
        _ => false,
    }
}

/// Finds mistakes in the templates of an object that do not depend on data: syntax, unknown functions and variables.
///
/// # Errors
/// The mistakes. If there are many, only the first ones.
pub fn check(spec: Value) -> Result<(), Vec<Wrong>> {
    if !has_templates(&spec) {
        return Ok(());
    }
    let limits = Limits::default();
    let checked = gotemplate::on_a_thread(&limits, move |stop| {
        let (mut rest, mut spec, mut found) = (Rest::new(stop, 0), spec, Vec::new());
        let walked = rest.each(&mut spec, "spec", &mut |_, path, text| {
            let checked = Template::parse(path, text, &limits).and_then(|template| template.check());
            if let Err(fault) = checked {
                found.push(Wrong { path: path.to_owned(), fault });
            }
            if found.len() < MAX_MISTAKES { Ok(String::new()) } else { Err(Wrong::at(path, "")) }
        });
        drop(walked); // an error only ends the walk
        found
    });
    match checked {
        Ok(found) if found.is_empty() => Ok(()),
        Ok(found) => Err(found),
        Err(message) => Err(vec![Wrong::at("spec", message)]),
    }
}
