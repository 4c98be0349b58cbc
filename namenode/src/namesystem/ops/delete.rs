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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::namesystem::testing::{Fixture, alice};
    use crate::namesystem::{Caller, ops::set_permission};

    #[test]
    fn messages_are_hdfss() {
        let mut fixture = Fixture::new();
        fixture.mkdirs("/d/e");
        let request = Request { path: "/d", recursive: false };
        let error = check(&fixture.ns, &request, &fixture.ctx()).unwrap_err();
        assert_eq!(error.message, "`/d is non empty': Directory is not empty");
        for path in ["/", "/missing"] {
            let request = Request { path, recursive: true };
            assert!(!check(&fixture.ns, &request, &fixture.ctx()).unwrap().answer);
        }
    }

    #[test]
    fn a_large_tree_is_gone_at_once_and_taken_apart_in_slices() {
        let mut fixture = Fixture::new();
        for number in 0..60 {
            for file in 0..30 {
                fixture.write_file(&format!("/d/{number}/{file}"), &[1]);
            }
        }
        let id = fixture.stat("/d/59/29").inode;
        let image = fixture.ns.to_image().len();
        fixture.effects.clear();
        assert!(fixture.delete("/d"));
        assert!(!fixture.exists("/d") && fixture.ns.status(id).is_none());
        assert!(fixture.ns.to_image().len() < image / 10);
        let mut slices = 0;
        while fixture.ns.reap(100, &mut fixture.effects) {
            fixture.ns.validate().unwrap();
            slices += 1;
        }
        assert!(slices >= 8, "{slices}");
        assert_eq!(fixture.effects.len(), 1800, "each block is to be removed once");
        assert_eq!(fixture.ns.counts().blocks, 0);
        assert_eq!(fixture.ns.counts().directories, 1);
        fixture.assert_recoverable();
    }

    #[test]
    fn rights_are_asked_for_above_below_and_by_the_sticky_bit() {
        let mut fixture = Fixture::new();
        for path in ["/shared", "/open/locked"] {
            fixture.mkdirs(path);
        }
        fixture.write_file("/shared/root", &[]);
        fixture.write_file("/open/locked/f", &[]);
        for (path, mode) in [("/shared", 0o1777), ("/open", 0o777)] {
            let request = set_permission::Request { path, mode };
            let proposal = set_permission::check(&fixture.ns, &request, &fixture.ctx()).unwrap();
            fixture.carry_out(proposal);
        }
        fixture.caller = alice();
        fixture.write_file("/shared/mine", &[]);
        let denied = |fixture: &Fixture, path| {
            let request = Request { path, recursive: true };
            let error = check(&fixture.ns, &request, &fixture.ctx()).unwrap_err();
            assert_eq!(error.kind, ErrorKind::AccessDenied);
            error.message
        };
        assert!(denied(&fixture, "/shared/root").contains("sticky bit"));
        assert!(denied(&fixture, "/open/locked/f").contains("inode=\"/open/locked\""));
        assert!(denied(&fixture, "/open").contains("access=WRITE, inode=\"/\""));
        assert!(denied(&fixture, "/open/locked").contains("access=ALL"));
        assert!(fixture.delete("/shared/mine"));
        fixture.caller = Caller::superuser("root");
        assert!(fixture.delete("/open"));
    }
}
