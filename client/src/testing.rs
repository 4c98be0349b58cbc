//! A namenode and datanodes in this process for the tests: real sockets and the real protocols,
//! state in memory, and faults on request.
#![allow(clippy::unwrap_used)]

pub(crate) mod datanode;
pub(crate) mod namenode;

use std::time::Duration;

use crate::{ClientConfig, CreateOptions, FileSystem};
use datanode::FakeDatanode;
use namenode::FakeNamenode;

/// Small numbers, so that a few kilobytes make several packets and blocks.
pub(crate) const PACKET: usize = 2048;
pub(crate) const BLOCK: u64 = 16 * 1024;

pub(crate) struct FakeCluster {
    pub(crate) namenode: FakeNamenode,
    pub(crate) datanodes: Vec<FakeDatanode>,
}

impl FakeCluster {
    pub(crate) async fn start(datanodes: usize) -> Self {
        let mut nodes = Vec::new();
        for number in 0..datanodes {
            nodes.push(FakeDatanode::start(number).await);
        }
        let namenode = FakeNamenode::start(nodes.iter().map(|node| node.info.clone()).collect());
        Self { namenode: namenode.await, datanodes: nodes }
    }

    pub(crate) fn config() -> ClientConfig {
        ClientConfig {
            user: "alice".into(),
            packet_data_bytes: PACKET,
            packets_in_flight_max: 4,
            block_size: BLOCK,
            socket_timeout: Duration::from_secs(5),
            retry_budget: Duration::from_secs(5),
            connect_budget: Duration::from_millis(300),
            ..ClientConfig::default()
        }
    }

    pub(crate) async fn connect(&self) -> FileSystem {
        self.connect_with(Self::config()).await
    }

    pub(crate) async fn connect_with(&self, config: ClientConfig) -> FileSystem {
        FileSystem::connect(&self.namenode.url(), config).await.unwrap()
    }

    /// Writes a file in one go.
    pub(crate) async fn put(&self, fs: &FileSystem, path: &str, bytes: &[u8]) {
        let mut writer = fs.create(path, &CreateOptions::default()).await.unwrap();
        writer.write_all(bytes).await.unwrap();
        writer.close().await.unwrap();
    }

    /// The datanode that holds a place in a block's pipeline.
    pub(crate) fn node(&self, uuid: &str) -> &FakeDatanode {
        self.datanodes.iter().find(|node| node.info.id.datanode_uuid == uuid).unwrap()
    }
}

/// Bytes that differ from place to place.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8 ^ (at / 1009) as u8).collect()
}
