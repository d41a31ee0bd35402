//! `.references`: objects that Hardware, a Task or a Workflow names for its templates. A Policy must allow it to read each
//! of them. Without a rule that allows it, reading is denied, and a rule that denies always wins. Pure.

use std::collections::BTreeMap;

use model::v1alpha2::{self, Policy, ReferenceAccess, RuleLists};
use model::{API_VERSION, Kind, Metadata, Mistake, ObjectName, Reference};
use pattern::Pattern;
use serde_json::{Map, Value, json};

/// The objects that templates see, and why they do not see the rest.
#[derive(Debug, Clone, Default)]
pub struct References {
    found: Map<String, Value>,
    missing: BTreeMap<String, String>,
}

impl References {
    #[must_use]
    pub fn data(&self) -> Value {
        Value::Object(self.found.clone())
    }

    /// Why a template did not find a key, if the key is a reference.
    #[must_use]
    pub fn hint(&self, message: &str) -> Option<String> {
        let (_, key) = message.split_once("map has no entry for key ")?;
        let (_, reason) = self.missing.iter().find(|(name, _)| key == format!("{name:?}"))?;
        Some(reason.clone())
    }
}

/// The object that refers.
#[derive(Debug, Clone, Copy)]
pub struct Source<'s> {
    pub kind: Kind,
    pub metadata: &'s Metadata,
}

impl Source<'_> {
    fn rules<'p>(&self, access: &'p ReferenceAccess) -> &'p RuleLists {
        match self.kind {
            Kind::Task => &access.task,
            Kind::WorkflowV1alpha2 => &access.workflow,
            _ => &access.hardware,
        }
    }

    /// The event that the rules of all Policies are matched against.
    fn event(&self, reference: &Reference, to: &ObjectName) -> Value {
        let labels = self.metadata.labels.iter().flat_map(|(key, value)| [key.clone(), format!("{key}={value}")]);
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        json!({
            "source": {
                "name": self.metadata.name,
                "namespace": self.metadata.namespace,
                "labels": labels.collect::<Vec<_>>(),
            },
            "reference": {
                "name": to.name,
                "namespace": to.namespace,
                "group": text(&reference.group),
                "version": text(&reference.version),
                "resource": text(&reference.resource),
            },
        })
    }
}

/// Looks up the objects that the source may read. `find` returns an object.
pub fn resolve<'p>(
    source: Source<'_>,
    references: &BTreeMap<String, Reference>,
    policies: impl Iterator<Item = &'p Policy> + Clone,
    find: impl Fn(Kind, &ObjectName) -> Option<Value>,
) -> References {
    let mut resolved = References::default();
    for (name, reference) in references {
        let to = reference.object_name(&source.metadata.namespace);
        let event = source.event(reference, &to);
        let found = allowed(source, policies.clone(), &event).and_then(|()| {
            let kind = kind(reference)?;
            find(kind, &to).ok_or_else(|| format!("it names {kind} {to}, which does not exist"))
        });
        match found {
            Ok(object) => drop(resolved.found.insert(name.clone(), object)),
            Err(reason) => drop(resolved.missing.insert(name.clone(), format!("the reference {name} has no data: {reason}"))),
        }
    }
    resolved
}

fn allowed<'p>(source: Source<'_>, policies: impl Iterator<Item = &'p Policy>, event: &Value) -> Result<(), String> {
    // A rule that cannot be read allows nothing and denies everything.
    let matches = |rules: &[v1alpha2::AccessRule], unreadable: bool| {
        let pattern = |rule| Pattern::parse(&serde_json::to_string(rule).ok()?).ok();
        rules.iter().map(pattern).any(|pattern| pattern.map_or(unreadable, |pattern| pattern.matches(event)))
    };
    let mut allowed = false;
    for policy in policies {
        let rules = source.rules(&policy.spec.rules.reference_access);
        if matches(&rules.deny, true) {
            return Err(format!("Policy {} denies it", policy.name()));
        }
        allowed |= matches(&rules.allow, false);
    }
    allowed.then_some(()).ok_or_else(|| "no Policy allows it".to_owned())
}

/// The kind of the objects, if this server keeps it.
fn kind(reference: &Reference) -> Result<Kind, String> {
    let [group, version, resource] =
        [&reference.group, &reference.version, &reference.resource].map(|part| part.as_deref().unwrap_or_default());
    let version_of = |kind: Kind| kind.api_version().rsplit('/').next().unwrap_or_default();
    let own = |kind: &Kind| {
        let plural = kind.plural().split('.').next().unwrap_or_default();
        plural == resource && (version == version_of(*kind) || (version.is_empty() && kind.api_version() == API_VERSION))
    };
    let found = Kind::ALL.into_iter().find(own).filter(|_| group == "tinkerbell.org");
    found.ok_or_else(|| {
        format!("this server keeps no {resource:?} of group {group:?} and version {version:?}, only objects of tinkerbell.org")
    })
}

/// The patterns of a Policy that cannot be read.
#[must_use]
pub fn check(policy: &Policy) -> Vec<Mistake> {
    let access = &policy.spec.rules.reference_access;
    let mut mistakes = Vec::new();
    for (source, lists) in [("hardware", &access.hardware), ("task", &access.task), ("workflow", &access.workflow)] {
        for (list, rules) in [("allow", &lists.allow), ("deny", &lists.deny)] {
            for (index, rule) in rules.iter().enumerate() {
                let text = serde_json::to_string(rule).unwrap_or_default();
                let Err(fault) = Pattern::parse(&text) else { continue };
                mistakes.push(Mistake {
                    file: format!("Policy {}", policy.name()),
                    line: 0,
                    column: 0,
                    path: format!("spec.rules.referenceAccess.{source}.{list}[{index}].{}", fault.place),
                    message: fault.message,
                    hint: None,
                });
            }
        }
    }
    mistakes
}

