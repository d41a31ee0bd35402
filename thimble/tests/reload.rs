//! SIGHUP to a daemon: a process, its settings file, and what it logs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod desk;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use desk::{OBJECTS, command};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

const LIMIT: Duration = Duration::from_secs(90);

struct Daemon {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    folder: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let any = "127.0.0.1:0";
        let mut command = Command::new(env!("CARGO_BIN_EXE_thimble"));
        command.args(["server", "--http", any, "--grpc", any, "--api", any]);
        for (flag, name) in [("--config", "thimble.yaml"), ("--data", "data"), ("--socket", "api.sock")] {
            command.arg(flag).arg(folder.path().join(name));
        }
        write(folder.path(), "new-machines: install\n");
        let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines, folder }
    }

    /// The first line from here with this text.
    async fn says(&mut self, text: &str) -> String {
        let found = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                if line.contains(text) {
                    return line;
                }
            }
            panic!("the daemon ended without {text:?}");
        };
        tokio::time::timeout(LIMIT, found).await.unwrap_or_else(|_| panic!("no line {text:?}"))
    }

    fn hang_up(&self, settings: &str) {
        write(self.folder.path(), settings);
        let process = Pid::from_raw(self.child.id().unwrap().try_into().unwrap());
        kill(process, Signal::SIGHUP).unwrap();
    }

    async fn run(&self, words: &str) -> String {
        let output = command(words, &format!("unix:{}", self.folder.path().join("api.sock").display())).await;
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

fn write(folder: &Path, settings: &str) {
    std::fs::write(folder.join("thimble.yaml"), settings).unwrap();
}

#[tokio::test]
async fn settings_are_read_again_and_a_mistake_in_them_changes_nothing() {
    let mut daemon = Daemon::start();
    daemon.says("API at https://").await;
    daemon.hang_up("new-machines: hold\n");
    daemon.says("SIGHUP: new settings for new-machines").await;
    daemon.hang_up("new-machines: install\nadress: 192.0.2.1\n");
    let line = daemon.says("SIGHUP: all settings stay as they are").await;
    assert!(line.contains("adress") && line.contains("line 2"), "{line}");
    daemon.hang_up("new-machines: maybe\n");
    let line = daemon.says("SIGHUP: all settings stay as they are").await;
    assert!(line.contains("new-machines: \"maybe\""), "{line}");

    let objects = daemon.folder.path().join("objects.yaml");
    std::fs::write(&objects, OBJECTS).unwrap();
    daemon.run(&format!("apply -f {}", objects.display())).await;
    let machine = daemon.run("machine show node-1").await;
    assert!(machine.contains("hold"), "the first order waits for approval: {machine}");

    daemon.hang_up("new-machines: hold\nlog-days: 3\n");
    daemon.says("SIGHUP: log-days changed, which needs a restart").await;
    daemon.says("has nothing new to follow").await;
}
