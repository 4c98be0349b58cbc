//! Gives back a block that could not be written (HDFS `abandonBlock`).

use hfs_protocol::error::ErrorKind;
use hfs_protocol::ids::{BlockId, INodeId};

use crate::namesystem::Namespace;
use crate::namesystem::codec::record;
use crate::namesystem::inode::Tail;
use crate::namesystem::mutate::Diverged;
use crate::namesystem::types::{Ctx, Effect, Proposal, Result, fail};

/// What the client asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The file's path, used when there is no id.
    pub path: &'a str,
    /// The file's id.
    pub file: Option<INodeId>,
    /// The lease's holder.
    pub client_name: &'a str,
    /// The block.
    pub block: BlockId,
}

record! {
    /// Takes the last block out of an open file.
    pub struct AbandonBlock {
        /// The file.
        pub file: INodeId,
        /// The block.
        pub block: BlockId,
    }
}

/// Decides about a request. A block that is not in the file was given back before: nothing happens.
///
/// # Errors
/// `NotFound`, `LeaseExpired`; `Io` for a block that is not the one being written, or of which bytes were vouched for.
pub fn check(ns: &Namespace, request: &Request<'_>, ctx: &Ctx<'_>) -> Result<Proposal<()>> {
    let slot = ns.held(request.path, request.file, request.client_name)?;
    if ns.file_in(slot).block(request.block).is_none() {
        return Proposal::unchanged(());
    }
    let last = ns.require_pipeline(slot, request.block)?;
    if last.len > 0 {
        return fail(
            ErrorKind::Io,
            format!(
                "Block blk_{} of {} can't be abandoned: its writer vouched for {} bytes of it",
                last.id,
                ns.tree.path_of_slot(slot),
                last.len
            ),
        );
    }
    let op = AbandonBlock { file: ns.tree.get(slot).id, block: last.id };
    Ok(Proposal { entry: ctx.stamp(op), answer: () })
}

pub(crate) fn apply(
    ns: &mut Namespace,
    op: &AbandonBlock,
    _time_ms: u64,
    effects: &mut Vec<Effect>,
) -> std::result::Result<(), Diverged> {
    let slot = ns.must_find_file(op.file)?;
    ns.must_be_last(slot, op.block)?;
    if ns.must_be_open(slot)?.tail != Tail::Pipeline {
        return Err(Diverged(format!("block {} is not being written", op.block)));
    }
    ns.drop_last(slot, effects);
    Ok(())
}
