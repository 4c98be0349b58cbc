//! Where machines stand: racks, and how near a node is to a client.

#![deny(clippy::disallowed_methods, clippy::iter_over_hash_type)]

use std::net::IpAddr;

/// The rack of a node that names none (HDFS `NetworkTopology.DEFAULT_RACK`).
pub const DEFAULT_RACK: &str = "/default-rack";

/// The rack as it is kept: with its leading slash, without a trailing one.
#[must_use]
pub fn normalise_rack(rack: &str) -> String {
    let trimmed = rack.trim().trim_end_matches('/');
    if trimmed.is_empty() {
        DEFAULT_RACK.to_owned()
    } else if trimmed.starts_with('/') {
        trimmed.to_owned()
    } else {
        format!("/{trimmed}")
    }
}

/// How far a client is from a node, as HDFS weighs it: 0 the same machine, 2 the same rack, 4 another.
///
/// A client that runs no datanode stands in no rack, so all nodes are equally far from it.
#[must_use]
pub fn distance(client: IpAddr, client_rack: Option<&str>, node_ip: &str, node_rack: &str) -> u32 {
    if node_ip.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical() == client.to_canonical()) {
        0
    } else if client_rack == Some(node_rack) {
        2
    } else {
        4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn racks_have_one_spelling() {
        assert_eq!(normalise_rack(""), "/default-rack");
        assert_eq!(normalise_rack("/"), "/default-rack");
        assert_eq!(normalise_rack("r1/"), "/r1");
        assert_eq!(normalise_rack("/dc/r1"), "/dc/r1");
    }

    #[test]
    fn the_same_machine_is_nearest() {
        let client = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(distance(client, None, "10.0.0.1", "/a"), 0);
        assert_eq!(distance(client, Some("/a"), "10.0.0.2", "/a"), 2);
        assert_eq!(distance(client, Some("/a"), "10.0.0.2", "/b"), 4);
        assert_eq!(distance(client, None, "not an address", "/a"), 4);
    }
}
