//! Takes a file from a writer that is gone (HDFS `internalReleaseLease`). When the last block is unfinished, its replicas
//! are first brought to one length by a datanode; the answer says so, and
//! [`commit_block_synchronization`](super::commit_block_synchronization) ends it.

use hfs_protocol::error::ErrorKind;
use hfs_protocol::ids::{GenStamp, INodeId};

use super::abandon_block::AbandonBlock;
use super::complete::Complete;
use crate::namesystem::Namespace;
use crate::namesystem::access::{self, Access};
use crate::namesystem::codec::record;
use crate::namesystem::inode::Tail;
use crate::namesystem::lease::NAMENODE_HOLDER;
use crate::namesystem::mutate::Diverged;
use crate::namesystem::types::{Block, Ctx, Effect, Proposal, Replicas, Result, fail};

/// What a client asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The file.
    pub path: &'a str,
    /// Who asks.
    pub client_name: &'a str,
}

/// How far the file is from being closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is closed.
    Closed,
    /// Its last blocks are final but have too few replicas yet, or who holds the last one is not known yet: ask again.
    Waiting,
    /// An empty last block that nobody has was dropped: ask again, the file can be closed now.
    Dropped,
    /// A datanode has to bring the replicas of `block` to one length.
    Recovering {
        /// The file.
        file: INodeId,
        /// The last block as it is known.
        block: Block,
        /// The stamp it has afterwards.
        recovery_id: GenStamp,
    },
}

record! {
    /// Makes the namenode the holder of a file and begins the recovery of its last block.
    pub struct StartRecovery {
        /// The file.
        pub file: INodeId,
        /// The recovery's stamp.
        pub recovery_id: GenStamp,
    }
}

/// Decides about a client's request. A recovery that runs goes on.
///
/// # Errors
/// `NotFound` for nothing and for a directory; `AccessDenied` for whoever may not write.
pub fn check(
    ns: &Namespace,
    request: &Request<'_>,
    ctx: &Ctx<'_>,
    replicas: &dyn Replicas,
) -> Result<Proposal<Answer>> {
    let path = ns.path(request.path)?;
    let slot = match ns.resolve(&path, ctx.caller)?.slot() {
        Some(slot) if !ns.tree.get(slot).is_dir() => slot,
        Some(_) => return fail(ErrorKind::NotFound, format!("Path is not a file: {path}")),
        None => return fail(ErrorKind::NotFound, format!("File does not exist: {path}")),
    };
    access::require(&ns.tree, slot, ctx.caller, Access::WRITE)?;
    decide(ns, slot, ctx, replicas, false)
}

/// Decides about a file whose lease has expired, for the namenode itself. With `restart`, a recovery that takes too long begins
/// again under a new stamp, and the old one can't finish any more.
///
/// # Errors
/// `NotFound` when the file is gone.
pub fn check_expired(
    ns: &Namespace,
    file: INodeId,
    restart: bool,
    ctx: &Ctx<'_>,
    replicas: &dyn Replicas,
) -> Result<Proposal<Answer>> {
    match ns.tree.slot_of(file) {
        Some(slot) if !ns.tree.get(slot).is_dir() => decide(ns, slot, ctx, replicas, restart),
        _ => fail(ErrorKind::NotFound, format!("File does not exist: inode {file}")),
    }
}

fn decide(
    ns: &Namespace,
    slot: u32,
    ctx: &Ctx<'_>,
    replicas: &dyn Replicas,
    restart: bool,
) -> Result<Proposal<Answer>> {
    let file = ns.file_in(slot);
    let id = ns.tree.get(slot).id;
    let Some(writing) = &file.writing else { return Proposal::unchanged(Answer::Closed) };
    let last = match (file.blocks.as_slice().last(), writing.tail) {
        (None, _) | (Some(_), Tail::Committed) => {
            if !Namespace::is_replicated(file, replicas) {
                return Proposal::unchanged(Answer::Waiting);
            }
            let op = Complete { file: id, last_len: None, close: true };
            return Ok(Proposal { entry: ctx.stamp(op), answer: Answer::Closed });
        }
        // What datanodes hold and have not said yet would be cut off or dropped.
        (Some(last), _) if !replicas.holders_known(last.id) => {
            return Proposal::unchanged(Answer::Waiting);
        }
        (Some(&last), Tail::Recovering { recovery_id }) if !restart => {
            return Proposal::unchanged(Answer::Recovering { file: id, block: last, recovery_id });
        }
        (Some(last), _) => *last,
    };
    if writing.tail == Tail::Pipeline && last.len == 0 && !replicas.any(last.id) {
        let op = AbandonBlock { file: id, block: last.id };
        return Ok(Proposal { entry: ctx.stamp(op), answer: Answer::Dropped });
    }
    let recovery_id = ns.last_gen_stamp.next();
    let op = StartRecovery { file: id, recovery_id };
    let answer = Answer::Recovering { file: id, block: last, recovery_id };
    Ok(Proposal { entry: ctx.stamp(op), answer })
}

