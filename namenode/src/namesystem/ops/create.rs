//! Makes a file, open for its writer (HDFS `FSDirWriteFileOp.startFile`).

use std::sync::Arc;

use hfs_protocol::error::ErrorKind;
use hfs_protocol::ids::INodeId;

use super::mkdirs::OWNER_WRITE_EXECUTE;
use crate::namesystem::Namespace;
use crate::namesystem::access::{self, Access, MODE_MASK};
use crate::namesystem::codec::record;
use crate::namesystem::inode::{File, Kind, MAX_BLOCK_SIZE, Tail, Writing};
use crate::namesystem::mutate::Diverged;
use crate::namesystem::path::FsPath;
use crate::namesystem::types::{Ctx, Effect, FileKind, FileStatus, Proposal, Result, fail};

/// What the client asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The file.
    pub path: &'a str,
    /// Its mode, the client's umask already applied.
    pub mode: u16,
    /// Who will write it: the lease's holder.
    pub client_name: &'a str,
    /// Whether it may be made (flag CREATE).
    pub create: bool,
    /// Whether a file that is there may be replaced (flag OVERWRITE).
    pub overwrite: bool,
    /// Whether directories above it may be made too.
    pub create_parent: bool,
    /// How many replicas each block shall have.
    pub replication: u16,
    /// The size at which a new block begins, in bytes.
    pub block_size: u64,
}

record! {
    /// Makes a file and opens it for its writer.
    pub struct Create {
        /// The directory that exists.
        pub parent: INodeId,
        /// Directories to make below it first, outermost first.
        pub dirs: Vec<Box<str>>,
        /// Their mode.
        pub dirs_mode: u16,
        /// The file's name.
        pub name: Box<str>,
        /// The file's id; those of the directories are just below it.
        pub inode: INodeId,
        /// The file's mode.
        pub mode: u16,
        /// The caller.
        pub owner: Arc<str>,
        /// The lease's holder.
        pub client_name: Box<str>,
        /// Where the holder runs.
        pub client_machine: Box<str>,
        /// How many replicas each block shall have.
        pub replication: u16,
        /// The size at which a new block begins.
        pub block_size: u64,
        /// The file that goes first.
        pub replaced: Option<INodeId>,
    }
}

fn check_sizes(ns: &Namespace, request: &Request<'_>) -> Result<()> {
    let limits = ns.limits();
    let (replication, block_size) = (request.replication, request.block_size);
    if block_size < limits.min_block_size {
        return fail(
            ErrorKind::Io,
            format!(
                "Specified block size is less than configured minimum value (dfs.namenode.fs-limits.min-block-size): \
                 {block_size} < {}",
                limits.min_block_size
            ),
        );
    }
    if block_size >= MAX_BLOCK_SIZE {
        return fail(
            ErrorKind::Io,
            format!("Specified block size {block_size} is not below the maximum of 2^48 bytes"),
        );
    }
    check_replication(ns, request.path, replication)
}

/// Applies the limits on replication (HDFS `verifyReplication`).
///
/// # Errors
/// `Io` with both numbers.
pub(crate) fn check_replication(ns: &Namespace, path: &str, replication: u16) -> Result<()> {
    let (min, max) = (ns.limits().min_replication, ns.limits().max_replication);
    if replication > max {
        return fail(
            ErrorKind::Io,
            format!(
                "Requested replication factor of {replication} exceeds maximum of {max} for {path}"
            ),
        );
    }
    if replication < min {
        return fail(
            ErrorKind::Io,
            format!(
                "Requested replication factor of {replication} is less than the required minimum of {min} for {path}"
            ),
        );
    }
    Ok(())
}

