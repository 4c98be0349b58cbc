//! The members of a local cluster and their names: `namenode`, `datanode/2`, `worker/1`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a process of the cluster does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Namespace and blocks.
    Namenode,
    /// Replicas.
    Datanode,
    /// Jobs.
    Jobtracker,
    /// Tasks and their output.
    Worker,
}

impl Role {
    /// All roles, in the order in which they are started and shown.
    pub const ALL: [Self; 4] = [Self::Namenode, Self::Datanode, Self::Jobtracker, Self::Worker];

    /// The role's word on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Namenode => "namenode",
            Self::Datanode => "datanode",
            Self::Jobtracker => "jobtracker",
            Self::Worker => "worker",
        }
    }

    /// Whether a cluster has exactly one of it.
    #[must_use]
    pub const fn is_single(self) -> bool {
        matches!(self, Self::Namenode | Self::Jobtracker)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|role| role.word() == word).ok_or_else(|| {
            format!("{word:?} is not a role: namenode, datanode, jobtracker or worker")
        })
    }
}

/// One process of the cluster: a role and its number, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// What it does.
    pub role: Role,
    /// 1 to the number of its kind.
    pub number: u16,
}

/// Loopback addresses 127.0.0.2 to 127.0.0.254: more nodes than that share 127.0.0.1.
const ADDRESSED_NODES: u16 = 253;

impl Node {
    /// The `number`-th process of that role.
    #[must_use]
    pub const fn new(role: Role, number: u16) -> Self {
        Self { role, number }
    }

    /// The name of its files: `datanode-2`.
    #[must_use]
    pub fn file_stem(self) -> String {
        format!("{}-{}", self.role, self.number)
    }

    /// The address it should listen on. Datanode i and worker i are one machine and have 127.0.0.(i+1),
    /// where this system lets anybody listen there; the masters have 127.0.0.1.
    #[must_use]
    pub fn host(self) -> IpAddr {
        let shared = IpAddr::V4(Ipv4Addr::LOCALHOST);
        if self.role.is_single() || self.number > ADDRESSED_NODES {
            return shared;
        }
        let last = u8::try_from(self.number + 1).expect("invariant: at most ADDRESSED_NODES + 1");
        let own = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        if hfs_daemon::bind::bindable(own) { own } else { shared }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.role.is_single() {
            f.pad(self.role.word())
        } else {
            f.pad(&format!("{}/{}", self.role, self.number))
        }
    }
}

impl FromStr for Node {
    type Err = String;

    /// Reads `datanode/2`; for the roles of which there is one, the number may be missing or 0.
    fn from_str(text: &str) -> Result<Self, String> {
        let (word, number) = match text.split_once('/') {
            Some((word, number)) => (word, Some(number)),
            None => (text, None),
        };
        let role: Role = word.parse()?;
        let number = match number {
            None if role.is_single() => 1,
            None => return Err(format!("which {role}? Write {role}/1, for example")),
            Some(digits) => {
                let wrong = || format!("{digits:?} in {text:?} is not a number");
                digits.parse().map_err(|_| wrong())?
            }
        };
        match number {
            0 | 1 if role.is_single() => Ok(Self::new(role, 1)),
            0 => Err(format!("{role}s are counted from 1: {role}/1")),
            _ if role.is_single() => Err(format!("there is only one {role}")),
            _ => Ok(Self::new(role, number)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        assert_eq!("datanode/2".parse(), Ok(Node::new(Role::Datanode, 2)));
        assert_eq!("namenode".parse(), Ok(Node::new(Role::Namenode, 1)));
        assert_eq!("jobtracker/0".parse(), Ok(Node::new(Role::Jobtracker, 1)));
        assert_eq!(Node::new(Role::Worker, 3).to_string(), "worker/3");
        assert_eq!(Node::new(Role::Namenode, 1).to_string(), "namenode");
        for wrong in ["datanode", "datanode/0", "datanode/x", "namenode/2", "nn", ""] {
            assert!(wrong.parse::<Node>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_datanode_and_its_worker_share_an_address() {
        let (datanode, worker) = (Node::new(Role::Datanode, 2), Node::new(Role::Worker, 2));
        assert_eq!(datanode.host(), worker.host());
        assert_eq!(Node::new(Role::Datanode, 9_999).host(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
}
