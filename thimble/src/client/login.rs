//! A kubeconfig as the way to a server: its URL, its certificate authority, and the token or certificate of the caller.

use std::fmt;
use std::path::Path;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

pub(super) struct Login {
    pub url: String,
    /// The authority of the server.
    pub authority: Vec<CertificateDer<'static>>,
    pub proof: Proof,
    /// Of the context; what a person with rights in one namespace means.
    pub namespace: Option<String>,
}

/// What the caller shows to the server.
pub(super) enum Proof {
    Token(String),
    Certificate { chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static> },
}

impl fmt::Debug for Proof {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Token(_) => "a token",
            Self::Certificate { .. } => "a certificate",
        })
    }
}

impl Login {
    /// Reads the current context of a kubeconfig.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        serde_saphyr::from_str(&text)
            .context("it is not YAML")
            .and_then(|file| Self::of(&file, folder))
            .with_context(|| format!("cannot use the kubeconfig {}", path.display()))
    }

    /// `folder` is where its relative paths begin.
    fn of(file: &Value, folder: &Path) -> anyhow::Result<Self> {
        let current = text(file, "current-context").context("it has no current-context")?;
        let context = named(file, "contexts", "context", current)?;
        let cluster = named(file, "clusters", "cluster", text(context, "cluster").unwrap_or_default())?;
        let user = named(file, "users", "user", text(context, "user").unwrap_or_default())?;
        let url = text(cluster, "server").unwrap_or_default().trim_end_matches('/');
        if !url.starts_with("https://") {
            bail!("its server {url:?} is not an https:// URL");
        }
        let authority = content(cluster, "certificate-authority", folder)?.context("its cluster has no certificate-authority")?;
        let authority = CertificateDer::pem_slice_iter(&authority).collect::<Result<_, _>>();
        let proof = match (text(user, "token"), content(user, "client-certificate", folder)?) {
            (Some(token), _) => Proof::Token(token.to_owned()),
            (None, Some(chain)) => {
                let key = content(user, "client-key", folder)?.context("its user has a client-certificate and no client-key")?;
                Proof::Certificate {
                    chain: CertificateDer::pem_slice_iter(&chain)
                        .collect::<Result<_, _>>()
                        .context("cannot read its client-certificate")?,
                    key: PrivateKeyDer::from_pem_slice(&key).context("cannot read its client-key")?,
                }
            }
            (None, None) => {
                bail!("its user has neither a token nor a client-certificate; `thimble kubeconfig` makes a file that has")
            }
        };
        let authority = authority.context("cannot read its certificate-authority")?;
        let namespace = text(context, "namespace").map(str::to_owned);
        Ok(Self { url: url.to_owned(), authority, proof, namespace })
    }
}

fn text<'v>(value: &'v Value, field: &str) -> Option<&'v str> {
    value.get(field).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// The entry of a list with this name, without its name.
fn named<'v>(file: &'v Value, list: &str, kind: &str, name: &str) -> anyhow::Result<&'v Value> {
    let entries = file.get(list).and_then(Value::as_array).into_iter().flatten();
    let found = entries.filter(|entry| text(entry, "name") == Some(name)).find_map(|entry| entry.get(kind));
    found.with_context(|| format!("it has no {kind} {name:?}"))
}

/// The PEM text that stands in `FIELD-data`, or in the file that `FIELD` names.
fn content(value: &Value, field: &str, folder: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    if let Some(data) = text(value, &format!("{field}-data")) {
        return STANDARD.decode(data.trim()).map(Some).with_context(|| format!("{field}-data is not base64"));
    }
    let path = text(value, field).map(|path| folder.join(path));
    path.map(|path| std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1BPT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=";

    fn file(cluster: &str, user: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: b\ncontexts:\n- {{name: a, context: {{cluster: x, user: y}}}}\n\
             - {{name: b, context: {{cluster: c, user: u}}}}\nclusters:\n- {{name: c, cluster: {cluster}}}\nusers:\n- {{name: u, user: {user}}}\n"
        )
    }

    #[test]
    fn a_kubeconfig_is_a_way_to_a_server_or_says_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), STANDARD.decode(PEM).unwrap()).unwrap();
        let cluster = format!("{{server: 'https://10.0.0.1:6443/', certificate-authority-data: {PEM}}}");
        for (case, text, expected) in [
            ("a token", file(&cluster, "{token: secret}"), Ok("a token")),
            ("a path", file("{server: 'https://a:1', certificate-authority: ca.pem}", "{token: secret}"), Ok("a token")),
            ("no proof", file(&cluster, "{}"), Err("neither a token nor a client-certificate")),
            ("no key", file(&cluster, &format!("{{client-certificate-data: {PEM}}}")), Err("no client-key")),
            ("plain HTTP", file("{server: 'http://a'}", "{token: t}"), Err("is not an https:// URL")),
            ("no authority", file("{server: 'https://a'}", "{token: t}"), Err("no certificate-authority")),
            ("no base64", file("{server: 'https://a', certificate-authority-data: '%'}", "{token: t}"), Err("is not base64")),
            ("a path to nothing", file("{server: 'https://a', certificate-authority: gone}", "{token: t}"), Err("cannot read")),
            ("no such user", file(&cluster, "{token: t}").replace("name: u,", "name: v,"), Err("it has no user \"u\"")),
            ("no context", file(&cluster, "{token: t}").replace("current-context: b", ""), Err("no current-context")),
            ("no YAML", "}{".to_owned(), Err("is not YAML")),
        ] {
            let path = folder.path().join("kubeconfig");
            std::fs::write(&path, text).unwrap();
            let found = Login::read(&path).map(|login| format!("{:?}", login.proof)).map_err(|error| format!("{error:#}"));
            match expected {
                Ok(proof) => assert_eq!(found.as_deref(), Ok(proof), "{case}"),
                Err(words) => assert!(found.as_ref().is_err_and(|error| error.contains(words)), "{case}: {found:?}"),
            }
        }
    }
}