/// Decides about a request; the answer is the new file's status.
///
/// # Errors
/// `AlreadyExists` for a directory or, without overwrite, a file; `AlreadyBeingCreated` and `RecoveryInProgress` for a file that
/// somebody writes; `NotFound`, `ParentNotDirectory`, `AccessDenied`, `InvalidPath`, `Io` for a limit.
pub fn check(ns: &Namespace, request: &Request<'_>, ctx: &Ctx<'_>) -> Result<Proposal<FileStatus>> {
    if let Some(done) = ns.done_before(ctx, Create::CODE) {
        return Proposal::unchanged(ns.status_again(done.inode, request.path)?);
    }
    let path = ns.path(request.path)?;
    let machine = ctx.client_machine;
    let found = ns.resolve(&path, ctx.caller)?;
    let existing = found.slot();
    if let Some(slot) = existing {
        if ns.tree.get(slot).is_dir() {
            return fail(ErrorKind::AlreadyExists, format!("{path} already exists as a directory"));
        }
        if !request.overwrite {
            ns.require_closed(slot, "CREATE_FILE", request.client_name, machine)?;
            return fail(
                ErrorKind::AlreadyExists,
                format!("{path} for client {machine} already exists"),
            );
        }
        access::require(&ns.tree, slot, ctx.caller, Access::WRITE)?;
    } else if !request.create {
        return fail(
            ErrorKind::NotFound,
            format!("Can't overwrite non-existent {path} for client {machine}"),
        );
    }
    ns.require_dir_above(&found)?;
    check_sizes(ns, request)?;
    if request.client_name.is_empty() {
        return fail(ErrorKind::InvalidArgument, "a file can't be created without a client name");
    }
    let above = match existing {
        Some(slot) => ns.tree.get(slot).parent(),
        None => found.deepest(),
    };
    access::require(&ns.tree, above, ctx.caller, Access::WRITE)?;
    let dirs = match found.missing.split_last() {
        Some((_, dirs)) => dirs,
        None => &[],
    };
    if !dirs.is_empty() && !request.create_parent {
        let parent = path.parent().unwrap_or_else(FsPath::root);
        return fail(ErrorKind::NotFound, format!("Parent directory doesn't exist: {parent}"));
    }
    if existing.is_none() {
        ns.require_room(above, &found.missing)?;
    }
    ns.require_names()?;
    let parent = ns.tree.get(above);
    let inode = INodeId(ns.last_inode.0 + dirs.len() as u64 + 1);
    let mode = request.mode & MODE_MASK;
    let op = Create {
        parent: parent.id,
        dirs: dirs.iter().map(|&name| name.into()).collect(),
        dirs_mode: parent.perm.mode() | OWNER_WRITE_EXECUTE,
        name: path.name().into(),
        inode,
        mode,
        owner: Arc::clone(&ctx.caller.user),
        client_name: request.client_name.into(),
        client_machine: machine.into(),
        replication: request.replication,
        block_size: request.block_size,
        replaced: existing.map(|slot| ns.tree.get(slot).id),
    };
    let answer = FileStatus {
        kind: FileKind::File,
        name: "".into(),
        inode,
        len: 0,
        mode,
        owner: Arc::clone(&ctx.caller.user),
        group: Arc::clone(ns.tree.names().get(parent.perm.group())),
        mtime_ms: ctx.now_ms,
        atime_ms: ctx.now_ms,
        replication: request.replication,
        block_size: request.block_size,
        children: 0,
        under_construction: true,
    };
    Ok(Proposal { entry: ctx.stamp_once(op), answer })
}

