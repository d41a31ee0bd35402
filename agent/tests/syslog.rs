//! The lines that leave the machine by syslog while an action runs, parsed like smee. Needs root, as `containers.rs` does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/lab.rs"]
mod lab;
#[path = "../../oci/tests/support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;
#[path = "../../contracts/machine/tests/support/smee.rs"]
mod smee;

use std::net::UdpSocket;
use std::time::Duration;

use lab::Lab;
use proto::action_status_request::StateType::Success;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn smee_shows_all_five_lines_of_an_action() {
    let lab = Lab::new().await;
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let port = receiver.local_addr().unwrap().port().to_string();
    let _agent = lab.agent_with(&[("SYSLOG_HOST", "127.0.0.1"), ("SYSLOG_PORT", &port)]);
    let script = "for n in 1 2 3; do echo line $n of five; done; echo line 4 of five >&2; echo '{\"line\": 5, of five'";
    let report = lab.run(lab.shell("speak", script)).await;
    assert_eq!(report.action_state(), Success, "{}", lab.text());

    let (mut shown, mut hidden, mut packet) = (Vec::new(), Vec::new(), [0; 4096]);
    while let Ok(length) = receiver.recv(&mut packet) {
        match smee::shown(&packet[..length]) {
            Some(line) => shown.push(line),
            None => hidden.push(String::from_utf8_lossy(&packet[..length]).into_owned()),
        }
    }
    assert_eq!(hidden, Vec::<String>::new(), "smee would hide these");
    let output: Vec<_> = shown.iter().filter(|line| line.text.starts_with("A| ") && line.text.contains("of five")).collect();
    assert_eq!(output.len(), 5, "{shown:#?}");
    let errors = output.iter().filter(|line| line.id.as_deref().is_some_and(|id| id.ends_with("/stderr")));
    assert_eq!(errors.count(), 1, "{shown:#?}");
    assert!(shown.iter().any(|line| line.text.contains("SUCCESS")), "{shown:#?}");
}
