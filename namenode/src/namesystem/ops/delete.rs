//! Removes a file, or a directory and all below it (HDFS `FSDirDeleteOp`).

use hfs_protocol::error::ErrorKind;
use hfs_protocol::ids::INodeId;

use crate::namesystem::Namespace;
use crate::namesystem::access::{self, Access};
use crate::namesystem::codec::record;
use crate::namesystem::mutate::Diverged;
use crate::namesystem::types::{Ctx, Effect, Proposal, Result, fail};

/// What the client asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// File or directory.
    pub path: &'a str,
    /// Whether a directory with entries goes too.
    pub recursive: bool,
}

record! {
    /// Removes an inode and all below it.
    pub struct Delete {
        /// The inode.
        pub inode: INodeId,
    }
}

/// Decides about a request. False when nothing is there, and for the root, which stays.
///
/// # Errors
/// `DirectoryNotEmpty`, `AccessDenied`, `InvalidPath`.
pub fn check(ns: &Namespace, request: &Request<'_>, ctx: &Ctx<'_>) -> Result<Proposal<bool>> {
    if ns.done_before(ctx, Delete::CODE).is_some() {
        return Proposal::unchanged(true);
    }
    let path = ns.path(request.path)?;
    let Some(slot) = ns.resolve(&path, ctx.caller)?.slot() else {
        return Proposal::unchanged(false);
    };
    if path.is_root() {
        return Proposal::unchanged(false);
    }
    let inode = ns.tree.get(slot);
    let full = inode.children().is_some_and(|children| !children.is_empty());
    if full && !request.recursive {
        return fail(
            ErrorKind::DirectoryNotEmpty,
            format!("`{path} is non empty': Directory is not empty"),
        );
    }
    access::require_removal(&ns.tree, slot, ctx.caller)?;
    if full && !ctx.caller.superuser {
        // Whoever may not empty a directory below can't get rid of it by deleting one above.
        for below in ns.tree.walk(slot) {
            if ns.tree.get(below).children().is_some_and(|children| !children.is_empty()) {
                access::require(&ns.tree, below, ctx.caller, Access::ALL)?;
            }
        }
    }
    Ok(Proposal { entry: ctx.stamp_once(Delete { inode: inode.id }), answer: true })
}

pub(crate) fn apply(
    ns: &mut Namespace,
    op: &Delete,
    time_ms: u64,
    effects: &mut Vec<Effect>,
) -> std::result::Result<(), Diverged> {
    let slot = ns.must_find(op.inode)?;
    if op.inode == INodeId::ROOT {
        return Err(Diverged::new("the root can't be deleted"));
    }
    let parent = ns.tree.get(slot).parent();
    ns.tree.get_mut(parent).mtime_ms = time_ms;
    ns.unlink(slot, effects);
    Ok(())
}
