//! An error in one line.

use std::cell::RefCell;
use std::error::Error;
use std::fmt;

thread_local! {
    /// The causes of the chains that are written meanwhile, for `chains_in`.
    static WRITTEN: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// An error and its causes, each once: `cannot ask the server: connection refused`.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let next = error.to_string();
            if !text.ends_with(&next) {
                text = format!("{text}: {next}");
            }
            cause = error.source();
        }
        if WRITTEN.with_borrow(Option::is_some) {
            let mut errors = Vec::new();
            let mut next = Some(self.0);
            while let Some(error) = next {
                errors.push(error.to_string());
                next = error.source();
            }
            WRITTEN.with_borrow_mut(|written| written.get_or_insert_default().extend(errors));
        }
        f.write_str(&text)
    }
}

/// Runs `write`, and returns what it returns and every error of the chains that it wrote, the outermost first.
pub fn chains_in<T>(write: impl FnOnce() -> T) -> (T, Vec<String>) {
    WRITTEN.with_borrow_mut(|written| *written = Some(Vec::new()));
    let done = write();
    (done, WRITTEN.with_borrow_mut(Option::take).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot start")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("cannot execute /bin/x: no such program")]
    struct Middle(#[source] std::io::Error);

    #[test]
    fn a_chain_names_every_cause_once() {
        let error = Outer(Middle(std::io::Error::other("no such program")));
        assert_eq!(Chain(&error).to_string(), "cannot start: cannot execute /bin/x: no such program");
    }

    #[test]
    fn a_log_gets_the_errors_of_a_line_one_by_one() {
        let error = Outer(Middle(std::io::Error::other("no such program")));
        let (line, errors) = chains_in(|| format!("mac=x {}", Chain(&error)));
        assert_eq!(line, "mac=x cannot start: cannot execute /bin/x: no such program");
        assert_eq!(errors, ["cannot start", "cannot execute /bin/x: no such program", "no such program"]);
        assert!(chains_in(|| ()).1.is_empty() && chains_in(|| Chain(&error).to_string()).1.len() == 3);
    }
}
