//! Which driver packs a machine's script loads, over real sockets, for each way in which its devices are reported.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;

use boots::BootInterface;
use support::{Fixed, Host, KNOWN, machine};

const NVME: &str = "pci:v00001B36d00000010sv*sd*bc01sc08i02";

async fn host(devices: &[&str]) -> Host {
    let devices: Vec<String> = devices.iter().map(|text| (*text).to_owned()).collect();
    Host::with(Arc::new(Fixed(vec![machine(KNOWN).with_devices(&devices)]))).await
}

/// Writes the packs and their index beside the ramdisk, which is at the top of the files.
fn build(host: &Host) {
    host.packs(&[("storage", "pci:v*d*sv*sd*bc01sc08i02*"), ("san", "pci:v00001077d*sv*sd*bc*sc*i*"), ("raid", "")]);
}

/// The packs that the script loads, and whether it asks the machine first.
async fn script(host: &Host, query: &str) -> (Vec<String>, bool) {
    let _ = rustls::crypto::ring::default_provider().install_default(); // the client insists, even without TLS
    let answer = reqwest::get(format!("http://{}/ipxe/script/{KNOWN}/auto.ipxe{query}", host.http)).await.unwrap();
    assert_eq!(answer.status(), 200);
    let text = answer.text().await.unwrap();
    let loads = text.lines().filter_map(|line| line.strip_prefix("initrd ")?.split(' ').next()?.rsplit('/').next());
    let packs = loads.filter_map(|file| file.strip_prefix("pack-")?.strip_suffix(".cpio.zst")).map(str::to_owned).collect();
    (packs, text.contains("auto.ipxe?pci="))
}

#[tokio::test]
async fn a_machine_is_asked_and_gets_the_packs_of_its_devices() {
    let host = host(&[NVME]).await;
    assert_eq!(script(&host, "?pci=00101b36.01080202,").await, (vec![], false), "packs do not exist");
    build(&host);
    for (case, query, expected) in [
        ("until it reports, what its agent reported before", "", (vec!["storage", "raid"], true)),
        ("its own word counts", "?pci=25321077.0c040005,29c08086.06000000,", (vec!["san", "raid"], false)),
        ("a class that it cannot read may be any", "?pci=00101b36.,", (vec!["storage", "raid"], false)),
        ("no device that needs one", "?pci=10001af4.02000000,", (vec!["raid"], false)),
    ] {
        let (packs, asks) = script(&host, query).await;
        assert_eq!((packs.iter().map(String::as_str).collect(), asks), expected, "{case}");
    }
    host.file("pack-raid.cpio.zst", b"dair");
    assert_eq!(script(&host, "?pci=10001af4.02000000,").await, (vec![], false), "a pack that is not what was built");
    host.file("packs.json", b"{");
    assert_eq!(script(&host, "").await, (vec![], false), "a broken index");
}

#[test]
fn the_annotation_names_packs() {
    let BootInterface { packs, devices, .. } = machine(KNOWN);
    assert_eq!((packs, devices), (vec!["raid".to_owned(), "xen".to_owned()], vec![]));
}
