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
