//! Gives out a new generation stamp for a block whose pipeline is rebuilt (HDFS `bumpBlockGenerationStamp`). The block has it
//! only after [`update_pipeline`](super::update_pipeline).

use hfs_protocol::ids::{GenStamp, INodeId};

use crate::namesystem::Namespace;
use crate::namesystem::codec::record;
use crate::namesystem::mutate::Diverged;
use crate::namesystem::types::{Block, Ctx, Effect, Proposal, Result};

/// What the client asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The block's file, as the block map knows it.
    pub file: INodeId,
    /// The lease's holder.
    pub client_name: &'a str,
    /// The block as the client knows it.
    pub block: Block,
}

record! {
    /// Gives out a generation stamp.
    pub struct NextGenStamp {
        /// The stamp.
        pub gen_stamp: GenStamp,
    }
}

/// Decides about a request; the answer is the block with its new stamp and the length that is known.
///
/// # Errors
/// `NotFound`, `LeaseExpired`; `Io` when the block is not being written.
pub fn check(ns: &Namespace, request: &Request<'_>, ctx: &Ctx<'_>) -> Result<Proposal<Block>> {
    let slot = ns.held("", Some(request.file), request.client_name)?;
    let stored = *ns.require_pipeline(slot, request.block.id)?;
    let gen_stamp = ns.last_gen_stamp.next();
    let answer = Block { gen_stamp, ..stored };
    Ok(Proposal { entry: ctx.stamp(NextGenStamp { gen_stamp }), answer })
}

pub(crate) fn apply(
    ns: &mut Namespace,
    op: &NextGenStamp,
    _time_ms: u64,
    _effects: &mut Vec<Effect>,
) -> std::result::Result<(), Diverged> {
    ns.take_gen_stamp(op.gen_stamp)
}
