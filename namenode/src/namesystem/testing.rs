//! What the tests of the namesystem share: a namespace, its journal as a vector, and every change checked.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use hfs_protocol::ids::{BlockId, INodeId};

use super::ops::{add_block, complete, create, delete, mkdirs};
use super::*;

/// Replicas as a test wants them.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Blocks with too few replicas.
    pub(crate) lacking: BTreeSet<BlockId>,
    /// The namenode has just started: not all datanodes have reported.
    pub(crate) fresh: bool,
}

impl Replicas for Known {
    fn at_minimum(&self, block: BlockId) -> bool {
        !self.lacking.contains(&block)
    }

    fn any(&self, block: BlockId) -> bool {
        !self.lacking.contains(&block)
    }

    fn holders_known(&self, _block: BlockId) -> bool {
        !self.fresh
    }
}

/// An ordinary user.
pub(crate) fn alice() -> Caller {
    Caller::user("alice", &["staff"])
}

/// A namespace of which every change is journalled and followed by a validation.
pub(crate) struct Fixture {
    pub(crate) ns: Namespace,
    pub(crate) journal: Vec<Vec<u8>>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) known: Known,
    pub(crate) caller: Caller,
    pub(crate) now_ms: u64,
    pub(crate) retry: Option<RetryKey>,
}

/// The client name that the fixture's helpers write under.
pub(crate) const WRITER: &str = "writer";

impl Fixture {
    pub(crate) fn new() -> Self {
        Self {
            ns: Namespace::new("root", "supergroup", 1),
            journal: Vec::new(),
            effects: Vec::new(),
            known: Known::default(),
            caller: Caller::superuser("root"),
            now_ms: 1_000,
            retry: None,
        }
    }

    pub(crate) fn ctx(&self) -> Ctx<'_> {
        Ctx {
            now_ms: self.now_ms,
            caller: &self.caller,
            retry: self.retry,
            client_machine: "127.0.0.1",
        }
    }

    /// Journals and applies what a check decided.
    pub(crate) fn carry_out<A>(&mut self, proposal: Proposal<A>) -> A {
        if let Some(entry) = proposal.entry {
            let bytes = entry.encode();
            assert_eq!(Entry::decode(&bytes).unwrap(), entry);
            self.journal.push(bytes);
            self.ns.apply(self.ns.applied().next(), &entry, &mut self.effects).unwrap();
            self.ns.validate().unwrap();
        }
        proposal.answer
    }

    pub(crate) fn stat(&self, path: &str) -> FileStatus {
        self.ns.stat(path, &self.caller).unwrap().unwrap()
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.ns.stat(path, &self.caller).unwrap().is_some()
    }

    pub(crate) fn mkdirs(&mut self, path: &str) -> bool {
        let request = mkdirs::Request { path, mode: 0o755, create_parent: true };
        let proposal = mkdirs::check(&self.ns, &request, &self.ctx()).unwrap();
        self.carry_out(proposal)
    }

    /// The entry that would make a directory in `ns`.
    pub(crate) fn entry_for(ns: &Namespace, path: &str) -> Vec<u8> {
        let fixture = Self::new();
        let request = mkdirs::Request { path, mode: 0o755, create_parent: true };
        mkdirs::check(ns, &request, &fixture.ctx()).unwrap().entry.unwrap().encode()
    }

    pub(crate) fn delete(&mut self, path: &str) -> bool {
        let request = delete::Request { path, recursive: true };
        let proposal = delete::check(&self.ns, &request, &self.ctx()).unwrap();
        self.carry_out(proposal)
    }

    /// A request that the default limits allow.
    pub(crate) fn create_request<'a>(path: &'a str, client_name: &'a str) -> create::Request<'a> {
        create::Request {
            path,
            mode: 0o644,
            client_name,
            create: true,
            overwrite: false,
            create_parent: true,
            replication: 3,
            block_size: 1 << 20,
        }
    }

    pub(crate) fn create(&mut self, path: &str) -> INodeId {
        let request = Self::create_request(path, WRITER);
        let proposal = create::check(&self.ns, &request, &self.ctx()).unwrap();
        self.carry_out(proposal).inode
    }

    pub(crate) fn add_block(&mut self, path: &str, previous: Option<Block>) -> add_block::Answer {
        let request = add_block::Request { path, file: None, client_name: WRITER, previous };
        let proposal = add_block::check(&self.ns, &request, &self.ctx(), &self.known).unwrap();
        self.carry_out(proposal)
    }

    pub(crate) fn complete(&mut self, path: &str, last: Option<Block>) -> complete::Answer {
        let request = complete::Request { path, file: None, client_name: WRITER, last };
        let proposal = complete::check(&self.ns, &request, &self.ctx(), &self.known).unwrap();
        self.carry_out(proposal)
    }

    /// Writes a whole file with blocks of these lengths.
    pub(crate) fn write_file(&mut self, path: &str, lens: &[u64]) -> INodeId {
        let id = self.create(path);
        let mut last = None;
        for &len in lens {
            last = Some(Block { len, ..self.add_block(path, last).block });
        }
        assert_eq!(self.complete(path, last), complete::Answer::Closed);
        id
    }

    /// A namespace made from the journal alone.
    pub(crate) fn replayed(&self) -> Namespace {
        let mut ns = Namespace::new("root", "supergroup", 1);
        for bytes in &self.journal {
            let entry = Entry::decode(bytes).unwrap();
            ns.apply(ns.applied().next(), &entry, &mut Vec::new()).unwrap();
        }
        ns
    }

    /// Replay and image both give this very namespace.
    pub(crate) fn assert_recoverable(&self) {
        let image = self.ns.to_image();
        assert!(self.replayed().to_image() == image, "the replay differs");
        let loaded = Namespace::from_image(image.as_slice()).unwrap();
        loaded.validate().unwrap();
        assert!(loaded.to_image() == image, "the loaded image differs");
    }
}