pub(crate) fn apply(
    ns: &mut Namespace,
    op: &Create,
    time_ms: u64,
    effects: &mut Vec<Effect>,
) -> std::result::Result<(), Diverged> {
    let parent = ns.must_find(op.parent)?;
    if let Some(replaced) = op.replaced {
        let slot = ns.must_find_file(replaced)?;
        ns.unlink(slot, effects);
    }
    let dir = ns.add_dirs(parent, &op.dirs, &op.owner, op.dirs_mode, time_ms)?;
    let kind = Kind::File(File::new(op.replication, op.block_size, time_ms));
    let slot = ns.add_inode(dir, &op.name, &op.owner, op.mode, time_ms, kind)?;
    ns.open_file(
        slot,
        Writing {
            client_name: op.client_name.clone(),
            client_machine: op.client_machine.clone(),
            tail: Tail::Committed,
        },
    );
    ns.must_be_newest(op.inode)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::namesystem::testing::{Fixture, WRITER, alice};
    use crate::namesystem::{Effect, RetryKey, SOFT_LIMIT_MS};

    fn kind(fixture: &Fixture, request: &Request<'_>) -> ErrorKind {
        check(&fixture.ns, request, &fixture.ctx()).unwrap_err().kind
    }

    #[test]
    fn each_case_of_the_table_is_answered_as_hdfs_does() {
        let mut fixture = Fixture::new();
        fixture.mkdirs("/d");
        fixture.write_file("/f", &[5]);
        fixture.create("/open");
        let plain = |path| Fixture::create_request(path, "other");
        assert_eq!(kind(&fixture, &plain("/d")), ErrorKind::AlreadyExists);
        assert_eq!(kind(&fixture, &plain("/f")), ErrorKind::AlreadyExists);
        assert_eq!(kind(&fixture, &plain("/f/x")), ErrorKind::ParentNotDirectory);
        assert_eq!(kind(&fixture, &plain("/open")), ErrorKind::AlreadyBeingCreated);
        let missing = Request { create_parent: false, ..plain("/no/x") };
        assert_eq!(kind(&fixture, &missing), ErrorKind::NotFound);
        let only_overwrite = Request { create: false, overwrite: true, ..plain("/x") };
        assert_eq!(kind(&fixture, &only_overwrite), ErrorKind::NotFound);
        for (replication, block_size) in [(0, 1 << 20), (513, 1 << 20), (3, 1000), (3, 1 << 48)] {
            let request = Request { replication, block_size, ..plain("/x") };
            assert_eq!(kind(&fixture, &request), ErrorKind::Io);
        }
        fixture.ns.tick(SOFT_LIMIT_MS + 1);
        assert_eq!(kind(&fixture, &plain("/open")), ErrorKind::RecoveryInProgress);
        assert!(fixture.ns.needs_recovery("/open", "other").is_some());
        assert!(fixture.ns.needs_recovery("/open", WRITER).is_none());
    }

    #[test]
    fn overwriting_drops_the_old_blocks_and_its_writer() {
        let mut fixture = Fixture::new();
        let old = fixture.create("/f");
        let block = fixture.add_block("/f", None).block;
        fixture.effects.clear();
        let request = Request { overwrite: true, ..Fixture::create_request("/f", "other") };
        let proposal = check(&fixture.ns, &request, &fixture.ctx()).unwrap();
        let status = fixture.carry_out(proposal);
        assert_ne!(status.inode, old);
        assert_eq!(fixture.effects, [Effect::BlockRemoved { block }]);
        assert_eq!(fixture.ns.leases().count_of(WRITER), 0);
        fixture.assert_recoverable();
    }

    /// Fault 1: the namenode dies between journal and answer; the client calls again.
    #[test]
    fn a_repeated_call_is_answered_and_not_done_again() {
        let mut fixture = Fixture::new();
        fixture.retry = Some(RetryKey { client_id: [9; 16], call_id: 4 });
        let id = fixture.create("/a/f");
        fixture.ns = fixture.replayed();
        let request = Fixture::create_request("/a/f", WRITER);
        let again = check(&fixture.ns, &request, &fixture.ctx()).unwrap();
        assert_eq!(again.entry, None);
        assert_eq!((again.answer.inode, again.answer.len), (id, 0));
        fixture.retry = Some(RetryKey { client_id: [9; 16], call_id: 5 });
        assert_eq!(kind(&fixture, &request), ErrorKind::AlreadyBeingCreated);
        fixture.assert_recoverable();
    }

    #[test]
    fn parents_are_made_with_their_parents_mode_and_the_callers_name() {
        let mut fixture = Fixture::new();
        fixture.mkdirs("/home");
        let request = super::super::set_permission::Request { path: "/home", mode: 0o1577 };
        let proposal =
            super::super::set_permission::check(&fixture.ns, &request, &fixture.ctx()).unwrap();
        fixture.carry_out(proposal);
        fixture.caller = alice();
        fixture.create("/home/alice/f");
        let dir = fixture.stat("/home/alice");
        assert_eq!((&*dir.owner, &*dir.group, dir.mode), ("alice", "supergroup", 0o1777));
        let file = fixture.stat("/home/alice/f");
        assert_eq!((&*file.owner, file.mode, file.under_construction), ("alice", 0o644, true));
    }
}
