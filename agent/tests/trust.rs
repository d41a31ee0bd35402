//! The agent, its server and its registry with one certificate as `openssl req -x509` makes it: self-signed, CA:TRUE.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/lab.rs"]
mod lab;
#[path = "../../oci/tests/support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;
#[path = "../../oci/tests/support/tls.rs"]
mod tls;

use std::path::Path;

use proto::action_status_request::StateType::Success;

use lab::Lab;
use server::action;
use tls::{Authority, Front};

struct Secure {
    lab: Lab,
    server: Front,
    registry: Front,
}

impl Secure {
    async fn new(authority: &Authority) -> Self {
        let lab = Lab::new().await;
        let server = authority.before(lab.server.address, &["h2"]).await;
        let registry = authority.before(lab.registry.address, &["http/1.1"]).await;
        Self { lab, server, registry }
    }

    fn agent(&self, trusted: &Authority) -> tokio::process::Child {
        let hosts = serde_json::json!({"hosts": {self.registry.address.to_string(): {"ca_file": trusted.certificate()}}});
        let file = self.lab.state.path().join("registries.json");
        std::fs::write(&file, hosts.to_string()).unwrap();
        self.lab.agent_with(&[
            ("TINKERBELL_TLS", "true"),
            ("TINKERBELL_GRPC_AUTHORITY", &self.server.address.to_string()),
            ("SSL_CERT_FILE", trusted.certificate().to_str().unwrap()),
            ("THIMBLE_REGISTRIES", file.to_str().unwrap()),
        ])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configured_certificate_that_is_the_servers_own_is_accepted_by_name_and_date() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::self_signed(folder.path());
    let secure = Secure::new(&authority).await;
    let _agent = secure.agent(&authority);
    let image = secure.lab.image.replace(&secure.lab.registry.address.to_string(), &secure.registry.address.to_string());
    let mut work = action("a", &image);
    work.command = ["/bin/sh", "-c", "exit 0"].map(str::to_owned).into();
    let report = secure.lab.run(work).await;
    assert_eq!(report.action_state(), Success, "{}", secure.lab.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_certificate_is_refused_with_a_clear_message() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::self_signed(&folder.path().join("a")), Authority::self_signed(&folder.path().join("b")));
    let secure = Secure::new(&theirs).await;
    let _agent = secure.agent(&ours);
    let words = format!(
        "the certificate of the server {} is not accepted (it is self-signed and is not one of the certificates that this machine was \
         given)",
        secure.server.address
    );
    secure.lab.until("the refusal", || secure.lab.text().contains(&words)).await;
}

/// The certificate of a server that was valid in September 2001.
fn of_2001(folder: &Path) -> Authority {
    let first_of = |month| rcgen::date_time_ymd(2001, month, 1);
    let params = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        (params.not_before, params.not_after) = (first_of(9), first_of(10));
        params
    };
    let (key, own) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    let mut authority = params(&[]);
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    std::fs::write(folder.join("ca.pem"), authority.self_signed(&key).unwrap().pem()).unwrap();
    let server = params(&["127.0.0.1"]).signed_by(&own, &rcgen::Issuer::new(authority, key)).unwrap();
    std::fs::write(folder.join("server.pem"), server.pem()).unwrap();
    std::fs::write(folder.join("server.key"), own.serialize_pem()).unwrap();
    Authority::of_files(folder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_certificate_is_valid_at_the_boot_servers_time_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let authority = of_2001(folder.path());
    let agent = |secure: &Secure, boot_time: &str| {
        secure.lab.agent_with(&[
            ("TINKERBELL_TLS", "true"),
            ("TINKERBELL_GRPC_AUTHORITY", &secure.server.address.to_string()),
            ("SSL_CERT_FILE", authority.certificate().to_str().unwrap()),
            ("THIMBLE_TIME", boot_time),
        ])
    };
    let secure = Secure::new(&authority).await;
    let refused = agent(&secure, "");
    secure.lab.until("the refusal", || secure.lab.text().contains("it has expired on 2001-10-01")).await;
    drop((refused, secure)); // one agent runs at a time
    let secure = Secure::new(&authority).await;
    let _agent = agent(&secure, "1000000000"); // 2001-09-09
    let mut work = action("a", &secure.lab.image);
    work.command = ["/bin/sh", "-c", "exit 0"].map(str::to_owned).into();
    let report = secure.lab.run(work).await;
    assert_eq!(report.action_state(), Success, "{}", secure.lab.text());
}
