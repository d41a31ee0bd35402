//! Images that try to block, starve or outlast the agent. Each one is refused by a limit, or ends when the pull is
//! cancelled.

use std::io::Write;
use std::time::{Duration, Instant};

use super::Failure;
use super::tests::{left, plenty, puller};
use crate::fake_registry::{GZIP, Registry, TAR, digest, gzip, tar};
use crate::registry::Settings;

enum End {
    /// The reason contains this text.
    Refused(&'static str),
    /// The caller cancels the pull.
    GivenUp,
    /// It unpacks soon, like any other image.
    Unpacked,
}

struct Hostile {
    case: &'static str,
    layers: Vec<(&'static str, Vec<u8>)>,
    config: String,
    end: End,
}

fn hostile(case: &'static str, layer: Vec<u8>, end: End) -> Hostile {
    Hostile { case, layers: vec![(GZIP, gzip(&layer))], config: "{}".to_owned(), end }
}

/// One header. Its size may be wrong.
fn entry(name: &str, kind: tar::EntryType, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// GNU's form for a name that does not fit into a header.
fn long_name(name: &str) -> Vec<u8> {
    let mut bytes = entry("././@LongLink", tar::EntryType::GNULongName, name.len() as u64);
    bytes.extend(name.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    [bytes, entry("short", tar::EntryType::Regular, 0)].concat()
}

/// Gigabytes of zeros after a header, in megabytes: each gzip member expands 16 KiB to 16 MiB.
fn zeros_without_end(header: &[u8]) -> Vec<u8> {
    let zeros = gzip(&vec![0; 16 << 20]);
    let mut bytes = gzip(header);
    for _ in 0..400 {
        bytes.write_all(&zeros).unwrap();
    }
    bytes
}

/// Folders in folders, deeper than any path: each link leads into the previous folders.
fn depth_by_links() -> Vec<u8> {
    let folders = "d/".repeat(200);
    let mut names = vec![folders.clone()];
    for number in 1..10 {
        let before = if number == 1 { folders.clone() } else { format!("l{}/{folders}", number - 1) };
        names.push(format!("l{number} -> {}", before.trim_end_matches('/')));
        names.push(format!("l{number}/{folders}"));
    }
    names
        .iter()
        .flat_map(|name| match name.split_once(" -> ") {
            Some((link, target)) => {
                let mut bytes = entry("././@LongLink", tar::EntryType::GNULongLink, target.len() as u64);
                bytes.extend(target.as_bytes());
                bytes.resize(bytes.len().next_multiple_of(512), 0);
                [bytes, entry(link, tar::EntryType::Symlink, 0)].concat()
            }
            None => long_name(&format!("{name}x")),
        })
        .collect()
}

fn images() -> Vec<Hostile> {
    let empty = || (TAR, tar(&[]));
    let words = format!(r#"{{"config":{{"Env":[{}]}}}}"#, vec![r#""A=b""#; 250_000].join(","));
    let many = (0..20_000).flat_map(|number| entry(&format!("f{number}"), tar::EntryType::Regular, 0)).collect::<Vec<u8>>();
    let whiteouts = entry(".wh..wh..opq", tar::EntryType::Regular, 0).repeat(30_000);
    let loops = tar(&[("a -> b", ""), ("b -> a", ""), ("a/x", "1")]);
    vec![
        Hostile {
            case: "20,000 empty layers",
            layers: vec![empty(); 20_000],
            config: "{}".to_owned(),
            end: End::Refused("it has 20000 layers, and the most is 512"),
        },
        Hostile {
            case: "250,000 words of environment",
            layers: vec![empty()],
            config: words,
            end: End::Refused("its environment has 250000 entries"),
        },
        Hostile {
            case: "a configuration of brackets",
            layers: vec![empty()],
            config: format!(r#"{{"config":{{"Cmd":{}"#, "[".repeat(1 << 20)),
            end: End::Refused("not JSON of the expected form"),
        },
        Hostile {
            case: "a configuration of 5 MiB",
            layers: vec![empty()],
            config: " ".repeat(5 << 20),
            end: End::Refused("bytes"),
        },
        hostile("2,000 folders in one name", long_name(&"d/".repeat(2000)), End::Refused("it is more than 256 folders deep")),
        hostile("folders that links make deeper", depth_by_links(), End::Refused("it is more than 256 folders deep")),
        hostile("a name of 5,000 bytes", long_name(&"d/".repeat(2500)), End::Refused("is longer than 4096 bytes")),
        hostile("a part of a name of 300 bytes", long_name(&"n".repeat(300)), End::Refused("cannot create")),
        hostile("links in circles", loops, End::Refused("cannot create")),
        hostile("headers without end", long_name(&"n".repeat(2 << 20)), End::Refused("take more than 1048576 bytes")),
        hostile(
            "a file that is larger than the archive",
            entry("f", tar::EntryType::Regular, u64::MAX >> 2),
            End::Refused("its end in the middle of a file"),
        ),
        hostile("30,000 times everything removed", [many, whiteouts].concat(), End::Unpacked),
        Hostile {
            case: "a file of zeros",
            layers: vec![(GZIP, zeros_without_end(&entry("zeros", tar::EntryType::Regular, 6 << 30)))],
            config: "{}".to_owned(),
            end: End::GivenUp,
        },
        Hostile {
            case: "zeros that belong to no file",
            layers: vec![(GZIP, zeros_without_end(&entry("v", tar::EntryType::new(b'V'), 6 << 30)))],
            config: "{}".to_owned(),
            end: End::GivenUp,
        },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_image_blocks_or_outlasts_the_agent() {
    for Hostile { case, layers, config, end } in images() {
        let (registry, root) = (Registry::start().await, tempfile::tempdir_in("/dev/shm").unwrap());
        let image = registry.image("tool", &layers, &config);
        let mut puller = puller(root.path(), &Settings::default(), plenty);
        let started = Instant::now();
        let patience = if matches!(end, End::GivenUp) { Duration::from_millis(300) } else { Duration::from_secs(30) };
        let pulled = tokio::time::timeout(patience, puller.pull(&image)).await;
        match (end, pulled) {
            (End::Refused(want), Ok(Err(error))) => {
                let text = machine::Chain(&error).to_string();
                assert!(text.contains(want) && text.len() < 1000, "{case}: {text}");
            }
            (End::Unpacked, Ok(Ok(_))) | (End::GivenUp, Err(_)) => {}
            (_, pulled) => panic!("{case}: {pulled:?} after {:?}", started.elapsed()),
        }
        // The thread ends soon, and its unpacked files are removed.
        let given_up = Instant::now();
        while left(root.path()).iter().any(|name| name.contains(".partial")) {
            assert!(given_up.elapsed() < Duration::from_secs(5), "{case}: still unpacking");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn a_wrong_size_is_reported_as_such() {
    let (registry, root) = (Registry::start().await, tempfile::tempdir().unwrap());
    let layer = gzip(&tar(&[("a", "1")]));
    let image = registry.image("tool", &[(GZIP, layer.clone())], "{}");
    let config = digest(b"{}");
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"digest":"{config}","size":2}},"layers":[{{"digest":"{}","size":{}}}]}}"#,
        digest(&layer),
        layer.len() + 7
    );
    registry.put("tool", "manifests", "latest", "application/vnd.oci.image.manifest.v1+json", manifest.as_bytes());
    let error = puller(root.path(), &Settings::default(), plenty).pull(&image).await.unwrap_err();
    let want = format!("has {} bytes, but its manifest says {}", layer.len(), layer.len() + 7);
    assert!(error.to_string().contains(&want) && error.failure() == Failure::Unusable, "{error}");
}
