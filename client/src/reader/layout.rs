//! Which blocks a file has and where they are: fetched a stretch at a time, kept while reading.

use std::collections::BTreeMap;

use hfs_protocol::proto::hadoop::hdfs as proto;

use crate::error::{Error, ErrorKind, Result};
use crate::file_system::{Inner, no_such};

/// How many blocks' locations one call asks for (HDFS `dfs.client.read.prefetch.size` is ten
/// blocks).
const PREFETCH_BLOCKS: u64 = 10;
/// The block size assumed for the first call, before any is known.
const FIRST_BLOCK_GUESS: u64 = 128 << 20;

/// What a reader knows of its file.
#[derive(Default)]
pub(crate) struct Layout {
    /// Readable bytes.
    pub(crate) length: u64,
    /// Known blocks by their offset in the file.
    blocks: BTreeMap<u64, proto::LocatedBlockProto>,
    /// The last block, when it is still being written.
    pub(crate) unfinished_block: Option<u64>,
}

impl Layout {
    /// The block that holds a position, if it is known.
    pub(crate) fn find(&self, position: u64) -> Option<&proto::LocatedBlockProto> {
        let (offset, block) = self.blocks.range(..=position).next_back()?;
        (position < offset + block.b.num_bytes()).then_some(block)
    }

    /// Bytes one call should cover.
    fn stretch(&self) -> u64 {
        let block = self.blocks.values().map(|block| block.b.num_bytes()).max();
        block.unwrap_or(FIRST_BLOCK_GUESS).max(1).saturating_mul(PREFETCH_BLOCKS)
    }

    /// Takes the blocks of an answer in place of what was known of them.
    fn take(&mut self, blocks: Vec<proto::LocatedBlockProto>) {
        for block in blocks {
            self.blocks.insert(block.offset, block);
        }
    }
}

impl Inner {
    /// The blocks that overlap a range of a file.
    pub(crate) async fn located_blocks(
        &self,
        src: &str,
        offset: u64,
        length: u64,
    ) -> Result<proto::LocatedBlocksProto> {
        let request = proto::GetBlockLocationsRequestProto {
            src: src.to_owned(),
            offset,
            // Java reads both as signed.
            length: length.min(i64::MAX as u64),
        };
        let response: proto::GetBlockLocationsResponseProto =
            self.call("getBlockLocations", &request).await.map_err(|error| error.on(src))?;
        let located = response.locations.ok_or_else(|| no_such(src))?;
        if located.file_encryption_info.is_some() || located.ec_policy.is_some() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the file is encrypted or erasure coded, which this client can't read",
            )
            .on(src));
        }
        Ok(located)
    }

    /// The layout of a file from its beginning on, its readable length included.
    pub(crate) async fn layout(&self, src: &str) -> Result<Layout> {
        let mut layout = Layout::default();
        let mut located = self.located_blocks(src, 0, layout.stretch()).await?;
        layout.length = located.file_length;
        layout.take(std::mem::take(&mut located.blocks));
        if let Some(mut last) = located.last_block.filter(|_| !located.is_last_block_complete) {
            // Readers see what all datanodes of the pipeline have: ask them, first come first served.
            layout.unfinished_block = Some(last.b.block_id);
            let visible = self.visible_length(&last).await;
            last.b.num_bytes = Some(visible);
            layout.length = layout.length.max(last.offset + visible);
            if visible > 0 {
                layout.take(vec![last]);
            } else {
                layout.blocks.remove(&last.offset);
            }
        }
        Ok(layout)
    }

    /// Asks for the blocks from a position on; the answer is merged into the layout by the caller.
    pub(crate) async fn more_blocks(
        &self,
        src: &str,
        position: u64,
        layout: &parking_lot::Mutex<Layout>,
    ) -> Result<()> {
        let (stretch, unfinished) = {
            let layout = layout.lock();
            (layout.stretch(), layout.unfinished_block)
        };
        let located = self.located_blocks(src, position, stretch).await?;
        let last = located.last_block.filter(|last| unfinished == Some(last.b.block_id));
        let mut layout = layout.lock();
        layout.take(located.blocks);
        if let Some(mut last) = last {
            // The length seen at open stays; the nodes and the stamp may be newer.
            let known = layout.length.saturating_sub(last.offset);
            last.b.num_bytes = Some(known);
            if known > 0 {
                layout.take(vec![last]);
            }
        }
        Ok(())
    }

    /// How much of a block that is being written can be read: what the first datanode that
    /// answers says, else what the namenode knows.
    async fn visible_length(&self, last: &proto::LocatedBlockProto) -> u64 {
        let request = proto::GetReplicaVisibleLengthRequestProto { block: last.b.clone() };
        for node in self.datanodes.nearest_first(&last.locs) {
            let ask = async {
                let connection = self.datanodes.ipc(&node.id).await?;
                connection
                    .call::<_, proto::GetReplicaVisibleLengthResponseProto>(
                        "getReplicaVisibleLength",
                        &request,
                    )
                    .await
            };
            match tokio::time::timeout(self.config.socket_timeout, ask).await {
                Ok(Ok(answer)) => return answer.length,
                Ok(Err(error)) => {
                    tracing::debug!(node = %node.id.ip_addr, %error, "no visible length");
                    if !matches!(error, hfs_protocol::hadoop::client::RpcError::Remote(_)) {
                        self.datanodes.drop_ipc(&node.id);
                    }
                }
                Err(_) => self.datanodes.drop_ipc(&node.id),
            }
        }
        last.b.num_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(offset: u64, length: u64) -> proto::LocatedBlockProto {
        proto::LocatedBlockProto {
            offset,
            b: proto::ExtendedBlockProto { num_bytes: Some(length), ..Default::default() },
            ..Default::default()
        }
    }

    #[test]
    fn positions_find_their_blocks() {
        let mut layout = Layout::default();
        layout.take(vec![block(0, 100), block(100, 50), block(300, 10)]);
        let at = |position| layout.find(position).map(|block| block.offset);
        assert_eq!(at(0), Some(0));
        assert_eq!(at(99), Some(0));
        assert_eq!(at(100), Some(100));
        assert_eq!(at(149), Some(100));
        assert_eq!(at(150), None);
        assert_eq!(at(299), None);
        assert_eq!(at(309), Some(300));
        assert_eq!(at(310), None);
    }
}
