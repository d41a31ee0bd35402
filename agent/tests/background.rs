//! An action in the background runs beside the others, in a real container. Needs root, as `containers.rs` does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/lab.rs"]
mod lab;
#[path = "../../oci/tests/support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use lab::Lab;
use proto::ActionResponse;
use proto::action_status_request::StateType::{Running, Success};
use server::message;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_in_the_background_goes_on_while_others_run() {
    let lab = Lab::new().await;
    std::fs::create_dir_all(lab.state.path().join("gate")).unwrap();
    let gate = vec!["/run/gate:/gate".to_owned()];
    let _agent = lab.agent();
    let script = "echo beside; until [ -e /gate/open ]; do sleep 0.05; done; echo 'beside is over'";
    lab.server.push(ActionResponse { background: Some(true), volumes: gate.clone(), ..lab.shell("aside", script) });
    lab.until("its container", || lab.text().contains("A| beside")).await;
    assert_eq!(lab.server.states(), [Running, Success]);
    for id in ["one", "two"] {
        let report = lab.run(lab.shell(id, "echo in front")).await;
        assert_eq!(report.action_state(), Success, "{}\n{}", message(&report), lab.text());
    }
    assert!(!lab.text().contains("A| beside is over"), "{}", lab.text());
    let last = lab.run(ActionResponse { volumes: gate, ..lab.shell("last", "touch /gate/open") }).await;
    assert_eq!(last.action_state(), Success, "{}", message(&last));
    lab.until("its end", || lab.text().contains("A| beside is over")).await;
    lab.until("that its end is logged", || lab.text().contains("action aside: SUCCESS in ")).await;
    assert_eq!(lab.server.states(), [Running, Success].repeat(4), "its end is not reported");
    lab.assert_clean();
}
