//! Where inodes live and how they hang together.
//!
//! Inodes sit in pages of slots, so that the store grows without ever moving what it holds (a plain vector of ten
//! million inodes would stop the namenode for half a second each time it doubles). A slot number has four
//! bytes and is what directories and children point with; ids, which are never reused, are looked up in pages
//! of slot numbers.

use hfs_protocol::ids::INodeId;

use super::children::Children;
use super::inode::{Inode, Kind, NO_SLOT, Name, Perm};
use super::interner::Interner;

/// Inodes per page.
const PAGE: usize = 1 << 12;
/// Ids per page of the id table.
const ID_PAGE: usize = 256;
/// The root's slot.
pub(crate) const ROOT: u32 = 0;

/// The slots of 256 consecutive ids. Freed when the last of them is gone.
#[derive(Debug, Clone)]
struct IdPage {
    slots: [u32; ID_PAGE],
    used: u16,
}

/// All inodes, their names and their ids.
#[derive(Debug, Clone)]
pub struct Tree {
    pages: Vec<Vec<Option<Inode>>>,
    free: Vec<u32>,
    ids: Vec<Option<Box<IdPage>>>,
    names: Interner,
    len: usize,
}

impl Tree {
    /// A tree of nothing but the root directory.
    pub(crate) fn new(owner: &str, group: &str, mode: u16, mtime_ms: u64) -> Self {
        let mut tree = Self {
            pages: Vec::new(),
            free: Vec::new(),
            ids: Vec::new(),
            names: Interner::default(),
            len: 0,
        };
        let user = tree.names.intern(owner).expect("invariant: an empty interner has room");
        let group = tree.names.intern(group).expect("invariant: an empty interner has room");
        let slot = tree.insert(Inode {
            id: INodeId::ROOT,
            parent: NO_SLOT,
            name: Name::new(""),
            perm: Perm::new(user, group, mode),
            mtime_ms,
            kind: Kind::Directory(Children::default()),
        });
        assert_eq!(slot, ROOT, "invariant: the first slot is the root's");
        tree
    }

