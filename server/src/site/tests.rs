use std::os::unix::fs::PermissionsExt;

use access::{Access, Grant, Lifetime, Names, Role};
use jiff::Timestamp;

use super::*;
use crate::service::Config;
use crate::store::Memory;

/// A host of the site: its folder, and the file of the site's key.
struct Host(tempfile::TempDir);

const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n";
const OTHER_KEY: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\n";

impl Host {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn tokens(&self) -> Tokens {
        Tokens::below(&self.data().join(FOLDER))
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.data().join(name)).unwrap()
    }

    async fn join_with(&self, store: &Arc<dyn Store>, key: &str) -> Result<Server, SiteError> {
        let path = self.0.path().join("site.key");
        fs::write(&path, key).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let server = Server::on(Arc::clone(store), Config::default()).await.unwrap();
        let make = || -> io::Result<()> {
            Access::open(&self.data(), Names::local(), Timestamp::now()).unwrap();
            fs::write(self.data().join("metadata-key"), format!("{:?}", self.data()))
        };
        server.join_site(&self.data(), SiteKey::read(&path).unwrap(), make).await?.unwrap();
        Ok(server)
    }

    async fn join(&self, store: &Arc<dyn Store>) -> Server {
        self.join_with(store, KEY).await.unwrap()
    }

    fn create(&self, name: &str) -> String {
        let grant = Grant { role: Role::Viewer, namespaces: None };
        self.tokens().create(name, grant, Lifetime(None), Timestamp::now()).unwrap().0
    }

    fn takes(&self, token: &str) -> bool {
        self.tokens().lookup(token, Timestamp::now()).is_ok()
    }
}

fn store() -> Arc<dyn Store> {
    Arc::new(Memory::default())
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), wait).await.is_ok(), "{what}");
}

#[tokio::test]
async fn all_servers_of_a_site_have_one_authority_and_certificates_of_their_own() {
    let (store, one, two) = (store(), Host::new(), Host::new());
    let (_first, _second) = (one.join(&store).await, two.join(&store).await);
    for (name, mode) in FILES {
        assert_eq!(one.text(name), two.text(name), "{name}");
        assert_eq!(fs::metadata(two.data().join(name)).unwrap().permissions().mode() & 0o777, mode, "{name}");
    }
    let sealed = store.get(SECRETS).await.unwrap().unwrap().value;
    assert!(!String::from_utf8_lossy(&sealed).contains("PRIVATE KEY"));
    Access::open(&two.data(), Names::local(), Timestamp::now()).unwrap();
}

#[tokio::test]
async fn a_token_that_is_made_or_deleted_at_one_server_is_so_at_all() {
    let (store, one, two, three) = (store(), Host::new(), Host::new(), Host::new());
    let (_first, _third) = (one.join(&store).await, three.join(&store).await);
    let before = one.create("alice");
    let second = two.join(&store).await;
    until("the token of before", || two.takes(&before)).await;
    let (here, there) = (one.create("bob"), two.create("carol"));
    until("tokens of both", || [&one, &two, &three].iter().all(|host| host.takes(&here) && host.takes(&there))).await;
    two.tokens().delete("bob").unwrap();
    until("it is deleted", || !one.takes(&here)).await;
    drop(second);
    one.tokens().delete("carol").unwrap();
    let offline = two.create("dave");
    until("the site knows of the deletion", || !three.takes(&there)).await;
    let _again = two.join(&store).await;
    assert!(!two.takes(&there), "a server that was away does not bring a deleted token back");
    until("the token that was made meanwhile", || one.takes(&offline)).await;
    assert!(one.takes(&before) && two.takes(&before));
}

#[tokio::test]
async fn a_host_with_another_key_or_another_authority_does_not_join() {
    let (store, one) = (store(), Host::new());
    let _first = one.join(&store).await;
    let other_key = Host::new().join_with(&store, OTHER_KEY).await.err().unwrap();
    assert!(other_key.to_string().contains("sealed with another key"), "{other_key}");
    let two = Host::new();
    Access::open(&two.data(), Names::local(), Timestamp::now()).unwrap();
    let own = two.text("access/ca.crt");
    let differs = two.join_with(&store, KEY).await.err().unwrap();
    assert!(matches!(&differs, SiteError::Differs(path) if path.ends_with("access/ca.key")), "{differs}");
    assert_eq!(two.text("access/ca.crt"), own, "nothing of the host was changed");
}
