//! Takes a file from a writer that is gone (HDFS `internalReleaseLease`). When the last block is unfinished, its replicas
//! are first brought to one length by a datanode; the answer says so, and
//! [`commit_block_synchronization`](super::commit_block_synchronization) ends it.

use hfs_protocol::error::ErrorKind;
use hfs_protocol::ids::{GenStamp, INodeId};

use super::abandon_block::AbandonBlock;
use super::complete::Complete;
use crate::namesystem::Namespace;
use crate::namesystem::access::{self, Access};
use crate::namesystem::codec::record;
use crate::namesystem::inode::Tail;
use crate::namesystem::lease::NAMENODE_HOLDER;
use crate::namesystem::mutate::Diverged;
use crate::namesystem::types::{Block, Ctx, Effect, Proposal, Replicas, Result, fail};

/// What a client asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The file.
    pub path: &'a str,
    /// Who asks.
    pub client_name: &'a str,
}

/// How far the file is from being closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is closed.
    Closed,
    /// Its last blocks are final but have too few replicas yet: ask again.
    Waiting,
    /// An empty last block that nobody has was dropped: ask again, the file can be closed now.
    Dropped,
    /// A datanode has to bring the replicas of `block` to one length.
    Recovering {
        /// The file.
        file: INodeId,
        /// The last block as it is known.
        block: Block,
        /// The stamp it has afterwards.
        recovery_id: GenStamp,
    },
}

record! {
    /// Makes the namenode the holder of a file and begins the recovery of its last block.
    pub struct StartRecovery {
        /// The file.
        pub file: INodeId,
        /// The recovery's stamp.
        pub recovery_id: GenStamp,
    }
}

/// Decides about a client's request. A recovery that runs goes on.
///
/// # Errors
/// `NotFound` for nothing and for a directory; `AccessDenied` for whoever may not write.
pub fn check(
    ns: &Namespace,
    request: &Request<'_>,
    ctx: &Ctx<'_>,
    replicas: &dyn Replicas,
) -> Result<Proposal<Answer>> {
    let path = ns.path(request.path)?;
    let slot = match ns.resolve(&path, ctx.caller)?.slot() {
        Some(slot) if !ns.tree.get(slot).is_dir() => slot,
        Some(_) => return fail(ErrorKind::NotFound, format!("Path is not a file: {path}")),
        None => return fail(ErrorKind::NotFound, format!("File does not exist: {path}")),
    };
    access::require(&ns.tree, slot, ctx.caller, Access::WRITE)?;
    decide(ns, slot, ctx, replicas, false)
}

/// Decides about a file whose lease has expired, for the namenode itself. With `restart`, a recovery that takes too long begins
/// again under a new stamp, and the old one can't finish any more.
///
/// # Errors
/// `NotFound` when the file is gone.
pub fn check_expired(
    ns: &Namespace,
    file: INodeId,
    restart: bool,
    ctx: &Ctx<'_>,
    replicas: &dyn Replicas,
) -> Result<Proposal<Answer>> {
    match ns.tree.slot_of(file) {
        Some(slot) if !ns.tree.get(slot).is_dir() => decide(ns, slot, ctx, replicas, restart),
        _ => fail(ErrorKind::NotFound, format!("File does not exist: inode {file}")),
    }
}

fn decide(
    ns: &Namespace,
    slot: u32,
    ctx: &Ctx<'_>,
    replicas: &dyn Replicas,
    restart: bool,
) -> Result<Proposal<Answer>> {
    let file = ns.file_in(slot);
    let id = ns.tree.get(slot).id;
    let Some(writing) = &file.writing else { return Proposal::unchanged(Answer::Closed) };
    let last = match (file.blocks.as_slice().last(), writing.tail) {
        (None, _) | (Some(_), Tail::Committed) => {
            if !Namespace::is_replicated(file, replicas) {
                return Proposal::unchanged(Answer::Waiting);
            }
            let op = Complete { file: id, last_len: None, close: true };
            return Ok(Proposal { entry: ctx.stamp(op), answer: Answer::Closed });
        }
        (Some(&last), Tail::Recovering { recovery_id }) if !restart => {
            return Proposal::unchanged(Answer::Recovering { file: id, block: last, recovery_id });
        }
        (Some(last), _) => *last,
    };
    if writing.tail == Tail::Pipeline && last.len == 0 && !replicas.any(last.id) {
        let op = AbandonBlock { file: id, block: last.id };
        return Ok(Proposal { entry: ctx.stamp(op), answer: Answer::Dropped });
    }
    let recovery_id = ns.last_gen_stamp.next();
    let op = StartRecovery { file: id, recovery_id };
    let answer = Answer::Recovering { file: id, block: last, recovery_id };
    Ok(Proposal { entry: ctx.stamp(op), answer })
}

pub(crate) fn apply(
    ns: &mut Namespace,
    op: &StartRecovery,
    _time_ms: u64,
    effects: &mut Vec<Effect>,
) -> std::result::Result<(), Diverged> {
    let slot = ns.must_find_file(op.file)?;
    ns.take_gen_stamp(op.recovery_id)?;
    let writing = ns.must_be_open(slot)?;
    if writing.tail == Tail::Committed {
        return Err(Diverged(format!("the last block of file {} is final", op.file)));
    }
    writing.tail = Tail::Recovering { recovery_id: op.recovery_id };
    let before = std::mem::replace(&mut writing.client_name, NAMENODE_HOLDER.into());
    ns.leases.remove(&before, op.file);
    ns.leases.add(NAMENODE_HOLDER, op.file);
    ns.tell_last(slot, effects);
    Ok(())
}
