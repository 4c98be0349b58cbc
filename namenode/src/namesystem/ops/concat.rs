//! Moves the blocks of files to the end of another; the files are gone then (HDFS `FSDirConcatOp`).

use hfs_protocol::error::ErrorKind;
use hfs_protocol::ids::INodeId;

use crate::namesystem::Namespace;
use crate::namesystem::access::{self, Access};
use crate::namesystem::codec::record;
use crate::namesystem::inode::Blocks;
use crate::namesystem::mutate::Diverged;
use crate::namesystem::types::{Ctx, Effect, Proposal, Result, fail};

/// What the client asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The file that grows.
    pub target: &'a str,
    /// The files that are moved into it, in this order. In the target's directory.
    pub sources: &'a [&'a str],
}

record! {
    /// Moves blocks from files to the end of another.
    pub struct Concat {
        /// The file that grows.
        pub target: INodeId,
        /// The files that go.
        pub sources: Vec<INodeId>,
    }
}

/// Decides about a request.
///
/// # Errors
/// `InvalidArgument` for no sources, and sources that are open, empty, elsewhere, repeated, or of larger blocks or replication
/// than the target; `NotFound`; `AccessDenied`.
pub fn check(ns: &Namespace, request: &Request<'_>, ctx: &Ctx<'_>) -> Result<Proposal<()>> {
    if ns.done_before(ctx, Concat::CODE).is_some() {
        return Proposal::unchanged(());
    }
    let invalid = |why: String| fail(ErrorKind::InvalidArgument, format!("concat: {why}"));
    if request.sources.is_empty() {
        return invalid("no sources given".to_owned());
    }
    let find = |text: &str| {
        let path = ns.path(text)?;
        match ns.resolve(&path, ctx.caller)?.slot() {
            Some(slot) if !ns.tree.get(slot).is_dir() => Ok(slot),
            Some(_) => fail(ErrorKind::NotFound, format!("Path is not a file: {path}")),
            None => fail(ErrorKind::NotFound, format!("File does not exist: {path}")),
        }
    };
    let target = find(request.target)?;
    access::require(&ns.tree, target, ctx.caller, Access::WRITE)?;
    let into = ns.file_in(target);
    if into.writing.is_some() {
        return invalid(format!("target file {} is under construction", request.target));
    }
    let mut slots = vec![target];
    let mut blocks = into.blocks.as_slice().len();
    for &source in request.sources {
        let slot = find(source)?;
        access::require(&ns.tree, slot, ctx.caller, Access::READ)?;
        access::require_removal(&ns.tree, slot, ctx.caller)?;
        let file = ns.file_in(slot);
        if slots.contains(&slot) {
            return invalid(format!("{source} is named twice"));
        }
        if ns.tree.get(slot).parent() != ns.tree.get(target).parent() {
            return invalid(format!(
                "source file {source} is not in the same directory with the target {}",
                request.target
            ));
        }
        if file.writing.is_some() || file.blocks.as_slice().is_empty() {
            return invalid(format!(
                "source file {source} is invalid or empty or under construction"
            ));
        }
        if file.block_size() > into.block_size() || file.replication() > into.replication() {
            return invalid(format!(
                "source file {source} has block size {} and replication {}, the target at most {} and {}",
                file.block_size(),
                file.replication(),
                into.block_size(),
                into.replication()
            ));
        }
        blocks += file.blocks.as_slice().len();
        slots.push(slot);
    }
    if blocks > ns.limits().max_blocks_per_file {
        return invalid(format!(
            "the file would have {blocks} blocks, more than dfs.namenode.fs-limits.max-blocks-per-file"
        ));
    }
    let ids = |slots: &[u32]| slots.iter().map(|&slot| ns.tree.get(slot).id).collect();
    let op = Concat { target: ns.tree.get(target).id, sources: ids(&slots[1..]) };
    Ok(Proposal { entry: ctx.stamp_once(op), answer: () })
}

pub(crate) fn apply(
    ns: &mut Namespace,
    op: &Concat,
    time_ms: u64,
    effects: &mut Vec<Effect>,
) -> std::result::Result<(), Diverged> {
    let target = ns.must_find_file(op.target)?;
    for &source in &op.sources {
        let slot = ns.must_find_file(source)?;
        if slot == target {
            return Err(Diverged(format!("file {source} is its own source")));
        }
        let moved = std::mem::take(&mut ns.file_mut(slot).blocks);
        ns.unlink(slot, effects);
        let file = ns.file_mut(target);
        let mut blocks = file.blocks.as_slice().to_vec();
        blocks.extend_from_slice(moved.as_slice());
        file.blocks = Blocks::from_vec(blocks);
    }
    let parent = ns.tree.get(target).parent();
    ns.tree.get_mut(target).mtime_ms = time_ms;
    ns.tree.get_mut(parent).mtime_ms = time_ms;
    ns.tell_all(target, effects);
    Ok(())
}
