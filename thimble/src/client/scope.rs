//! Which objects a command means: kinds, names, namespaces and selectors.

use std::fmt;

use clap::Args;
use model::ObjectName;

use super::resources::{ALL, KINDS, Kind, encoded};

/// A command line that means nothing. The exit code is 2, as for an unknown flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Where names without a namespace are, and what a list is limited to.
#[derive(Args, Debug, Clone, Default)]
pub struct Scope {
    /// Namespace of names that have none, and of lists. The default is that of the kubeconfig, or `default`
    #[arg(short, long, value_name = "NAMESPACE", conflicts_with = "all_namespaces")]
    pub namespace: Option<String>,
    /// Lists of all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Only objects with these labels, as in `rack=7,disk!=old,zone in (a,b)`
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub selector: Option<String>,
    /// Only objects with these fields, as in `metadata.name!=node-1`
    #[arg(long, value_name = "FIELDS")]
    pub field_selector: Option<String>,
}

/// Objects of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub kind: &'static Kind,
    pub which: Which,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    Named(ObjectName),
    /// Of a namespace, or of all.
    Listed(Option<String>),
}

impl Scope {
    pub fn is_selective(&self) -> bool {
        self.selector.is_some() || self.field_selector.is_some()
    }

    /// The namespace of names that have none.
    pub fn home<'s>(&'s self, of_login: Option<&'s str>) -> &'s str {
        self.namespace.as_deref().or(of_login).unwrap_or("default")
    }

    /// The namespace of a list.
    pub fn listed(&self, of_login: Option<&str>) -> Option<String> {
        (!self.all_namespaces).then(|| self.home(of_login).to_owned())
    }

    /// NAME or NAMESPACE/NAME.
    pub fn name(&self, word: &str, of_login: Option<&str>) -> Result<ObjectName, Usage> {
        let (namespace, name) = word.split_once('/').unwrap_or((self.home(of_login), word));
        if name.is_empty() || namespace.is_empty() || name.contains('/') {
            return Err(Usage(format!("{word:?} is neither NAME nor NAMESPACE/NAME")));
        }
        Ok(ObjectName::new(namespace, name))
    }

    /// What follows the path of a list, from its question mark on.
    pub fn query(&self, more: &[(&str, &str)]) -> String {
        let own = [("labelSelector", self.selector.as_deref()), ("fieldSelector", self.field_selector.as_deref())];
        let own = own.into_iter().filter_map(|(key, value)| Some((key, value?)));
        let pairs: Vec<String> =
            own.chain(more.iter().copied()).map(|(key, value)| format!("{key}={}", encoded(value))).collect();
        if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
    }

    /// What the words of a command mean: KIND[,KIND] [NAME...], or KIND/NAME...
    ///
    /// # Errors
    /// If they mean nothing.
    pub fn targets(&self, words: &[String], of_login: Option<&str>) -> Result<Vec<Target>, Usage> {
        let Some((first, names)) = words.split_first() else {
            return Err(Usage(format!("say what to look for: KIND, KIND NAME or KIND/NAME. {}", known())));
        };
        let is_named = |word: &str| word.split_once('/').is_some_and(|(kind, _)| Kind::named(kind).is_some());
        let named = if is_named(first) {
            let target = |word: &String| {
                let (kind, name) = word.split_once('/').ok_or_else(|| Usage(format!("{word:?} is not KIND/NAME")))?;
                Ok(Target { kind: found(kind)?, which: Which::Named(self.name(name, of_login)?) })
            };
            words.iter().map(target).collect::<Result<Vec<_>, Usage>>()?
        } else {
            let kinds = if first == "all" { ALL.iter().map(|word| found(word)).collect() } else { kinds(first) };
            let kinds: Vec<&'static Kind> = kinds?;
            if names.is_empty() {
                let listed = |kind| Target { kind, which: Which::Listed(self.listed(of_login)) };
                return Ok(kinds.into_iter().map(listed).collect());
            }
            let names: Vec<ObjectName> = names.iter().map(|word| self.name(word, of_login)).collect::<Result<_, Usage>>()?;
            let of = |kind| names.iter().map(move |name| Target { kind, which: Which::Named(name.clone()) });
            kinds.into_iter().flat_map(of).collect()
        };
        match (self.is_selective(), self.all_namespaces) {
            (true, _) => Err(Usage("names and a selector exclude each other".to_owned())),
            (_, true) => Err(Usage("a name is in one namespace; leave out -A, or the name".to_owned())),
            _ => Ok(named),
        }
    }
}

