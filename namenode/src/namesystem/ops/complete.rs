//! Closes a file (HDFS `FSDirWriteFileOp.completeFile`).

use hfs_protocol::error::ErrorKind;
use hfs_protocol::ids::INodeId;

use crate::namesystem::Namespace;
use crate::namesystem::codec::record;
use crate::namesystem::inode::Tail;
use crate::namesystem::mutate::Diverged;
use crate::namesystem::types::{Block, Ctx, Effect, Proposal, Replicas, Result, fail};

/// What the client asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The file's path, used when there is no id.
    pub path: &'a str,
    /// The file's id, which also finds a renamed file.
    pub file: Option<INodeId>,
    /// The lease's holder.
    pub client_name: &'a str,
    /// The last block with its final length; none for an empty file.
    pub last: Option<Block>,
}

/// Whether the file is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is.
    Closed,
    /// Its last blocks have too few replicas yet. The last one's length is final all the same.
    NotYet,
}

record! {
    /// Makes the last block's length final, closes the file, or both.
    pub struct Complete {
        /// The file.
        pub file: INodeId,
        /// The final length of the last block, when it was not final yet.
        pub last_len: Option<u64>,
        /// Whether the file is closed.
        pub close: bool,
    }
}

/// Decides about a request. A file that was closed with the same last block is closed.
///
/// # Errors
/// `NotFound`, `LeaseExpired`; `Io` when `last` is not the last block or can't have that length.
pub fn check(
    ns: &Namespace,
    request: &Request<'_>,
    ctx: &Ctx<'_>,
    replicas: &dyn Replicas,
) -> Result<Proposal<Answer>> {
    let slot = ns.written(request.path, request.file, request.client_name)?;
    let file = ns.file_in(slot);
    let last = file.blocks.as_slice().last();
    let identity = |block: &Block| (block.id, block.gen_stamp);
    if file.writing.is_none() && last.map(identity) == request.last.as_ref().map(identity) {
        return Proposal::unchanged(Answer::Closed);
    }
    let slot = ns.held(request.path, request.file, request.client_name)?;
    let last_len = match (last, &request.last) {
        (Some(stored), Some(given)) if stored.id == given.id => {
            if file.last_committed() {
                None
            } else {
                ns.require_commit(slot, stored, given)?;
                Some(given.len)
            }
        }
        (_, None) if !file.last_committed() => return Proposal::unchanged(Answer::NotYet),
        (_, None) => None,
        (_, Some(given)) => {
            return fail(
                ErrorKind::Io,
                format!(
                    "Can't complete {}: blk_{} is not its last block",
                    ns.tree.path_of_slot(slot),
                    given.id
                ),
            );
        }
    };
    let close = Namespace::is_replicated(file, replicas);
    let answer = if close { Answer::Closed } else { Answer::NotYet };
    if !close && last_len.is_none() {
        return Proposal::unchanged(answer);
    }
    let op = Complete { file: ns.tree.get(slot).id, last_len, close };
    Ok(Proposal { entry: ctx.stamp(op), answer })
}

pub(crate) fn apply(
    ns: &mut Namespace,
    op: &Complete,
    time_ms: u64,
    effects: &mut Vec<Effect>,
) -> std::result::Result<(), Diverged> {
    let slot = ns.must_find_file(op.file)?;
    if let Some(len) = op.last_len {
        ns.commit_last(slot, len, effects)?;
    }
    if op.close {
        if ns.must_be_open(slot)?.tail != Tail::Committed {
            return Err(Diverged(format!("the last block of file {} is not final", op.file)));
        }
        ns.close_file(slot, time_ms);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::namesystem::testing::{Fixture, WRITER};

    #[test]
    fn a_file_waits_for_the_replicas_of_its_last_block() {
        let mut fixture = Fixture::new();
        fixture.create("/f");
        let last = Block { len: 3, ..fixture.add_block("/f", None).block };
        fixture.known.lacking.insert(last.id);
        assert_eq!(fixture.complete("/f", Some(last)), Answer::NotYet);
        let view = fixture.ns.file(fixture.stat("/f").inode).unwrap();
        assert!(view.last_committed && view.holder.is_some());
        let entries = fixture.journal.len();
        assert_eq!(fixture.complete("/f", Some(last)), Answer::NotYet);
        assert_eq!(fixture.journal.len(), entries, "asking again changes nothing");
        fixture.known.lacking.clear();
        assert_eq!(fixture.complete("/f", Some(last)), Answer::Closed);
        assert_eq!(fixture.complete("/f", Some(last)), Answer::Closed, "twice is once");
        let request = Request { path: "/f", file: None, client_name: WRITER, last: None };
        let error = check(&fixture.ns, &request, &fixture.ctx(), &fixture.known).unwrap_err();
        assert_eq!(error.kind, ErrorKind::LeaseExpired);
    }
}
