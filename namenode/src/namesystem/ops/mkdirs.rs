//! Makes a directory and those missing above it (HDFS `FSDirMkdirOp`).

use std::sync::Arc;

use hfs_protocol::error::ErrorKind;
use hfs_protocol::ids::INodeId;

use crate::namesystem::Namespace;
use crate::namesystem::access::{self, Access, MODE_MASK};
use crate::namesystem::codec::record;
use crate::namesystem::mutate::Diverged;
use crate::namesystem::types::{Ctx, Effect, Proposal, Result, fail};

/// Directories that are made on the way to another thing can be entered and filled by their owner.
pub(crate) const OWNER_WRITE_EXECUTE: u16 = 0o300;

/// What the client asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The directory.
    pub path: &'a str,
    /// Its mode, the client's umask already applied.
    pub mode: u16,
    /// Whether directories above it may be made too.
    pub create_parent: bool,
}

record! {
    /// Makes directories, one below the other.
    pub struct Mkdirs {
        /// The directory that exists.
        pub parent: INodeId,
        /// The names below it, outermost first. Their ids follow each other.
        pub names: Vec<Box<str>>,
        /// The innermost one's id.
        pub inode: INodeId,
        /// The innermost one's mode; those above it can also be entered and filled by their owner.
        pub mode: u16,
        /// The caller.
        pub owner: Arc<str>,
    }
}

/// Decides about a request. True also when the directory is there already.
///
/// # Errors
/// `AlreadyExists` when a file is in its place, `ParentNotDirectory` when one is above it, `NotFound` when the directory above
/// is missing and may not be made, `AccessDenied`, `InvalidPath`, `Io` for a limit.
pub fn check(ns: &Namespace, request: &Request<'_>, ctx: &Ctx<'_>) -> Result<Proposal<bool>> {
    let path = ns.path(request.path)?;
    let found = ns.resolve(&path, ctx.caller)?;
    if let Some(slot) = found.slot() {
        if ns.tree.get(slot).is_dir() {
            return Proposal::unchanged(true);
        }
        return fail(ErrorKind::AlreadyExists, format!("Path is not a directory: {path}"));
    }
    ns.require_dir_above(&found)?;
    if !request.create_parent && found.missing.len() > 1 {
        let parent = path.parent().unwrap_or_else(crate::namesystem::FsPath::root);
        return fail(ErrorKind::NotFound, format!("Parent directory doesn't exist: {parent}"));
    }
    let above = found.deepest();
    access::require(&ns.tree, above, ctx.caller, Access::WRITE)?;
    ns.require_room(above, &found.missing)?;
    ns.require_names()?;
    let op = Mkdirs {
        parent: ns.tree.get(above).id,
        names: found.missing.iter().map(|&name| name.into()).collect(),
        inode: INodeId(ns.last_inode.0 + found.missing.len() as u64),
        mode: request.mode & MODE_MASK,
        owner: Arc::clone(&ctx.caller.user),
    };
    Ok(Proposal { entry: ctx.stamp(op), answer: true })
}

pub(crate) fn apply(
    ns: &mut Namespace,
    op: &Mkdirs,
    time_ms: u64,
    _effects: &mut Vec<Effect>,
) -> std::result::Result<(), Diverged> {
    let parent = ns.must_find(op.parent)?;
    let Some((last, above)) = op.names.split_last() else {
        return Err(Diverged::new("it makes no directory"));
    };
    let dir = ns.add_dirs(parent, above, &op.owner, op.mode | OWNER_WRITE_EXECUTE, time_ms)?;
    ns.add_dirs(dir, std::slice::from_ref(last), &op.owner, op.mode, time_ms)?;
    ns.must_be_newest(op.inode)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::namesystem::testing::{Fixture, alice};

    #[test]
    fn makes_what_is_missing_and_is_content_with_what_is_there() {
        let mut fixture = Fixture::new();
        assert!(fixture.mkdirs("/a/b/c"));
        assert_eq!(fixture.stat("/a").mode, 0o755);
        assert_eq!(fixture.stat("/a/b/c").inode, INodeId(16388));
        let request = Request { path: "/a//b/", mode: 0o700, create_parent: false };
        let again = check(&fixture.ns, &request, &fixture.ctx()).unwrap();
        assert_eq!(again, Proposal { entry: None, answer: true });
    }

    #[test]
    fn refuses_as_hdfs_does() {
        let mut fixture = Fixture::new();
        fixture.write_file("/f", &[3]);
        let kind = |path: &str, create_parent| {
            let request = Request { path, mode: 0o755, create_parent };
            check(&fixture.ns, &request, &fixture.ctx()).unwrap_err().kind
        };
        assert_eq!(kind("/f", true), ErrorKind::AlreadyExists);
        assert_eq!(kind("/f/x", true), ErrorKind::ParentNotDirectory);
        assert_eq!(kind("/x/y", false), ErrorKind::NotFound);
        assert_eq!(kind(&format!("/{}", "n".repeat(256)), true), ErrorKind::Io);
        fixture.caller = alice();
        let request = Request { path: "/mine", mode: 0o755, create_parent: true };
        let error = check(&fixture.ns, &request, &fixture.ctx()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::AccessDenied);
        assert_eq!(
            error.message,
            "Permission denied: user=alice, access=WRITE, inode=\"/\":root:supergroup:drwxr-xr-x"
        );
    }

    #[test]
    fn a_full_directory_takes_no_more() {
        let mut fixture = Fixture::new();
        let limits = crate::namesystem::Limits { max_directory_items: 1, ..Default::default() };
        fixture.ns.set_limits(limits);
        assert!(fixture.mkdirs("/a"));
        let request = Request { path: "/b", mode: 0o755, create_parent: true };
        let error = check(&fixture.ns, &request, &fixture.ctx()).unwrap_err();
        assert!(error.message.contains("limit=1 items=1"), "{error}");
    }
}