    /// How many inodes there are, detached ones included.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn names(&self) -> &Interner {
        &self.names
    }

    pub(crate) fn names_mut(&mut self) -> &mut Interner {
        &mut self.names
    }

    pub(crate) fn get(&self, slot: u32) -> &Inode {
        self.pages[slot as usize / PAGE][slot as usize % PAGE]
            .as_ref()
            .expect("invariant: a slot in use holds an inode")
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut Inode {
        self.pages[slot as usize / PAGE][slot as usize % PAGE]
            .as_mut()
            .expect("invariant: a slot in use holds an inode")
    }

    /// The slot of an id, detached or not.
    pub(crate) fn slot_of_any(&self, id: INodeId) -> Option<u32> {
        let index = usize::try_from(id.0.checked_sub(INodeId::ROOT.0)?).ok()?;
        let slot = self.ids.get(index / ID_PAGE)?.as_ref()?.slots[index % ID_PAGE];
        (slot != NO_SLOT).then_some(slot)
    }

    /// The slot of an id that can be reached from the root.
    pub(crate) fn slot_of(&self, id: INodeId) -> Option<u32> {
        let slot = self.slot_of_any(id)?;
        let mut up = slot;
        while up != ROOT {
            up = self.get(up).parent;
            if up == NO_SLOT {
                return None;
            }
        }
        Some(slot)
    }

    /// The entry `name` of the directory in `dir`.
    pub(crate) fn child(&self, dir: u32, name: &str) -> Option<u32> {
        self.get(dir).children()?.get(name.as_bytes(), |slot| self.get(slot).name.as_bytes())
    }

    /// The path from the root; for a detached inode, from where it was cut off.
    pub(crate) fn path_of_slot(&self, slot: u32) -> String {
        let mut names = Vec::new();
        let mut up = slot;
        while up != ROOT && up != NO_SLOT {
            let inode = self.get(up);
            names.push(inode.name.as_str());
            up = inode.parent;
        }
        if names.is_empty() {
            return "/".to_owned();
        }
        names.iter().rev().fold(String::new(), |path, name| path + "/" + name)
    }

    /// Gives an inode a slot and makes its id known. No directory points to it yet.
    pub(crate) fn insert(&mut self, inode: Inode) -> u32 {
        let id = inode.id;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.pages[slot as usize / PAGE][slot as usize % PAGE] = Some(inode);
                slot
            }
            None => {
                if self.pages.last().is_none_or(|page| page.len() == PAGE) {
                    self.pages.push(Vec::new());
                }
                let number = self.pages.len() - 1;
                let page = &mut self.pages[number];
                page.push(Some(inode));
                u32::try_from(number * PAGE + page.len() - 1)
                    .expect("invariant: memory ends long before 2^32 inodes")
            }
        };
        self.set_id(id, slot);
        self.len += 1;
        slot
    }

    fn set_id(&mut self, id: INodeId, slot: u32) {
        let index = (id.0 - INodeId::ROOT.0) as usize;
        if self.ids.len() <= index / ID_PAGE {
            self.ids.resize(index / ID_PAGE + 1, None);
        }
        let page = self.ids[index / ID_PAGE]
            .get_or_insert_with(|| Box::new(IdPage { slots: [NO_SLOT; ID_PAGE], used: 0 }));
        page.slots[index % ID_PAGE] = slot;
        page.used += 1;
    }

    /// Takes out an inode that no directory points to any more.
    pub(crate) fn remove(&mut self, slot: u32) -> Inode {
        let inode = self.pages[slot as usize / PAGE][slot as usize % PAGE]
            .take()
            .expect("invariant: a slot in use holds an inode");
        self.free.push(slot);
        let index = (inode.id.0 - INodeId::ROOT.0) as usize;
        if let Some(page) = &mut self.ids[index / ID_PAGE] {
            page.slots[index % ID_PAGE] = NO_SLOT;
            page.used -= 1;
            if page.used == 0 {
                self.ids[index / ID_PAGE] = None;
            }
        }
        self.len -= 1;
        inode
    }

    /// Puts the inode in `slot` into the directory in `dir`; false when its name is taken.
    pub(crate) fn attach(&mut self, dir: u32, slot: u32) -> bool {
        let Some(mut children) = self.take_children(dir) else { return false };
        let name = self.get(slot).name.clone();
        let fresh = children.insert(slot, name.as_bytes(), |other| self.get(other).name.as_bytes());
        self.put_children(dir, children);
        if fresh {
            self.get_mut(slot).parent = dir;
        }
        fresh
    }

    /// Puts the inode in `slot` at the end of the directory in `dir`; false when it does not belong there.
    pub(crate) fn attach_last(&mut self, dir: u32, slot: u32) -> bool {
        let Some(mut children) = self.take_children(dir) else { return false };
        let in_order = children.push_last(slot, |other| self.get(other).name.as_bytes());
        self.put_children(dir, children);
        self.get_mut(slot).parent = dir;
        in_order
    }

    /// Forgets all names, before those of an image are taken in.
    pub(crate) fn clear_names(&mut self) {
        self.names = Interner::default();
    }

    /// Takes the inode in `slot` out of its directory.
    pub(crate) fn detach(&mut self, slot: u32) {
        let dir = std::mem::replace(&mut self.get_mut(slot).parent, NO_SLOT);
        if dir == NO_SLOT {
            return;
        }
        let name = self.get(slot).name.clone();
        if let Some(mut children) = self.take_children(dir) {
            children.remove(name.as_bytes(), |other| self.get(other).name.as_bytes());
            self.put_children(dir, children);
        }
    }

    /// Children are taken out while they are changed, because their names are read from the same tree.
    fn take_children(&mut self, dir: u32) -> Option<Children> {
        match &mut self.get_mut(dir).kind {
            Kind::Directory(children) => Some(std::mem::take(children)),
            Kind::File(_) => None,
        }
    }

    fn put_children(&mut self, dir: u32, children: Children) {
        if let Kind::Directory(place) = &mut self.get_mut(dir).kind {
            *place = children;
        }
    }

    /// Every inode below and including `top`, directories before what is in them, entries in the order of their names.
    pub(crate) fn walk(&self, top: u32) -> Walk<'_> {
        Walk { tree: self, stack: vec![top] }
    }
}

/// See [`Tree::walk`].
pub(crate) struct Walk<'a> {
    tree: &'a Tree,
    stack: Vec<u32>,
}

impl Iterator for Walk<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let slot = self.stack.pop()?;
        if let Some(children) = self.tree.get(slot).children() {
            let from = self.stack.len();
            self.stack.extend(children.iter());
            self.stack[from..].reverse();
        }
        Some(slot)
    }
}
