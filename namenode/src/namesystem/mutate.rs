//! The door through which a namespace changes, and what the operations behind it share.

use hfs_protocol::ids::{BlockId, GenStamp, INodeId, TxId};

use super::Namespace;
use super::children::Children;
use super::inode::{File, Inode, Kind, Name, Perm, Tail, Writing};
use super::op::{Entry, Op};
use super::retry_cache::Done;
use super::types::Effect;

/// How many inodes a delete takes apart at once; the rest of a larger tree waits for
/// [`Namespace::reap`], so that nobody waits for it.
const REAP_AT_ONCE: usize = 1_000;

/// Why an operation does not fit the state; becomes a [`Divergence`].
#[derive(Debug)]
pub(crate) struct Diverged(pub(crate) String);

impl Diverged {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// An entry that does not fit the namespace it was applied to. The namespace is no longer to be trusted: stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "operation {txid} ({op}) does not fit the namespace: {why}. The journal and the image are not of one history; \
     stop here and restore the name directory from a copy"
)]
pub struct Divergence {
    /// Its place in the journal.
    pub txid: TxId,
    /// Its name.
    pub op: &'static str,
    /// What was expected and what was found.
    pub why: String,
}

impl Namespace {
    /// Carries out one entry, the only way in which a namespace changes. What it means for blocks is added to `effects`.
    ///
    /// # Errors
    /// A [`Divergence`] when the entry does not fit; the namespace is then in an unknown state.
    pub fn apply(
        &mut self,
        txid: TxId,
        entry: &Entry,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Divergence> {
        let diverged = |why| Divergence { txid, op: entry.op.name(), why };
        if txid != self.applied.next() {
            return Err(diverged(format!("it follows operation {}", self.applied)));
        }
        entry.op.apply(self, entry.time_ms, effects).map_err(|Diverged(why)| diverged(why))?;
        if let Some(key) = entry.retry {
            let inode = match &entry.op {
                Op::Create(op) => op.inode,
                Op::Append(op) => op.file,
                _ => INodeId(0),
            };
            self.retry.insert(key, Done { op: entry.op.code(), inode, time_ms: entry.time_ms });
        }
        self.applied = txid;
        Ok(())
    }

    /// Takes apart at most `max_inodes` inodes of deleted trees and tells which blocks are gone with them. Not a change:
    /// no path and no id led to them since the delete. True while there is more to do.
    pub fn reap(&mut self, max_inodes: usize, effects: &mut Vec<Effect>) -> bool {
        let mut freed = 0;
        while freed < max_inodes {
            let Some(&slot) = self.detached.last() else { return false };
            // One entry at a time: a directory of a million is no longer a step than another.
            let entry = match &mut self.tree.get_mut(slot).kind {
                Kind::Directory(children) => children.pop_last(),
                Kind::File(_) => None,
            };
            match entry {
                Some(entry) => {
                    // The directory's slot will be another inode's: nothing below may still point to it.
                    self.tree.get_mut(entry).parent = super::inode::NO_SLOT;
                    self.detached.push(entry);
                }
                None => {
                    self.detached.pop();
                    self.free(slot, effects);
                    freed += 1;
                }
            }
        }
        !self.detached.is_empty()
    }

    /// Frees one inode that is in no directory.
    fn free(&mut self, slot: u32, effects: &mut Vec<Effect>) {
        let inode = self.tree.remove(slot);
        match inode.kind {
            Kind::Directory(_) => self.counts.directories -= 1,
            Kind::File(file) => {
                self.counts.files -= 1;
                for &block in file.blocks.as_slice() {
                    self.counts.blocks -= 1;
                    effects.push(Effect::BlockRemoved { block });
                }
                if let Some(writing) = file.writing {
                    self.leases.remove(&writing.client_name, inode.id);
                    self.counts.open_files -= 1;
                }
            }
        }
    }

    /// Takes the subtree in `slot` out of the namespace.
    pub(crate) fn unlink(&mut self, slot: u32, effects: &mut Vec<Effect>) {
        self.tree.detach(slot);
        self.detached.push(slot);
        self.reap(REAP_AT_ONCE, effects);
    }

    /// The slot of an inode that an operation names.
    pub(crate) fn must_find(&self, id: INodeId) -> Result<u32, Diverged> {
        self.tree.slot_of(id).ok_or_else(|| Diverged(format!("inode {id} does not exist")))
    }

    /// The slot of a file that an operation names.
    pub(crate) fn must_find_file(&self, id: INodeId) -> Result<u32, Diverged> {
        let slot = self.must_find(id)?;
        match self.tree.get(slot).kind {
            Kind::File(_) => Ok(slot),
            Kind::Directory(_) => Err(Diverged(format!("inode {id} is a directory"))),
        }
    }

    /// The file in a slot that [`Self::must_find_file`] gave.
    pub(crate) fn file_mut(&mut self, slot: u32) -> &mut File {
        self.tree.get_mut(slot).file_mut().expect("invariant: the slot is a file's")
    }

    /// The file in a slot that [`Self::must_find_file`] gave.
    pub(crate) fn file_in(&self, slot: u32) -> &File {
        self.tree.get(slot).file().expect("invariant: the slot is a file's")
    }

    /// The state of an open file that an operation names.
    pub(crate) fn must_be_open(&mut self, slot: u32) -> Result<&mut Writing, Diverged> {
        let id = self.tree.get(slot).id;
        self.file_mut(slot)
            .writing
            .as_deref_mut()
            .ok_or_else(|| Diverged(format!("file {id} is not open")))
    }

    pub(crate) fn intern(&mut self, name: &str) -> Result<u32, Diverged> {
        self.tree
            .names_mut()
            .intern(name)
            .ok_or_else(|| Diverged::new("there are too many different owners and groups"))
    }

    /// Puts a new inode into the directory in `dir`. Its group is the directory's (the BSD rule, as in HDFS).
    pub(crate) fn add_inode(
        &mut self,
        dir: u32,
        name: &str,
        owner: &str,
        mode: u16,
        time_ms: u64,
        kind: Kind,
    ) -> Result<u32, Diverged> {
        let user = self.intern(owner)?;
        let group = self.tree.get(dir).perm.group();
        let id = self.last_inode.next();
        let is_file = matches!(kind, Kind::File(_));
        let slot = self.tree.insert(Inode {
            id,
            parent: super::inode::NO_SLOT,
            name: Name::new(name),
            perm: Perm::new(user, group, mode),
            mtime_ms: time_ms,
            kind,
        });
        if !self.tree.attach(dir, slot) {
            let path = self.tree.path_of_slot(dir);
            return Err(Diverged(format!("'{name}' can't be put into {path}")));
        }
        self.last_inode = id;
        self.tree.get_mut(dir).mtime_ms = time_ms;
        if is_file {
            self.counts.files += 1;
        } else {
            self.counts.directories += 1;
        }
        Ok(slot)
    }

    /// Makes one directory below another, and returns the innermost.
    pub(crate) fn add_dirs(
        &mut self,
        mut dir: u32,
        names: &[Box<str>],
        owner: &str,
        mode: u16,
        time_ms: u64,
    ) -> Result<u32, Diverged> {
        for name in names {
            let kind = Kind::Directory(Children::default());
            dir = self.add_inode(dir, name, owner, mode, time_ms, kind)?;
        }
        Ok(dir)
    }

    /// Opens the file in `slot` for a writer.
    pub(crate) fn open_file(&mut self, slot: u32, writing: Writing) {
        let id = self.tree.get(slot).id;
        self.leases.add(&writing.client_name, id);
        self.counts.open_files += 1;
        self.file_mut(slot).writing = Some(Box::new(writing));
    }

    /// Closes the file in `slot`.
    pub(crate) fn close_file(&mut self, slot: u32, time_ms: u64) {
        let id = self.tree.get(slot).id;
        if let Some(writing) = self.file_mut(slot).writing.take() {
            self.leases.remove(&writing.client_name, id);
            self.counts.open_files -= 1;
            self.tree.get_mut(slot).mtime_ms = time_ms;
        }
    }

    pub(crate) fn count_blocks(&mut self, difference: i64) {
        self.counts.blocks = self.counts.blocks.saturating_add_signed(difference);
    }

    /// Tells the block manager what should be of the file's last block.
    pub(crate) fn tell_last(&self, slot: u32, effects: &mut Vec<Effect>) {
        let file = self.file_in(slot);
        if let Some(&block) = file.blocks.as_slice().last() {
            effects.push(Effect::BlockSet {
                file: self.tree.get(slot).id,
                block,
                replication: file.replication(),
                under_construction: !file.last_committed(),
            });
        }
    }

    /// Checks that a block is the last one of the file in `slot`.
    pub(crate) fn must_be_last(&self, slot: u32, block: BlockId) -> Result<(), Diverged> {
        match self.file_in(slot).blocks.as_slice().last() {
            Some(last) if last.id == block => Ok(()),
            last => Err(Diverged(format!("block {block} is not the last one, {last:?} is"))),
        }
    }
}

impl Namespace {
    /// Makes the last block's length final.
    pub(crate) fn commit_last(
        &mut self,
        slot: u32,
        len: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Diverged> {
        let writing = self.must_be_open(slot)?;
        if writing.tail == Tail::Committed {
            return Err(Diverged::new("no block is being written"));
        }
        writing.tail = Tail::Committed;
        if let Some(last) = self.file_mut(slot).blocks.last_mut() {
            last.len = len;
        }
        self.tell_last(slot, effects);
        Ok(())
    }

    /// Takes the last block out of an open file.
    pub(crate) fn drop_last(&mut self, slot: u32, effects: &mut Vec<Effect>) {
        let file = self.file_mut(slot);
        if let Some(writing) = &mut file.writing {
            writing.tail = Tail::Committed;
        }
        if let Some(block) = file.blocks.pop() {
            self.count_blocks(-1);
            effects.push(Effect::BlockRemoved { block });
        }
    }

    /// Checks that the ids a check counted on are the ones that were given out.
    pub(crate) fn must_be_newest(&self, inode: INodeId) -> Result<(), Diverged> {
        if self.last_inode == inode {
            return Ok(());
        }
        Err(Diverged(format!("it makes inode {inode}, but the next one is {}", self.last_inode)))
    }

    pub(crate) fn take_block_id(&mut self, block: BlockId) -> Result<(), Diverged> {
        if block != self.last_block.next() {
            return Err(Diverged(format!("block {block} does not follow {}", self.last_block)));
        }
        self.last_block = block;
        Ok(())
    }

    pub(crate) fn take_gen_stamp(&mut self, gen_stamp: GenStamp) -> Result<(), Diverged> {
        if gen_stamp != self.last_gen_stamp.next() {
            let last = self.last_gen_stamp;
            return Err(Diverged(format!("stamp {gen_stamp} does not follow {last}")));
        }
        self.last_gen_stamp = gen_stamp;
        Ok(())
    }
}

impl Namespace {
    /// Tells the block manager what should be of every block of the file in `slot`.
    pub(crate) fn tell_all(&self, slot: u32, effects: &mut Vec<Effect>) {
        let file = self.file_in(slot);
        let blocks = file.blocks.as_slice();
        effects.extend(blocks.iter().enumerate().map(|(number, &block)| Effect::BlockSet {
            file: self.tree.get(slot).id,
            block,
            replication: file.replication(),
            under_construction: number + 1 == blocks.len() && !file.last_committed(),
        }));
    }
}
