use std::collections::BTreeSet;

use super::*;
use crate::caller::{Origin, Proof};

const LOCAL: Origin = Origin::Socket { uid: 0 };

fn caller(role: Role, namespaces: Option<&[&str]>) -> Caller {
    let namespaces = namespaces.map(|names| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
    Caller::new("alice", vec![Grant { role, namespaces }], LOCAL, Proof::LocalUser)
}

/// `GROUP/RESOURCE[/SUBRESOURCE]`
fn asked<'a>(verb: Verb, what: &'a str, namespace: Option<&'a str>, name: Option<&'a str>) -> ResourceAttributes<'a> {
    let mut parts = what.split('/');
    let (group, resource) = (parts.next().unwrap(), parts.next().unwrap());
    ResourceAttributes { verb, group, resource, subresource: parts.next().unwrap_or(""), namespace, name }
}

/// The verbs that a role has on a resource, one letter each: get, list, watch, create, update, patch, delete, deletecollection.
fn verbs(caller: &Caller, what: &str, namespace: Option<&str>) -> String {
    let letters = Verb::ALL.into_iter().zip("glwcupdD".chars());
    letters
        .map(|(verb, letter)| if authorize(caller, &asked(verb, what, namespace, None)).is_ok() { letter } else { '-' })
        .collect()
}

const ALL: &str = "glwcupdD";
const READ: &str = "glw-----";
const NONE: &str = "--------";

#[test]
fn each_role_has_these_verbs_in_the_namespaces_that_it_covers() {
    #[rustfmt::skip]
    let table = [
        // resource                                   admin operator viewer boots      server
        ("tinkerbell.org/hardware",                   [ALL, ALL,     READ,  READ,       ALL]),
        ("tinkerbell.org/workflows",                  [ALL, ALL,     READ,  READ,       ALL]),
        ("tinkerbell.org/workflows/status",           [ALL, ALL,     READ,  READ,       ALL]),
        ("tinkerbell.org/workflows/log",              [ALL, ALL,     READ,  NONE,       ALL]),
        ("tinkerbell.org/templates",                  [ALL, ALL,     READ,  NONE,       ALL]),
        ("bmc.tinkerbell.org/machines",               [ALL, ALL,     READ,  NONE,       ALL]),
        ("thimble.dev/machinestates",                 [ALL, ALL,     READ,  READ,       ALL]),
        ("thimble.dev/machinestates/status",          [ALL, ALL,     READ,  "glw--p--", ALL]),
        ("thimble.dev/machinestates/log",             [ALL, ALL,     READ,  "---c----", ALL]),
        ("thimble.dev/machinestates/booted",          [ALL, ALL,     READ,  "---c----", ALL]),
        ("thimble.dev/rollouts",                      [ALL, ALL,     READ,  NONE,       ALL]),
        ("thimble.dev/dhcpleases",                    [ALL, ALL,     READ,  "glwcu---", ALL]),
        ("/secrets",                                  [ALL, ALL,     READ,  NONE,       READ]),
        ("/configmaps",                               [ALL, ALL,     READ,  NONE,       ALL]),
        ("/events",                                   [ALL, ALL,     READ,  "---c-p--", ALL]),
        ("coordination.k8s.io/leases",                [ALL, ALL,     READ,  NONE,       ALL]),
        ("/namespaces",                               [ALL, ALL,     READ,  READ,       READ]),
        ("/services",                                 [ALL, READ,    READ,  READ,       READ]),
        ("apiextensions.k8s.io/customresourcedefinitions", [ALL, READ, READ, READ,      READ]),
        ("authorization.k8s.io/selfsubjectaccessreviews",  [ALL, "---c----", "---c----", "---c----", "---c----"]),
        ("authorization.k8s.io/subjectaccessreviews", [ALL, NONE,    NONE,  NONE,       NONE]),
        ("rbac.authorization.k8s.io/clusterroles",    [ALL, NONE,    NONE,  NONE,       NONE]),
        ("/pods",                                     [ALL, NONE,    NONE,  NONE,       NONE]),
    ];
    for (what, expected) in table {
        for (role, expected) in Role::ALL.into_iter().zip(expected) {
            assert_eq!(verbs(&caller(role, None), what, Some("lab")), expected, "{role} on {what}");
            assert_eq!(verbs(&caller(role, None), what, None), expected, "{role} on {what} of all namespaces");
        }
    }
}

