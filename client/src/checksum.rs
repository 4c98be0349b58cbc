//! The checksum of a whole file, made by its datanodes from the chunk checksums they keep: no
//! data travels (HDFS `FileChecksumHelper`).

use std::sync::Arc;

use hfs_protocol::proto::hadoop::hdfs as proto;
use hfs_protocol::transfer::checksum::DataChecksum;
use hfs_protocol::transfer::file_checksum::{CompositeCrc, FileChecksum, MD5_BYTES, Md5Md5Crc};
use hfs_protocol::transfer::op::Op;

use crate::config::ChecksumCombine;
use crate::error::{Error, ErrorKind, Result};
use crate::file_system::{FileSystem, Inner, normalize};
use crate::reader::ask;

impl FileSystem {
    /// The checksum of a file, as `dfs.checksum.combine.mode` says: equal to what Hadoop's
    /// `getFileChecksum` gives for the same file.
    ///
    /// # Errors
    /// `NotFound`; `Io` while the file is being written; `NoReplica` when a block's datanodes
    /// can't be reached.
    pub async fn file_checksum(&self, path: &str) -> Result<FileChecksum> {
        self.file_checksum_as(path, self.inner.config.checksum_combine).await
    }

    /// [`FileSystem::file_checksum`] in a mode of the caller's choice.
    ///
    /// # Errors
    /// As [`FileSystem::file_checksum`].
    pub async fn file_checksum_as(
        &self,
        path: &str,
        combine: ChecksumCombine,
    ) -> Result<FileChecksum> {
        let path = normalize(path)?;
        let located = self.inner.located_blocks(&path, 0, u64::MAX).await?;
        if located.under_construction {
            return Err(Error::new(
                ErrorKind::Io,
                "the file is being written; its checksum can be had when it is closed",
            )
            .on(&path));
        }
        let kind = match combine {
            ChecksumCombine::Md5Md5Crc => proto::BlockChecksumTypeProto::Md5crc,
            ChecksumCombine::CompositeCrc => proto::BlockChecksumTypeProto::CompositeCrc,
        };
        let mut md5s = Md5Md5Crc::default();
        let mut crcs = CompositeCrc::default();
        for block in &located.blocks {
            let answer =
                block_checksum(&self.inner, block, kind).await.map_err(|error| error.on(&path))?;
            let bad = |what: &str| {
                let block = block.b.block_id;
                Error::new(ErrorKind::Io, format!("the checksum of block {block} {what}")).on(&path)
            };
            let guard = DataChecksum::from_proto(&proto::ChecksumProto {
                r#type: answer.crc_type() as i32,
                bytes_per_checksum: answer.bytes_per_crc,
            })
            .map_err(|error| bad(&error.to_string()))?;
            match combine {
                ChecksumCombine::Md5Md5Crc => {
                    let md5: [u8; MD5_BYTES] =
                        answer.block_checksum[..].try_into().map_err(|_| bad("is not an MD5"))?;
                    md5s.add_block(&md5, answer.crc_per_block, guard)
                        .map_err(|error| bad(&error.to_string()))?;
                }
                ChecksumCombine::CompositeCrc => {
                    let crc: [u8; 4] = answer.block_checksum[..]
                        .try_into()
                        .map_err(|_| bad("is not a composite CRC"))?;
                    let crc = u32::from_be_bytes(crc);
                    crcs.add_block(crc, block.b.num_bytes(), guard.checksum_type);
                }
            }
        }
        Ok(match combine {
            ChecksumCombine::Md5Md5Crc => md5s.finish(),
            ChecksumCombine::CompositeCrc => crcs.finish(),
        })
    }
}

/// Asks the datanodes of a block for its checksum, the nearest first.
async fn block_checksum(
    fs: &Arc<Inner>,
    block: &proto::LocatedBlockProto,
    kind: proto::BlockChecksumTypeProto,
) -> Result<proto::OpBlockChecksumResponseProto> {
    let request = Op::BlockChecksum(Box::new(proto::OpBlockChecksumProto {
        header: proto::BaseHeaderProto {
            block: block.b.clone(),
            token: Some(block.block_token.clone()),
            trace_info: None,
        },
        block_checksum_options: Some(proto::BlockChecksumOptionsProto {
            block_checksum_type: Some(kind as i32),
            stripe_length: Some(0),
        }),
    }))
    .encode();
    let mut last = "it has no datanode that is alive".to_owned();
    for node in fs.datanodes.nearest_first(&block.locs) {
        let timeout = fs.config.socket_timeout;
        let answer = async {
            if let Some(mut stream) = fs.datanodes.take_idle(&node.id)
                && let Ok(response) = ask(&mut stream, &request, timeout).await
            {
                return Ok((stream, response));
            }
            let mut stream = fs.datanodes.dial(&node.id).await?;
            let response = ask(&mut stream, &request, timeout).await?;
            std::io::Result::Ok((stream, response))
        };
        match answer.await {
            Ok((stream, response)) => {
                let status = response.status();
                match response.checksum_response {
                    Some(checksum) if status == proto::Status::Success => {
                        fs.datanodes.give_back(&node.id, stream);
                        return Ok(checksum);
                    }
                    _ => {
                        let message = response.message.unwrap_or_default();
                        last = format!("{}: {} {message}", node.id.ip_addr, status.as_str_name());
                    }
                }
            }
            Err(error) => last = format!("{}: {error}", node.id.ip_addr),
        }
    }
    let block = block.b.block_id;
    Err(Error::new(
        ErrorKind::NoReplica,
        format!("no datanode gave the checksum of block {block}; last: {last}"),
    ))
}
