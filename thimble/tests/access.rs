//! The daemon as a process: the ways into its API, and the commands that make tokens and kubeconfigs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ports;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use ports::free;

const HARDWARE: &str = "apiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {name: node-1}\nspec:\n  userData: secret\n  \
                        interfaces: [{dhcp: {mac: 52:54:00:12:34:56, ip: {address: 10.0.0.20}}}]\n";

const LIMIT: Duration = Duration::from_secs(120);

/// `thimble server` with a folder of its own. It ends with the test.
struct Host {
    folder: tempfile::TempDir,
    api: SocketAddr,
    child: Child,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn thimble() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thimble"));
    for name in ["THIMBLE_SERVER", "THIMBLE_TOKEN", "THIMBLE_CA_FILE", "KUBECONFIG", "THIMBLE_CONFIG"] {
        command.env_remove(name);
    }
    command.env("HTTP_PROXY", "http://127.0.0.1:1").env("HTTPS_PROXY", "http://127.0.0.1:1");
    command
}

impl Host {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (http, grpc, api) = (free(), free(), free());
        let child = thimble()
            .args(["server", "--data"])
            .arg(folder.path().join("data"))
            .arg("--socket")
            .arg(folder.path().join("api.sock"))
            .args(["--http", &http.to_string(), "--grpc", &grpc.to_string(), "--api", &api.to_string(), "--address", "127.0.0.1"])
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let host = Self { folder, api, child };
        let begin = Instant::now();
        while !host.folder.path().join("api.sock").exists() {
            let log = std::fs::read_to_string(host.folder.path().join("log")).unwrap();
            assert!(begin.elapsed() < LIMIT && !log.contains("thimble: "), "the server does not start: {log}");
            std::thread::sleep(Duration::from_millis(10));
        }
        host
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A command that works on the data folder.
    fn run(&self, words: &[&str]) -> Output {
        thimble().args(words).env("THIMBLE_DATA", self.data()).output().unwrap()
    }

    fn line(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A client command by TLS.
    fn call(&self, token: &str, words: &[&str]) -> (bool, String) {
        let mut command = thimble();
        command.args(words).args(["--server", &format!("https://{}", self.api)]).env("THIMBLE_TOKEN", token);
        let output = command.env("THIMBLE_CA_FILE", self.data().join("access/ca.crt")).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }
}

#[test]
fn a_token_is_a_way_in_until_it_is_deleted() {
    let host = Host::start();
    let hardware = host.folder.path().join("hardware.yaml");
    std::fs::write(&hardware, HARDWARE).unwrap();
    let admin = host.line(&["token", "create", "--role", "admin"]);
    let viewer = host.line(&["token", "create", "--role", "viewer", "--name", "alice", "--expires", "12h"]);
    let boxed = host.line(&["token", "create", "--role", "operator", "--namespace", "lab", "--name", "bob"]);
    let apply = ["apply", "-f", hardware.to_str().unwrap()];
    for (case, token, words, expected) in [
        ("no token", "", &["get", "hardware"][..], (false, "Unauthorized")),
        ("a viewer changes", viewer.as_str(), &apply, (false, "\"alice\" cannot create")),
        ("an operator of one namespace", boxed.as_str(), &apply, (false, "operator in lab")),
        ("an admin", admin.as_str(), &apply, (true, "node-1")),
        ("a viewer reads", viewer.as_str(), &["get", "hardware", "node-1", "-o", "json"], (true, "(masked)")),
        ("an admin reads", admin.as_str(), &["get", "hardware", "node-1", "-o", "json"], (true, "\"secret\"")),
    ] {
        let (done, said) = host.call(token, words);
        assert!(done == expected.0 && said.contains(expected.1), "{case}: {said}");
    }
    let list = host.line(&["token", "list"]);
    assert!(list.contains("alice") && list.contains("operator in lab") && !list.contains(&viewer), "{list}");
    host.line(&["token", "delete", "alice"]);
    let (done, said) = host.call(&viewer, &["get", "hardware"]);
    assert!(!done && said.contains("Unauthorized"), "{said}");
}

#[test]
fn an_operator_of_one_namespace_imports_into_it_and_no_other() {
    let host = Host::start();
    let file = host.folder.path().join("site.yaml");
    let [admin, boxed] = [&["--role", "admin"][..], &["--role", "operator", "--namespace", "lab", "--name", "bob"]]
        .map(|role| host.line(&[&["token", "create"], role].concat()));
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: lab}\nstringData: {a: b}\n";
    let lab = HARDWARE.replace("name: node-1", "name: node-1, namespace: lab");
    let elsewhere = lab.replace("node-1", "node-2").replace(":56", ":57").replace("lab", "default");
    let import = ["import", "-f", file.to_str().unwrap()];
    for (case, token, text, expected) in [
        ("its Namespace is missing", &boxed, secret.to_owned(), (false, "cannot create resource \"namespaces\"")),
        (
            "an admin makes it",
            &admin,
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: lab}\n".to_owned(),
            (true, "Namespace lab"),
        ),
        ("the operator's own", &boxed, format!("{secret}---\n{lab}"), (true, "Hardware lab/node-1 created")),
        ("one of another namespace among them", &boxed, format!("{lab}---\n{elsewhere}"), (false, "operator in lab")),
    ] {
        std::fs::write(&file, text).unwrap();
        let (done, said) = host.call(token, &import);
        assert!(done == expected.0 && said.contains(expected.1), "{case}: {said}");
    }
    let (_, said) = host.call(&admin, &["get", "hardware", "-A"]);
    assert!(said.contains("node-1") && !said.contains("node-2"), "all or none: {said}");
}

