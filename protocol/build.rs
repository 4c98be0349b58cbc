//! Compiles the wire messages with a compiler written in Rust, so that no protoc is needed.

use std::error::Error;

const PROTOS: &[&str] = &[
    "hadoop/rpc.proto",
    "hadoop/hdfs.proto",
    "hadoop/client_namenode.proto",
    "hadoop/client_datanode.proto",
    "hadoop/data_transfer.proto",
    "hfs/datanode.proto",
    "hfs/task.proto",
    "hfs/job.proto",
    "hfs/worker.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
