//! `Arguments` back to text: with secrets for the boot script, and without them for the log.

use std::fmt;

use crate::{ARGUMENTS, Arguments, MAX_LEN, Note, Problem, Proxy, Word};

impl Arguments {
    /// The command line, without leading or trailing space. Leaves out words that no command line can carry; `check`
    /// lists them.
    pub fn render(&self) -> String {
        join(self.words().iter().filter(|word| word.is_renderable()).map(Word::render))
    }

    /// What `render` leaves out, and whether the kernel would cut the line.
    pub fn check(&self) -> Vec<Note> {
        let unfit = |word: Word| Note {
            value: (!word.is_secret()).then_some(word.value).flatten(),
            argument: word.name,
            problem: Problem::NotRenderable,
        };
        let mut notes: Vec<Note> = self.words().into_iter().filter(|word| !word.is_renderable()).map(unfit).collect();
        let length = self.render().len();
        if length > MAX_LEN {
            notes.push(Note { argument: "(all)".to_owned(), value: None, problem: Problem::TooLong(length) });
        }
        notes
    }

    /// The arguments of the table first, so that a word in `other` can still override one: the last word wins.
    fn words(&self) -> Vec<Word> {
        let known = ARGUMENTS
            .iter()
            .flat_map(|argument| (argument.field.get)(self).into_iter().map(|value| Word::new(argument.name, value)));
        known.chain(self.other.iter().cloned()).collect()
    }
}

/// A proxy shows its URL without credentials.
fn shown(word: Word) -> String {
    match (word.name.as_str(), word.value) {
        (name @ ("HTTP_PROXY" | "HTTPS_PROXY"), Some(url)) => format!("{name}={}", Proxy::new(url)),
        (name, value) => Word { name: name.to_owned(), value }.to_string(),
    }
}

/// The command line as the log may show it.
impl fmt::Display for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&join(self.words().into_iter().map(shown)))
    }
}

fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    #[test]
    fn secrets_are_rendered_but_never_shown() {
        let arguments = Arguments {
            registry_password: Some(Secret::new("hunter2")),
            http_proxy: Some(Proxy::new("http://joe:hunter2@proxy")),
            other: vec![Word::new("join_token", "hunter2")],
            ..Arguments::default()
        };
        assert_eq!(arguments.render().matches("hunter2").count(), 3);
        assert_eq!(arguments.to_string(), "registry_password=*** HTTP_PROXY=http://***@proxy join_token=***");
        assert!(!format!("{arguments:?}").contains("hunter2"));
    }

    #[test]
    fn what_a_command_line_cannot_carry_is_left_out_and_named() {
        let arguments = Arguments {
            worker_id: Some("a\" init=/bin/sh \"".to_owned()),
            facility: Some("line\nfeed".to_owned()),
            docker_registry: Some("with space".to_owned()),
            ..Arguments::default()
        };
        assert_eq!(arguments.render(), "docker_registry=\"with space\"");
        let left_out: Vec<String> = arguments.check().into_iter().map(|note| note.argument).collect();
        assert_eq!(left_out, ["facility", "worker_id"]);
    }

    #[test]
    fn a_proxy_that_cannot_be_carried_is_named_without_its_password() {
        let arguments = Arguments { https_proxy: Some(Proxy::new("http://joe:hunter\"2@proxy")), ..Arguments::default() };
        let notes: Vec<String> = arguments.check().iter().map(ToString::to_string).collect();
        assert_eq!(notes, ["argument HTTPS_PROXY: a kernel command line cannot carry quotes or control characters"]);
    }

    #[test]
    fn a_line_the_kernel_would_cut_is_noticed() {
        let arguments = Arguments { facility: Some("x".repeat(MAX_LEN)), ..Arguments::default() };
        assert_eq!(arguments.check().len(), 1);
        assert_eq!(Arguments::default().check(), []);
    }

    #[test]
    fn extra_words_come_last_and_so_win() {
        let arguments =
            Arguments { worker_id: Some("a".to_owned()), other: vec![Word::new("worker_id", "b")], ..Arguments::default() };
        assert_eq!(Arguments::parse(&arguments.render()).arguments.worker_id.as_deref(), Some("b"));
    }
}