#[test]
fn a_kubeconfig_is_all_that_a_command_needs() {
    let host = Host::start();
    let (hardware, path) = (host.folder.path().join("hardware.yaml"), host.folder.path().join("kubeconfig"));
    std::fs::write(&hardware, HARDWARE).unwrap();
    for words in [
        &["kubeconfig", "--role", "operator", "--name", "alice"][..],
        &["kubeconfig", "--role", "operator", "--certificate", "--name", "carol"],
    ] {
        std::fs::write(&path, host.line(words)).unwrap();
        for (command, expected) in [
            (&["apply", "-f", hardware.to_str().unwrap()][..], "Hardware default/node-1"),
            (&["get", "hardware", "node-1"], "node-1"),
        ] {
            let output = thimble().args(command).arg("--kubeconfig").arg(&path).output().unwrap();
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(output.status.success() && said.contains(expected), "{words:?} {command:?}: {said}");
        }
    }
    let line = thimble().args(["get", "hardware", "--server", "https://x", "--kubeconfig"]).arg(&path).output().unwrap();
    assert!(!line.status.success(), "a kubeconfig names its server itself");
}

#[test]
fn kubectl_gets_in_with_the_kubeconfig_that_is_printed() {
    if Command::new("kubectl").arg("version").arg("--client").output().is_err() {
        eprintln!("skipped: there is no kubectl on the PATH");
        return;
    }
    let host = Host::start();
    let hardware = host.folder.path().join("hardware.yaml");
    std::fs::write(&hardware, HARDWARE).unwrap();
    let admin = host.line(&["token", "create", "--role", "admin"]);
    assert!(host.call(&admin, &["apply", "-f", hardware.to_str().unwrap()]).0);
    for (case, words, user) in [
        ("a token", &["kubeconfig", "--role", "viewer", "--name", "alice"][..], "alice"),
        ("a certificate", &["kubeconfig", "--role", "viewer", "--certificate", "--name", "carol"], "carol"),
    ] {
        let path = host.folder.path().join("kubeconfig");
        std::fs::write(&path, host.line(words)).unwrap();
        let kubectl = |words: &[&str]| {
            let mut command = Command::new("kubectl");
            command.env("KUBECONFIG", &path).env("HOME", host.folder.path()).env("NO_PROXY", "127.0.0.1");
            let output = command.args(words).output().unwrap();
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
        };
        for (words, expected) in [
            (&["get", "--raw", "/version"][..], "+thimble"),
            (&["get", "hardware", "node-1", "-o", "yaml"], "userData: (masked)"),
            (&["delete", "hardware", "node-1"], &format!("User \"{user}\" cannot delete resource \"hardware\"")),
            (&["auth", "can-i", "list", "hardware"], "yes"),
            (&["auth", "can-i", "create", "workflows.tinkerbell.org"], "no"),
        ] {
            let said = kubectl(words);
            assert!(said.contains(expected), "{case}: {words:?}: {said}");
        }
        assert!(std::fs::read_to_string(&path).unwrap().contains(&format!("user: \"{user}\"")), "{case}");
    }
}

