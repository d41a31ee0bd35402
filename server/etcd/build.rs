//! Generates the gRPC code without a system `protoc`.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(["proto/etcd.proto"], ["proto"])?;
    println!("cargo:rerun-if-changed=proto/etcd.proto");
    tonic_prost_build::configure().build_server(false).compile_fds(descriptors)?;
    Ok(())
}
