//! Sets a mode (HDFS `FSDirAttrOp.setPermission`).

use hfs_protocol::error::ErrorKind;
use hfs_protocol::ids::INodeId;

use crate::namesystem::Namespace;
use crate::namesystem::access::{self, MODE_MASK};
use crate::namesystem::codec::record;
use crate::namesystem::mutate::Diverged;
use crate::namesystem::types::{Ctx, Effect, Proposal, Result, fail};

/// What the client asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// File or directory.
    pub path: &'a str,
    /// The new mode; bits beyond `0o1777` are ignored.
    pub mode: u16,
}

record! {
    /// Sets a mode.
    pub struct SetPermission {
        /// File or directory.
        pub inode: INodeId,
        /// The new mode.
        pub mode: u16,
    }
}

/// Decides about a request.
///
/// # Errors
/// `NotFound`; `AccessDenied` for whoever is neither owner nor superuser.
pub fn check(ns: &Namespace, request: &Request<'_>, ctx: &Ctx<'_>) -> Result<Proposal<()>> {
    let path = ns.path(request.path)?;
    let Some(slot) = ns.resolve(&path, ctx.caller)?.slot() else {
        return fail(ErrorKind::NotFound, format!("File does not exist: {path}"));
    };
    access::require_owner(&ns.tree, slot, ctx.caller)?;
    let op = SetPermission { inode: ns.tree.get(slot).id, mode: request.mode & MODE_MASK };
    Ok(Proposal { entry: ctx.stamp(op), answer: () })
}

pub(crate) fn apply(
    ns: &mut Namespace,
    op: &SetPermission,
    _time_ms: u64,
    _effects: &mut Vec<Effect>,
) -> std::result::Result<(), Diverged> {
    let slot = ns.must_find(op.inode)?;
    let inode = ns.tree.get_mut(slot);
    inode.perm = inode.perm.with_mode(op.mode);
    Ok(())
}
