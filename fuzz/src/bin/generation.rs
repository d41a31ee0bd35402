//! Reports of both generations share one path. Any bytes are assigned to one generation, and each generation's own messages
//! to the right one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use proto::ActionStatusRequest;
use proto::gen1::{WorkflowActionStatus, is_report};

fuzz_target!(|bytes: &[u8]| {
    let _ = is_report(bytes);
    if let Ok(report) = WorkflowActionStatus::decode(bytes)
        && report.action_status != 0
    {
        assert!(is_report(&report.encode_to_vec()), "{report:?}");
    }
    if let Ok(report) = ActionStatusRequest::decode(bytes) {
        assert!(!is_report(&report.encode_to_vec()), "{report:?}");
    }
});
