//! Moves a file or directory, with errors for what can't be done, and may replace the target in the same instant (HDFS
//! `FSDirRenameOp`, `rename2`). What happens is the operation [`Rename`].

use hfs_protocol::error::ErrorKind;

use super::rename::Rename;
use crate::namesystem::Namespace;
use crate::namesystem::access::{self, Access};
use crate::namesystem::path::FsPath;
use crate::namesystem::types::{Ctx, Proposal, Result, fail};

/// What the client asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What is moved.
    pub src: &'a str,
    /// Where to.
    pub dst: &'a str,
    /// Whether a file, or an empty directory, may be replaced by one of its kind.
    pub overwrite: bool,
}

/// Decides about a request.
///
/// # Errors
/// `NotFound`, `AlreadyExists`, `ParentNotDirectory`, `AccessDenied`, `InvalidPath`; `Io` for the root, for a target below the
/// source, and for a target that can't be replaced.
pub fn check(ns: &Namespace, request: &Request<'_>, ctx: &Ctx<'_>) -> Result<Proposal<()>> {
    if ns.done_before(ctx, Rename::CODE).is_some() {
        return Proposal::unchanged(());
    }
    let (src, dst) = (ns.path(request.src)?, ns.path(request.dst)?);
    let Some(slot) = ns.resolve(&src, ctx.caller)?.slot() else {
        return fail(ErrorKind::NotFound, format!("rename source {src} is not found."));
    };
    if src.is_root() {
        return fail(ErrorKind::Io, "rename source cannot be the root");
    }
    if dst.is_root() {
        return fail(ErrorKind::Io, "rename destination cannot be the root");
    }
    if src == dst {
        return fail(
            ErrorKind::AlreadyExists,
            format!("The source {src} and destination {dst} are the same"),
        );
    }
    if dst.is_below(&src) {
        return fail(
            ErrorKind::Io,
            format!("Rename destination {dst} is a directory or file under source {src}"),
        );
    }
    let found = ns.resolve(&dst, ctx.caller)?;
    ns.require_dir_above(&found)?;
    let (parent, replaced) = match found.slot() {
        None if found.missing.len() > 1 => {
            let parent = dst.parent().unwrap_or_else(FsPath::root);
            return fail(
                ErrorKind::NotFound,
                format!("rename destination parent {parent} not found."),
            );
        }
        None => (found.deepest(), None),
        Some(old) => {
            check_replacement(ns, (&src, slot), (&dst, old), request.overwrite)?;
            access::require_removal(&ns.tree, old, ctx.caller)?;
            (ns.tree.get(old).parent(), Some(ns.tree.get(old).id))
        }
    };
    access::require_removal(&ns.tree, slot, ctx.caller)?;
    access::require(&ns.tree, parent, ctx.caller, Access::WRITE)?;
    if replaced.is_none() {
        ns.require_room(parent, &found.missing)?;
    }
    let op = Rename {
        inode: ns.tree.get(slot).id,
        parent: ns.tree.get(parent).id,
        name: dst.name().into(),
        replaced,
    };
    Ok(Proposal { entry: ctx.stamp_once(op), answer: () })
}

fn check_replacement(
    ns: &Namespace,
    (src, slot): (&FsPath, u32),
    (dst, old): (&FsPath, u32),
    overwrite: bool,
) -> Result<()> {
    let (moved, there) = (ns.tree.get(slot), ns.tree.get(old));
    if moved.is_dir() != there.is_dir() {
        let kind = |is_dir| if is_dir { "directory" } else { "file" };
        let (a, b) = (kind(moved.is_dir()), kind(there.is_dir()));
        return fail(
            ErrorKind::Io,
            format!("Source {src} is a {a} but destination {dst} is a {b}"),
        );
    }
    if !overwrite {
        return fail(ErrorKind::AlreadyExists, format!("rename destination {dst} already exists"));
    }
    if there.children().is_some_and(|children| !children.is_empty()) {
        return fail(ErrorKind::Io, format!("rename destination directory is not empty: {dst}"));
    }
    Ok(())
}