#[cfg(test)]
mod tests {
    use model::{Object, parse_documents};

    use super::*;

    fn policy(access: &str) -> Policy {
        let text = format!(
            "apiVersion: tinkerbell.org/v1alpha2\nkind: Policy\nmetadata: {{name: p}}\nspec: {{rules: {{referenceAccess: {access}}}}}\n"
        );
        let Some(Object::Policy(policy)) = parse_documents(&text, "f").unwrap().pop() else { panic!("{text}") };
        *policy
    }

    fn reference(group: &str, version: &str, resource: &str) -> Reference {
        Reference {
            name: "shared".into(),
            namespace: Some("lab".into()),
            group: Some(group.into()),
            version: Some(version.into()),
            resource: Some(resource.into()),
        }
    }

    fn seen(policies: &[Policy], kind: Kind, reference: Reference) -> Result<Value, String> {
        let labels = BTreeMap::from([("rack".to_owned(), "7".to_owned())]);
        let metadata = Metadata { name: "node-1".into(), namespace: "default".into(), labels, ..Metadata::default() };
        let references = BTreeMap::from([("r".to_owned(), reference)]);
        let find = |kind, name: &ObjectName| (name.to_string() == "lab/shared").then(|| json!(format!("{kind} {name}")));
        let resolved = resolve(Source { kind, metadata: &metadata }, &references, policies.iter(), find);
        let reason = || resolved.hint("<.references.r>: map has no entry for key \"r\"").unwrap();
        resolved.data().get("r").cloned().ok_or_else(reason)
    }

    #[test]
    fn reading_needs_a_rule_that_allows_it_and_none_that_denies_it() {
        let hardware = || reference("tinkerbell.org", "v1alpha1", "hardware");
        let denied = "the reference r has no data: no Policy allows it";
        for (case, access, seen_as) in [
            ("no rule", vec![], Err(denied)),
            (
                "a rule for all hardware",
                vec!["{hardware: {allow: [{reference: {resource: [hardware]}}]}}"],
                Ok("Hardware lab/shared"),
            ),
            ("a rule for Tasks", vec!["{task: {allow: [{reference: {resource: [hardware]}}]}}"], Err(denied)),
            ("for another name", vec!["{hardware: {allow: [{source: {name: [node-2]}}]}}"], Err(denied)),
            ("by a wildcard", vec!["{hardware: {allow: [{source: {name: [{wildcard: 'node-*'}]}}]}}"], Ok("Hardware lab/shared")),
            ("by a label", vec!["{hardware: {allow: [{source: {labels: [rack]}}]}}"], Ok("Hardware lab/shared")),
            ("by a label's value", vec!["{hardware: {allow: [{source: {labels: ['rack=8']}}]}}"], Err(denied)),
            (
                "both fields must match",
                vec!["{hardware: {allow: [{source: {name: [node-1]}, reference: {namespace: [other]}}]}}"],
                Err(denied),
            ),
            (
                "another Policy denies it",
                vec![
                    "{hardware: {deny: [{reference: {name: [shared]}}]}}",
                    "{hardware: {allow: [{reference: {resource: [hardware]}}]}}",
                ],
                Err("the reference r has no data: Policy default/p denies it"),
            ),
            (
                "another Policy denies something else",
                vec![
                    "{hardware: {deny: [{reference: {name: [{anything-but: [shared]}]}}]}}",
                    "{hardware: {allow: [{reference: {resource: [hardware]}}]}}",
                ],
                Ok("Hardware lab/shared"),
            ),
        ] {
            let policies: Vec<Policy> = access.into_iter().map(policy).collect();
            let found = seen(&policies, Kind::Hardware, hardware());
            assert_eq!(found, seen_as.map(Value::from).map_err(str::to_owned), "{case}");
        }
    }

    #[test]
    fn only_objects_that_are_kept_here_can_be_seen() {
        let all = [policy("{task: {allow: [{source: {name: [{exists: true}]}}]}}")];
        for (group, version, resource, found) in [
            ("tinkerbell.org", "v1alpha1", "templates", Ok("Template lab/shared")),
            ("tinkerbell.org", "v1alpha2", "workflows", Ok("Workflow.v1alpha2 lab/shared")),
            ("tinkerbell.org", "", "hardware", Ok("Hardware lab/shared")),
            (
                "tinkerbell.org",
                "v1alpha2",
                "hardware",
                Err("keeps no \"hardware\" of group \"tinkerbell.org\" and version \"v1alpha2\""),
            ),
            ("", "v1", "secrets", Err("keeps no \"secrets\" of group \"\" and version \"v1\"")),
        ] {
            let seen = seen(&all, Kind::Task, reference(group, version, resource));
            match found {
                Ok(object) => assert_eq!(seen, Ok(Value::from(object)), "{resource}"),
                Err(reason) => assert!(seen.clone().is_err_and(|said| said.contains(reason)), "{seen:?}"),
            }
        }
        let missing = Reference { name: "other".into(), ..reference("tinkerbell.org", "v1alpha1", "hardware") };
        let said = seen(&all, Kind::Task, missing).unwrap_err();
        assert_eq!(said, "the reference r has no data: it names Hardware lab/other, which does not exist");
    }

    #[test]
    fn a_pattern_that_cannot_be_read_is_a_mistake() {
        let found = check(&policy("{hardware: {deny: [{source: {name: [{prefix: 7}]}}]}}"));
        let [one] = found.as_slice() else { panic!("{found:?}") };
        assert!(
            one.to_string().starts_with("Policy default/p: spec.rules.referenceAccess.hardware.deny[0].source.name"),
            "{one}"
        );
    }
}
