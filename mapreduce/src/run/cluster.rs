//! Which cluster a job runs on, when the command line does not say.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use hfs_client::ClientConfig;
use serde_json::Value;

/// The running local cluster's description, if there is one.
fn local_cluster() -> Option<(PathBuf, Value)> {
    let dir = match std::env::var_os("HFS_CLUSTER_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".hfs/local"),
    };
    let path = dir.join("cluster.json");
    let text = std::fs::read(&path).ok()?;
    Some((path, serde_json::from_slice(&text).ok()?))
}

/// The address of a role of the local cluster: a key of its own, or the port of its one node.
fn local_address(role: &str, port: &str) -> Option<String> {
    let (_, state) = local_cluster()?;
    if let Some(address) = state.get(role).and_then(Value::as_str) {
        return Some(address.to_owned());
    }
    let nodes = state.get("nodes")?.as_object()?;
    let node = nodes.iter().find(|(name, node)| {
        name.split('/').next() == Some(role) && node.get("process").is_some_and(|p| !p.is_null())
    })?;
    Some(node.1.get("ports")?.get(port)?.as_str()?.to_owned())
}

/// The file system: what was said, else `fs.defaultFS`, else the local cluster's.
pub(super) fn file_system(said: Option<&str>) -> Result<String> {
    if let Some(url) = said.filter(|url| !url.is_empty()) {
        return Ok(url.to_owned());
    }
    if let Some(url) = ClientConfig::load()?.default_fs {
        return Ok(url.to_string());
    }
    match local_address("namenode", "rpc") {
        Some(address) => Ok(format!("hdfs://{address}")),
        None => bail!(
            "no file system: give --fs hdfs://HOST:PORT, set HFS_FS, start a local cluster with \
             `hfs cluster start`, or run here with --local"
        ),
    }
}

/// The jobtracker: what was said, else the local cluster's.
pub(super) fn jobtracker(said: Option<&str>) -> Result<String> {
    if let Some(address) = said.filter(|address| !address.is_empty()) {
        return Ok(address.to_owned());
    }
    local_address("jobtracker", "grpc").context(
        "no jobtracker: give --jobtracker HOST:PORT, set HFS_JOBTRACKER, start a local cluster with \
         `hfs cluster start`, or run here with --local",
    )
}
