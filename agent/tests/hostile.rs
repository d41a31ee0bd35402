//! Images that try to block the agent, one for each stage. Then the three ways to end an action, in each stage. Needs root,
//! as `containers.rs` does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/lab.rs"]
mod lab;
#[path = "../../oci/tests/support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use lab::{Lab, entry};
use proto::ActionResponse;
use proto::action_status_request::StateType::{Failed, Running, Success, Timeout};
use registry::Together;
use rustix::fs::OFlags;
use server::{action, message};
use tar::EntryType::{Directory, Fifo, Regular, Symlink};

type Fill = Box<dyn FnOnce(&mut tar::Builder<Vec<u8>>)>;

fn fifo(path: &'static str) -> Fill {
    Box::new(move |tar| entry(tar, path, Fifo, 0o666, b""))
}

fn nothing() -> Fill {
    Box::new(|_| ())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_image_blocks_the_agent_in_any_stage() {
    let lab = Lab::new().await;
    let _agent = lab.agent();
    let many = |count: usize| (0..count).map(|n| format!(r#""K{n}=v""#)).collect::<Vec<_>>().join(",");
    let env = format!(r#"{{"Env":[{}],"Cmd":["/bin/sh"]}}"#, many(250_000));
    let args = format!(r#"{{"Entrypoint":["/bin/sh",{}]}}"#, many(250_000));
    let labels: Vec<String> = (0..100_000).map(|n| format!(r#""l{n}":"v""#)).collect();
    let labels = format!(r#"{{"Labels":{{{}}},"Cmd":["/bin/sh"]}}"#, labels.join(","));
    let volumes: Vec<String> = (0..100_000).map(|n| format!(r#""/v{n}":{{}}"#)).collect();
    let volumes = format!(r#"{{"Volumes":{{{}}},"Cmd":["/bin/sh"]}}"#, volumes.join(","));
    let deep = format!(r#"{{"WorkingDir":"/{}"}}"#, "d/".repeat(1000));
    let plain = "{}".to_owned();
    let exit_7 = "exit 7";
    let write = |what: &str| format!("rm -f /tinkerbell/failure-reason; {what} /tinkerbell/failure-reason; exit 7");
    let seven = "NonZeroExit: exit code 7";
    let bounded = "ImageUnusable: configuration of ";
    let cases: Vec<(&str, Fill, &String, String, &str)> = vec![
        ("prepare: a FIFO as failure file", fifo("tinkerbell/failure-reason"), &plain, exit_7.into(), seven),
        ("prepare: a FIFO as folder", fifo("tinkerbell"), &plain, exit_7.into(), seven),
        (
            "prepare: a link to a device",
            Box::new(|tar| entry(tar, "tinkerbell/failure-reason", Symlink, 0o777, b"/dev/console")),
            &plain,
            exit_7.into(),
            seven,
        ),
        (
            "prepare: a folder as failure file",
            Box::new(|tar| entry(tar, "tinkerbell/failure-reason/", Directory, 0o755, b"")),
            &plain,
            exit_7.into(),
            seven,
        ),
        ("prepare: a FIFO as passwd", fifo("etc/passwd"), &plain, exit_7.into(), seven),
        ("prepare: a FIFO as group", fifo("etc/group"), &plain, exit_7.into(), seven),
        ("prepare: a FIFO as hosts", fifo("etc/hosts"), &plain, exit_7.into(), seven),
        ("prepare: a FIFO as resolv.conf", fifo("etc/resolv.conf"), &plain, exit_7.into(), seven),
        ("pull: 250000 variables", nothing(), &env, exit_7.into(), bounded),
        ("pull: 250000 arguments", nothing(), &args, exit_7.into(), bounded),
        ("prepare: 100000 labels", nothing(), &labels, exit_7.into(), seven),
        ("prepare: 100000 volumes", nothing(), &volumes, exit_7.into(), seven),
        ("prepare: a deep working directory", nothing(), &deep, exit_7.into(), seven),
        (
            "prepare: a huge passwd",
            Box::new(|tar| entry(tar, "etc/passwd", Regular, 0o644, &vec![b'x'; 30 << 20])),
            &plain,
            exit_7.into(),
            seven,
        ),
        ("start: a FIFO as program", fifo("program"), &plain, "exec /program".into(), "NonZeroExit: exit code 126"),
        ("read: a FIFO as reason", nothing(), &plain, write("mkfifo"), seven),
        ("read: a link to a device", nothing(), &plain, write("ln -s /dev/zero"), seven),
        ("read: a folder", nothing(), &plain, write("mkdir"), seven),
        ("read: a device", nothing(), &plain, write("f() { mknod $1 c 1 5; }; f"), seven),
        (
            "read: a huge file",
            nothing(),
            &plain,
            write("dd if=/dev/null bs=1 count=0 seek=1099511627776 of=/big; ln /big"),
            seven,
        ),
        (
            "remove: folders in folders",
            nothing(),
            &plain,
            "n=0; while test $n -lt 2000; do mkdir d; cd d; n=$((n+1)); done; exit 7".into(),
            seven,
        ),
        ("run: a flood", nothing(), &plain, "yes | head -n 300000; exit 7".into(), seven),
    ];
    for (number, (case, fill, config, script, want)) in cases.into_iter().enumerate() {
        let image = lab.odd_image(&format!("hostile{number}"), config, fill);
        let began = Instant::now();
        let run = ActionResponse { image: Some(image), timeout: Some(40), ..lab.shell(&format!("case-{number}"), &script) };
        let report = lab.run(run).await;
        let text = message(&report);
        assert!(text.starts_with(want), "{case}: {text}\n{}", lab.text());
        assert!(began.elapsed() < Duration::from_secs(30), "{case} took {:?}", began.elapsed());
    }
    assert_eq!(lab.run(lab.shell("after", "true")).await.action_state(), Success, "{}", lab.text());
    lab.assert_clean();
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Limit,
    Cancel,
    Term,
}

/// Makes the host itself hang where the agent reads it, because an image can no longer do that.
const HANGS_IN_PREPARATION: &str = "mkfifo /run/hosts; mount --bind /run/hosts /etc/hosts";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_limit_the_server_and_a_signal_end_an_action_in_every_stage() {
    for (stage, before, doing) in
        [("pull", "", "pulling the image"), ("prepare", HANGS_IN_PREPARATION, "preparing the container"), ("run", "", "running")]
    {
        for way in [Way::Limit, Way::Cancel, Way::Term] {
            let case = format!("{way:?} in stage {stage}");
            let lab = Lab::new().await;
            lab.server.shared.script.lock().unwrap().offers_watch = true;
            if stage == "pull" {
                lab.registry.inner.lock().unwrap().together = Some(Together::new(99)); // this number is never reached
            }
            let mut agent = lab.agent_with(&[("BEFORE", before)]);
            let timeout = Some(if way == Way::Limit { 2 } else { 0 });
            lab.server.push(ActionResponse { timeout, ..lab.shell("stuck", "trap '' TERM; echo at work; sleep 1000") });
            lab.until("the pull", || lab.text().contains("pulling ")).await;
            match stage {
                "run" => lab.until("the action", || lab.text().contains("A| at work")).await,
                "prepare" => {
                    lab.until("the pull's end", || lab.state.path().join("thimble/containers").read_dir().unwrap().count() > 0)
                        .await
                }
                _ => lab.until("the layer's request", || lab.registry.requests("/blobs/") > 1).await,
            }
            let began = Instant::now();
            match way {
                Way::Limit => {
                    let report = lab.ended("stuck").await;
                    assert_eq!(report.action_state(), Timeout, "{case}: {}", lab.text());
                    assert!(
                        message(&report).starts_with(&format!("Timeout: still {doing} after 2 s; try: ")),
                        "{}",
                        message(&report)
                    );
                }
                Way::Cancel => {
                    lab.server.stop_action("wrong machine");
                    let report = lab.ended("stuck").await;
                    assert_eq!(report.action_state(), Failed, "{case}: {}", lab.text());
                    assert!(message(&report).starts_with("Cancelled: wrong machine"), "{case}: {}", message(&report));
                }
                Way::Term => {
                    let pid = rustix::process::Pid::from_raw(agent.id().unwrap().cast_signed()).unwrap();
                    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
                    let status = tokio::time::timeout(Duration::from_secs(20), agent.wait()).await;
                    let status = status.unwrap_or_else(|_| panic!("{case}: it does not end\n{}", lab.text())).unwrap();
                    assert_eq!(status.code(), Some(0), "{case}: {}", lab.text());
                    assert!(lab.server.states().iter().all(|state| *state == Running), "{case}");
                }
            }
            assert!(began.elapsed() < Duration::from_secs(15), "{case} took {:?}", began.elapsed());
            lab.assert_clean();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_could_not_finish_a_preparation_serves_the_next_action() {
    let lab = Lab::new().await;
    let _agent = lab.agent_with(&[("BEFORE", HANGS_IN_PREPARATION)]);
    for number in 0..3 {
        let stuck = ActionResponse { timeout: Some(1), ..action(&format!("stuck-{number}"), &lab.image) };
        assert_eq!(lab.run(stuck).await.action_state(), Timeout, "{}", lab.text());
    }
    // The host works again, and so do the threads that waited.
    let path = lab.state.path().join("hosts");
    let fed = || {
        let open = std::fs::File::options().write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(&path);
        open.is_ok_and(|mut pipe| pipe.write_all(b"127.0.0.1 localhost\n").is_ok()) // it opens once a reader has it open
    };
    let feeding = async {
        loop {
            lab.until("a reader of /etc/hosts", fed).await;
            tokio::task::yield_now().await;
        }
    };
    let report = tokio::select! {
        report = lab.run(ActionResponse { timeout: Some(30), ..lab.shell("well", "true") }) => report,
        never = feeding => never,
    };
    assert_eq!(report.action_state(), Success, "{}\n{}", message(&report), lab.text());
}
