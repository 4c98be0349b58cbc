//! The small JSON file in which a daemon says where it listens. Written whole or not at all, so a reader
//! that finds it can believe it. The local cluster asks for ports 0 and reads the answers here.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Where a daemon listens. A role fills in what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ports {
    /// Hadoop RPC (namenode).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpc: Option<SocketAddr>,
    /// gRPC (namenode, jobtracker).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<SocketAddr>,
    /// Web pages, `/metrics` and `/healthz` (every role).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<SocketAddr>,
    /// The data transfer protocol (datanode).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer: Option<SocketAddr>,
    /// `ClientDatanodeProtocol` (datanode).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipc: Option<SocketAddr>,
    /// Map output for reducers (worker).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shuffle: Option<SocketAddr>,
}

/// Writes the file in one step: a neighbour, then a rename.
///
/// # Errors
/// When the directory is not there or can't be written; the error names the path.
pub fn write(path: &Path, ports: &Ports) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let neighbour = Path::new(&name);
    let json = serde_json::to_vec(ports)?;
    fs::File::create(neighbour)
        .and_then(|mut file| file.write_all(&json))
        .and_then(|()| fs::rename(neighbour, path))
        .map_err(|e| {
            io::Error::new(e.kind(), format!("can't write port file {}: {e}", path.display()))
        })
}

/// Reads the file; `None` when it is not there (yet).
///
/// # Errors
/// When it is there and can't be read or is not a port file.
pub fn read(path: &Path) -> io::Result<Option<Ports>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => {
            let sentence = format!("can't read port file {}: {e}", path.display());
            return Err(io::Error::new(e.kind(), sentence));
        }
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| {
        let sentence = format!("{} is not a port file: {e}", path.display());
        io::Error::new(io::ErrorKind::InvalidData, sentence)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_absent_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ports.json");
        assert_eq!(read(&path).unwrap(), None);
        let ports = Ports { rpc: Some("127.0.0.1:8020".parse().unwrap()), ..Ports::default() };
        write(&path, &ports).unwrap();
        assert_eq!(read(&path).unwrap(), Some(ports));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no neighbour left behind");
    }

    #[test]
    fn errors_name_the_path() {
        let missing = Path::new("/nonexistent/ports.json");
        assert!(
            write(missing, &Ports::default()).unwrap_err().to_string().contains("/nonexistent")
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ports.json");
        fs::write(&path, "hello").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("not a port file"));
    }
}
