//! Claiming an address, with a sentence for the person whose address it is not.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpListener;

/// Why an address could not be listened on, and what to change.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process listens there.
    #[error(
        "{what}: {address} is already in use by another process; stop that process or choose another port with {change}"
    )]
    InUse {
        /// What wanted to listen, for example `namenode RPC`.
        what: String,
        /// The address asked for.
        address: SocketAddr,
        /// Which flag or key changes it.
        change: String,
    },
    /// The address is not one of this machine's.
    #[error("{what}: {address} is not an address of this machine; change it with {change}")]
    NotOurs {
        /// What wanted to listen.
        what: String,
        /// The address asked for.
        address: SocketAddr,
        /// Which flag or key changes it.
        change: String,
    },
    /// Anything else the system said, low ports without the right to them included.
    #[error("{what}: can't listen on {address}: {source}; change it with {change}")]
    Other {
        /// What wanted to listen.
        what: String,
        /// The address asked for.
        address: SocketAddr,
        /// Which flag or key changes it.
        change: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Listens on `address` (port 0: any free one). `what` names the listener in errors and `change` says which
/// flag or key moves it: `--rpc-port (rpc-port in hfs.toml)`.
///
/// # Errors
/// A [`BindError`], which is a whole sentence.
pub async fn tcp(address: SocketAddr, what: &str, change: &str) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| explain(source, address, what, change))
}

/// The same for a blocking listener.
///
/// # Errors
/// A [`BindError`], which is a whole sentence.
pub fn std_tcp(
    address: SocketAddr,
    what: &str,
    change: &str,
) -> Result<std::net::TcpListener, BindError> {
    std::net::TcpListener::bind(address).map_err(|source| explain(source, address, what, change))
}

/// Whether a listener can be had on `ip` at all. The local cluster asks this of 127.0.0.2 and up, which Linux
/// answers by default and other systems only after an alias was set.
#[must_use]
pub fn bindable(ip: IpAddr) -> bool {
    std::net::TcpListener::bind(SocketAddr::new(ip, 0)).is_ok()
}

fn explain(source: io::Error, address: SocketAddr, what: &str, change: &str) -> BindError {
    let (what, change) = (what.to_owned(), change.to_owned());
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { what, address, change },
        io::ErrorKind::AddrNotAvailable => BindError::NotOurs { what, address, change },
        _ => BindError::Other { what, address, change, source },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_named_with_the_flag_that_changes_it() {
        let first =
            tcp("127.0.0.1:0".parse().unwrap(), "namenode RPC", "--rpc-port").await.unwrap();
        let taken = first.local_addr().unwrap();
        let sentence = tcp(taken, "namenode RPC", "--rpc-port").await.unwrap_err().to_string();
        assert!(sentence.contains(&taken.to_string()), "{sentence}");
        assert!(sentence.contains("--rpc-port"), "{sentence}");
        assert!(sentence.contains("already in use"), "{sentence}");
    }

    #[test]
    fn a_foreign_address_is_said_to_be_foreign() {
        // 192.0.2.0/24 is reserved for documentation: no machine has it.
        let sentence =
            std_tcp("192.0.2.1:0".parse().unwrap(), "web", "--host").unwrap_err().to_string();
        assert!(sentence.contains("not an address of this machine"), "{sentence}");
    }
}
