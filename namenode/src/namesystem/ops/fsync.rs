//! Notes how many bytes of the last block its writer vouches for (HDFS `fsync`).

use hfs_protocol::ids::INodeId;

use crate::namesystem::Namespace;
use crate::namesystem::codec::record;
use crate::namesystem::inode::Tail;
use crate::namesystem::mutate::Diverged;
use crate::namesystem::types::{Ctx, Effect, Proposal, Result};

/// What the client asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The file's path, used when there is no id.
    pub path: &'a str,
    /// The file's id.
    pub file: Option<INodeId>,
    /// The lease's holder.
    pub client_name: &'a str,
    /// Bytes of the last block that all its datanodes have; `None` just asks whether the lease is good.
    pub last_len: Option<u64>,
}

record! {
    /// Raises the known length of the block that is being written.
    pub struct Fsync {
        /// The file.
        pub file: INodeId,
        /// The last block's length so far.
        pub len: u64,
    }
}

/// Decides about a request. A length that is known already changes nothing, nor does one above the block size.
///
/// # Errors
/// `NotFound`, `LeaseExpired`.
pub fn check(ns: &Namespace, request: &Request<'_>, ctx: &Ctx<'_>) -> Result<Proposal<()>> {
    let slot = ns.held(request.path, request.file, request.client_name)?;
    let file = ns.file_in(slot);
    let grown = match (file.blocks.as_slice().last(), request.last_len) {
        (Some(last), Some(len)) if !file.last_committed() => {
            (len > last.len && len <= file.block_size()).then_some(len)
        }
        _ => None,
    };
    let Some(len) = grown else { return Proposal::unchanged(()) };
    Ok(Proposal { entry: ctx.stamp(Fsync { file: ns.tree.get(slot).id, len }), answer: () })
}

pub(crate) fn apply(
    ns: &mut Namespace,
    op: &Fsync,
    _time_ms: u64,
    effects: &mut Vec<Effect>,
) -> std::result::Result<(), Diverged> {
    let slot = ns.must_find_file(op.file)?;
    if ns.must_be_open(slot)?.tail == Tail::Committed {
        return Err(Diverged(format!("no block of file {} is being written", op.file)));
    }
    let last =
        ns.file_mut(slot).blocks.last_mut().ok_or_else(|| Diverged::new("there is no block"))?;
    last.len = op.len;
    ns.tell_last(slot, effects);
    Ok(())
}
