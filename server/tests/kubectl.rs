//! kubectl against the API in Kubernetes' shape.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod cluster;

use access::{Caller, Grant, Origin, Proof, Role};
use cluster::Cluster;

const HARDWARE: &str = "apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: m1, labels: {rack: '7'}}
spec:
  disks: [{device: /dev/vda}]
  interfaces: [{dhcp: {mac: '52:54:00:00:00:01', ip: {address: 10.0.0.21}}, netboot: {allowPXE: true}}]
";

const TEMPLATE: &str = "apiVersion: tinkerbell.org/v1alpha1
kind: Template
metadata: {name: t1}
spec:
  data: |
    name: t1
    tasks:
    - {name: t, worker: \"{{ .device_1 }}\", actions: [{name: a, image: i, timeout: 9}]}
";

const WORKFLOW: &str = "apiVersion: tinkerbell.org/v1alpha1
kind: Workflow
metadata: {name: w1}
spec: {templateRef: t1, hardwareRef: m1, hardwareMap: {device_1: '52:54:00:00:00:01'}}
";

#[tokio::test(flavor = "multi_thread")]
async fn discovery_names_the_kinds_and_get_shows_them() {
    let Some(cluster) = Cluster::start().await else { return };
    let names = cluster.ok("api-resources").await;
    for line in ["hardware", "templates", "workflows", "workflowrulesets", "secrets", "leases", "machinestates", "rollouts"] {
        assert!(names.lines().any(|one| one.starts_with(line)), "{line} in {names}");
    }
    let versions = cluster.ok("api-versions").await;
    assert!(versions.contains("tinkerbell.org/v1alpha1\ntinkerbell.org/v1alpha2"), "{versions}");
    cluster.apply(&format!("{HARDWARE}---\n{TEMPLATE}---\n{WORKFLOW}")).await;
    cluster.shows("get hw", &["NAME", "STATE", "AGE", "m1"]).await;
    cluster.shows("get hw m1 -o wide --show-labels", &["rack=7"]).await;
    cluster.shows("get workflows", &["TEMPLATE", "w1", "t1", "PENDING", "52:54:00:00:00:01"]).await;
    cluster.shows("get tinkerbell -A", &["hardware.tinkerbell.org/m1", "workflow.tinkerbell.org/w1"]).await;
    cluster.shows("get hw m1 -o jsonpath={.spec.disks[0].device}", &["/dev/vda"]).await;
    cluster.shows("get wf w1 -o yaml", &["kind: Workflow", "uid:", "resourceVersion:", "state: PENDING"]).await;
    cluster.shows("get hw -l rack=7 -o name", &["hardware.tinkerbell.org/m1"]).await;
    cluster.shows("get hw -l rack=8 -o name", &[]).await;
    cluster.fails("get hw m2", "hardware.tinkerbell.org \"m2\" not found").await;
    cluster.shows("get --raw /readyz", &["ok"]).await;
    cluster.shows("cluster-info", &["is running at"]).await;
    cluster.shows("get services -A", &["No resources found"]).await;
    cluster.shows("version", &["Server Version: v1.33.0+thimble"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_created_changed_and_deleted() {
    let Some(cluster) = Cluster::start().await else { return };
    assert!(cluster.pipe_ok("create", HARDWARE).await.contains("hardware.tinkerbell.org/m1 created"));
    let (_, err) = cluster::text(&cluster.pipe("create", HARDWARE).await);
    assert!(err.contains("hardware.tinkerbell.org \"m1\" already exists"), "{err}");
    cluster.shows("label hw m1 zone=a", &["labeled"]).await;
    cluster.shows("annotate hw m1 note=x", &["annotated"]).await;
    cluster.shows("get hw m1 -o jsonpath={.metadata.generation}", &["1"]).await;
    cluster.ok_with(&["patch", "hw", "m1", "--type=merge", "-p", "{\"spec\":{\"userData\":\"u\"}}"]).await;
    cluster
        .ok_with(&["patch", "hw", "m1", "--type=json", "-p", "[{\"op\":\"add\",\"path\":\"/spec/vendorData\",\"value\":\"v\"}]"])
        .await;
    cluster.shows("get hw m1 -o jsonpath={.metadata.generation}{.spec.userData}{.spec.vendorData}", &["3uv"]).await;
    cluster.fails("patch hw m1 -p {\"spec\":{}}", "not supported").await;
    cluster
        .fails("patch hw m1 --type=merge -p {\"spec\":{\"disks\":7}}", "spec.disks: Invalid value: must be of type array")
        .await;
    let editor = cluster::script(cluster.home.path(), "editor", "sed -i 's/userData: u/userData: edited/' \"$1\"");
    let mut edit = cluster.command(&["edit", "hw", "m1"]);
    let output = edit.env("EDITOR", &editor).env("KUBE_EDITOR", &editor).output().await.unwrap();
    assert!(output.status.success(), "{:?}", cluster::text(&output));
    cluster.shows("get hw m1 -o jsonpath={.spec.userData}", &["edited"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_diff_and_dry_run_agree() {
    let Some(cluster) = Cluster::start().await else { return };
    let file = cluster.file("m1.yaml", HARDWARE);
    let file = file.to_str().unwrap();
    assert!(cluster.ok_with(&["apply", "-f", file]).await.contains("created"));
    assert!(cluster.ok_with(&["apply", "-f", file]).await.contains("unchanged"));
    let before = cluster.ok("get hw m1 -o jsonpath={.metadata.resourceVersion}").await;
    let changed = HARDWARE.replace("/dev/vda", "/dev/sda");
    let output = cluster.pipe("diff", &changed).await;
    let (out, err) = cluster::text(&output);
    assert!(output.status.code() == Some(1) && out.contains("+  - device: /dev/sda"), "{out}{err}");
    assert!(cluster.pipe_ok("apply --dry-run=server", &changed).await.contains("configured (server dry run)"));
    assert_eq!(cluster.ok("get hw m1 -o jsonpath={.metadata.resourceVersion}").await, before);
    assert!(cluster.pipe_ok("apply", &changed).await.contains("configured"));
    let (_, err) = cluster::text(&cluster.pipe("apply", &HARDWARE.replace("device:", "devise:")).await);
    assert!(err.contains("unknown field \"spec.disks[0].devise\""), "{err}");
    assert!(cluster.pipe_ok("replace", &HARDWARE.replace("rack: '7'", "rack: '9'")).await.contains("replaced"));
    cluster.shows("get hw -l rack=9 -o name", &["m1"]).await;
    assert!(cluster.pipe_ok("delete", HARDWARE).await.contains("deleted"));
    cluster.fails("get hw m1", "not found").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_use_is_not_deleted_unless_it_is_forced() {
    let Some(cluster) = Cluster::start().await else { return };
    cluster.apply(&format!("{HARDWARE}---\n{TEMPLATE}---\n{WORKFLOW}")).await;
    cluster.fails("delete hw m1 --wait=false", "it is used by Workflow default/w1").await;
    cluster.fails("delete template t1 --dry-run=server", "it is used by Workflow default/w1").await;
    cluster.shows("delete hw m1 --grace-period=0 --force", &["deleted"]).await;
    cluster.shows("delete wf --all", &["deleted"]).await;
    cluster.shows("get wf", &["No resources found"]).await;
    cluster.ok_with(&["patch", "template", "t1", "--type=merge", "-p", "{\"metadata\":{\"finalizers\":[\"x.org/y\"]}}"]).await;
    cluster.shows("delete template t1 --wait=false", &["deleted"]).await;
    cluster.shows("get template t1 -o jsonpath={.metadata.deletionTimestamp}", &["20"]).await;
    cluster.ok_with(&["patch", "template", "t1", "--type=merge", "-p", "{\"metadata\":{\"finalizers\":null}}"]).await;
    cluster.fails("get template t1", "not found").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_that_waits_says_so_and_a_finished_one_stays_finished() {
    let Some(cluster) = Cluster::start().await else { return };
    let said = cluster.pipe_ok("create", WORKFLOW).await;
    assert!(said.contains("Warning: Workflow default/w1 waits for Hardware default/m1"), "{said}");
    let finished = format!("{}status: {{state: SUCCESS}}\n", WORKFLOW.replace("w1", "w2"));
    cluster.pipe_ok("create", &finished).await;
    cluster.shows("get wf w2 -o jsonpath={.status.state}", &["SUCCESS"]).await;
    let running = format!("{}status: {{state: RUNNING}}\n", WORKFLOW.replace("w1", "w3"));
    let said = cluster.pipe_ok("create", &running).await;
    assert!(said.contains("Warning: the status of Workflow \"w3\" is the server's to say and was dropped"), "{said}");
    cluster
        .fails(
            "patch wf w2 --subresource=status --type=merge -p {\"status\":{\"state\":\"FAILED\"}}",
            "follows from what agents report",
        )
        .await;
    cluster.pipe_ok("create", HARDWARE).await;
    cluster.ok("patch hw m1 --subresource=status --type=merge -p {\"status\":{\"state\":\"x\"}}").await;
    cluster.shows("get hw m1 -o jsonpath={.status.state}{.metadata.generation}", &["x1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_waits_and_explanations_work() {
    let Some(cluster) = Cluster::start().await else { return };
    cluster.apply(&format!("{HARDWARE}---\n{TEMPLATE}---\n{WORKFLOW}")).await;
    cluster.shows("explain hardware.spec.interfaces.dhcp.mac", &["The MAC address of the interface."]).await;
    cluster.shows("explain workflow.status.tasks.actions", &["executionDuration"]).await;
    cluster.shows("describe wf w1", &["Template Ref:", "t1", "Events:"]).await;
    cluster.shows("wait wf/w1 --for=jsonpath={.status.state}=PENDING --timeout=20s", &["condition met"]).await;
    let mut watch = cluster.command(&["get", "hw", "-w", "-o", "name"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = cluster::lines(watch.stdout.take().unwrap());
    assert_eq!(cluster::next(&mut lines).await, "hardware.tinkerbell.org/m1");
    cluster.apply(&HARDWARE.replace("m1", "m2").replace("00:00:01", "00:00:02").replace("10.0.0.21", "10.0.0.22")).await;
    assert_eq!(cluster::next(&mut lines).await, "hardware.tinkerbell.org/m2");
    let mut one = cluster.command(&["get", "hw", "m2", "-w", "-L", "rack"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut rows = cluster::lines(one.stdout.take().unwrap());
    assert!(cluster::next(&mut rows).await.starts_with("NAME"));
    assert!(cluster::next(&mut rows).await.starts_with("m2"));
    cluster.ok("label hw m2 rack=11 --overwrite").await;
    assert!(cluster::next(&mut rows).await.ends_with("11"));
    let mut gone = cluster
        .command(&["wait", "hw/m2", "--for=delete", "--timeout=60s"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    cluster.ok("delete hw m2").await;
    assert!(gone.wait().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn core_kinds_come_as_protobuf_and_reviews_are_answered() {
    let Some(cluster) = Cluster::start().await else { return };
    cluster.shows("create ns rack-7", &["namespace/rack-7 created"]).await;
    cluster.shows("get ns", &["default", "rack-7", "Active"]).await;
    cluster.shows("label ns default a=b", &["labeled"]).await;
    cluster.shows("get ns -l a=b -o name", &["namespace/default"]).await;
    cluster
        .shows("create secret generic bmc -n rack-7 --from-literal=username=root --from-literal=password=p", &["created"])
        .await;
    cluster.shows("get secret bmc -n rack-7 -o jsonpath={.data.username}{.type}", &["cm9vdA==Opaque"]).await;
    cluster.shows("create configmap c -n rack-7 --from-literal=a=b", &["created"]).await;
    cluster.fails("create configmap c -n nowhere --from-literal=a=b", "namespaces \"nowhere\" not found").await;
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: rack-7}\nstringData: {a: b}\n";
    cluster.apply(secret).await;
    assert!(cluster.apply(&secret.replace("a: b", "a: c")).await.contains("configured"));
    cluster.shows("get secret s -n rack-7 -o jsonpath={.data.a}", &["Yw=="]).await;
    cluster.shows("auth can-i delete hardware", &["yes"]).await;
    cluster.shows("auth can-i --list", &["hardware.tinkerbell.org"]).await;
    cluster.shows("auth whoami", &["test"]).await;
    cluster.shows("get crd", &["hardware.tinkerbell.org", "machines.bmc.tinkerbell.org"]).await;
    let machine = "apiVersion: bmc.tinkerbell.org/v1alpha1\nkind: Machine\nmetadata: {name: b, namespace: rack-7}\nspec: {connection: {host: 10.0.0.9}}\n";
    let said = cluster.apply(machine).await;
    assert!(said.contains("Warning: nothing acts on Machine objects"), "{said}");
    cluster.shows("get machines -n rack-7", &["10.0.0.9"]).await;
    cluster.shows("delete ns rack-7", &["deleted"]).await;
    cluster.fails("get secret s -n rack-7", "not found").await;
    cluster.fails("get ns rack-7", "not found").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_side_apply_owns_what_it_names() {
    let Some(cluster) = Cluster::start().await else { return };
    assert!(cluster.pipe_ok("apply --server-side --field-manager=one", HARDWARE).await.contains("serverside-applied"));
    let other = HARDWARE.replace("/dev/vda", "/dev/sda");
    let (_, err) = cluster::text(&cluster.pipe("apply --server-side --field-manager=two", &other).await);
    assert!(err.contains("conflict with \"one\": .spec.disks") || err.contains("conflict with \"one\" using"), "{err}");
    cluster.pipe_ok("apply --server-side --field-manager=two --force-conflicts", &other).await;
    cluster.shows("get hw m1 -o jsonpath={.spec.disks[0].device}", &["/dev/sda"]).await;
    let before = cluster.ok("get hw m1 -o jsonpath={.metadata.resourceVersion}").await;
    cluster.pipe_ok("apply --server-side --field-manager=two", &other).await;
    assert_eq!(cluster.ok("get hw m1 -o jsonpath={.metadata.resourceVersion}").await, before);
    let without = other.replace("metadata: {name: m1, labels: {rack: '7'}}", "metadata: {name: m1}");
    cluster.pipe_ok("apply --server-side --field-manager=two", &without).await;
    cluster.shows("get hw m1 -o jsonpath={.metadata.labels.rack}", &["7"]).await;
    cluster.pipe_ok("apply --server-side --field-manager=one --force-conflicts", &without).await;
    assert_eq!(cluster.ok("get hw m1 -o jsonpath={.metadata.labels}").await, "");
    // What was applied by the client is taken over.
    let second = HARDWARE.replace("m1", "m2").replace("00:00:01", "00:00:02").replace("10.0.0.21", "10.0.0.22");
    cluster.apply(&second).await;
    assert!(cluster.pipe_ok("apply --server-side", &second).await.contains("serverside-applied"));
}

#[tokio::test(flavor = "multi_thread")]
async fn intents_and_rollouts_are_ordered_through_their_specs() {
    let Some(cluster) = Cluster::start().await else { return };
    cluster.apply(&format!("{HARDWARE}---\n{TEMPLATE}---\n{WORKFLOW}")).await;
    cluster.shows("get machinestates", &["INTENT", "m1", "install", "w1"]).await;
    cluster
        .ok_with(&["patch", "ms", "m1", "--type=merge", "-p", "{\"spec\":{\"intent\":\"hold\",\"reason\":\"maintenance\"}}"])
        .await;
    cluster.shows("get ms m1 -o jsonpath={.spec.intent}{.status.by}{.status.reason}", &["holdtestmaintenance"]).await;
    cluster.fails("patch ms m1 --type=merge -p {\"spec\":{\"intent\":\"discover\"}}", "cannot be ordered").await;
    cluster.shows("get ms -l rack=7 -o name", &["machinestate.thimble.dev/m1"]).await;
    cluster.ok("patch ms m1 --type=merge -p {\"spec\":{\"intent\":\"approve\"}}").await;
    cluster.shows("get ms m1 -o jsonpath={.spec.intent}", &["install"]).await;
    cluster.ok("delete wf w1").await;
    let rollout =
        "apiVersion: thimble.dev/v1alpha1\nkind: Rollout\nmetadata: {name: r}\nspec: {selector: rack=7, templateRef: t1}\n";
    assert!(cluster.pipe_ok("create", rollout).await.contains("created"));
    cluster.shows("get rollouts", &["r", "t1", "running", "1"]).await;
    cluster.fails("delete rollout r --wait=false", "stop it first").await;
    cluster.ok("patch rollout r --type=merge -p {\"spec\":{\"state\":\"stopped\"}}").await;
    cluster.shows("get rollout r -o jsonpath={.status.state}", &["stopped"]).await;
    cluster.fails("patch rollout r --type=merge -p {\"spec\":{\"atOnce\":5}}", "only state can change").await;
    cluster.ok("delete rollout r").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_reads_without_secrets_and_writes_nothing() {
    let viewer = Caller::new("eve", vec![Grant::everywhere(Role::Viewer)], Origin::Socket { uid: 7 }, Proof::LocalUser);
    let Some(cluster) = Cluster::start_as(viewer).await else { return };
    let text = HARDWARE.replace("spec:", "spec:\n  userData: hunter2");
    cluster.server.apply(model::parse_documents(&text, "f").unwrap()).await.unwrap();
    cluster.shows("get hw m1 -o jsonpath={.spec.userData}", &["(masked)"]).await;
    cluster.shows("get hw -o yaml", &["(masked)"]).await;
    cluster.fails("delete hw m1", "User \"eve\" cannot delete resource \"hardware\" in API group \"tinkerbell.org\"").await;
    cluster.fails("label hw m1 a=b", "forbidden").await;
    cluster.fails("auth can-i create hardware", "").await;
    cluster.shows("auth can-i list hardware", &["yes"]).await;
    cluster.shows("auth whoami", &["eve"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_an_object_goes_with_it() {
    let Some(cluster) = Cluster::start().await else { return };
    let job = "apiVersion: bmc.tinkerbell.org/v1alpha1\nkind: Job\nmetadata: {name: j}\nspec: {machineRef: {name: b}}\n";
    cluster.apply(job).await;
    let uid = cluster.ok("get jobs.bmc.tinkerbell.org j -o jsonpath={.metadata.uid}").await;
    let uid = uid.split("Warning").next().unwrap().trim();
    let task = format!(
        "apiVersion: bmc.tinkerbell.org/v1alpha1\nkind: Task\nmetadata: {{name: t, ownerReferences: [{{apiVersion: \
         bmc.tinkerbell.org/v1alpha1, kind: Job, name: j, uid: {uid}, controller: true}}]}}\nspec: {{}}\n"
    );
    cluster.apply(&task).await;
    cluster.shows("get tasks.bmc.tinkerbell.org", &["t"]).await;
    cluster.ok("delete jobs.bmc.tinkerbell.org j").await;
    cluster.fails("get tasks.bmc.tinkerbell.org t", "not found").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_version_shows_its_own_objects() {
    let Some(cluster) = Cluster::start().await else { return };
    let task = "apiVersion: tinkerbell.org/v1alpha2\nkind: Task\nmetadata: {name: t2}\nspec: {actions: [{name: a, image: i}]}\n";
    let workflow = "apiVersion: tinkerbell.org/v1alpha2\nkind: Workflow\nmetadata: {name: new}\nspec: {tasks: [{agentID: x, taskRef: {name: t2}}]}\n";
    cluster.apply(&format!("{task}---\n{workflow}---\n{HARDWARE}---\n{TEMPLATE}---\n{WORKFLOW}")).await;
    cluster.shows("get workflows.v1alpha2.tinkerbell.org", &["new", "PENDING"]).await;
    let old = cluster.ok("get workflows -o name").await;
    assert_eq!(old.trim(), "workflow.tinkerbell.org/w1");
    cluster.shows("get workflows.v1alpha2.tinkerbell.org new -o jsonpath={.status.state}", &["PENDING"]).await;
    cluster.ok("label workflows.v1alpha2.tinkerbell.org new a=b").await;
    cluster.shows("get workflows.v1alpha2.tinkerbell.org -l a=b -o name", &["new"]).await;
    cluster.ok("delete workflows.v1alpha2.tinkerbell.org new").await;
    cluster.shows("get workflows", &["w1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kubectl_of_debian_12_works() {
    let Some(program) = cluster::old_kubectl().await else { return };
    let cluster = Cluster::start_with(program, cluster::admin()).await;
    assert!(cluster.apply(&format!("{HARDWARE}---\n{TEMPLATE}---\n{WORKFLOW}")).await.contains("created"));
    cluster.shows("get workflows", &["TEMPLATE", "w1", "PENDING"]).await;
    let changed = HARDWARE.replace("/dev/vda", "/dev/sda");
    let (out, err) = cluster::text(&cluster.pipe("diff", &changed).await);
    assert!(out.contains("+  - device: /dev/sda"), "{out}{err}");
    assert!(cluster.pipe_ok("apply --dry-run=server", &changed).await.contains("configured (server dry run)"));
    assert!(cluster.apply(&changed).await.contains("configured"));
    assert!(cluster.pipe_ok("apply --server-side --force-conflicts", &changed).await.contains("serverside-applied"));
    let editor = cluster::script(cluster.home.path(), "editor", "sed -i 's/rack: \"7\"/rack: \"8\"/' \"$1\"");
    let output = cluster.command(&["edit", "hw", "m1"]).env("KUBE_EDITOR", &editor).output().await.unwrap();
    assert!(output.status.success(), "{:?}", cluster::text(&output));
    cluster.shows("get hw -l rack=8 -o name", &["m1"]).await;
    cluster.shows("describe wf w1", &["Template Ref:", "t1"]).await;
    cluster.shows("create secret generic s --from-literal=a=b", &["created"]).await;
    cluster.shows("create configmap c --from-literal=a=b", &["created"]).await;
    cluster.shows("create namespace lab", &["created"]).await;
    cluster.shows("explain hardware.spec.interfaces.dhcp.mac", &["KIND:     Hardware", "<string>"]).await;
    cluster.shows("explain workflow.spec --recursive", &["templateRef", "hardwareMap"]).await;
    let wrong = cluster.pipe("create", &HARDWARE.replace("disks:", "disk:").replace("m1", "m9")).await;
    assert!(!wrong.status.success() && cluster::text(&wrong).1.contains("unknown field \"disk\""), "{:?}", cluster::text(&wrong));
    let event = "apiVersion: v1\nkind: Event\nmetadata: {name: e, namespace: default}\ninvolvedObject: {kind: Hardware, name: m1, \
                 namespace: default, fieldPath: spec}\nreason: R\nmessage: m\ntype: Normal\ncount: 1\nsource: {component: c, host: h}\n";
    assert!(cluster.pipe_ok("create", event).await.contains("created"));
    cluster.shows("auth can-i delete hardware", &["yes"]).await;
    cluster.shows("delete wf w1", &["deleted"]).await;
    cluster.shows("delete hw m1", &["deleted"]).await;
    cluster.fails("get hw m1", "not found").await;
}
