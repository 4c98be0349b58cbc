//! Moves a file or directory, with the old call's semantics: what can't be done is answered with false, and an existing
//! directory takes the source in (HDFS `FSDirRenameOp`, the deprecated `rename`).

use hfs_protocol::ids::INodeId;

use crate::namesystem::Namespace;
use crate::namesystem::access::{self, Access};
use crate::namesystem::codec::record;
use crate::namesystem::inode::Name;
use crate::namesystem::mutate::Diverged;
use crate::namesystem::types::{Ctx, Effect, Proposal, Result};

/// What the client asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What is moved.
    pub src: &'a str,
    /// Where to.
    pub dst: &'a str,
}

record! {
    /// Moves an inode.
    pub struct Rename {
        /// What is moved.
        pub inode: INodeId,
        /// The directory it comes to.
        pub parent: INodeId,
        /// Its name there.
        pub name: Box<str>,
        /// What was there, a file or an empty directory, and goes.
        pub replaced: Option<INodeId>,
    }
}

/// Decides about a request.
///
/// # Errors
/// `AccessDenied`, `ParentNotDirectory`, `InvalidPath`, `Io` for a limit.
pub fn check(ns: &Namespace, request: &Request<'_>, ctx: &Ctx<'_>) -> Result<Proposal<bool>> {
    if ns.done_before(ctx, Rename::CODE).is_some() {
        return Proposal::unchanged(true);
    }
    let (src, mut dst) = (ns.path(request.src)?, ns.path(request.dst)?);
    let Some(slot) = ns.resolve(&src, ctx.caller)?.slot() else {
        return Proposal::unchanged(false);
    };
    if src.is_root() {
        return Proposal::unchanged(false);
    }
    if src == dst && !ns.tree.get(slot).is_dir() {
        return Proposal::unchanged(true);
    }
    if ns.resolve(&dst, ctx.caller)?.slot().is_some_and(|slot| ns.tree.get(slot).is_dir()) {
        dst = dst.join(src.name());
    }
    if dst == src || dst.is_below(&src) {
        return Proposal::unchanged(false);
    }
    let found = ns.resolve(&dst, ctx.caller)?;
    ns.require_dir_above(&found)?;
    if found.missing.len() != 1 {
        return Proposal::unchanged(false);
    }
    let parent = found.deepest();
    access::require_removal(&ns.tree, slot, ctx.caller)?;
    access::require(&ns.tree, parent, ctx.caller, Access::WRITE)?;
    ns.require_room(parent, &found.missing)?;
    let op = Rename {
        inode: ns.tree.get(slot).id,
        parent: ns.tree.get(parent).id,
        name: dst.name().into(),
        replaced: None,
    };
    Ok(Proposal { entry: ctx.stamp_once(op), answer: true })
}

pub(crate) fn apply(
    ns: &mut Namespace,
    op: &Rename,
    time_ms: u64,
    effects: &mut Vec<Effect>,
) -> std::result::Result<(), Diverged> {
    let slot = ns.must_find(op.inode)?;
    let to = ns.must_find(op.parent)?;
    if op.inode == INodeId::ROOT {
        return Err(Diverged::new("the root can't be moved"));
    }
    let mut above = to;
    while above != crate::namesystem::tree::ROOT {
        if above == slot {
            return Err(Diverged(format!("inode {} would come below itself", op.inode)));
        }
        above = ns.tree.get(above).parent();
    }
    if let Some(replaced) = op.replaced {
        let gone = ns.must_find(replaced)?;
        ns.unlink(gone, effects);
    }
    let from = ns.tree.get(slot).parent();
    ns.tree.detach(slot);
    ns.tree.get_mut(slot).name = Name::new(&op.name);
    if !ns.tree.attach(to, slot) {
        return Err(Diverged(format!("'{}' can't be put into inode {}", op.name, op.parent)));
    }
    ns.tree.get_mut(from).mtime_ms = time_ms;
    ns.tree.get_mut(to).mtime_ms = time_ms;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::namesystem::RetryKey;
    use crate::namesystem::testing::{Fixture, WRITER};

    #[test]
    fn a_writer_survives_the_rename_of_a_directory_above() {
        let mut fixture = Fixture::new();
        let file = fixture.create("/a/f");
        fixture.retry = Some(RetryKey { client_id: [1; 16], call_id: 7 });
        let request = Request { src: "/a", dst: "/b" };
        let proposal = check(&fixture.ns, &request, &fixture.ctx()).unwrap();
        assert!(fixture.carry_out(proposal));
        let again = check(&fixture.ns, &request, &fixture.ctx()).unwrap();
        assert_eq!(again, Proposal { entry: None, answer: true }, "the call came twice");
        fixture.retry = None;
        assert!(!check(&fixture.ns, &request, &fixture.ctx()).unwrap().answer, "another call");
        let request = super::super::add_block::Request {
            path: "/a/f",
            file: Some(file),
            client_name: WRITER,
            previous: None,
        };
        let added =
            super::super::add_block::check(&fixture.ns, &request, &fixture.ctx(), &fixture.known);
        assert_eq!(added.unwrap().answer.file, file);
        assert_eq!(fixture.ns.path_of(file).unwrap(), "/b/f");
        fixture.assert_recoverable();
    }
}
