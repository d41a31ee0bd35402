//! The boot as a list of steps, each of which is timed. A failure is a warning for `may` and fatal for `must`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use cmdline::Arguments;
use machine::{Chain, milestones};

use crate::supervise::Supervisor;
use crate::{StepError, console, fatal, services};

/// The values that steps pass to each other.
#[derive(Default)]
pub struct Boot {
    pub arguments: Arguments,
    /// Whether a MAC address may still find the machine in the table of its site.
    pub is_unplaced: bool,
    supervisor: Option<Supervisor>,
    /// When PID 1 started, counted from the start of the kernel.
    pub began: Duration,
}

impl Boot {
    pub fn new() -> Self {
        Self { began: milestones::now(), ..Self::default() }
    }

    /// The supervisor, which exists after [`take_over_signals`].
    fn supervisor(&mut self) -> Result<&mut Supervisor, StepError> {
        self.supervisor.as_mut().ok_or_else(|| "signals are not taken over yet".into())
    }
}

pub fn take_over_signals(boot: &mut Boot) -> Result<(), StepError> {
    boot.supervisor = Some(Supervisor::begin(boot.arguments.clone(), boot.is_unplaced)?);
    Ok(())
}

/// Starts the services that wait for no other one. The rest follow them.
pub fn start_services(boot: &mut Boot) -> Result<(), StepError> {
    boot.supervisor()?.start_due();
    Ok(())
}

pub fn wait_for_network(boot: &mut Boot) -> Result<(), StepError> {
    boot.supervisor()?.wait_for(services::NETWORK);
    Ok(())
}

pub fn start_agent(boot: &mut Boot) -> Result<(), StepError> {
    boot.supervisor()?.start_due();
    Ok(())
}

pub struct Step {
    name: &'static str,
    run: fn(&mut Boot) -> Result<(), StepError>,
    required: bool,
}

/// A step without which the boot cannot continue.
pub const fn must(name: &'static str, run: fn(&mut Boot) -> Result<(), StepError>) -> Step {
    Step { name, run, required: true }
}

/// A step whose failure is a warning.
pub const fn may(name: &'static str, run: fn(&mut Boot) -> Result<(), StepError>) -> Step {
    Step { name, run, required: false }
}

/// Boots, then supervises until the machine restarts. It never returns, but `main` needs the type.
pub fn run(mut boot: Boot, steps: &[Step]) -> ExitCode {
    console::open();
    fatal::catch_panics();
    log::info!("init {} started", env!("CARGO_PKG_VERSION"));
    for (index, step) in steps.iter().enumerate() {
        let started = Instant::now();
        let result = (step.run)(&mut boot);
        let line = Line { number: index + 1, of: steps.len(), name: step.name, took: started.elapsed() };
        match result {
            Ok(()) => log::info!("{}", line.done()),
            Err(error) if step.required => fatal::end(step.name, &Chain(error.as_ref()).to_string()),
            Err(error) => log::warn!("{}", line.failed(error.as_ref())),
        }
    }
    match boot.supervisor {
        Some(supervisor) => supervisor.forever(),
        None => fatal::end("boot", "the list of steps starts no supervisor"),
    }
}

struct Line {
    number: usize,
    of: usize,
    name: &'static str,
    took: Duration,
}

impl Line {
    fn done(&self) -> String {
        format!("step {}/{} {}: done in {} ms", self.number, self.of, self.name, self.took.as_millis())
    }

    fn failed(&self, error: &(dyn std::error::Error + 'static)) -> String {
        format!("step {}/{} {}: continued without it: {}", self.number, self.of, self.name, Chain(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PathError;

    #[test]
    fn step_lines_are_the_ones_the_lab_waits_for() {
        let line = Line { number: 3, of: 12, name: "load modules", took: Duration::from_micros(41_900) };
        assert_eq!(line.done(), "step 3/12 load modules: done in 41 ms");
        let error: StepError = "no such file".into();
        assert_eq!(line.failed(error.as_ref()), "step 3/12 load modules: continued without it: no such file");
    }

    #[test]
    fn a_cause_is_shown_once() {
        let error = PathError::new("cannot mount", "/proc")(std::io::Error::other("no memory"));
        assert_eq!(Chain(&error).to_string(), "cannot mount /proc: no memory");
    }
}
