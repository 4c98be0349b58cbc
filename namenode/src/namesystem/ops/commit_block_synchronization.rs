//! Ends the recovery of a block: its replicas have one length, or there are none (HDFS `commitBlockSynchronization`).

use hfs_protocol::error::ErrorKind;
use hfs_protocol::ids::{BlockId, GenStamp, INodeId};

use crate::namesystem::Namespace;
use crate::namesystem::codec::record;
use crate::namesystem::inode::Tail;
use crate::namesystem::mutate::Diverged;
use crate::namesystem::types::{Block, Ctx, Effect, Proposal, Result, fail};

/// What the datanode that led the recovery reports.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// The block's file, as the block map knows it.
    pub file: INodeId,
    /// The block as the recovery found it.
    pub block: Block,
    /// The recovery's stamp, which the replicas now have.
    pub new_gen_stamp: GenStamp,
    /// The replicas' length, in bytes.
    pub new_len: u64,
    /// Whether the file is to be closed.
    pub close_file: bool,
    /// Whether there was no replica with bytes: the block goes.
    pub delete_block: bool,
}

record! {
    /// Gives a recovered block its stamp and length, or drops it.
    pub struct CommitRecovery {
        /// The file.
        pub file: INodeId,
        /// The block.
        pub block: BlockId,
        /// Its new stamp.
        pub gen_stamp: GenStamp,
        /// Its final length.
        pub len: u64,
        /// Whether the file is closed.
        pub close: bool,
        /// Whether the block goes.
        pub delete: bool,
    }
}

/// Decides about a report.
///
/// # Errors
/// `NotFound` when the file or the block is gone; `Io` when the block is not under recovery, another recovery has begun since, or
/// the result would lose bytes that were vouched for.
pub fn check(ns: &Namespace, request: &Request, ctx: &Ctx<'_>) -> Result<Proposal<()>> {
    let id = request.block.id;
    let slot = match ns.tree.slot_of(request.file) {
        Some(slot) if ns.tree.get(slot).file().is_some_and(|file| file.block(id).is_some()) => slot,
        _ => {
            return fail(
                ErrorKind::NotFound,
                format!("Block blk_{id} belongs to no file any more"),
            );
        }
    };
    let path = || ns.tree.path_of_slot(slot);
    let file = ns.file_in(slot);
    let last = file.blocks.as_slice().last().filter(|last| last.id == id);
    let tail = file.writing.as_ref().map(|writing| writing.tail);
    let (Some(last), Some(Tail::Recovering { recovery_id })) = (last, tail) else {
        // The report came twice, as after a lost answer.
        if file.block(id).is_some_and(|block| block.gen_stamp == request.new_gen_stamp) {
            return Proposal::unchanged(());
        }
        return fail(ErrorKind::Io, format!("Block blk_{id} of {} is not under recovery", path()));
    };
    if recovery_id != request.new_gen_stamp {
        return fail(
            ErrorKind::Io,
            format!(
                "The recovery id {} does not match current recovery id {recovery_id} for block blk_{id} of {}",
                request.new_gen_stamp,
                path()
            ),
        );
    }
    let final_len = if request.delete_block { 0 } else { request.new_len };
    if final_len < last.len {
        return fail(
            ErrorKind::Io,
            format!(
                "The recovery of block blk_{id} of {} ended with {final_len} bytes, but {} were vouched for: some replica that has \
                 them was not part of it",
                path(),
                last.len
            ),
        );
    }
    let op = CommitRecovery {
        file: request.file,
        block: id,
        gen_stamp: request.new_gen_stamp,
        len: request.new_len,
        close: request.close_file,
        delete: request.delete_block,
    };
    Ok(Proposal { entry: ctx.stamp(op), answer: () })
}

pub(crate) fn apply(
    ns: &mut Namespace,
    op: &CommitRecovery,
    time_ms: u64,
    effects: &mut Vec<Effect>,
) -> std::result::Result<(), Diverged> {
    let slot = ns.must_find_file(op.file)?;
    ns.must_be_last(slot, op.block)?;
    if ns.must_be_open(slot)?.tail != (Tail::Recovering { recovery_id: op.gen_stamp }) {
        return Err(Diverged(format!(
            "recovery {} of block {} does not run",
            op.gen_stamp, op.block
        )));
    }
    if op.delete {
        ns.drop_last(slot, effects);
    } else {
        if let Some(last) = ns.file_mut(slot).blocks.last_mut() {
            last.gen_stamp = op.gen_stamp;
        }
        ns.commit_last(slot, op.len, effects)?;
    }
    if op.close {
        ns.close_file(slot, time_ms);
    }
    Ok(())
}
