//! Sets times (HDFS `FSDirAttrOp.setTimes`).

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
    /// When the content last changed, milliseconds since the epoch; `None` leaves it.
    pub mtime_ms: Option<u64>,
    /// When it was last read; `None` leaves it. A directory has none.
    pub atime_ms: Option<u64>,
}

record! {
    /// Sets times.
    pub struct SetTimes {
        /// File or directory.
        pub inode: INodeId,
        /// When the content last changed.
        pub mtime_ms: Option<u64>,
        /// When it was last read.
        pub atime_ms: Option<u64>,
    }
}

/// Decides about a request.
///
/// # Errors
/// `NotFound`; `AccessDenied` for whoever may not write.
pub fn check(ns: &Namespace, request: &Request<'_>, ctx: &Ctx<'_>) -> Result<Proposal<()>> {
    let path = ns.path(request.path)?;
    let Some(slot) = ns.resolve(&path, ctx.caller)?.slot() else {
        return fail(ErrorKind::NotFound, format!("File/Directory {path} does not exist."));
    };
    access::require(&ns.tree, slot, ctx.caller, Access::WRITE)?;
    let Request { mtime_ms, atime_ms, .. } = *request;
    if mtime_ms.is_none() && atime_ms.is_none() {
        return Proposal::unchanged(());
    }
    let op = SetTimes { inode: ns.tree.get(slot).id, mtime_ms, atime_ms };
    Ok(Proposal { entry: ctx.stamp(op), answer: () })
}

pub(crate) fn apply(
    ns: &mut Namespace,
    op: &SetTimes,
    _time_ms: u64,
    _effects: &mut Vec<Effect>,
) -> std::result::Result<(), Diverged> {
    let slot = ns.must_find(op.inode)?;
    let inode = ns.tree.get_mut(slot);
    if let Some(mtime_ms) = op.mtime_ms {
        inode.mtime_ms = mtime_ms;
    }
    if let (Some(atime_ms), Some(file)) = (op.atime_ms, inode.file_mut()) {
        file.atime_ms = atime_ms;
    }
    Ok(())
}
