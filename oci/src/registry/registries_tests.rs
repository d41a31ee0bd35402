use super::*;

const FILE: &str = r#"{
  "mirrors": {
    "docker.io": {"endpoints": ["https://mirror.example/hub", "http://10.0.0.1:5000"]},
    "quay.io": {"endpoints": ["https://art.example/api/docker/quay/v2/"], "only": true},
    "*": {"endpoints": ["http://cache.example"]}
  },
  "hosts": {
    "mirror.example": {"username": "m", "password": "hunter2"},
    "10.0.0.9:5000": {"plain_http": true},
    "127.0.0.1:5443": {"ca_file": "/ca.pem"}
  },
  "auths": {
    "https://index.docker.io/v1/": {"auth": "aHViOnNlY3JldDp0d28="},
    "reg.example": {"username": "all", "password": "x"},
    "reg.example/team": {"username": "team", "password": "y"}
  },
  "credsStore": "desktop"
}"#;

fn file() -> Registries {
    Registries::parse(FILE.as_bytes()).unwrap()
}

#[test]
fn mirrors_come_first_in_their_order_and_the_registry_last() {
    for (image, want) in [
        (
            "alpine",
            &[
                "https://mirror.example/v2/hub/library/alpine/tags?ns=docker.io",
                "http://10.0.0.1:5000/v2/library/alpine/tags?ns=docker.io",
                "https://registry-1.docker.io/v2/library/alpine/tags",
            ][..],
        ),
        ("quay.io/a/b", &["https://art.example/api/docker/quay/v2/a/b/tags?ns=quay.io"]),
        ("10.0.0.9:5000/x", &["http://cache.example/v2/x/tags?ns=10.0.0.9%3A5000", "http://10.0.0.9:5000/v2/x/tags"]),
        ("127.0.0.1:5443/x", &["http://cache.example/v2/x/tags?ns=127.0.0.1%3A5443", "https://127.0.0.1:5443/v2/x/tags"]),
    ] {
        let image: Reference = image.parse().unwrap();
        let urls: Vec<_> =
            file().endpoints(&image).iter().map(|e| e.url(&image.repository, "tags").unwrap().to_string()).collect();
        assert_eq!(urls, want, "{image}");
    }
}

#[test]
fn credentials_are_found_under_every_name_and_for_no_other_registry() {
    for (registry, repository, want) in [
        ("docker.io", "library/alpine", Some(("hub", "secret:two"))),
        ("mirror.example", "hub/library/alpine", Some(("m", "hunter2"))),
        ("reg.example", "other/x", Some(("all", "x"))),
        ("reg.example", "team/x", Some(("team", "y"))),
        ("reg.example", "teammates/x", Some(("all", "x"))),
        ("evil.reg.example", "team/x", None),
        ("reg.example:5000", "team/x", None),
        ("10.0.0.1:5000", "x", None),
    ] {
        let login = file().login(registry, repository).map(|l| (l.username, l.password));
        assert_eq!(login.as_ref().map(|(u, p)| (u.as_str(), p.as_str())), want, "{registry}/{repository}");
    }
}

#[test]
fn passwords_never_show_and_mistakes_are_refused() {
    let text = format!("{:?}", file());
    assert!(!text.contains("hunter2") && !text.contains("aHViOnNlY3"), "{text}");
    for bad in [
        r#"{"mirrors": {"a": {"endpoints": ["ftp://x"]}}}"#,
        r#"{"mirrors": {"a": {"endpoints": ["https://user:pass@x"]}}}"#,
        r#"{"mirrors": {"a": {"endpoint": ["https://x"]}}}"#,
        r#"{"hosts": {"a": {"insecure": true}}}"#,
    ] {
        assert!(Registries::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    for bad in ["docker.io", "docker.io=", "=http://x", "docker.io=x"] {
        assert!(mirrors(bad).is_none(), "{bad}");
    }
}