#[test]
fn a_role_for_a_namespace_ends_there() {
    for (role, in_it) in [(Role::Operator, ALL), (Role::Viewer, READ)] {
        let caller = caller(role, Some(&["lab", "rack-7"]));
        for what in ["tinkerbell.org/hardware", "tinkerbell.org/workflows/status", "/secrets", "/events", "thimble.dev/rollouts"]
        {
            assert_eq!(verbs(&caller, what, Some("lab")), in_it, "{role} on {what} in its namespace");
            assert_eq!(verbs(&caller, what, Some("rack-7")), in_it, "{role} on {what} in its other namespace");
            assert_eq!(verbs(&caller, what, Some("default")), NONE, "{role} on {what} in another namespace");
            assert_eq!(verbs(&caller, what, None), NONE, "{role} on {what} of all namespaces");
        }
        let namespace = |verb, name| authorize(&caller, &asked(verb, "/namespaces", None, Some(name))).is_ok();
        assert!(namespace(Verb::Get, "lab") && !namespace(Verb::Get, "default"));
        assert!(!namespace(Verb::Delete, "lab") && !namespace(Verb::Create, "lab"));
        assert_eq!(verbs(&caller, "/services", None), READ, "what is the same for everyone");
    }
}

#[test]
fn a_caller_without_a_role_may_do_nothing() {
    let nameless = Caller::anonymous(LOCAL);
    let roleless = Caller::of_certificate("bob", &["system:masters".to_owned()], LOCAL);
    for what in ["tinkerbell.org/hardware", "/secrets", "/services", "authorization.k8s.io/selfsubjectaccessreviews"] {
        assert_eq!(
            (verbs(&nameless, what, None), verbs(&roleless, what, Some("x"))),
            (NONE.to_owned(), NONE.to_owned()),
            "{what}"
        );
    }
}

#[test]
fn a_caller_with_several_roles_has_what_each_permits() {
    let lab = Grant { role: Role::Operator, namespaces: Some(BTreeSet::from(["lab".to_owned()])) };
    let caller = Caller::new("carol", vec![Grant::everywhere(Role::Viewer), lab], LOCAL, Proof::LocalUser);
    assert_eq!(verbs(&caller, "tinkerbell.org/hardware", Some("lab")), ALL);
    assert_eq!(verbs(&caller, "tinkerbell.org/hardware", Some("default")), READ);
    assert!(caller.sees_secrets(Some("lab")) && !caller.sees_secrets(Some("default")));
}

#[test]
fn a_refusal_has_kubernetes_words_and_says_what_the_caller_is() {
    let viewer = caller(Role::Viewer, Some(&["lab"]));
    let one = authorize(&viewer, &asked(Verb::Delete, "tinkerbell.org/hardware", Some("lab"), Some("m1"))).unwrap_err();
    assert_eq!(
        one.message,
        "hardware.tinkerbell.org \"m1\" is forbidden: User \"alice\" cannot delete resource \"hardware\" in API group \
         \"tinkerbell.org\" in the namespace \"lab\": it is viewer in lab"
    );
    assert_eq!(
        one.status(),
        serde_json::json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Forbidden", "code": 403,
            "message": one.message, "details": {"name": "m1", "group": "tinkerbell.org", "kind": "hardware"}})
    );
    let all = authorize(&viewer, &asked(Verb::List, "/secrets", None, None)).unwrap_err();
    assert!(all.message.starts_with(
        "secrets is forbidden: User \"alice\" cannot list resource \"secrets\" in API group \"\" at the cluster scope"
    ));
}
