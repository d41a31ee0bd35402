//! Two processes of `thimble server` on one etcd, which they reach by TLS, and the way between engines.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ports;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use etcd::cluster::{Cluster, LIMITS};
use ports::free;
use proto::action_status_request::StateType;
use proto::logs::logs_client::LogsClient;
use proto::logs::{AppendRequest, Line};
use proto::workflow_service_client::WorkflowServiceClient;
use proto::{ActionRequest, ActionResponse, ActionStatusRequest};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

const MAC: &str = "52:54:00:12:34:56";
const LIMIT: Duration = Duration::from_secs(120);

const OBJECTS: &str = "apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: node-1, labels: {rack: '7'}}
spec:
  disks: [{device: /dev/vda}]
  interfaces: [{dhcp: {mac: 52:54:00:12:34:56, ip: {address: 10.0.0.20}}, netboot: {allowPXE: true}}]
---
apiVersion: tinkerbell.org/v1alpha1
kind: Template
metadata: {name: one}
spec:
  data: |
    name: one
    tasks:
      - name: install
        worker: \"{{.device_1}}\"
        actions: [{name: stream, image: actions, timeout: 60}]
---
apiVersion: tinkerbell.org/v1alpha1
kind: Workflow
metadata: {name: w}
spec: {templateRef: one, hardwareRef: node-1, hardwareMap: {device_1: 52:54:00:12:34:56}}
";

fn thimble() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thimble"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("THIMBLE_") || name == "KUBECONFIG") {
        command.env_remove(name);
    }
    command
}

