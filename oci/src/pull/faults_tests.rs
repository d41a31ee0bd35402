//! Registries that fail in the usual ways, and the expected results.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Failure;
use super::tests::{CONFIG, plenty, puller, random_text, with_login};
use crate::fake_registry::{GZIP, Registry, TAR, Trouble, digest, gzip, tar};
use crate::registry::{Proxies, Settings};

fn layer() -> Vec<u8> {
    gzip(&tar(&[("a", &random_text(300_000))]))
}

#[tokio::test]
async fn a_pull_survives_a_temporary_fault_and_names_a_lasting_one() {
    let bytes = layer();
    let blob = digest(&bytes);
    let manifest = "manifests/latest".to_owned();
    for (case, path, troubles, want) in [
        ("a reset in the middle", &blob, vec![Trouble::Cut; 3], Ok(())),
        ("a slow layer", &blob, vec![Trouble::Dribble], Ok(())),
        ("a slow layer, always", &blob, vec![Trouble::Dribble; 9], Err(Failure::Other)),
        ("a slow manifest", &manifest, vec![Trouble::Dribble], Ok(())),
        ("too many requests", &manifest, vec![Trouble::Busy(0); 2], Ok(())),
        ("too many requests, always", &blob, vec![Trouble::Busy(0); 9], Err(Failure::Other)),
        ("errors", &blob, vec![Trouble::Status(500); 3], Ok(())),
        ("errors, always", &blob, vec![Trouble::Status(500); 9], Err(Failure::Other)),
        ("a refusal in the middle", &blob, vec![Trouble::Cut, Trouble::Status(401)], Err(Failure::Other)),
        ("wrong content", &blob, vec![Trouble::Corrupt], Err(Failure::Mismatch)),
    ] {
        let (registry, root) = (Registry::start().await, tempfile::tempdir().unwrap());
        let image = registry.image("tool", &[(GZIP, bytes.clone())], CONFIG);
        registry.trouble(path, &troubles);
        let pulled = puller(root.path(), &Settings::default(), plenty).pull(&image).await;
        assert_eq!(pulled.as_ref().map(|_| ()).map_err(|error| error.failure()), want, "{case}: {pulled:?}");
    }
}

/// Runs in a separate network, which can be taken away. Only root can make one.
#[test]
fn a_network_that_is_lost_during_a_pull_is_reported_as_lost() {
    if !nix::unistd::geteuid().is_root() {
        return println!("skipped: a separate network namespace needs root");
    }
    let ip = |words: &str| {
        let status = std::process::Command::new("ip").args(words.split(' ')).status().expect("apt-get install iproute2");
        assert!(status.success(), "ip {words}");
    };
    let test = async move {
        let (registry, root) = (Registry::start().await, tempfile::tempdir().unwrap());
        let bytes = layer();
        let image = registry.image("tool", &[(GZIP, bytes.clone())], CONFIG);
        registry.trouble(&digest(&bytes), &[Trouble::Dribble]);
        let mut puller = puller(root.path(), &Settings::default(), plenty);
        puller.patience.absence = Duration::from_millis(300);
        let lost = async {
            while registry.requests(&digest(&bytes)) == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            ip("address delete 127.0.0.1/8 dev lo");
        };
        let (pulled, ()) = tokio::join!(puller.pull(&image), lost);
        assert_eq!(pulled.unwrap_err().failure(), Failure::NetworkLost);
        // The image is not the cause: with the network the pull succeeds.
        ip("address add 127.0.0.1/8 dev lo");
        puller.pull(&image).await.unwrap();
    };
    // The namespace belongs to the thread, so everything must start in it.
    let alone = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        ip("link set lo up");
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    });
    alone.join().unwrap();
}