fn kinds(words: &str) -> Result<Vec<&'static Kind>, Usage> {
    words.split(',').map(found).collect()
}

fn found(word: &str) -> Result<&'static Kind, Usage> {
    Kind::named(word).ok_or_else(|| Usage(format!("{word:?} is not a kind of objects. {}", known())))
}

fn known() -> String {
    format!("There are {}", KINDS.iter().map(|kind| kind.plural).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn words_mean_objects_as_they_do_for_kubectl() {
        let scope = |namespace: &str, all_namespaces| Scope {
            namespace: Some(namespace.to_owned()).filter(|text| !text.is_empty()),
            all_namespaces,
            ..Scope::default()
        };
        for (case, scope, text, expected) in [
            ("a kind", scope("", false), "hw", &["Hardware in default"][..]),
            ("a namespace", scope("lab", false), "hardware", &["Hardware in lab"]),
            ("all namespaces", scope("", true), "wf", &["Workflow everywhere"]),
            ("kinds", scope("lab", true), "hw,tpl", &["Hardware everywhere", "Template everywhere"]),
            ("names", scope("lab", false), "hw a other/b", &["Hardware lab/a", "Hardware other/b"]),
            ("references", scope("", false), "hw/a workflow.tinkerbell.org/b", &["Hardware default/a", "Workflow default/b"]),
            ("a reference with a namespace", scope("", false), "hw/lab/a", &["Hardware lab/a"]),
            ("kinds and a name", scope("", false), "hw,ms a", &["Hardware default/a", "MachineState default/a"]),
        ] {
            let found = scope.targets(&words(text), None).unwrap();
            let shown: Vec<String> = found
                .iter()
                .map(|target| match &target.which {
                    Which::Named(name) => format!("{} {name}", target.kind.shown()),
                    Which::Listed(Some(namespace)) => format!("{} in {namespace}", target.kind.shown()),
                    Which::Listed(None) => format!("{} everywhere", target.kind.shown()),
                })
                .collect();
            assert_eq!(shown, expected, "{case}");
        }
        assert_eq!(Scope::default().targets(&words("all"), None).unwrap().len(), ALL.len());
        let of_login = Scope::default().targets(&words("hw"), Some("rack-7")).unwrap();
        assert_eq!(of_login[0].which, Which::Listed(Some("rack-7".to_owned())));
    }

    #[test]
    fn words_without_a_meaning_are_refused() {
        let selective = Scope { selector: Some("a=b".to_owned()), ..Scope::default() };
        let everywhere = Scope { all_namespaces: true, ..Scope::default() };
        let plain = Scope::default();
        for (scope, text, expected) in [
            (&plain, "", "say what to look for"),
            (&plain, "pods", "\"pods\" is not a kind of objects. There are namespaces, configmaps"),
            (&plain, "hw,pods", "\"pods\" is not a kind"),
            (&plain, "hw/a b", "\"b\" is not KIND/NAME"),
            (&plain, "hw a/b/c", "neither NAME nor NAMESPACE/NAME"),
            (&plain, "hw a/", "neither NAME nor NAMESPACE/NAME"),
            (&selective, "hw a", "exclude each other"),
            (&everywhere, "hw/a", "is in one namespace"),
        ] {
            let refused = scope.targets(&words(text), None).unwrap_err().to_string();
            assert!(refused.contains(expected), "{text}: {refused}");
        }
    }

    #[test]
    fn a_selector_cannot_change_the_rest_of_a_query() {
        let scope = Scope { selector: Some("a in (b,c)&x=1".to_owned()), ..Scope::default() };
        assert_eq!(scope.query(&[("limit", "500")]), "?labelSelector=a%20in%20%28b%2Cc%29%26x%3D1&limit=500");
        assert_eq!(Scope::default().query(&[]), "");
    }
}
