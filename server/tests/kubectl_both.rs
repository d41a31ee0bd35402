//! What an operator does every day, with both ends of the range: the kubectl of this host, and Debian 12's 1.20.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod cluster;

use std::path::PathBuf;
use std::process::Stdio;

use cluster::{Cluster, lines, next, text};

fn hardware(name: &str, number: u8, rack: u8) -> String {
    format!(
        "apiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: {name}, labels: {{rack: '{rack}'}}}}\nspec:\n  \
         disks: [{{device: /dev/vda}}]\n  interfaces: [{{dhcp: {{mac: '52:54:00:00:00:{number:02x}'}}}}]\n"
    )
}

/// The available ones; the reason is printed for one that is missing.
async fn kubectls() -> Vec<PathBuf> {
    let here = cluster::kubectl();
    if here.is_none() {
        eprintln!("skipped for the newer one: kubectl is not on the PATH");
    }
    here.into_iter().chain(cluster::old_kubectl().await).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_found_by_what_they_are_called_and_labelled() {
    for kubectl in kubectls().await {
        let cluster = Cluster::start_with(kubectl, cluster::admin()).await;
        let all = format!("{}---\n{}---\n{}", hardware("m1", 1, 7), hardware("m2", 2, 8), hardware("m3", 3, 8));
        assert!(cluster.pipe_ok("create", &all).await.contains("hardware.tinkerbell.org/m3 created"));
        for (selection, expected) in [
            ("-l rack=8", "m2 m3"),
            ("-l rack!=8", "m1"),
            ("-l rack==7", "m1"),
            ("-l rack", "m1 m2 m3"),
            ("-l !rack", ""),
            ("-l rack=8,zone", ""),
            ("--selector=rack=9", ""),
            ("--field-selector metadata.name=m2", "m2"),
            ("--field-selector metadata.name!=m2,metadata.namespace=default", "m1 m3"),
            ("-A --sort-by=.metadata.labels.rack", "m1 m2 m3"),
        ] {
            let found = cluster.ok(&format!("get hw {selection} -o jsonpath={{.items[*].metadata.name}}")).await;
            assert_eq!(found.trim().trim_start_matches("No resources found"), expected, "{selection}");
        }
        let in_racks = ["get", "hw", "-l", "rack in (7, 9), rack notin (8)", "-o", "name"];
        assert_eq!(cluster.ok_with(&in_racks).await.trim(), "hardware.tinkerbell.org/m1");
        cluster.fails("get hw --field-selector spec.userData=x", "field").await;
        cluster.shows("get hw m1 m2 -o custom-columns=N:.metadata.name,D:.spec.disks[0].device", &["m1", "m2", "/dev/vda"]).await;
        cluster.shows("get hw m1 -o go-template={{.kind}}", &["Hardware"]).await;
        cluster.shows("get hardware.v1alpha1.tinkerbell.org/m1 -o json", &["\"name\": \"m1\""]).await;
        cluster.shows("delete hw -l rack=8", &["\"m2\" deleted", "\"m3\" deleted"]).await;
        cluster.shows("get hw -o name", &["hardware.tinkerbell.org/m1\n"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_changed_by_every_command_that_changes() {
    for kubectl in kubectls().await {
        let cluster = Cluster::start_with(kubectl, cluster::admin()).await;
        let mut watch = cluster
            .command(&["get", "hw", "-w", "-o", "jsonpath={.metadata.name}={.metadata.annotations.note};{\"\\n\"}"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut seen = lines(watch.stdout.take().unwrap());
        assert!(cluster.apply(&hardware("m1", 1, 7)).await.contains("created"));
        assert_eq!(next(&mut seen).await, "m1=;");
        cluster.shows("annotate hw m1 note=first", &["annotated"]).await;
        assert_eq!(next(&mut seen).await, "m1=first;");
        cluster.fails("annotate hw m1 note=second", "--overwrite").await;
        cluster.shows("annotate hw m1 note-", &["annotated"]).await;
        assert_eq!(next(&mut seen).await, "m1=;");
        cluster.shows("label hw --all zone=a", &["labeled"]).await;
        cluster.fails("label hw m1 zone=b --overwrite --resource-version=99999", "the object has been modified").await;
        cluster.ok_with(&["patch", "hw", "m1", "--type=merge", "-p", "{\"spec\":{\"userData\":\"u\"}}"]).await;
        cluster
            .ok_with(&[
                "patch",
                "hw",
                "m1",
                "--type",
                "json",
                "-p",
                "[{\"op\":\"test\",\"path\":\"/spec/userData\",\"value\":\"u\"}]",
            ])
            .await;
        let changed = hardware("m1", 1, 9);
        let (shown, _) = text(&cluster.pipe("diff", &changed).await);
        assert!(shown.contains("+    rack: \"9\""), "{shown}");
        assert!(cluster.apply(&changed).await.contains("configured"));
        let editor = cluster::script(cluster.home.path(), "editor", "sed -i 's/userData: u/userData: edited/' \"$1\"");
        let edit = cluster.command(&["edit", "hw", "m1"]).env("KUBE_EDITOR", &editor).output().await.unwrap();
        assert!(edit.status.success(), "{:?}", text(&edit));
        cluster
            .shows("get hw m1 -o jsonpath={.metadata.labels.rack}{.metadata.labels.zone}{.spec.userData}", &["9aedited"])
            .await;
        cluster.shows("describe hw m1", &["Name:", "m1", "rack=9", "User Data:", "edited"]).await;
        cluster
            .shows("api-resources --api-group=tinkerbell.org -o name", &["hardware.tinkerbell.org", "workflows.tinkerbell.org"])
            .await;
        cluster.shows("auth can-i create workflows.tinkerbell.org", &["yes"]).await;
        cluster.shows("auth can-i * *", &["yes"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_version_is_a_conflict_and_an_old_watch_is_gone() {
    for kubectl in kubectls().await {
        let mut cluster = Cluster::lasting(kubectl).await;
        cluster.apply(&hardware("m1", 1, 7)).await;
        let old = cluster.ok("get hw m1 -o yaml").await;
        cluster.ok("label hw m1 zone=a").await;
        let refused = cluster.pipe("replace", &old).await;
        assert!(!refused.status.success() && text(&refused).1.contains("the object has been modified"), "{:?}", text(&refused));
        let current = cluster.ok("get hw m1 -o yaml").await;
        assert!(cluster.pipe_ok("replace", &current.replace("zone: a", "zone: b")).await.contains("replaced"));
        cluster.restart().await;
        let old = "get --raw /apis/tinkerbell.org/v1alpha1/hardware?watch=true&resourceVersion=1";
        cluster.fails(old, "too old resource version: 1").await;
        cluster.shows("get hw m1 -o jsonpath={.metadata.labels.zone}", &["b"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_survives_a_restart_of_the_server() {
    for kubectl in kubectls().await {
        let mut cluster = Cluster::lasting(kubectl).await;
        cluster.apply(&hardware("m1", 1, 7)).await;
        let mut watch = cluster.command(&["get", "hw", "-w", "-o", "name"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut seen = lines(watch.stdout.take().unwrap());
        assert_eq!(next(&mut seen).await, "hardware.tinkerbell.org/m1");
        let mut wait = cluster.command(&["wait", "hw/m1", "--for=delete", "--timeout=90s"]);
        let mut wait = wait.stdout(Stdio::piped()).spawn().unwrap();
        cluster.watched(2).await;
        cluster.restart().await;
        assert_eq!(cluster.ok("get hw -o name").await.trim(), "hardware.tinkerbell.org/m1");
        cluster.ok("delete hw m1 --wait=false").await;
        let ended = tokio::time::timeout(cluster::LIMIT, wait.wait()).await.expect("the wait goes on").unwrap();
        assert!(ended.success(), "{ended}");
        let _ = watch.kill().await; // it may have ended with its connection
    }
}
