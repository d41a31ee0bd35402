use super::*;

fn ask(method: &str, path: &str, query: &str) -> Result<Call, Status> {
    parse(&Head {
        method,
        path,
        query,
        accept: "application/json",
        content_type: "application/merge-patch+json",
        user_agent: "kubectl/v1.33",
    })
}

fn request(method: &str, path: &str, query: &str) -> Request {
    match ask(method, path, query).unwrap() {
        Call::Objects(request) => *request,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_path_names_a_document_or_objects() {
    let hardware = "/apis/tinkerbell.org/v1alpha1/namespaces/a/hardware";
    for (case, method, path, verb, namespace, name) in [
        ("all namespaces", "GET", "/apis/tinkerbell.org/v1alpha1/hardware", "list", None, None),
        ("one namespace", "GET", hardware, "list", Some("a"), None),
        ("one object", "GET", "/apis/tinkerbell.org/v1alpha1/namespaces/a/hardware/m1", "get", Some("a"), Some("m1")),
        ("create", "POST", hardware, "create", Some("a"), None),
        ("delete many", "DELETE", hardware, "deletecollection", Some("a"), None),
        ("status", "PUT", "/apis/tinkerbell.org/v1alpha1/namespaces/a/hardware/m1/status", "update", Some("a"), Some("m1")),
        ("a log", "GET", "/apis/tinkerbell.org/v1alpha1/namespaces/a/workflows/w/log", "get", Some("a"), Some("w")),
        ("a namespace is an object", "GET", "/api/v1/namespaces/a", "get", None, Some("a")),
        ("secrets of it", "GET", "/api/v1/namespaces/a/secrets", "list", Some("a"), None),
        ("all secrets", "GET", "/api/v1/secrets", "list", None, None),
        ("a new namespace", "POST", "/api/v1/namespaces", "create", None, None),
        ("a review", "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "create", None, None),
    ] {
        let found = request(method, path, "");
        assert_eq!((found.verb.word(), found.namespace.as_deref(), found.name.as_deref()), (verb, namespace, name), "{case}");
    }
    assert_eq!(ask("GET", "/apis", ""), Ok(Call::Groups));
    assert_eq!(ask("GET", "/api/v1", ""), Ok(Call::Resources { group: "", version: "v1" }));
    assert_eq!(ask("GET", "/apis/bmc.tinkerbell.org", ""), Ok(Call::Group("bmc.tinkerbell.org")));
    let group = Call::OpenApiOf { group: "tinkerbell.org", version: "v1alpha2" };
    assert_eq!(ask("GET", "/openapi/v3/apis/tinkerbell.org/v1alpha2", "hash=x"), Ok(group));
}

#[test]
fn what_is_not_served_is_refused() {
    for (case, method, path, code) in [
        ("an unknown group", "GET", "/apis/apps/v1", 404),
        ("an unknown version", "GET", "/apis/tinkerbell.org/v1", 404),
        ("an unknown resource", "GET", "/api/v1/pods", 404),
        ("an object without its namespace", "GET", "/apis/tinkerbell.org/v1alpha1/hardware/m1", 404),
        ("no such subresource", "GET", "/apis/tinkerbell.org/v1alpha1/namespaces/a/hardware/m1/scale", 404),
        ("no log", "GET", "/apis/tinkerbell.org/v1alpha1/namespaces/a/hardware/m1/log", 404),
        ("a log is only read", "PUT", "/apis/tinkerbell.org/v1alpha1/namespaces/a/workflows/w/log", 405),
        ("no status", "GET", "/api/v1/namespaces/a/secrets/s/status", 404),
        ("a namespaced kind of no namespace", "POST", "/api/v1/secrets", 405),
        ("a read-only kind", "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", 405),
        ("a status is not deleted", "DELETE", "/apis/tinkerbell.org/v1alpha1/namespaces/a/hardware/m1/status", 405),
        ("discovery is read", "POST", "/apis", 405),
        ("nothing", "GET", "/", 404),
    ] {
        assert_eq!(ask(method, path, "").map_err(|status| status.code), Err(code), "{case}");
    }
}

#[test]
fn options_are_checked() {
    let hardware = "/apis/tinkerbell.org/v1alpha1/hardware";
    let watch = request("GET", hardware, "watch=1&allowWatchBookmarks=true&resourceVersion=7&timeoutSeconds=300").options;
    assert_eq!((watch.revision, watch.bookmarks, watch.timeout), (Some(7), true, Some(300)));
    let any = request("GET", hardware, "limit=500&resourceVersion=0").options;
    assert_eq!((any.revision, any.revision_given, any.limit), (None, true, Some(500)));
    for (query, code) in [
        ("watch=true&sendInitialEvents=true", 422),
        ("watch=true&resourceVersionMatch=NotOlderThan", 422),
        ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", 422),
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersion=x", 422),
        ("limit=-1", 400),
        ("continue=x", 400),
        ("dryRun=Some", 400),
        ("fieldValidation=Lax", 400),
        ("labelSelector=a%20b", 400),
        ("fieldSelector=spec.x%3D1", 400),
    ] {
        assert_eq!(ask("GET", hardware, query).map_err(|status| status.code), Err(code), "{query}");
    }
    let token = Continue { revision: 12, namespace: "a".into(), name: "m1.x".into() };
    assert_eq!(request("GET", hardware, &format!("continue={}", token.token())).options.continues, Some(token));
}

#[test]
fn the_manager_is_named_or_the_program() {
    let path = "/apis/tinkerbell.org/v1alpha1/namespaces/a/hardware/m1";
    for (query, manager) in [("fieldManager=me", "me"), ("", "kubectl")] {
        assert_eq!(request("PATCH", path, query).options.manager.as_deref(), Some(manager));
    }
    assert_eq!(ask("PATCH", path, &format!("fieldManager={}", "a".repeat(129))).unwrap_err().code, 400);
}

#[test]
fn patches_are_known_by_their_media_type() {
    let patch_of = |path: &str, content_type: &str| {
        let head = Head { method: "PATCH", path, query: "fieldManager=m", content_type, ..Head::default() };
        match parse(&head) {
            Ok(Call::Objects(request)) => Ok(request.verb),
            Ok(other) => panic!("{other:?}"),
            Err(status) => Err(status.code),
        }
    };
    let (hardware, secret) = ("/apis/tinkerbell.org/v1alpha1/namespaces/a/hardware/m", "/api/v1/namespaces/a/secrets/s");
    for (path, content_type, expected) in [
        (hardware, "application/merge-patch+json", Ok(Verb::Patch(Patch::Merge))),
        (hardware, "application/json-patch+json; charset=utf-8", Ok(Verb::Patch(Patch::Json))),
        (hardware, "application/apply-patch+yaml", Ok(Verb::Patch(Patch::Apply))),
        (hardware, "application/strategic-merge-patch+json", Err(415)),
        (hardware, "application/json", Err(415)),
        (secret, "application/strategic-merge-patch+json", Ok(Verb::Patch(Patch::Strategic))),
    ] {
        assert_eq!(patch_of(path, content_type), expected, "{path} {content_type}");
    }
}

#[test]
fn the_accept_header_chooses_the_form() {
    let kubectl =
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
    for (accept, expected) in [
        (kubectl, Form::Table("meta.k8s.io/v1")),
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", Form::Table("meta.k8s.io/v1beta1")),
        (
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
            Form::Metadata,
        ),
        ("application/vnd.kubernetes.protobuf,application/json", Form::Whole),
        ("application/vnd.kubernetes.protobuf", Form::Whole),
        ("", Form::Whole),
    ] {
        assert_eq!(form(accept), expected, "{accept}");
    }
}