#[test]
fn the_data_folder_is_for_its_owner_only_and_commands_say_what_they_need() {
    use std::os::unix::fs::PermissionsExt;
    let host = Host::start();
    for (path, mode) in [("", 0o700), ("thimble.redb", 0o600), ("access", 0o700), ("access/ca.key", 0o600)] {
        let is = std::fs::metadata(host.data().join(path)).unwrap().permissions().mode() & 0o777;
        assert!(is & !mode == 0, "{path} is {is:o}");
    }
    let elsewhere = thimble().args(["token", "list", "--data", "/nonexistent"]).output().unwrap();
    let said = String::from_utf8_lossy(&elsewhere.stderr).into_owned();
    assert!(said.contains("start `thimble up` first"), "{said}");
    for (words, expected) in [
        (&["token", "create", "--role", "king"][..], "\"king\" is not a role"),
        (&["token", "create", "--role", "admin", "--namespace", "lab"], "leave out --namespace"),
        (&["token", "create", "--role", "viewer", "--expires", "soon"], "90d, 12h or never"),
        (&["token", "delete", "nobody"], "`thimble token list` shows them"),
        (&["kubeconfig", "--role", "viewer", "--server", "http://x"], "is not an https:// URL"),
        (&["kubeconfig", "--role", "viewer", "--certificate", "--expires", "never"], "has to expire"),
    ] {
        let output = host.run(words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{words:?}: {said}");
    }
}

#[test]
fn a_second_host_needs_one_line() {
    let host = Host::start();
    let line = host.line(&["token", "create", "--role", "boots"]);
    let words: Vec<&str> = line.split(' ').collect();
    let (token, rest) = (words[0].strip_prefix("THIMBLE_TOKEN=").unwrap(), &words[1..]);
    assert_eq!((rest[0], rest[1], rest[2], rest[4]), ("thimble", "boots", "--server", "--ca-sha256"), "{line}");
    assert_eq!(rest[3], format!("https://{}", host.api));
    let (executor, ask) = (tokio::runtime::Runtime::new().unwrap(), |login: boots::Login| {
        let url = rest[3].to_owned();
        async move {
            let source = boots::RemoteSource::with(std::slice::from_ref(&url), Some(&login)).unwrap();
            boots::MachineSource::machine(&source, "52:54:00:12:34:56".parse().unwrap()).await
        }
    });
    let login = |token: &str, authority: &str| boots::Login { token: token.to_owned(), authority: authority.parse().unwrap() };
    assert!(executor.block_on(ask(login(token, rest[5]))).unwrap().is_none(), "no such machine, by the server's word");
    let refused = executor.block_on(ask(login("thimble_00_x", rest[5]))).unwrap_err();
    assert!(refused.to_string().contains("401"), "{refused}");
    let other = executor.block_on(ask(login(token, &"00".repeat(32)))).unwrap_err();
    assert!(matches!(other, boots::SourceError::Unreachable { .. }), "{other}");
}

#[test]
fn the_server_keeps_the_leases_of_all_boots_and_takes_none_over_a_newer_one() {
    use boots::dhcp::{Change, Lease, Put};
    let host = Host::start();
    let line = host.line(&["token", "create", "--role", "boots"]);
    let words: Vec<&str> = line.split(' ').collect();
    let token = words[0].strip_prefix("THIMBLE_TOKEN=").unwrap().to_owned();
    let login = boots::Login { token, authority: words[6].parse().unwrap() };
    let leases = boots::RemoteSource::with(&[words[4].to_owned()], Some(&login)).unwrap().leases();
    let lease = |machine: u8, until: u32| -> Lease {
        let text = r#"{"address":"192.0.2.5","mac":"02:00:00:00:00:01","state":"bound","since":1,"until":99}"#;
        serde_json::from_str(&text.replace("00:01", &format!("00:{machine:02x}")).replace("99", &until.to_string())).unwrap()
    };
    let (of_one, renewed, of_two) = (lease(1, 50), lease(1, 99), lease(2, 50));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let (found, start) = leases.list().await.unwrap();
        assert_eq!(found, []);
        let mut changes = leases.watch(start).await.unwrap();
        let Put::Done(first) = leases.put(&of_one, None).await.unwrap() else { panic!("nobody else writes") };
        assert_eq!(leases.put(&of_two, None).await.unwrap(), Put::Conflict, "another boots did not see it");
        let Put::Done(second) = leases.put(&renewed, Some(first)).await.unwrap() else { panic!("it saw the latest") };
        assert_eq!(leases.put(&of_two, Some(first)).await.unwrap(), Put::Conflict);
        let stored = leases.get(renewed.address).await.unwrap().unwrap();
        assert_eq!((stored.version, &stored.lease), (second, &renewed));
        for (version, lease) in [(first, &of_one), (second, &renewed)] {
            let Some(Change::Put(seen)) = changes.next().await.unwrap() else { panic!("a change is missing") };
            assert_eq!((seen.version, &seen.lease), (version, lease));
        }
        assert_eq!(leases.list().await.unwrap().0, [stored]);
        let admin = host.line(&["token", "create", "--role", "admin", "--name", "carol", "-o", "json"]);
        let admin = serde_json::from_str::<serde_json::Value>(&admin).unwrap()["token"].as_str().unwrap().to_owned();
        let client = reqwest::Client::builder().danger_accept_invalid_certs(true).build().unwrap();
        let url = format!("https://{}{}", host.api, api::paths::dhcp_lease(renewed.address));
        assert!(client.delete(url).bearer_auth(admin).send().await.unwrap().status().is_success());
        assert!(matches!(changes.next().await.unwrap(), Some(Change::Gone(gone)) if gone.lease == renewed));
        assert_eq!(leases.put(&of_two, Some(second)).await.unwrap(), Put::Conflict, "it is gone");
        assert!(matches!(leases.put(&of_two, None).await.unwrap(), Put::Done(_)));
    });
}

