//! Makes a rebuilt pipeline's generation stamp the block's own: replicas with the old one are stale from now on (HDFS
//! `updatePipeline`).

use hfs_protocol::error::ErrorKind;
use hfs_protocol::ids::{GenStamp, INodeId};

use crate::namesystem::Namespace;
use crate::namesystem::codec::record;
use crate::namesystem::inode::Tail;
use crate::namesystem::mutate::Diverged;
use crate::namesystem::types::{Block, Ctx, Effect, Proposal, Result, fail};

/// What the client asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The block's file, as the block map knows it.
    pub file: INodeId,
    /// The lease's holder.
    pub client_name: &'a str,
    /// The block with the stamp before.
    pub old: Block,
    /// The block with the stamp that [`update_block_for_pipeline`](super::update_block_for_pipeline) gave out, and how
    /// many bytes the pipeline has.
    pub new: Block,
}

record! {
    /// Gives the block that is being written a newer stamp.
    pub struct UpdatePipeline {
        /// The file.
        pub file: INodeId,
        /// The stamp.
        pub gen_stamp: GenStamp,
        /// The length that is vouched for.
        pub len: u64,
    }
}

/// Decides about a request.
///
/// # Errors
/// `NotFound`, `LeaseExpired`; `Io` when the block is not being written, or the update is to an older state.
pub fn check(ns: &Namespace, request: &Request<'_>, ctx: &Ctx<'_>) -> Result<Proposal<()>> {
    if ns.done_before(ctx, UpdatePipeline::CODE).is_some() {
        return Proposal::unchanged(());
    }
    let slot = ns.held("", Some(request.file), request.client_name)?;
    let stored = ns.require_pipeline(slot, request.old.id)?;
    let new = request.new;
    let limit = ns.file_in(slot).block_size().max(stored.len);
    if new.id != stored.id
        || new.gen_stamp <= stored.gen_stamp
        || new.gen_stamp > ns.last_gen_stamp
        || new.len < stored.len
        || new.len > limit
    {
        return fail(
            ErrorKind::Io,
            format!(
                "Update blk_{}_{} (len = {}) to an older or unknown state: blk_{}_{} (len = {})",
                stored.id, stored.gen_stamp, stored.len, new.id, new.gen_stamp, new.len
            ),
        );
    }
    let op = UpdatePipeline { file: request.file, gen_stamp: new.gen_stamp, len: new.len };
    Ok(Proposal { entry: ctx.stamp_once(op), answer: () })
}

pub(crate) fn apply(
    ns: &mut Namespace,
    op: &UpdatePipeline,
    _time_ms: u64,
    effects: &mut Vec<Effect>,
) -> std::result::Result<(), Diverged> {
    let slot = ns.must_find_file(op.file)?;
    if ns.must_be_open(slot)?.tail != Tail::Pipeline {
        return Err(Diverged(format!("no block of file {} is being written", op.file)));
    }
    if op.gen_stamp > ns.last_gen_stamp {
        return Err(Diverged(format!("stamp {} was never given out", op.gen_stamp)));
    }
    let last =
        ns.file_mut(slot).blocks.last_mut().ok_or_else(|| Diverged::new("there is no block"))?;
    last.gen_stamp = op.gen_stamp;
    last.len = op.len;
    ns.tell_last(slot, effects);
    Ok(())
}
