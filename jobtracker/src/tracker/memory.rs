//! A file system that is a map of names, for tests. It can be made to fail at any call.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use futures::future::{BoxFuture, FutureExt, pending, ready};
use hfs_protocol::proto::task::JobSpec;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::store::{Store, StoreError};

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is never answered, and [`MemoryStore::crashed`] rings.
    Crash,
    /// Nobody can say whether it was done.
    Unclear,
}

#[derive(Debug, Clone)]
struct Node {
    id: u64,
    directory: bool,
    contents: String,
}

#[derive(Debug, Default)]
struct Tree {
    nodes: BTreeMap<String, Node>,
    last_id: u64,
    calls: u64,
    /// At which call, what, and whether the call is done all the same.
    fault: Option<(u64, Fault, bool)>,
}

/// Files and directories in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tree: Mutex<Tree>,
    /// Rings when a call met [`Fault::Crash`].
    pub crashed: Notify,
}

impl MemoryStore {
    /// Makes a file.
    pub fn put(&self, path: &str, contents: &str) {
        self.tree.lock().create(path, contents);
    }

    /// All files and what is in them.
    pub fn files(&self) -> Vec<(String, String)> {
        let tree = self.tree.lock();
        let files = tree.nodes.iter().filter(|(_, node)| !node.directory);
        files.map(|(path, node)| (path.clone(), node.contents.clone())).collect()
    }

    /// All names, directories included.
    pub fn names(&self) -> Vec<String> {
        self.tree.lock().nodes.keys().cloned().collect()
    }

    /// The calls so far.
    pub fn calls(&self) -> u64 {
        self.tree.lock().calls
    }

    /// Lets this call, counted from 0, go wrong; with `done` after it took effect.
    pub fn fail_at(&self, call: u64, fault: Fault, done: bool) {
        self.tree.lock().fault = Some((call, fault, done));
    }

    /// A call that fails like this is failing each time it is repeated, too.
    fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tree) -> Result<T, StoreError>,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let mut tree = self.tree.lock();
        let call = tree.calls;
        tree.calls += 1;
        let Some((_, fault, done)) = tree.fault.take_if(|(at, ..)| *at == call) else {
            return ready(work(&mut tree)).boxed();
        };
        if done {
            // Its answer is lost.
            let _ = work(&mut tree);
        }
        match fault {
            Fault::Crash => {
                self.crashed.notify_one();
                pending().boxed()
            }
            Fault::Unclear => ready(Err(StoreError::Unclear("no answer".into()))).boxed(),
        }
    }
}

impl Tree {
    fn id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn mkdirs(&mut self, path: &str) {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends.filter(|end| *end > 0) {
            let id = self.id();
            let node = Node { id, directory: true, contents: String::new() };
            self.nodes.entry(path[..end].to_owned()).or_insert(node);
        }
    }

    fn create(&mut self, path: &str, contents: &str) {
        self.mkdirs(path.rsplit_once('/').unwrap().0);
        let node = Node { id: self.id(), directory: false, contents: contents.to_owned() };
        self.nodes.insert(path.to_owned(), node);
    }

    fn below(&self, path: &str) -> Vec<String> {
        let inside = format!("{path}/");
        self.nodes.keys().filter(|f| *f == path || f.starts_with(&inside)).cloned().collect()
    }

    fn rename(&mut self, from: &str, to: &str, overwrite: bool) -> Result<(), StoreError> {
        let parent = to.rsplit_once('/').unwrap().0;
        if !self.nodes.contains_key(from) || !(parent.is_empty() || self.nodes.contains_key(parent))
        {
            return Err(StoreError::NotFound(format!("{from} or {parent} does not exist")));
        }
        if self.nodes.get(to).is_some_and(|node| node.directory || !overwrite) {
            return Err(StoreError::Exists(format!("{to} exists")));
        }
        for path in self.below(from) {
            let node = self.nodes.remove(&path).unwrap();
            self.nodes.insert(format!("{to}{}", path.strip_prefix(from).unwrap()), node);
        }
        Ok(())
    }
}

impl Store for MemoryStore {
    fn file_id<'a>(
        &'a self,
        _: &'a JobSpec,
        path: &'a str,
    ) -> BoxFuture<'a, Result<Option<u64>, StoreError>> {
        self.call(|tree| Ok(tree.nodes.get(path).map(|node| node.id)))
    }

    fn mkdirs<'a>(
        &'a self,
        _: &'a JobSpec,
        path: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.call(|tree| {
            tree.mkdirs(path);
            Ok(())
        })
    }

    fn create_empty<'a>(
        &'a self,
        _: &'a JobSpec,
        path: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.call(|tree| {
            tree.create(path, "");
            Ok(())
        })
    }

    fn rename<'a>(
        &'a self,
        _: &'a JobSpec,
        from: &'a str,
        to: &'a str,
        overwrite: bool,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.call(|tree| tree.rename(from, to, overwrite))
    }

    fn delete<'a>(
        &'a self,
        _: &'a JobSpec,
        path: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.call(|tree| {
            for path in tree.below(path) {
                tree.nodes.remove(&path);
            }
            Ok(())
        })
    }
}