/// A process of `thimble server` with a data folder of its own.
struct Host {
    folder: tempfile::TempDir,
    http: SocketAddr,
    grpc: SocketAddr,
    child: Child,
    words: Vec<String>,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Host {
    fn start(store: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), store)
    }

    fn start_in(folder: tempfile::TempDir, store: &[&str]) -> Self {
        let (http, grpc) = (free(), free());
        let ports = [http, grpc, free()].map(|port| port.to_string());
        let words = ["server", "--address", "127.0.0.1", "--http", &ports[0], "--grpc", &ports[1], "--api", &ports[2]];
        let words: Vec<String> = words.iter().chain(store).map(|word| (*word).to_owned()).collect();
        let child = begin(folder.path(), &words);
        let host = Self { folder, http, grpc, child, words };
        host.is_up();
        host
    }

    /// With the data folder and the ports that it had.
    fn start_again(&mut self) {
        let _ = std::fs::remove_file(self.folder.path().join("api.sock"));
        self.child = begin(self.folder.path(), &self.words);
        self.is_up();
    }

    fn is_up(&self) {
        wait("the server's socket", || {
            assert!(!self.log().contains("thimble: "), "it does not start: {}", self.log());
            self.folder.path().join("api.sock").exists()
        });
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// A machine says this by syslog, and takes a step of its boot.
    fn hears(&self, text: &str) {
        let at = jiff::Timestamp::now();
        let body = format!(
            r#"[{{"mac":"52:54:00:12:34:56","text":"{text}"}},
                {{"mac":"52:54:00:12:34:56","text":"","step":{{"at":"{at}","kind":"script","asked":"GET {text}","answered":"a script"}}}}]"#
        );
        let socket = self.folder.path().join("api.sock");
        let status = wait_for(async {
            let client = reqwest::Client::builder().unix_socket(socket).no_proxy().build().unwrap();
            let sent = client.post(format!("http://localhost{}", api::paths::SYSLOG)).body(body).send();
            sent.await.unwrap().status().as_u16()
        });
        assert_eq!(status, 204);
    }

    /// The agent gets its action from this server, and reports that it runs.
    fn begins(&self) -> ActionResponse {
        wait_for(async {
            let mut client = WorkflowServiceClient::connect(format!("http://{}", self.grpc)).await.unwrap();
            let agent_id = Some(MAC.to_owned());
            let asked = ActionRequest { agent_id: agent_id.clone(), ..ActionRequest::default() };
            let given = client.get_action(asked).await.unwrap().into_inner();
            let ActionResponse { workflow_id, task_id, action_id, .. } = given.clone();
            let action_state = Some(StateType::Running.into());
            let report = ActionStatusRequest { agent_id, workflow_id, task_id, action_id, action_state, ..Default::default() };
            client.report_action_status(report).await.unwrap();
            given
        })
    }

    /// The agent sends a line of its action to this server.
    fn gets(&self, text: &str, of: &ActionResponse) {
        let lines = vec![Line { text: text.to_owned(), stderr: false, age_milliseconds: 0 }];
        let (workflow_id, action_id) = (of.workflow_id().to_owned(), of.action_id().to_owned());
        let request = AppendRequest { agent_id: MAC.to_owned(), workflow_id, action_id, lines, dropped: 0 };
        wait_for(async {
            let mut client = LogsClient::connect(format!("http://{}", self.grpc)).await.unwrap();
            client.append(request).await.unwrap();
        });
    }

    /// The id of its data folder, which it has a moment after its socket.
    fn id(&self) -> String {
        let path = self.folder.path().join("data/server-id");
        wait("the id of a server", || path.exists());
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn output(&self, words: &[&str]) -> Output {
        thimble().args(words).env("THIMBLE_SERVER", format!("unix:{}/api.sock", self.folder.path().display())).output().unwrap()
    }

    /// What a command prints that succeeds.
    fn call(&self, words: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.output(words);
        assert!(status.success(), "{words:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    fn import(&self, text: &str) {
        let file = self.file("import.yaml", text);
        self.call(&["import", "-f", file.to_str().unwrap()]);
    }
}

fn begin(folder: &Path, words: &[String]) -> Child {
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let mut command = thimble();
    command.args(words).arg("--data").arg(folder.join("data")).arg("--socket").arg(folder.join("api.sock"));
    command.env("RUST_LOG", "info").stderr(log).spawn().unwrap()
}

fn wait_for<T>(what: impl Future<Output = T>) -> T {
    let _ = rustls::crypto::ring::default_provider().install_default(); // another test may have done it
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(what)
}

fn wait(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < LIMIT, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An authority, and certificates for loopback that it signed, as files: ca.pem, etcd.pem, etcd.key, thimble.pem, thimble.key.
fn certificates(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    for name in ["etcd", "thimble"] {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[test]
fn a_site_moves_from_a_file_to_etcd_with_two_servers_by_tls_and_back() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let [ca, certificate, key, own, own_key] = ["ca.pem", "etcd.pem", "etcd.key", "thimble.pem", "thimble.key"]
        .map(|name| folder.path().join(name).display().to_string());
    let tls = ["--cert-file", &certificate, "--key-file", &key, "--client-cert-auth", "--trusted-ca-file", &ca];
    let cluster = match Cluster::start(1, &[LIMITS, &tls].concat()) {
        Ok(cluster) => cluster,
        Err(reason) => return eprintln!("SKIPPED: {reason}"),
    };
    let address = cluster.address("site").to_string();
    let store = ["--store", &address, "--store-ca", &ca, "--store-certificate", &own, "--store-key", &own_key];

    let file = Host::start(&[]);
    let objects = file.file("objects.yaml", OBJECTS);
    file.call(&["apply", "-f", objects.to_str().unwrap()]);
    let exported = file.call(&["export"]);
    assert!(exported.contains("node-1") && exported.contains("MachineState"), "{exported}");

    let (one, mut other) = (Host::start(&store), Host::start(&store));
    one.import(&exported);
    assert_eq!(other.call(&["export"]), exported, "the other server shows what was imported by the one");
    let same_mac = OBJECTS.replace("node-1", "node-9").replace("0.20", "0.29");
    for host in [&one, &other] {
        let file = host.file("same.yaml", &same_mac);
        let refused = host.output(&["apply", "-f", file.to_str().unwrap()]);
        let reason = String::from_utf8([refused.stdout, refused.stderr].concat()).unwrap();
        assert!(!refused.status.success() && reason.contains("has 52:54:00:12:34:56, which is Hardware"), "{reason}");
    }
    let back = Host::start(&[]);
    back.import(&other.call(&["export"]));
    assert_eq!(back.call(&["export"]), exported);

    // A backup can be taken of either engine.
    let backup = one.folder.path().join("site.backup").display().to_string();
    other.call(&["backup", &backup]);
    let restored = tempfile::tempdir().unwrap();
    let data = restored.path().display().to_string();
    assert!(thimble().args(["restore", &backup, "--data", &data]).status().unwrap().success());
    let refused = thimble().args(["restore", &backup, "--data", &data]).env("THIMBLE_STORE", &address).output().unwrap();
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.contains("etcd://") && refused.contains("etcdctl snapshot restore"), "{refused}");

    // The one server goes on without the other.
    other.kill();
    let renamed =
        one.file("more.yaml", &OBJECTS.replace("node-1", "node-2").replace("12:34:56", "12:34:57").replace("0.20", "0.21"));
    one.call(&["apply", "-f", renamed.to_str().unwrap()]);
    assert!(one.call(&["get", "hardware"]).contains("node-2"));
    assert!(one.call(&["get", "leases"]).contains("thimble-server"));
    wait("a leader", || one.log().contains("this server leads"));
}

#[test]
fn a_server_that_etcd_does_not_know_says_what_to_do() {
    let cluster = match Cluster::start(1, &[]) {
        Ok(cluster) => cluster,
        Err(reason) => return eprintln!("SKIPPED: {reason}"),
    };
    let store = cluster.address("site").to_string();
    let host = Host::start(&["--store", &store]);
    wait("the advice", || host.log().contains("--max-txn-ops=16384 --max-request-bytes=10485760"));
    drop(cluster);
    let asked = |path: &str| {
        let url = format!("http://{}{path}", host.http);
        wait_for(async {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            client.get(url).send().await.unwrap().status().as_u16()
        })
    };
    assert_eq!(asked("/readyz"), 503, "it cannot do its work");
    assert_eq!(asked("/healthz"), 200, "to start it again would not help");
    let begun = Instant::now();
    let refused = String::from_utf8(host.output(&["get", "hardware"]).stderr).unwrap();
    assert!(refused.contains("are its members running") && begun.elapsed() < Duration::from_secs(60), "{refused}");
}

/// What a command prints while it runs. It is ended at last.
struct Following {
    child: Child,
    folder: tempfile::TempDir,
}

impl Following {
    fn begin(host: &Host, words: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let out = std::fs::File::create(folder.path().join("out")).unwrap();
        let server = format!("unix:{}/api.sock", host.folder.path().display());
        let child = thimble().args(words).env("THIMBLE_SERVER", server).stdout(out).spawn().unwrap();
        Self { child, folder }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("out")).unwrap()
    }

    fn shows(&self, text: &str) {
        wait(text, || self.text().contains(text));
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The words of a server of this site.
fn site_of(cluster: &Cluster, folder: &Path) -> [String; 4] {
    let key = folder.join("site.key");
    std::fs::write(&key, "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n").unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    ["--store".to_owned(), cluster.address("site").to_string(), "--site-key".to_owned(), key.display().to_string()]
}

#[test]
fn each_server_shows_the_logs_and_the_boots_that_the_others_have_and_names_one_that_is_down() {
    let cluster = match Cluster::start(1, LIMITS) {
        Ok(cluster) => cluster,
        Err(reason) => return eprintln!("SKIPPED: {reason}"),
    };
    let folder = tempfile::tempdir().unwrap();
    let site = site_of(&cluster, folder.path());
    let site: Vec<&str> = site.iter().map(String::as_str).collect();
    let one = Host::start(&site);
    let mut other = Host::start(&site);
    let objects = one.file("objects.yaml", OBJECTS);
    one.call(&["apply", "-f", objects.to_str().unwrap()]);
    other.call(&["get", "hardware", "node-1"]);

    let in_order = |host: &Host, words: &[&str], texts: &[&str]| {
        let log = host.call(words);
        let at: Vec<Option<usize>> = texts.iter().map(|text| log.find(text)).collect();
        at.iter().all(Option::is_some) && at.is_sorted()
    };
    let (logs, explain) = (["logs", "--machine", "node-1"], ["boots", "explain", "node-1"]);
    for (host, text) in [(&one, "first"), (&other, "second"), (&one, "third"), (&other, "fourth")] {
        host.hears(text);
        wait(text, || in_order(host, &logs, &[text])); // it is written a moment later
    }
    for host in [&one, &other] {
        assert!(in_order(host, &logs, &["first", "second", "third", "fourth"]), "{}", host.call(&logs));
        let steps = String::from_utf8(host.output(&explain).stdout).unwrap();
        let at: Vec<_> = ["GET first", "GET second", "GET third", "GET fourth"].iter().map(|step| steps.find(step)).collect();
        assert!(at.iter().all(Option::is_some) && at.is_sorted(), "{steps}");
        assert!(host.call(&["machine", "node-1"]).contains("GET fourth"), "{}", host.call(&["machine", "node-1"]));
    }
    let leases = one.call(&["get", "leases"]);
    assert_eq!(leases.matches("thimble-server-").count(), 2, "{leases}");

    let follows = Following::begin(&one, &["logs", "--machine", "node-1", "--follow"]);
    follows.shows("fourth");
    other.hears("fifth");
    follows.shows("fifth");
    other.kill();
    follows.shows("are missing here");
    let begun = Instant::now();
    let log = one.call(&logs);
    assert!(log.contains("third") && !log.contains("fourth"), "{log}");
    assert!(log.contains(" at https://127.0.0.1:") && log.contains("the lines that it has are missing here"), "{log}");
    let steps = String::from_utf8(one.output(&explain).stdout).unwrap();
    assert!(steps.contains("GET third") && steps.contains("the steps that it has are missing here"), "{steps}");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());

    // A follower goes on with a server that was started again.
    other.start_again();
    other.hears("sixth");
    follows.shows("sixth");
    assert!(in_order(&one, &logs, &["first", "second", "third", "fourth", "fifth", "sixth"]), "{}", one.call(&logs));
    assert_eq!(follows.text().matches("fifth").count(), 1, "{}", follows.text());
    assert_eq!(one.call(&["get", "leases"]).matches("thimble-server-").count(), 2, "it is the same server");
}

#[test]
fn a_workflow_names_the_servers_that_have_its_log_and_only_those_are_asked() {
    let cluster = match Cluster::start(1, LIMITS) {
        Ok(cluster) => cluster,
        Err(reason) => return eprintln!("SKIPPED: {reason}"),
    };
    let folder = tempfile::tempdir().unwrap();
    let site = site_of(&cluster, folder.path());
    let site: Vec<&str> = site.iter().map(String::as_str).collect();
    let one = Host::start(&site);
    let (mut other, mut third) = (Host::start(&site), Host::start(&site));
    let leases = || one.call(&["get", "leases", "-o", "yaml"]).matches("thimble.dev/names-itself").count();
    wait("what each server says of itself", || leases() == 3);
    let objects = one.file("objects.yaml", OBJECTS);
    one.call(&["apply", "-f", objects.to_str().unwrap()]);

    let action = one.begins();
    one.gets("first", &action);
    let named = |host: &Host| {
        let object = one.call(&["get", "workflow", "w", "-o", "yaml"]);
        assert!(object.matches(&host.id()).count() <= 1, "{object}");
        object.contains("logServers") && object.contains(&host.id())
    };
    wait("the name of the one server", || named(&one));
    wait("first", || other.call(&["logs", "w"]).contains("first"));
    assert!(!named(&other) && !named(&third), "they have nothing of it");
    assert!(one.call(&["workflow", "show", "w"]).contains("Log on"), "{}", one.call(&["workflow", "show", "w"]));

    // A server without lines is not asked, so nothing is missing without it.
    third.kill();
    for host in [&one, &other] {
        let log = host.call(&["logs", "w"]);
        assert!(log.contains("first") && !log.contains("missing"), "{log}");
    }
    assert!(one.call(&["logs", "--machine", "node-1"]).contains("missing"), "all are asked for what a machine said");

    // A server that gets its first line later joins those that are followed.
    let follows = Following::begin(&one, &["logs", "w", "--follow"]);
    follows.shows("first");
    other.hears("second");
    follows.shows("second");
    assert!(named(&one) && named(&other));
    assert!(!follows.text().contains("missing"), "{}", follows.text());
    other.kill();
    follows.shows("the lines that it has are missing here");
    let log = one.call(&["logs", "w"]);
    assert!(log.contains("first") && !log.contains("second"), "{log}");
    assert!(
        log.contains(" at https://127.0.0.1:") && log.matches("the lines that it has are missing here").count() == 1,
        "{log}"
    );

    // It is asked again while the log is followed, also if it was away at the beginning.
    let again = Following::begin(&one, &["logs", "w", "--follow"]);
    again.shows("missing here");
    other.start_again();
    again.shows("second");
    other.kill();
    one.call(&["delete", "lease", &format!("thimble-server-{}", other.id())]);
    let log = one.call(&["logs", "w"]);
    assert!(log.contains("has left the site"), "{log}");
}

#[test]
fn two_servers_with_copies_of_one_data_folder_name_each_other() {
    let cluster = match Cluster::start(1, LIMITS) {
        Ok(cluster) => cluster,
        Err(reason) => return eprintln!("SKIPPED: {reason}"),
    };
    let folder = tempfile::tempdir().unwrap();
    let site = site_of(&cluster, folder.path());
    let site: Vec<&str> = site.iter().map(String::as_str).collect();
    let mut one = Host::start(&site);
    let copy = tempfile::tempdir().unwrap();
    let data = copy.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::write(data.join("server-id"), one.id() + "\n").unwrap();
    one.kill();
    one.start_again();
    assert!(!one.log().contains("has the id"), "it is the only one, although an earlier process was it before");
    let other = Host::start_in(copy, &site);
    let line = format!("has the id {} of this server", other.id());
    wait("the name of the copy", || one.log().contains(&line));
    let log = one.log();
    let line = log.lines().find(|said| said.contains(&line)).unwrap();
    assert!(line.contains(" at https://127.0.0.1:") && line.contains("remove the file server-id"), "{line}");
    wait("the name of the first one", || other.log().contains("has the id"));
}
