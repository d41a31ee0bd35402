//! How much of the machine's memory the agent takes: while it waits for work, and while it pulls, both over TLS.
//!
//! Needs root, as `containers.rs` does. `AGENT_UNDER_TEST=PROGRAM` measures the ramdisk's agent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/lab.rs"]
mod lab;
#[path = "../../oci/tests/support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;
#[path = "../../oci/tests/support/tls.rs"]
mod tls;

use lab::{Lab, busybox_layer};
use proto::action_status_request::StateType::Success;
use server::action;
use tls::{Authority, Front};

/// The limits in KiB. The resident size includes the program, which is small only in the ramdisk's build. The build of this
/// test is measured by its anonymous memory only.
struct Bar {
    resident: u64,
    own: u64,
}

/// After a pull, half a MiB of the heap stays now and then, with any build.
const IDLE: Bar = Bar { resident: 8 << 10, own: 13 << 9 };
const PULLING: Bar = Bar { resident: 10 << 10, own: 8 << 10 };
/// 8 MiB of it are in a file, and resident only where the decoder has just been.
const LARGE_WINDOW: Bar = Bar { resident: 12 << 10, own: 9 << 10 };

/// Memory in KiB.
#[derive(Debug, Clone, Copy)]
struct Memory {
    now: u64,
    /// The peak since it was last reset.
    peak: u64,
    /// Memory without the pages of the program.
    own: u64,
}

impl Memory {
    /// Includes the agent's child processes, such as the launcher of containers. The program is the same.
    fn of(pid: u32) -> Self {
        let beside: u64 = children(pid).into_iter().map(|child| field(child, "RssAnon:")).sum();
        let [now, peak, own] = ["VmRSS:", "VmHWM:", "RssAnon:"].map(|name| field(pid, name) + beside);
        Self { now, peak, own }
    }

    fn forget_peak(pid: u32) {
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    }

    #[track_caller]
    fn assert_within(self, bar: &Bar, when: &str) {
        let own = self.peak - (self.now - self.own);
        println!("agent memory {when}: {} KiB resident at most, {own} KiB without the program", self.peak);
        assert!(own <= bar.own, "{when}: {own} KiB without the program, {} are allowed", bar.own);
        if std::env::var_os("AGENT_UNDER_TEST").is_some() {
            assert!(self.peak <= bar.resident, "{when}: {} KiB resident, {} are allowed", self.peak, bar.resident);
        }
    }
}

fn field(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let lists = tasks.map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
    lists.flat_map(|list| list.split_whitespace().map(|child| child.parse().unwrap()).collect::<Vec<u32>>()).collect()
}

struct Secure {
    lab: Lab,
    server: Front,
    registry: Front,
    authority: Authority,
}

impl Secure {
    async fn new() -> Self {
        let lab = Lab::new().await;
        let authority = Authority::new(lab.state.path());
        let (server, registry) =
            (authority.before(lab.server.address, &["h2"]).await, authority.before(lab.registry.address, &["http/1.1"]).await);
        let hosts = serde_json::json!({"hosts": {registry.address.to_string(): {"ca_file": authority.certificate()}}});
        std::fs::write(lab.state.path().join("registries.json"), hosts.to_string()).unwrap();
        Self { lab, server, registry, authority }
    }

    fn agent(&self) -> tokio::process::Child {
        self.lab.agent_with(&[
            ("TINKERBELL_TLS", "true"),
            ("TINKERBELL_GRPC_AUTHORITY", &self.server.address.to_string()),
            ("SSL_CERT_FILE", self.authority.certificate().to_str().unwrap()),
            ("THIMBLE_REGISTRIES", self.lab.state.path().join("registries.json").to_str().unwrap()),
        ])
    }

    /// An image with busybox and 48 MiB that hardly compress.
    fn image(&self, name: &str, media: &str, pack: fn(&[u8]) -> Vec<u8>) -> String {
        let noise: Vec<u8> =
            (0u64..6 << 20).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17).to_le_bytes()).collect();
        let busybox = (registry::GZIP, busybox_layer(&std::fs::read("/bin/busybox").unwrap()));
        let layers = [busybox, (media, pack(&registry::tarred(&noise)))];
        let plain = self.lab.registry.image(name, &layers, r#"{"config":{"Cmd":["/bin/ls","-l","/noise"]}}"#);
        plain.replace(&self.lab.registry.address.to_string(), &self.registry.address.to_string())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_is_small_while_it_waits_and_while_it_pulls_both_over_tls() {
    let secure = Secure::new().await;
    let images = [
        ("gzip", PULLING, secure.image("gz", registry::GZIP, registry::gzip)),
        ("zstd with a window of 8 MiB", LARGE_WINDOW, secure.image("zst", registry::ZSTD, registry::zstd19)),
    ];
    let agent = secure.agent();
    let pid = agent.id().unwrap();
    secure.lab.until("a connection without work", || secure.lab.text().contains("waiting for work")).await;
    Memory::of(pid).assert_within(&IDLE, "waiting for its first work");
    for (kind, bar, image) in images {
        Memory::forget_peak(pid);
        let report = secure.lab.run(action(kind, &image)).await;
        assert_eq!(report.action_state(), Success, "{}", secure.lab.text());
        Memory::of(pid).assert_within(&bar, &format!("in a pull of {kind}"));
        Memory::forget_peak(pid);
        Memory::of(pid).assert_within(&IDLE, &format!("waiting after a pull of {kind}"));
    }
}
