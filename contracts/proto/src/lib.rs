//! The gRPC contract between agent and server: Tinkerbell's `proto.WorkflowService`, second generation.

pub mod detail;
pub mod gen1;
pub mod logs;
pub mod next_image;
pub mod watch;

mod generated {
    #![allow(clippy::all)]
    tonic::include_proto!("proto");
}

pub use generated::*;
pub use prost_types::Timestamp;
