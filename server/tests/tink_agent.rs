//! Tinkerbell's agent of the second generation. Two recordings have what tink-agent of August 2026 sends to this server:
//! through a proxy, with a Docker that accepts everything, and without the detection of attributes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod lab;

use lab::{Lab, apply, everything, soon};
use prost::Message;
use proto::workflow_service_client::WorkflowServiceClient;
use proto::{ActionRequest, ActionStatusRequest};

/// In hexadecimal. `T` is the id of the task and `X` that of the action, which are new in each run.
enum Recorded {
    /// The answer to a request for work.
    Asks(&'static str),
    Reports(&'static str),
}

/// `GetAction` of the agent 52:54:00:12:34:56.
const ASKS: &str = "0a1135323a35343a30303a31323a33343a3536";

/// Both containers ended with exit code 0.
const SUCCEEDS: &[Recorded] = &[
    Recorded::Asks(concat!(
        "0a0964656661756c742f77121aT1a1135323a35343a30303a31323a33343a3536221aX2a026130320a616374696f6e733a763138",
        "3c42082f6465762f7664614a092f6465763a2f6465765203413d3152044e3d30305a00",
    )),
    Recorded::Reports(concat!(
        "0a0964656661756c742f77121135323a35343a30303a31323a33343a35361a1aT221aX2a02613030023a0b088092b8c398feffff",
        "ff01420b088092b8c398feffffff014a0052100a0e72756e6e696e6720616374696f6e",
    )),
    Recorded::Reports(concat!(
        "0a0964656661756c742f77121135323a35343a30303a31323a33343a35361a1aT221aX2a02613030053a0c088df3afd80610eb8c",
        "f5ac03420c088df3afd80610b1f7e6ae034a08336d73393632757352120a10616374696f6e20636f6d706c65746564",
    )),
    Recorded::Asks(concat!(
        "0a0964656661756c742f77121aT1a1135323a35343a30303a31323a33343a3536221aX2a026131320a616374696f6e733a763138",
        "3c42082f6465762f7664614a092f6465763a2f6465765203413d3152044e3d30315a00",
    )),
    Recorded::Reports(concat!(
        "0a0964656661756c742f77121135323a35343a30303a31323a33343a35361a1aT221aX2a02613130023a0b088092b8c398feffff",
        "ff01420b088092b8c398feffffff014a0052100a0e72756e6e696e6720616374696f6e",
    )),
    Recorded::Reports(concat!(
        "0a0964656661756c742f77121135323a35343a30303a31323a33343a35361a1aT221aX2a02613130053a0c088df3afd80610b3f3",
        "deb803420c088df3afd806108c9becb9034a08326d73333135757352120a10616374696f6e20636f6d706c65746564",
    )),
];

/// The first container ended with exit code 3.
const FAILS: &[Recorded] = &[
    Recorded::Asks(concat!(
        "0a0964656661756c742f77121aT1a1135323a35343a30303a31323a33343a3536221aX2a026130320a616374696f6e733a763138",
        "3c42082f6465762f7664614a092f6465763a2f6465765203413d3152044e3d30305a00",
    )),
    Recorded::Reports(concat!(
        "0a0964656661756c742f77121135323a35343a30303a31323a33343a35361a1aT221aX2a02613030023a0b088092b8c398feffff",
        "ff01420b088092b8c398feffffff014a0052100a0e72756e6e696e6720616374696f6e",
    )),
    Recorded::Reports(concat!(
        "0a0964656661756c742f77121135323a35343a30303a31323a33343a35361a1aT221aX2a02613030033a0b08a3f3afd80610a9a1",
        "9366420b08a3f3afd8061085c6f0694a08376d73383139757352120a10616374696f6e20636f6d706c65746564",
    )),
];

/// The message with these bytes. Encoding it must give exactly the same bytes.
fn message<M: Message + Default + std::fmt::Debug>(hex: &str) -> M {
    let bytes = hex::decode(hex).unwrap();
    let message = M::decode(&*bytes).unwrap();
    assert_eq!(message.encode_to_vec(), bytes, "{message:?}");
    message
}

#[tokio::test]
async fn the_recorded_calls_of_tink_agent_get_the_same_answers() {
    for (recording, end) in [(SUCCEEDS, "SUCCESS SUCCESS,SUCCESS"), (FAILS, "FAILED FAILED,PENDING")] {
        let lab = Lab::hasty().await;
        apply(&lab.server, &everything()).await;
        let mut agent = WorkflowServiceClient::connect(format!("http://{}", lab.grpc)).await.unwrap();
        let (mut task, mut action) = (String::new(), String::new());
        for call in recording {
            match call {
                Recorded::Asks(expected) => {
                    let given = soon(agent.get_action(message::<ActionRequest>(ASKS))).await.unwrap().into_inner();
                    (task, action) =
                        (hex::encode(given.task_id.as_ref().unwrap()), hex::encode(given.action_id.as_ref().unwrap()));
                    assert_eq!(hex::encode(given.encode_to_vec()), expected.replace('T', &task).replace('X', &action));
                }
                Recorded::Reports(report) => {
                    let report: ActionStatusRequest = message(&report.replace('T', &task).replace('X', &action));
                    soon(agent.report_action_status(report)).await.unwrap();
                }
            }
        }
        assert_eq!(lab.state("w"), end);
        let none = soon(agent.get_action(message::<ActionRequest>(ASKS))).await.unwrap_err();
        assert_eq!(none.code(), tonic::Code::FailedPrecondition, "{none:?}");
    }
}
