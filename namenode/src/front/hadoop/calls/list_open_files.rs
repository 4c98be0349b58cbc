//! `listOpenFiles`: files that are open for writing, by their ids.

use hfs_protocol::error::RemoteError;
use hfs_protocol::hadoop::server::Reply;
use hfs_protocol::ids::INodeId;
use hfs_protocol::proto::hadoop::hdfs::{ListOpenFilesRequestProto, ListOpenFilesResponseProto, OpenFilesBatchResponseProto};

use crate::front::hadoop::Call;

/// Entries of one answer (HDFS `dfs.namenode.list.openfiles.num.responses`).
const BATCH: usize = 1_000;

/// Files that are open for writing, by their ids.
pub(super) fn call(call: Call<'_>) -> Result<Reply, RemoteError> {
    let request: ListOpenFilesRequestProto = call.decode()?;
    let under = request.path.unwrap_or_default();
    let audit = call.audit_read(&under);
    let after = INodeId(u64::try_from(request.id).unwrap_or(0));
    let seen = call.service.open_files(&call.info, after, BATCH);
    let types = request.types;
    call.reply(audit, seen, |files| {
        let has_more = files.len() == BATCH;
        let below = |path: &str| {
            let under = under.trim_end_matches('/');
            path.strip_prefix(under).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let entries = files
            .into_iter()
            .filter(|file| below(&file.path))
            .map(|file| OpenFilesBatchResponseProto {
                id: i64::try_from(file.inode.0).unwrap_or(i64::MAX),
                path: file.path,
                client_name: file.client_name.into(),
                client_machine: file.client_machine.into(),
            });
        ListOpenFilesResponseProto { entries: entries.collect(), has_more, types }
    })
}
