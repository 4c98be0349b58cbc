//! The invariants of a namespace, stated once and checked after every change in tests.

use std::collections::BTreeSet;

use super::Namespace;
use super::inode::{Kind, NO_SLOT, Tail};
use super::tree::ROOT;
use super::types::Counts;

impl Namespace {
    /// Checks every invariant; costs a walk over everything.
    ///
    /// 1. Each inode but the root is an entry of the directory it names as its parent, under its name, once; what is not
    ///    reachable waits to be reaped.
    /// 2. Entries are in the order of their names' bytes, without twins.
    /// 3. No id is above the last one given out, and ids lead to the inodes that bear them.
    /// 4. A block belongs to one file, once.
    /// 5. Leases and open files are the same set.
    /// 6. Only the last block of an open file may be unfinished; a file without blocks has none.
    /// 7. The counts count.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn validate(&self) -> Result<(), String> {
        let mut counts = Counts::default();
        let mut blocks = BTreeSet::new();
        let mut open = BTreeSet::new();
        let mut reachable = 0;
        let tops = std::iter::once(ROOT).chain(self.detached.iter().copied());
        for slot in tops.flat_map(|top| self.tree.walk(top)) {
            reachable += 1;
            let inode = self.tree.get(slot);
            let id = inode.id;
            if self.tree.slot_of_any(id) != Some(slot) {
                return Err(format!("3: id {id} does not lead to its inode"));
            }
            if id > self.last_inode {
                return Err(format!("3: inode {id} is above the last one, {}", self.last_inode));
            }
            match &inode.kind {
                Kind::Directory(children) => {
                    counts.directories += 1;
                    let mut before: Option<&[u8]> = None;
                    let mut count = 0;
                    for child in children.iter() {
                        let child = self.tree.get(child);
                        let name = child.name.as_bytes();
                        if child.parent != slot {
                            return Err(format!("1: {} does not name its directory", child.id));
                        }
                        if before.is_some_and(|before| before >= name) || name.is_empty() {
                            return Err(format!("2: the entries of {id} are out of order"));
                        }
                        before = Some(name);
                        count += 1;
                    }
                    if count != children.len() {
                        return Err(format!("7: directory {id} counts its entries wrongly"));
                    }
                }
                Kind::File(file) => {
                    counts.files += 1;
                    for block in file.blocks.as_slice() {
                        counts.blocks += 1;
                        if !blocks.insert(block.id) {
                            return Err(format!("4: block {} belongs to two files", block.id));
                        }
                        if block.id > self.last_block || block.gen_stamp > self.last_gen_stamp {
                            return Err(format!("3: block {block:?} is above the last one"));
                        }
                    }
                    if let Some(writing) = &file.writing {
                        counts.open_files += 1;
                        open.insert((writing.client_name.as_ref(), id));
                        if file.blocks.as_slice().is_empty() && writing.tail != Tail::Committed {
                            return Err(format!("6: file {id} has an unfinished block and none"));
                        }
                        if let Tail::Recovering { recovery_id } = writing.tail
                            && recovery_id > self.last_gen_stamp
                        {
                            return Err(format!(
                                "3: recovery {recovery_id} is above the last stamp"
                            ));
                        }
                    }
                }
            }
        }
        if reachable != self.tree.len() {
            return Err(format!("1: {} inodes, {reachable} reachable", self.tree.len()));
        }
        if self.detached.iter().any(|&slot| self.tree.get(slot).parent != NO_SLOT) {
            return Err("1: a detached inode still names a directory".to_owned());
        }
        if open != self.leases.iter().collect() {
            return Err("5: leases and open files differ".to_owned());
        }
        if counts != self.counts {
            return Err(format!("7: counted {counts:?}, kept {:?}", self.counts));
        }
        Ok(())
    }
}
