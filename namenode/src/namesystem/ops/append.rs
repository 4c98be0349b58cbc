//! Opens a finished file again, at its end (HDFS `FSDirAppendOp`).

use hfs_protocol::error::ErrorKind;
use hfs_protocol::ids::INodeId;

use crate::namesystem::Namespace;
use crate::namesystem::access::{self, Access};
use crate::namesystem::codec::record;
use crate::namesystem::inode::{File, Tail, Writing};
use crate::namesystem::mutate::Diverged;
use crate::namesystem::types::{Block, Ctx, Effect, FileStatus, Proposal, Replicas, Result, fail};

/// What the client asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The file.
    pub path: &'a str,
    /// Who will write it.
    pub client_name: &'a str,
    /// Whether writing begins in a new block even when the last one has room (flag NEW_BLOCK).
    pub new_block: bool,
}

/// What the client needs to go on writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The file with its length now.
    pub status: FileStatus,
    /// The last block and its offset, when writing goes on in it.
    pub last_block: Option<(Block, u64)>,
}

record! {
    /// Opens a file for a writer.
    pub struct Append {
        /// The file.
        pub file: INodeId,
        /// The lease's holder.
        pub client_name: Box<str>,
        /// Where the holder runs.
        pub client_machine: Box<str>,
        /// Whether the last block is written on.
        pub reopen_last: bool,
    }
}

fn partial_last(file: &File) -> Option<(Block, u64)> {
    let last = *file.blocks.as_slice().last()?;
    (last.len < file.block_size()).then(|| (last, file.len() - last.len))
}

/// Decides about a request.
///
/// # Errors
/// `NotFound`; `AlreadyExists` for a directory; `AlreadyBeingCreated` and `RecoveryInProgress` for a file that somebody writes;
/// `Retriable` while the last block has too few replicas; `AccessDenied`.
pub fn check(
    ns: &Namespace,
    request: &Request<'_>,
    ctx: &Ctx<'_>,
    replicas: &dyn Replicas,
) -> Result<Proposal<Answer>> {
    if let Some(done) = ns.done_before(ctx, Append::CODE) {
        let status = ns.status_again(done.inode, request.path)?;
        let file = ns.tree.slot_of(done.inode).map(|slot| ns.file_in(slot));
        // The first answer named the last block exactly when it was opened again.
        let last_block = file.filter(|file| !file.last_committed()).and_then(partial_last);
        return Proposal::unchanged(Answer { status, last_block });
    }
    let path = ns.path(request.path)?;
    let machine = ctx.client_machine;
    let Some(slot) = ns.resolve(&path, ctx.caller)?.slot() else {
        return fail(
            ErrorKind::NotFound,
            format!("Failed to append to non-existent file {path} for client {machine}"),
        );
    };
    let inode = ns.tree.get(slot);
    let Some(file) = inode.file() else {
        return fail(
            ErrorKind::AlreadyExists,
            format!("Cannot append to directory {path}; already exists as a directory"),
        );
    };
    access::require(&ns.tree, slot, ctx.caller, Access::WRITE)?;
    if request.client_name.is_empty() {
        return fail(
            ErrorKind::InvalidArgument,
            "a file can't be appended to without a client name",
        );
    }
    ns.require_closed(slot, "APPEND_FILE", request.client_name, machine)?;
    if let Some(last) = file.blocks.as_slice().last()
        && !replicas.at_minimum(last.id)
    {
        return fail(
            ErrorKind::Retriable,
            format!(
                "append: last block blk_{}_{} of {path} is not sufficiently replicated yet",
                last.id, last.gen_stamp
            ),
        );
    }
    let last_block = partial_last(file).filter(|_| !request.new_block);
    let mut status = ns.status_of(inode, "");
    status.under_construction = true;
    let op = Append {
        file: inode.id,
        client_name: request.client_name.into(),
        client_machine: machine.into(),
        reopen_last: last_block.is_some(),
    };
    Ok(Proposal { entry: ctx.stamp_once(op), answer: Answer { status, last_block } })
}

pub(crate) fn apply(
    ns: &mut Namespace,
    op: &Append,
    _time_ms: u64,
    effects: &mut Vec<Effect>,
) -> std::result::Result<(), Diverged> {
    let slot = ns.must_find_file(op.file)?;
    let file = ns.file_in(slot);
    if file.writing.is_some() {
        return Err(Diverged(format!("file {} is open already", op.file)));
    }
    if op.reopen_last && file.blocks.as_slice().is_empty() {
        return Err(Diverged(format!("file {} has no block to go on in", op.file)));
    }
    ns.open_file(
        slot,
        Writing {
            client_name: op.client_name.clone(),
            client_machine: op.client_machine.clone(),
            tail: if op.reopen_last { Tail::Pipeline } else { Tail::Committed },
        },
    );
    if op.reopen_last {
        ns.tell_last(slot, effects);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::namesystem::testing::{Fixture, WRITER};

    #[test]
    fn writing_goes_on_in_a_partial_block_and_only_there() {
        let mut fixture = Fixture::new();
        fixture.write_file("/partial", &[1 << 20, 7]);
        fixture.write_file("/full", &[1 << 20]);
        let request = |path, new_block| Request { path, client_name: WRITER, new_block };
        let ask = |fixture: &Fixture, request: &Request<'_>| {
            check(&fixture.ns, request, &fixture.ctx(), &fixture.known)
        };
        let full = ask(&fixture, &request("/full", false)).unwrap();
        assert_eq!(full.answer.last_block, None);
        assert_eq!(ask(&fixture, &request("/partial", true)).unwrap().answer.last_block, None);
        let last = fixture.ns.file(fixture.stat("/partial").inode).unwrap().blocks[1];
        fixture.known.lacking.insert(last.id);
        let error = ask(&fixture, &request("/partial", false)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Retriable);
        fixture.known.lacking.clear();
        let partial = ask(&fixture, &request("/partial", false)).unwrap();
        let answer = fixture.carry_out(partial);
        assert_eq!(answer.last_block, Some((last, 1 << 20)));
        assert_eq!(answer.status.len, (1 << 20) + 7);
        assert_eq!(
            fixture.complete("/partial", Some(Block { len: 9, ..last })),
            super::super::complete::Answer::Closed
        );
        assert_eq!(fixture.stat("/partial").len, (1 << 20) + 9);
        fixture.assert_recoverable();
    }
}
