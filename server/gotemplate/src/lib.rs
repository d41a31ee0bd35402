//! Go's `text/template` with the hermetic functions of sprig 3.3 and Tinkerbell's functions, for Tinkerbell's Templates.
//!
//! A template can loop, double its texts or call itself. A [`Budget`] refuses time, depth and memory before a template uses
//! them. Render on a separate thread: see [`on_a_thread`].

mod budget;
mod check;
mod exec;
mod functions;
mod hardware;
mod lex;
mod node;
mod outline;
mod parse;
mod print;
mod semver;
mod strconv;
mod time;
mod value;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use budget::{Budget, Limits};
pub use outline::Outline;
pub use value::Value;

/// Why a template cannot be parsed or rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Go's text, with the name of the template and the position.
    pub text: String,
    /// The same without name and position.
    pub message: String,
    /// Counted from 1, or 0 if the line is not known.
    pub line: usize,
    /// Counted from 1, or 0 if only the line is known.
    pub column: usize,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl std::error::Error for Fault {}

/// A parsed template.
pub struct Template {
    name: String,
    source: String,
    trees: parse::Trees,
}

impl Template {
    /// # Errors
    /// The first mistake, unknown functions and undeclared variables among them.
    pub fn parse(name: &str, source: &str, limits: &Limits) -> Result<Self, Fault> {
        let trees = parse::parse(name, source, limits.depth).map_err(|fault| *fault)?;
        Ok(Self { name: name.to_owned(), source: source.to_owned(), trees })
    }

    /// What the template would render with a mark in place of every value: once with each `if`, once with each `else`.
    #[must_use]
    pub fn outlines(&self, mark: char) -> [Outline; 2] {
        outline::outlines(&self.trees, &self.name, &self.source, mark)
    }

    /// Finds mistakes that do not depend on data: calls with a wrong number of arguments, and templates that are not
    /// defined.
    ///
    /// # Errors
    /// The first mistake.
    pub fn check(&self) -> Result<(), Fault> {
        check::check(&self.name, &self.source, &self.trees).map_err(|fault| *fault)
    }

    /// Renders the template. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// What failed and where, or the limit that was reached.
    pub fn render(&self, data: Value, budget: &Budget, now: i64) -> Result<Vec<u8>, Fault> {
        let context = functions::Context { budget, now, regexes: functions::Regexes::default() };
        let run = exec::Run { file: &self.name, source: &self.source, trees: &self.trees, context: &context };
        exec::execute(&run, data).map_err(|fault| *fault)
    }
}

/// The names of all functions, sorted.
#[must_use]
pub fn function_names() -> Vec<&'static str> {
    functions::names()
}

/// The stack size for the largest [`Limits::depth`].
const STACK: usize = 64 << 20;

/// Runs deeply recursive work on a thread with a large enough stack. The flag stops it.
///
/// # Errors
/// When the thread cannot be started, does not answer within twice the time of the limits, or panics.
pub fn on_a_thread<T: Send + 'static>(
    limits: &Limits,
    work: impl FnOnce(Arc<AtomicBool>) -> T + Send + 'static,
) -> Result<T, String> {
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let flag = Arc::clone(&stop);
    let thread = std::thread::Builder::new().name("template".to_owned()).stack_size(STACK);
    let started = thread.spawn(move || drop(sender.send(work(flag))));
    started.map_err(|error| format!("cannot start a thread for the template: {error}"))?;
    receiver.recv_timeout(limits.time * 2).map_err(|error| {
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        match error {
            std::sync::mpsc::RecvTimeoutError::Timeout => format!("the template takes longer than {:?}", limits.time),
            std::sync::mpsc::RecvTimeoutError::Disconnected => {
                "the template engine failed; please report this template".to_owned()
            }
        }
    })
}
