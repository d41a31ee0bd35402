//! Which groups, versions and resources there are, as clients ask for it.

use serde_json::{Map, Value, json};

use crate::request::media_type;
use crate::resources::{Resource, groups, in_version};

/// The release of Kubernetes whose conventions these are. Clients parse it as a version.
const RELEASE: &str = "v1.33.0";

/// An answer and its media type.
pub type Document = (Value, &'static str);

const PLAIN: &str = "application/json";

/// `/version`
#[must_use]
pub fn version(program: &str) -> Value {
    json!({
        "major": "1", "minor": "33", "gitVersion": format!("{RELEASE}+thimble.{program}"), "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "linux/amd64",
    })
}

/// `/api`
#[must_use]
pub fn versions(accept: &str) -> Document {
    aggregated(accept, true)
        .unwrap_or_else(|| (json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}), PLAIN))
}

/// `/apis`
#[must_use]
pub fn all(accept: &str) -> Document {
    aggregated(accept, false).unwrap_or_else(|| {
        let groups: Vec<Value> = named_groups().map(|(group, versions)| group_of(group, &versions)).collect();
        (json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}), PLAIN)
    })
}

/// `/apis/GROUP`
#[must_use]
pub fn group(name: &str) -> Value {
    let found = named_groups().find(|(group, _)| *group == name);
    let mut document = found.map_or_else(|| json!({}), |(group, versions)| group_of(group, &versions));
    if let Some(document) = document.as_object_mut() {
        document.extend([("kind".to_owned(), json!("APIGroup")), ("apiVersion".to_owned(), json!("v1"))]);
    }
    document
}

/// `/api/v1` and `/apis/GROUP/VERSION`
#[must_use]
pub fn resources(group: &str, version: &str) -> Value {
    let listed: Vec<Value> =
        in_version(group, version).flat_map(|one| std::iter::once(resource(one)).chain(parts_of(one))).collect();
    let group_version = in_version(group, version).next().map(Resource::api_version).unwrap_or_default();
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed})
}

fn named_groups() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    groups().into_iter().filter(|(group, _)| !group.is_empty())
}

fn group_of(group: &str, versions: &[&str]) -> Value {
    let versions: Vec<Value> =
        versions.iter().map(|version| json!({"groupVersion": format!("{group}/{version}"), "version": version})).collect();
    json!({"name": group, "versions": versions, "preferredVersion": versions.first()})
}

fn resource(one: &Resource) -> Value {
    let mut found = Map::from_iter([
        ("name".to_owned(), json!(one.plural)),
        ("singularName".to_owned(), json!(one.singular)),
        ("namespaced".to_owned(), json!(one.namespaced)),
        ("kind".to_owned(), json!(one.kind)),
        ("verbs".to_owned(), json!(one.verbs)),
    ]);
    for (key, words) in [("shortNames", one.short_names), ("categories", one.categories)] {
        if !words.is_empty() {
            found.insert(key.to_owned(), json!(words));
        }
    }
    Value::Object(found)
}

const STATUS_VERBS: [&str; 3] = ["get", "patch", "update"];

/// The subresources, with their verbs.
fn subresources(one: &Resource) -> impl Iterator<Item = (&'static str, &'static [&'static str])> + use<> {
    let (status, log, calls) = (one.status, one.log, one.calls);
    let usual = [(status, "status", &STATUS_VERBS[..]), (log, "log", &["get"])];
    usual.into_iter().filter(|(has, ..)| *has).map(|(_, name, verbs)| (name, verbs)).chain(calls.iter().copied())
}

fn parts_of(one: &Resource) -> impl Iterator<Item = Value> + '_ {
    subresources(one).map(|(part, verbs)| {
        let name = format!("{}/{part}", one.plural);
        json!({"name": name, "singularName": "", "namespaced": one.namespaced, "kind": one.kind, "verbs": verbs})
    })
}

/// Everything in one document, for clients that ask for it. It is on both paths or on neither.
fn aggregated(accept: &str, core: bool) -> Option<Document> {
    let (version, content_type) = accept.split(',').find_map(|one| {
        let (name, parameters) = media_type(one);
        let is = |key: &str, value: &str| parameters.contains(&(key, value));
        if name != "application/json" || !is("g", "apidiscovery.k8s.io") || !is("as", "APIGroupDiscoveryList") {
            return None;
        }
        match () {
            () if is("v", "v2") => Some(("v2", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")),
            () if is("v", "v2beta1") => {
                Some(("v2beta1", "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"))
            }
            () => None,
        }
    })?;
    let items: Vec<Value> = groups()
        .into_iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let metadata = if core { json!({}) } else { json!({"name": group}) };
            let versions = versions.into_iter().map(|version| {
                let resources: Vec<Value> = in_version(group, version).map(discovered).collect();
                json!({"version": version, "freshness": "Current", "resources": resources})
            });
            json!({"metadata": metadata, "versions": versions.collect::<Vec<_>>()})
        })
        .collect();
    let document = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"), "metadata": {}, "items": items,
    });
    Some((document, content_type))
}

fn discovered(one: &'static Resource) -> Value {
    let kind = json!({"group": one.group, "version": one.version, "kind": one.kind});
    let scope = if one.namespaced { "Namespaced" } else { "Cluster" };
    let mut found = json!({
        "resource": one.plural, "responseKind": kind, "scope": scope, "singularResource": one.singular, "verbs": one.verbs,
    });
    let Some(fields) = found.as_object_mut() else { return found };
    for (key, words) in [("shortNames", one.short_names), ("categories", one.categories)] {
        if !words.is_empty() {
            fields.insert(key.to_owned(), json!(words));
        }
    }
    let parts: Vec<Value> =
        subresources(one).map(|(part, verbs)| json!({"subresource": part, "responseKind": kind, "verbs": verbs})).collect();
    if !parts.is_empty() {
        fields.insert("subresources".to_owned(), Value::Array(parts));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKS: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

    #[test]
    fn the_form_follows_the_accept_header() {
        for (accept, kind) in [("application/json", "APIGroupList"), (ASKS, "APIGroupDiscoveryList")] {
            assert_eq!(all(accept).0["kind"], kind);
        }
        let (document, content_type) = all(ASKS);
        assert_eq!(content_type, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
        assert_eq!(document["items"][0]["metadata"]["name"], "tinkerbell.org");
        assert_eq!(versions(ASKS).0["items"][0]["metadata"], json!({}));
    }

    #[test]
    fn both_forms_name_the_same_resources() {
        let names = |document: &Value, list: &str, name: &str| -> Vec<String> {
            let listed = document[list].as_array().unwrap().iter().map(|one| one[name].as_str().unwrap().to_owned());
            listed.filter(|name| !name.contains('/')).collect()
        };
        let (whole, _) = all(ASKS);
        for item in whole["items"].as_array().unwrap() {
            let group = item["metadata"]["name"].as_str().unwrap();
            for version in item["versions"].as_array().unwrap() {
                let plain = resources(group, version["version"].as_str().unwrap());
                assert_eq!(names(version, "resources", "resource"), names(&plain, "resources", "name"), "{group}");
            }
        }
        assert_eq!(group("bmc.tinkerbell.org")["preferredVersion"]["version"], "v1alpha1");
        assert_eq!(resources("", "v1")["groupVersion"], "v1");
    }
}
