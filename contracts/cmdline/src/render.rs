//! `Arguments` back to text: for the boot script with secrets, for the log without.

use std::fmt;

use crate::{Arguments, MAX_LEN, Note, Problem, Word};

impl Arguments {
    /// The command line, without leading or trailing space. Words no command line can carry are left out; `check`
    /// says which.
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

    /// Ours first, so that a word in `other` can still say it differently: the last one wins.
    fn words(&self) -> Vec<Word> {
        let mut words = Vec::new();
        let mut push = |name: &str, value: Option<String>| words.extend(value.map(|value| Word::new(name, value)));
        push("vlan_id", self.vlan_id.map(|id| id.to_string()));
        push("facility", self.facility.clone());
        push("syslog_host", self.syslog_host.clone());
        push("syslog_port", self.syslog_port.map(|port| port.to_string()));
        push("grpc_authority", self.grpc_authority.clone());
        push("tinkerbell_tls", self.tinkerbell_tls.map(|on| on.to_string()));
        push("tinkerbell_insecure_tls", self.tinkerbell_insecure_tls.map(|on| on.to_string()));
        push("worker_id", self.worker_id.clone());
        push("hw_addr", self.hw_addr.map(|mac| mac.to_string()));
        push("docker_registry", self.docker_registry.clone());
        push("registry_username", self.registry_username.clone());
        push("registry_password", self.registry_password.as_ref().map(|secret| secret.expose().to_owned()));
        push("insecure_registries", list(&self.insecure_registries));
        push("HTTP_PROXY", self.http_proxy.as_ref().map(|proxy| proxy.expose().to_owned()));
        push("HTTPS_PROXY", self.https_proxy.as_ref().map(|proxy| proxy.expose().to_owned()));
        push("NO_PROXY", self.no_proxy.clone());
        push("interface", list(&self.interfaces));
        push("ipam", self.ipam.as_ref().map(|ipam| ipam.to_string()));
        push("ip", self.ip.as_ref().map(|ip| ip.to_string()));
        push("vlan", self.vlan.as_ref().map(|vlan| vlan.to_string()));
        push("bond", self.bond.as_ref().map(|bond| bond.to_string()));
        push("ntp", list(&self.ntp));
        push("panic", self.panic.map(|seconds| seconds.to_string()));
        push("thimble.time", self.time.map(|time| time.to_string()));
        push("thimble.run", self.run_percent.map(|percent| percent.to_string()));
        push("rescue", self.rescue.then(|| "true".to_owned()));
        self.ssh_keys.iter().for_each(|key| push("ssh_key", Some(key.to_string())));
        push("thimble.countdown", self.countdown.map(|seconds| seconds.to_string()));
        push("thimble.on_failure", self.on_failure.map(|end| end.to_string()));
        push("thimble.embedded", self.embedded.map(|when| when.to_string()));
        words.extend(self.mirrors.iter().map(|mirror| Word::new("thimble.mirror", mirror)));
        words.extend(self.consoles.iter().map(|console| Word::new("console", console)));
        words.extend(self.other.iter().cloned());
        words
    }

    fn shown(&self, word: Word) -> String {
        let proxy = match word.name.as_str() {
            "HTTP_PROXY" => self.http_proxy.as_ref(),
            "HTTPS_PROXY" => self.https_proxy.as_ref(),
            _ => None,
        };
        proxy.map_or_else(|| word.to_string(), |proxy| format!("{}={proxy}", word.name))
    }
}

/// The command line as the log may show it.
impl fmt::Display for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&join(self.words().into_iter().map(|word| self.shown(word))))
    }
}

fn list(items: &[String]) -> Option<String> {
    (!items.is_empty()).then(|| items.join(","))
}

fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Proxy, Secret};

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