#[tokio::test]
async fn the_pull_pauses_as_long_as_the_server_asks() {
    let (registry, root) = (Registry::start().await, tempfile::tempdir().unwrap());
    let image = registry.image("tool", &[(TAR, tar(&[("a", "1")]))], CONFIG);
    registry.trouble("manifests/latest", &[Trouble::Busy(1)]);
    let started = Instant::now();
    puller(root.path(), &Settings::default(), plenty).pull(&image).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_token_that_has_expired_is_renewed() {
    let (registry, root) = (Registry::start().await, tempfile::tempdir().unwrap());
    let first = registry.image("first", &[(TAR, tar(&[("a", "1")]))], CONFIG);
    registry.inner.lock().unwrap().token = Some("old".into());
    let mut puller = puller(root.path(), &Settings::default(), plenty);
    puller.pull(&first).await.unwrap();
    registry.inner.lock().unwrap().token = Some("new".into());
    puller.pull(&first.replace(":latest", "")).await.unwrap();
    assert_eq!(registry.requests("/token"), 2);
}

#[tokio::test]
async fn a_blob_store_gets_no_password_and_a_resumed_layer_asks_the_registry_again() {
    let bytes = layer();
    let (registry, store, root) = (Registry::start().await, Registry::start().await, tempfile::tempdir().unwrap());
    let image = registry.image("tool", &[(GZIP, bytes.clone())], CONFIG);
    store.copy(&registry);
    registry.inner.lock().unwrap().store = Some(store.address);
    registry.inner.lock().unwrap().basic = Some(STANDARD.encode(b"user:pass"));
    store.trouble(&digest(&bytes), &[Trouble::Cut, Trouble::Status(403)]); // a signed URL that has expired
    let address = registry.address.to_string();
    puller(root.path(), &with_login(&address), plenty).pull(&image).await.unwrap();
    assert!(store.requests("/blobs/") >= 4, "one for the configuration, and three for the layer");
    assert!(store.inner.lock().unwrap().authorizations.iter().all(Option::is_none), "another host gets no password");
}

#[tokio::test]
async fn mirrors_replace_their_registry_and_every_reason_is_reported() {
    let bytes = layer();
    let (registry, mirror) = (Registry::start().await, Registry::start().await);
    let image = registry.image("tool", &[(GZIP, bytes.clone())], CONFIG);
    mirror.copy(&registry);
    let gone = { Registry::start().await.address };
    let rule = format!("{}=http://{gone},http://{}", registry.address, mirror.address);
    let settings = Settings { mirrors: vec![rule], ..Settings::default() };

    let root = tempfile::tempdir().unwrap();
    puller(root.path(), &settings, plenty).pull(&image).await.unwrap();
    assert_eq!((registry.requests("/v2/"), mirror.requests("/v2/")), (0, 4), "everything comes from the mirror");

    let root = tempfile::tempdir().unwrap();
    mirror.trouble(&digest(&bytes), &[Trouble::Corrupt]);
    puller(root.path(), &settings, plenty).pull(&image).await.unwrap();
    assert!(registry.requests("/v2/") > 0, "after wrong content from a mirror the registry is asked");

    let root = tempfile::tempdir().unwrap();
    let missing = image.replace("tool", "nothing");
    let error = puller(root.path(), &settings, plenty).pull(&missing).await.unwrap_err();
    let text = machine::Chain(&error).to_string();
    assert_eq!(error.failure(), Failure::NotFound, "{text}");
    for part in [format!("cannot reach registry {gone} (mirror of"), format!("registry {} (mirror of", mirror.address)] {
        assert!(text.contains(&part), "{part} is missing in {text}");
    }
}

#[tokio::test]
async fn a_proxy_is_used_unless_the_registry_is_an_exception() {
    let (proxy, root) = (Registry::start().await, tempfile::tempdir().unwrap());
    // A proxy for plain HTTP is a server that gets requests with whole URLs. This one has the image itself.
    let image = proxy.image("tool", &[(TAR, tar(&[("a", "1")]))], CONFIG);
    let far = image.replace(&proxy.address.to_string(), "registry.invalid:5000");
    let url = format!("http://{}", proxy.address);
    let through = |exceptions: Option<&str>| Settings {
        proxies: Proxies { http: Some(url.clone()), https: None, exceptions: exceptions.map(str::to_owned) },
        insecure: ["registry.invalid:5000", "192.0.2.7"].map(str::to_owned).into(),
        ..Settings::default()
    };
    puller(root.path(), &through(None), plenty).pull(&far).await.unwrap();
    let asked = proxy.requests("/v2/");
    assert!(asked > 0);
    for (exception, image) in [(".invalid", far.clone()), ("192.0.2.0/24", far.replace("registry.invalid:5000", "192.0.2.7"))] {
        let root = tempfile::tempdir().unwrap();
        let mut puller = puller(root.path(), &through(Some(exception)), plenty);
        let pull = tokio::time::timeout(Duration::from_millis(500), puller.pull(&image)).await;
        assert!(!matches!(pull, Ok(Ok(_))), "{exception}");
        assert_eq!(proxy.requests("/v2/"), asked, "{exception}");
    }
}

/// As containerd, skopeo and Docker do. The digest decides whether it is the right one.
#[tokio::test]
async fn a_layer_that_a_registry_may_not_distribute_comes_from_where_the_manifest_says() {
    let bytes = layer();
    let (registry, other) = (Registry::start().await, Registry::start().await);
    registry.image("tool", &[(GZIP, bytes.clone())], CONFIG);
    other.copy(&registry);
    registry.forget(&format!("/v2/tool/blobs/{}", digest(&bytes)));
    let there = format!("http://{}/v2/tool/blobs/{}", other.address, digest(&bytes));
    let gone = format!("http://{}/x", { Registry::start().await.address });
    for (case, urls, troubles, want) in [
        ("the second address has it", vec![gone.clone(), there.clone()], vec![], Ok(())),
        ("it breaks off in between", vec![there.clone()], vec![Trouble::Cut], Ok(())),
        ("no address", vec![], vec![], Err("registry {registry} has no blobs/")),
        ("not an address", vec!["nonsense".into()], vec![], Err("registry {registry} has no blobs/")),
        ("a file of the machine", vec!["file:///etc/passwd".into()], vec![], Err("to something that is not HTTP")),
        (
            "plain HTTP of a host that is not listed",
            vec!["http://192.0.2.1/x".into()],
            vec![],
            Err("by its manifest to plain HTTP"),
        ),
        ("other bytes", vec![there.clone()], vec![Trouble::Corrupt], Err("does not match its digest")),
        ("a login", vec![there.replace("http://", "http://user:pass@")], vec![Trouble::Status(401); 9], Err("status 401")),
        ("five addresses", [vec![gone.clone(); 4], vec![there.clone()]].concat(), vec![], Err("cannot reach registry")),
    ] {
        let root = tempfile::tempdir().unwrap();
        let image = registry.change_manifest("tool", |manifest| manifest["layers"][0]["urls"] = urls.clone().into());
        other.trouble(&digest(&bytes), &troubles);
        let mut puller = puller(root.path(), &Settings::default(), plenty);
        puller.patience.absence = Duration::from_millis(1);
        let text = puller.pull(&image).await.map(drop).map_err(|error| machine::Chain(&error).to_string());
        let want = want.map_err(|text: &str| text.replace("{registry}", &registry.address.to_string()));
        match (&text, &want) {
            (Ok(()), Ok(())) => {}
            (Err(text), Err(want)) => assert!(text.contains(want), "{case}: {text}"),
            _ => panic!("{case}: {text:?} instead of {want:?}"),
        }
    }
    assert!(other.inner.lock().unwrap().authorizations.iter().all(Option::is_none), "an address of the image gets no password");
}
