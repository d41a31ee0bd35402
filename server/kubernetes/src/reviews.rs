//! Access reviews: what the caller may do, as `kubectl auth` asks it.

use serde_json::{Map, Value, json};

/// What a SelfSubjectAccessReview asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Question {
    pub verb: String,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    /// Instead of a resource: a path such as `/metrics`.
    pub path: String,
}

impl Question {
    #[must_use]
    pub fn read(review: &Map<String, Value>) -> Self {
        let spec = review.get("spec");
        let text = |part: &str, key: &str| {
            let found = spec.and_then(|spec| spec.get(part)).and_then(|part| part.get(key)).and_then(Value::as_str);
            found.unwrap_or_default().to_owned()
        };
        let of = |key: &str| text("resourceAttributes", key);
        let path = text("nonResourceAttributes", "path");
        Self {
            verb: if path.is_empty() { of("verb") } else { text("nonResourceAttributes", "verb") },
            group: of("group"),
            resource: of("resource"),
            subresource: of("subresource"),
            namespace: of("namespace"),
            name: of("name"),
            path,
        }
    }
}

fn answered(mut review: Map<String, Value>, status: Value) -> Value {
    review.insert("status".to_owned(), status);
    Value::Object(review)
}

#[must_use]
pub fn access(review: Map<String, Value>, allowed: bool, reason: &str) -> Value {
    answered(review, json!({"allowed": allowed, "reason": reason}))
}

/// The verbs that are allowed for a resource of a group.
pub type Rule = (Vec<&'static str>, &'static str, &'static str);

#[must_use]
pub fn rules(review: Map<String, Value>, allowed: &[Rule]) -> Value {
    let rule = |(verbs, group, resource): &Rule| json!({"verbs": verbs, "apiGroups": [group], "resources": [resource]});
    let rules: Vec<Value> = allowed.iter().map(rule).collect();
    answered(review, json!({"resourceRules": rules, "nonResourceRules": [], "incomplete": false}))
}

#[must_use]
pub fn subject(review: Map<String, Value>, name: &str, groups: &[String]) -> Value {
    answered(review, json!({"userInfo": {"username": name, "groups": groups}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_about_a_resource_or_a_path() {
        let read = |spec: Value| Question::read(json!({"spec": spec}).as_object().unwrap());
        let resource = read(
            json!({"resourceAttributes": {"verb": "delete", "resource": "hardware", "group": "tinkerbell.org", "namespace": "a"}}),
        );
        assert_eq!(
            (resource.verb.as_str(), resource.resource.as_str(), resource.namespace.as_str()),
            ("delete", "hardware", "a")
        );
        let path = read(json!({"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}));
        assert_eq!((path.verb.as_str(), path.path.as_str()), ("get", "/metrics"));
    }
}