#[test]
fn an_admin_reads_who_changed_what() {
    let host = Host::start();
    let hardware = host.folder.path().join("hardware.yaml");
    std::fs::write(&hardware, HARDWARE).unwrap();
    let admin = host.line(&["token", "create", "--role", "admin", "--name", "carol", "-o", "json"]);
    let admin = serde_json::from_str::<serde_json::Value>(&admin).unwrap()["token"].as_str().unwrap().to_owned();
    let operator = host.line(&["token", "create", "--role", "operator", "--name", "alice"]);
    assert!(host.call(&operator, &["apply", "-f", hardware.to_str().unwrap()]).0);
    let (done, said) = host.call(&admin, &["logs", "--audit"]);
    assert!(
        done && said.contains("  alice (operator)  127.0.0.1:") && said.contains("POST /apis/thimble.dev/v1alpha1/apply"),
        "{said}"
    );
    let (done, said) = host.call(&admin, &["logs", "--audit", "--since", "1h", "-o", "json"]);
    let first: serde_json::Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert!(done && first["user"] == "alice" && first["code"] == 200, "{said}");
    assert_eq!(host.call(&admin, &["logs", "--audit", "--since", "2999-01-01T00:00:00Z"]), (true, String::new()));
    let (done, said) = host.call(&operator, &["logs", "--audit"]);
    assert!(!done && said.contains("cannot get resource \"audits\""), "{said}");
    let list = host.line(&["token", "list", "-o", "json"]);
    assert!(list.contains("\"carol\"") && !list.contains(&admin), "{list}");
}

/// A Debian without the package ca-certificates.
#[test]
fn a_host_without_certificate_authorities_reaches_its_own_server() {
    let host = Host::start();
    let socket = format!("unix:{}", host.folder.path().join("api.sock").display());
    let kubeconfig = host.folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, host.line(&["kubeconfig", "--role", "viewer"])).unwrap();
    for way in [["--server", &socket], ["--kubeconfig", kubeconfig.to_str().unwrap()]] {
        let mut command = thimble();
        command.args(["get", "hardware"]).args(way).env("SSL_CERT_FILE", "/nowhere").env("SSL_CERT_DIR", "/nowhere");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{way:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
