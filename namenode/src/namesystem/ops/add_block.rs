//! Gives a writer its next block (HDFS `FSDirWriteFileOp.validateAddBlock`). Where its replicas go is not the namespace's
//! business.

use hfs_protocol::error::ErrorKind;
use hfs_protocol::ids::{BlockId, GenStamp, INodeId};

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
    /// The block before, with its final length.
    pub previous: Option<Block>,
}

/// The block to write and what its placement has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The block, empty.
    pub block: Block,
    /// Where it begins in the file.
    pub offset: u64,
    /// The file.
    pub file: INodeId,
    /// How many replicas it shall have.
    pub replication: u16,
    /// The size at which the next block begins.
    pub block_size: u64,
    /// Whether the client was given this very block before: it gets the same datanodes again.
    pub repeated: bool,
}

record! {
    /// Makes the last block's length final and adds an empty one.
    pub struct AddBlock {
        /// The file.
        pub file: INodeId,
        /// The final length of the block before, when it was not final yet.
        pub previous_len: Option<u64>,
        /// The new block's id.
        pub block: BlockId,
        /// The new block's generation stamp.
        pub gen_stamp: GenStamp,
    }
}

/// Decides about a request.
///
/// # Errors
/// `NotReplicatedYet` while the block before the previous one has too few replicas; `LeaseExpired`; `NotFound`; `Io` when
/// `previous` is not the last block.
pub fn check(
    ns: &Namespace,
    request: &Request<'_>,
    ctx: &Ctx<'_>,
    replicas: &dyn Replicas,
) -> Result<Proposal<Answer>> {
    let slot = ns.held(request.path, request.file, request.client_name)?;
    let file = ns.file_in(slot);
    let blocks = file.blocks.as_slice();
    let written = !file.last_committed();
    let answer = |block, offset, repeated| Answer {
        block,
        offset,
        file: ns.tree.get(slot).id,
        replication: file.replication(),
        block_size: file.block_size(),
        repeated,
    };
    let last = blocks.last().copied();
    let previous_len = match (last, request.previous) {
        (Some(last), Some(previous)) if last.id == previous.id && written => {
            ns.require_commit(slot, &last, &previous)?;
            Some(previous.len)
        }
        // The file was opened again at the end of a full block, or the client commits it twice.
        (Some(last), Some(previous)) if last == previous => None,
        (Some(_), None) if !written => None,
        (None, None) => None,
        (Some(last), previous)
            if written
                && last.len == 0
                && previous.map(|block| block.id)
                    == blocks.len().checked_sub(2).map(|at| blocks[at].id) =>
        {
            return Proposal::unchanged(answer(last, file.len(), true));
        }
        (last, previous) => {
            return fail(
                ErrorKind::Io,
                format!(
                    "Cannot allocate block in {}: passed 'previous' block {} does not match actual last block in file {}",
                    ns.tree.path_of_slot(slot),
                    name(previous),
                    name(last)
                ),
            );
        }
    };
    if let Some(at) = blocks.len().checked_sub(2)
        && !replicas.at_minimum(blocks[at].id)
    {
        let path = ns.tree.path_of_slot(slot);
        return fail(
            ErrorKind::NotReplicatedYet,
            format!("Not replicated yet: {path}, block {}", name(Some(blocks[at]))),
        );
    }
    let limit = ns.limits().max_blocks_per_file;
    if blocks.len() >= limit {
        return fail(
            ErrorKind::Io,
            format!(
                "File {} has reached the limit of {limit} blocks (dfs.namenode.fs-limits.max-blocks-per-file); \
                 write it with larger blocks",
                ns.tree.path_of_slot(slot)
            ),
        );
    }
    let block = Block { id: ns.last_block.next(), gen_stamp: ns.last_gen_stamp.next(), len: 0 };
    let grown = match (previous_len, last) {
        (Some(len), Some(last)) => len - last.len,
        _ => 0,
    };
    let op = AddBlock {
        file: ns.tree.get(slot).id,
        previous_len,
        block: block.id,
        gen_stamp: block.gen_stamp,
    };
    let answer = answer(block, file.len().saturating_add(grown), false);
    Ok(Proposal { entry: ctx.stamp(op), answer })
}

fn name(block: Option<Block>) -> String {
    block.map_or("none".to_owned(), |block| {
        format!("blk_{}_{} of {} bytes", block.id, block.gen_stamp, block.len)
    })
}

pub(crate) fn apply(
    ns: &mut Namespace,
    op: &AddBlock,
    _time_ms: u64,
    effects: &mut Vec<Effect>,
) -> std::result::Result<(), Diverged> {
    let slot = ns.must_find_file(op.file)?;
    if let Some(len) = op.previous_len {
        ns.commit_last(slot, len, effects)?;
    } else if ns.must_be_open(slot)?.tail != Tail::Committed {
        return Err(Diverged::new("the block before is not final"));
    }
    ns.take_block_id(op.block)?;
    ns.take_gen_stamp(op.gen_stamp)?;
    ns.must_be_open(slot)?.tail = Tail::Pipeline;
    ns.file_mut(slot).blocks.push(Block { id: op.block, gen_stamp: op.gen_stamp, len: 0 });
    ns.count_blocks(1);
    ns.tell_last(slot, effects);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::namesystem::testing::{Fixture, WRITER};

    #[test]
    fn only_the_last_block_can_be_committed_and_only_by_its_writer() {
        let mut fixture = Fixture::new();
        let file = fixture.create("/f");
        let first = Block { len: 10, ..fixture.add_block("/f", None).block };
        let ask = |fixture: &Fixture, client_name, previous| {
            let request = Request { path: "/elsewhere", file: Some(file), client_name, previous };
            check(&fixture.ns, &request, &fixture.ctx(), &fixture.known)
        };
        let kind = |result: Result<Proposal<Answer>>| result.unwrap_err().kind;
        assert_eq!(kind(ask(&fixture, "thief", Some(first))), ErrorKind::LeaseExpired);
        let stale = Block { gen_stamp: GenStamp(1), ..first };
        assert_eq!(kind(ask(&fixture, WRITER, Some(stale))), ErrorKind::Io);
        let long = Block { len: (1 << 20) + 1, ..first };
        assert_eq!(kind(ask(&fixture, WRITER, Some(long))), ErrorKind::Io);
        let second = Block { len: 5, ..fixture.add_block("/f", Some(first)).block };
        let third = ask(&fixture, WRITER, Some(second)).unwrap();
        assert_eq!(third.answer.offset, 15);
        fixture.known.lacking.insert(first.id);
        assert_eq!(kind(ask(&fixture, WRITER, Some(second))), ErrorKind::NotReplicatedYet);
        // A renamed file is found by its id.
        assert!(fixture.ns.path_of(file).is_some_and(|path| path == "/f"));
        fixture.delete("/f");
        assert_eq!(kind(ask(&fixture, WRITER, Some(second))), ErrorKind::NotFound);
    }
}