pub(crate) fn apply(
    ns: &mut Namespace,
    op: &StartRecovery,
    _time_ms: u64,
    effects: &mut Vec<Effect>,
) -> std::result::Result<(), Diverged> {
    let slot = ns.must_find_file(op.file)?;
    ns.take_gen_stamp(op.recovery_id)?;
    let writing = ns.must_be_open(slot)?;
    if writing.tail == Tail::Committed {
        return Err(Diverged(format!("the last block of file {} is final", op.file)));
    }
    writing.tail = Tail::Recovering { recovery_id: op.recovery_id };
    let before = std::mem::replace(&mut writing.client_name, NAMENODE_HOLDER.into());
    ns.leases.remove(&before, op.file);
    ns.leases.add(NAMENODE_HOLDER, op.file);
    ns.tell_last(slot, effects);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::commit_block_synchronization as commit;
    use super::super::{add_block, fsync};
    use super::*;
    use crate::namesystem::testing::{Fixture, WRITER};
    use crate::namesystem::{HARD_LIMIT_MS, SOFT_LIMIT_MS};

    fn recover(fixture: &mut Fixture, file: INodeId, restart: bool) -> Answer {
        let proposal =
            check_expired(&fixture.ns, file, restart, &fixture.ctx(), &fixture.known).unwrap();
        fixture.carry_out(proposal)
    }

    /// Faults 10 and 12: a silent writer loses the file, and can add nothing afterwards.
    #[test]
    fn a_silent_writer_is_fenced_and_no_byte_it_vouched_for_is_lost() {
        let mut fixture = Fixture::new();
        let file = fixture.create("/f");
        let block = fixture.add_block("/f", None).block;
        let request =
            fsync::Request { path: "/f", file: None, client_name: WRITER, last_len: Some(100) };
        let proposal = fsync::check(&fixture.ns, &request, &fixture.ctx()).unwrap();
        fixture.carry_out(proposal);
        fixture.ns.tick(HARD_LIMIT_MS + 1);
        assert_eq!(fixture.ns.expired_leases(HARD_LIMIT_MS), [(WRITER.to_owned(), file)]);
        let Answer::Recovering { recovery_id, .. } = recover(&mut fixture, file, false) else {
            panic!("a recovery")
        };
        let Answer::Recovering { recovery_id: newer, .. } = recover(&mut fixture, file, true)
        else {
            panic!("a newer recovery")
        };
        assert!(newer > recovery_id);
        let report = |new_gen_stamp, new_len| commit::Request {
            file,
            block,
            new_gen_stamp,
            new_len,
            close_file: true,
            delete_block: false,
        };
        for (request, words) in [
            (report(recovery_id, 150), "does not match current recovery id"),
            (report(newer, 99), "vouched for"),
        ] {
            let error = commit::check(&fixture.ns, &request, &fixture.ctx()).unwrap_err();
            assert!(error.message.contains(words), "{error}");
        }
        let previous = Some(Block { len: 200, ..block });
        let zombie =
            add_block::Request { path: "/f", file: Some(file), client_name: WRITER, previous };
        let error = add_block::check(&fixture.ns, &zombie, &fixture.ctx(), &fixture.known);
        assert_eq!(error.unwrap_err().kind, ErrorKind::LeaseExpired);
        let proposal = commit::check(&fixture.ns, &report(newer, 150), &fixture.ctx()).unwrap();
        fixture.carry_out(proposal);
        let status = fixture.stat("/f");
        assert_eq!((status.len, status.under_construction), (150, false));
        let again = commit::check(&fixture.ns, &report(newer, 150), &fixture.ctx()).unwrap();
        assert_eq!(again.entry, None, "a report that comes twice changes nothing");
        fixture.assert_recoverable();
    }

    #[test]
    fn nothing_is_decided_before_the_holders_of_the_last_block_are_known() {
        let mut fixture = Fixture::new();
        let file = fixture.create("/f");
        let block = fixture.add_block("/f", None).block;
        fixture.known.lacking.insert(block.id);
        fixture.known.fresh = true;
        for restart in [false, true] {
            assert_eq!(recover(&mut fixture, file, restart), Answer::Waiting);
        }
        fixture.known.lacking.clear();
        assert_eq!(recover(&mut fixture, file, false), Answer::Waiting);
        fixture.known.fresh = false;
        assert!(matches!(recover(&mut fixture, file, false), Answer::Recovering { .. }));
    }

    #[test]
    fn a_block_nobody_has_is_dropped_and_a_finished_one_closes_at_once() {
        let mut fixture = Fixture::new();
        let file = fixture.create("/f");
        let block = fixture.add_block("/f", None).block;
        fixture.known.lacking.insert(block.id);
        assert_eq!(recover(&mut fixture, file, false), Answer::Dropped);
        assert_eq!(recover(&mut fixture, file, false), Answer::Closed);
        assert_eq!(recover(&mut fixture, file, false), Answer::Closed);
        assert!(!fixture.stat("/f").under_construction);
        fixture.ns.tick(SOFT_LIMIT_MS * 3);
        assert!(fixture.ns.expired_leases(SOFT_LIMIT_MS).is_empty());
    }
}
