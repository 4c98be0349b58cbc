//! Sets how many replicas a file's blocks should have (HDFS `FSDirAttrOp.setReplication`).

use hfs_protocol::ids::INodeId;

use super::create::check_replication;
use crate::namesystem::Namespace;
use crate::namesystem::access::{self, Access};
use crate::namesystem::codec::record;
use crate::namesystem::mutate::Diverged;
use crate::namesystem::types::{Ctx, Effect, Proposal, Result};

/// What the client asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The file.
    pub path: &'a str,
    /// The new replication.
    pub replication: u16,
}

record! {
    /// Sets a file's replication.
    pub struct SetReplication {
        /// The file.
        pub file: INodeId,
        /// The new replication.
        pub replication: u16,
    }
}

/// Decides about a request. False for a directory and for nothing.
///
/// # Errors
/// `AccessDenied`; `Io` for a replication out of bounds.
pub fn check(ns: &Namespace, request: &Request<'_>, ctx: &Ctx<'_>) -> Result<Proposal<bool>> {
    check_replication(ns, request.path, request.replication)?;
    let path = ns.path(request.path)?;
    let Some(slot) = ns.resolve(&path, ctx.caller)?.slot() else {
        return Proposal::unchanged(false);
    };
    access::require(&ns.tree, slot, ctx.caller, Access::WRITE)?;
    let inode = ns.tree.get(slot);
    let Some(file) = inode.file() else { return Proposal::unchanged(false) };
    if file.replication() == request.replication {
        return Proposal::unchanged(true);
    }
    let op = SetReplication { file: inode.id, replication: request.replication };
    Ok(Proposal { entry: ctx.stamp(op), answer: true })
}

pub(crate) fn apply(
    ns: &mut Namespace,
    op: &SetReplication,
    _time_ms: u64,
    effects: &mut Vec<Effect>,
) -> std::result::Result<(), Diverged> {
    let slot = ns.must_find_file(op.file)?;
    ns.file_mut(slot).set_replication(op.replication);
    ns.tell_all(slot, effects);
    Ok(())
}
