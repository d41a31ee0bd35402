//! Generates the gRPC code without a system `protoc`.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(["proto/workflow.proto", "proto/logs.proto"], ["proto"])?;
    println!("cargo:rerun-if-changed=proto/workflow.proto");
    println!("cargo:rerun-if-changed=proto/logs.proto");
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
