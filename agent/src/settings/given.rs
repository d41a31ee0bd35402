//! What the machine knows of its network, as variables for its actions: proxies, and registries without a certificate.

use oci::registry::{LOCAL, Settings};

/// Programs read the names of proxies in small letters, in capitals, or both.
pub fn given(settings: &Settings) -> Vec<String> {
    let proxies = &settings.proxies;
    let mut given = Vec::new();
    let mut both = |name: &str, value: &str| {
        given.push(format!("{name}={value}"));
        given.push(format!("{}={value}", name.to_ascii_uppercase()));
    };
    for (name, url) in [("http_proxy", &proxies.http), ("https_proxy", &proxies.https)] {
        if let Some(url) = url {
            both(name, url);
        }
    }
    if proxies.http.is_some() || proxies.https.is_some() {
        let exceptions = proxies.exceptions.iter().map(String::as_str);
        both("no_proxy", &std::iter::once(LOCAL).chain(exceptions).collect::<Vec<_>>().join(","));
    }
    if !settings.insecure.is_empty() {
        let list: Vec<&str> = settings.insecure.iter().map(String::as_str).collect();
        given.push(format!("INSECURE_REGISTRIES={}", list.join(",")));
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci::registry::Proxies;

    #[test]
    fn an_action_gets_the_proxies_with_their_exceptions_and_the_insecure_registries() {
        assert!(given(&Settings::default()).is_empty());
        let proxies = Proxies { http: Some("http://p:3128".into()), https: None, exceptions: Some(".corp".into()) };
        let insecure = ["10.0.0.1:5000".to_owned(), "10.1.0.0/16".to_owned()].into();
        assert_eq!(
            given(&Settings { proxies, insecure, ..Settings::default() }),
            [
                "http_proxy=http://p:3128",
                "HTTP_PROXY=http://p:3128",
                "no_proxy=localhost,127.0.0.0/8,::1,.corp",
                "NO_PROXY=localhost,127.0.0.0/8,::1,.corp",
                "INSECURE_REGISTRIES=10.0.0.1:5000,10.1.0.0/16",
            ]
        );
    }
}
