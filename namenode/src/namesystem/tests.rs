//! The namesystem against a naive model: a map from paths to what is there. Random histories; after each operation the answer, the
//! tree and the invariants are compared, at the end of each history its replay and its image.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use hfs_protocol::error::ErrorKind;
use proptest::prelude::*;

use super::ops::*;
use super::testing::Fixture;
use super::*;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Dir,
    File { blocks: Vec<Block>, replication: u16, open: Option<Open> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Open {
    holder: &'static str,
    /// Whether the last block's length may still change.
    writing: bool,
    recovering: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Mkdirs(String),
    Create { path: String, client: usize, overwrite: bool },
    Append { path: String, client: usize, new_block: bool },
    AddBlock { path: String, client: usize, len: u64 },
    Abandon { path: String, client: usize },
    Fsync { path: String, client: usize, len: u64 },
    Rebuild { path: String, client: usize, len: u64 },
    Complete { path: String, client: usize, len: u64 },
    Delete { path: String, recursive: bool },
    Rename(String, String),
    Rename2(String, String, bool),
    SetReplication(String, u16),
    Recover(String),
    Recovered { path: String, len: u64, delete: bool },
    Concat(String, String),
    Expire,
}

const CLIENTS: [&str; 2] = ["one", "two"];
const BLOCK_SIZE: u64 = 1 << 20;

fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof!["a", "b", "c"], 0..4)
        .prop_map(|names| format!("/{}", names.join("/")))
}

fn step() -> impl Strategy<Value = Step> {
    let client = || 0..CLIENTS.len();
    let len = || prop_oneof![Just(0), Just(BLOCK_SIZE), 1..BLOCK_SIZE];
    prop_oneof![
        3 => path().prop_map(Step::Mkdirs),
        6 => (path(), client(), any::<bool>())
            .prop_map(|(path, client, overwrite)| Step::Create { path, client, overwrite }),
        3 => (path(), client(), any::<bool>())
            .prop_map(|(path, client, new_block)| Step::Append { path, client, new_block }),
        8 => (path(), client(), len()).prop_map(|(path, client, len)| Step::AddBlock { path, client, len }),
        1 => (path(), client()).prop_map(|(path, client)| Step::Abandon { path, client }),
        2 => (path(), client(), len()).prop_map(|(path, client, len)| Step::Fsync { path, client, len }),
        2 => (path(), client(), len()).prop_map(|(path, client, len)| Step::Rebuild { path, client, len }),
        6 => (path(), client(), len()).prop_map(|(path, client, len)| Step::Complete { path, client, len }),
        3 => (path(), any::<bool>()).prop_map(|(path, recursive)| Step::Delete { path, recursive }),
        4 => (path(), path()).prop_map(|(src, dst)| Step::Rename(src, dst)),
        4 => (path(), path(), any::<bool>()).prop_map(|(src, dst, over)| Step::Rename2(src, dst, over)),
        1 => (path(), 0_u16..5).prop_map(|(path, replication)| Step::SetReplication(path, replication)),
        2 => path().prop_map(Step::Recover),
        2 => (path(), len(), any::<bool>())
            .prop_map(|(path, len, delete)| Step::Recovered { path, len, delete }),
        2 => (path(), path()).prop_map(|(target, source)| Step::Concat(target, source)),
        1 => Just(Step::Expire),
    ]
}

fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

fn below(path: &str, top: &str) -> bool {
    path != top && (top == "/" || path.starts_with(&format!("{top}/")))
}

struct Model {
    nodes: BTreeMap<String, Node>,
}

/// What the namesystem answers, as far as the model knows: true, false, or the kind of the error.
type Outcome = std::result::Result<bool, ErrorKind>;

impl Model {
    fn new() -> Self {
        Self { nodes: BTreeMap::from([("/".to_owned(), Node::Dir)]) }
    }

    fn is_dir(&self, path: &str) -> bool {
        self.nodes.get(path) == Some(&Node::Dir)
    }

    /// Whether a file stands in the way to `path`.
    fn blocked(&self, path: &str) -> bool {
        self.nodes.iter().any(|(top, node)| *node != Node::Dir && below(path, top))
    }

    fn has_children(&self, path: &str) -> bool {
        self.nodes.keys().any(|other| below(other, path))
    }

    fn make_parents(&mut self, path: &str) {
        let mut up = path;
        while up != "/" {
            up = parent(up);
            self.nodes.entry(up.to_owned()).or_insert(Node::Dir);
        }
    }

    fn remove(&mut self, path: &str) {
        self.nodes.retain(|other, _| other != path && !below(other, path));
    }

    fn shift(&mut self, src: &str, dst: &str) {
        let moved: Vec<(String, Node)> = self
            .nodes
            .iter()
            .filter(|(path, _)| *path == src || below(path, src))
            .map(|(path, node)| (format!("{dst}{}", &path[src.len()..]), node.clone()))
            .collect();
        self.remove(src);
        self.nodes.extend(moved);
    }

    fn mkdirs(&mut self, path: &str) -> Outcome {
        match self.nodes.get(path) {
            Some(Node::Dir) => return Ok(true),
            Some(_) => return Err(ErrorKind::AlreadyExists),
            None if self.blocked(path) => return Err(ErrorKind::ParentNotDirectory),
            None => {}
        }
        self.make_parents(path);
        self.nodes.insert(path.to_owned(), Node::Dir);
        Ok(true)
    }

    /// What keeps a file from being opened by somebody else; `expired` as the leases have it.
    fn busy(open: &Open, client: &str, expired: bool) -> ErrorKind {
        if open.recovering || (open.holder != client && expired) {
            ErrorKind::RecoveryInProgress
        } else {
            ErrorKind::AlreadyBeingCreated
        }
    }

    fn create(
        &mut self,
        path: &str,
        client: &'static str,
        overwrite: bool,
        expired: bool,
    ) -> Outcome {
        match self.nodes.get(path) {
            Some(Node::Dir) => return Err(ErrorKind::AlreadyExists),
            Some(Node::File { open, .. }) if !overwrite => {
                return Err(match open {
                    Some(open) => Self::busy(open, client, expired),
                    None => ErrorKind::AlreadyExists,
                });
            }
            Some(_) => {}
            None if self.blocked(path) => return Err(ErrorKind::ParentNotDirectory),
            None => self.make_parents(path),
        }
        let open = Some(Open { holder: client, writing: false, recovering: false });
        self.nodes.insert(path.to_owned(), Node::File { blocks: Vec::new(), replication: 3, open });
        Ok(true)
    }

    fn delete(&mut self, path: &str, recursive: bool) -> Outcome {
        if path == "/" || !self.nodes.contains_key(path) {
            return Ok(false);
        }
        if !recursive && self.has_children(path) {
            return Err(ErrorKind::DirectoryNotEmpty);
        }
        self.remove(path);
        Ok(true)
    }

    fn rename(&mut self, src: &str, dst: &str) -> Outcome {
        if src == "/" || !self.nodes.contains_key(src) {
            return Ok(false);
        }
        if src == dst && !self.is_dir(src) {
            return Ok(true);
        }
        let name = &src[src.rfind('/').unwrap() + 1..];
        let dst = match (self.is_dir(dst), dst) {
            (true, "/") => format!("/{name}"),
            (true, _) => format!("{dst}/{name}"),
            (false, _) => dst.to_owned(),
        };
        if dst == src || below(&dst, src) {
            return Ok(false);
        }
        if self.blocked(&dst) {
            return Err(ErrorKind::ParentNotDirectory);
        }
        if self.nodes.contains_key(&dst) || !self.is_dir(parent(&dst)) {
            return Ok(false);
        }
        self.shift(src, &dst);
        Ok(true)
    }

    fn rename2(&mut self, src: &str, dst: &str, overwrite: bool) -> Outcome {
        if !self.nodes.contains_key(src) {
            return Err(ErrorKind::NotFound);
        }
        if src == "/" || dst == "/" {
            return Err(ErrorKind::Io);
        }
        if src == dst {
            return Err(ErrorKind::AlreadyExists);
        }
        if below(dst, src) {
            return Err(ErrorKind::Io);
        }
        if self.blocked(dst) {
            return Err(ErrorKind::ParentNotDirectory);
        }
        match self.nodes.contains_key(dst) {
            true if self.is_dir(src) != self.is_dir(dst) => return Err(ErrorKind::Io),
            true if !overwrite => return Err(ErrorKind::AlreadyExists),
            true if self.has_children(dst) => return Err(ErrorKind::Io),
            true => self.remove(dst),
            false if !self.is_dir(parent(dst)) => return Err(ErrorKind::NotFound),
            false => {}
        }
        self.shift(src, dst);
        Ok(true)
    }

    /// The open file of a writer, or why there is none.
    fn held(
        &mut self,
        path: &str,
        client: &str,
    ) -> std::result::Result<(&mut Vec<Block>, &mut Option<Open>), ErrorKind> {
        match self.nodes.get_mut(path) {
            None => Err(ErrorKind::NotFound),
            Some(Node::File { blocks, open, .. })
                if open.as_ref().is_some_and(|o| o.holder == client) =>
            {
                Ok((blocks, open))
            }
            Some(_) => Err(ErrorKind::LeaseExpired),
        }
    }
}

/// Both sides of a comparison.
struct Pair {
    fixture: Fixture,
    model: Model,
}

impl Pair {
    fn propose<A>(&mut self, proposal: Result<Proposal<A>>) -> std::result::Result<A, ErrorKind> {
        match proposal {
            Ok(proposal) => Ok(self.fixture.carry_out(proposal)),
            Err(error) => {
                assert!(!error.message.is_empty());
                Err(error.kind)
            }
        }
    }

    /// Whether the soft limit of the file's holder has passed.
    fn expired(&self, path: &str) -> bool {
        match self.model.nodes.get(path) {
            Some(Node::File { open: Some(open), .. }) => {
                self.fixture.ns.leases().is_expired(open.holder, SOFT_LIMIT_MS)
            }
            _ => false,
        }
    }

    #[allow(clippy::too_many_lines)]
    fn step(&mut self, step: &Step) {
        self.fixture.now_ms += 10;
        let ctx_caller = self.fixture.caller.clone();
        let ctx = Ctx {
            now_ms: self.fixture.now_ms,
            caller: &ctx_caller,
            retry: None,
            client_machine: "here",
        };
        match step {
            Step::Mkdirs(path) => {
                let request = mkdirs::Request { path, mode: 0o755, create_parent: true };
                let proposal = mkdirs::check(&self.fixture.ns, &request, &ctx);
                assert_eq!(self.propose(proposal), self.model.mkdirs(path));
            }
            Step::Create { path, client, overwrite } => {
                let client = CLIENTS[*client];
                let expired = self.expired(path);
                let request = create::Request {
                    overwrite: *overwrite,
                    ..Fixture::create_request(path, client)
                };
                let proposal = create::check(&self.fixture.ns, &request, &ctx);
                let before = self.fixture.ns.last_inode_id();
                let got = self.propose(proposal).map(|status| {
                    assert!(status.inode > before, "a new id");
                    assert_eq!(self.fixture.ns.status(status.inode), Some(status));
                    true
                });
                assert_eq!(got, self.model.create(path, client, *overwrite, expired));
            }
            Step::Append { path, client, new_block } => {
                let client = CLIENTS[*client];
                let expired = self.expired(path);
                let request = append::Request { path, client_name: client, new_block: *new_block };
                let proposal = append::check(&self.fixture.ns, &request, &ctx, &self.fixture.known);
                let got = self.propose(proposal);
                let want = match self.model.nodes.get_mut(path) {
                    None => Err(ErrorKind::NotFound),
                    Some(Node::Dir) => Err(ErrorKind::AlreadyExists),
                    Some(Node::File { open: Some(open), .. }) => {
                        Err(Model::busy(open, client, expired))
                    }
                    Some(Node::File { blocks, open, .. }) => {
                        let last = blocks.last().filter(|b| b.len < BLOCK_SIZE && !new_block);
                        *open = Some(Open {
                            holder: client,
                            writing: last.is_some(),
                            recovering: false,
                        });
                        Ok(last.copied())
                    }
                };
                assert_eq!(got.map(|answer| answer.last_block.map(|(block, _)| block)), want);
            }
            Step::AddBlock { path, client, len } => {
                let client = CLIENTS[*client];
                let held = self
                    .model
                    .held(path, client)
                    .map(|(blocks, open)| (blocks.last().copied(), open.clone().unwrap()));
                let previous = match &held {
                    Ok((Some(last), open)) if open.writing => {
                        Some(Block { len: (*len).max(last.len), ..*last })
                    }
                    Ok((last, _)) => *last,
                    Err(_) => None,
                };
                let request =
                    add_block::Request { path, file: None, client_name: client, previous };
                let proposal =
                    add_block::check(&self.fixture.ns, &request, &ctx, &self.fixture.known);
                let got = self.propose(proposal);
                match self.model.held(path, client) {
                    Err(kind) => assert_eq!(got.unwrap_err(), kind),
                    Ok((blocks, open)) => {
                        let answer = got.unwrap();
                        if let (Some(last), Some(previous)) = (blocks.last_mut(), previous) {
                            *last = previous;
                        }
                        assert_eq!(answer.offset, blocks.iter().map(|b| b.len).sum::<u64>());
                        assert!(!answer.repeated);
                        blocks.push(answer.block);
                        open.as_mut().unwrap().writing = true;
                        // The same request again gets the same block.
                        let again =
                            add_block::check(&self.fixture.ns, &request, &ctx, &self.fixture.known)
                                .unwrap();
                        assert_eq!(again.answer.block, answer.block);
                        assert!(again.answer.repeated && again.entry.is_none());
                    }
                }
            }
            Step::Abandon { path, client } => {
                let client = CLIENTS[*client];
                let last = match self.model.nodes.get(path) {
                    Some(Node::File { blocks, .. }) => blocks.last().copied(),
                    _ => None,
                };
                let block = last.map_or(BlockId(1), |block| block.id);
                let request =
                    abandon_block::Request { path, file: None, client_name: client, block };
                let proposal = abandon_block::check(&self.fixture.ns, &request, &ctx);
                let got = self.propose(proposal);
                let want = self.model.held(path, client).and_then(|(blocks, open)| match last {
                    Some(last) if open.as_ref().unwrap().writing && last.len == 0 => {
                        blocks.pop();
                        open.as_mut().unwrap().writing = false;
                        Ok(())
                    }
                    Some(_) => Err(ErrorKind::Io),
                    None => Ok(()),
                });
                assert_eq!(got, want);
            }
            Step::Fsync { path, client, len } => {
                let client = CLIENTS[*client];
                let request =
                    fsync::Request { path, file: None, client_name: client, last_len: Some(*len) };
                let proposal = fsync::check(&self.fixture.ns, &request, &ctx);
                let got = self.propose(proposal);
                let want = self.model.held(path, client).map(|(blocks, open)| {
                    if let Some(last) = blocks.last_mut().filter(|_| open.as_ref().unwrap().writing)
                    {
                        last.len = last.len.max(*len);
                    }
                });
                assert_eq!(got, want);
            }
            Step::Rebuild { path, client, len } => {
                let client = CLIENTS[*client];
                let Some(status) = self.fixture.ns.stat(path, &ctx_caller).unwrap() else { return };
                let Ok((blocks, open)) = self.model.held(path, client) else { return };
                let Some(last) = blocks.last_mut() else { return };
                let request = update_block_for_pipeline::Request {
                    file: status.inode,
                    client_name: client,
                    block: *last,
                };
                let proposal = update_block_for_pipeline::check(&self.fixture.ns, &request, &ctx);
                if !open.as_ref().unwrap().writing {
                    assert_eq!(proposal.unwrap_err().kind, ErrorKind::Io);
                    return;
                }
                let old = *last;
                let given = self.propose(proposal).unwrap();
                assert!(given.gen_stamp > old.gen_stamp && given.len == old.len);
                let new = Block { len: (*len).max(old.len), ..given };
                let request =
                    update_pipeline::Request { file: status.inode, client_name: client, old, new };
                let proposal = update_pipeline::check(&self.fixture.ns, &request, &ctx);
                self.propose(proposal).unwrap();
                let (blocks, _) = self.model.held(path, client).unwrap();
                *blocks.last_mut().unwrap() = new;
                let stale = update_pipeline::check(&self.fixture.ns, &request, &ctx);
                assert_eq!(stale.unwrap_err().kind, ErrorKind::Io, "not twice");
            }
            Step::Complete { path, client, len } => {
                let client = CLIENTS[*client];
                let last = match self.model.nodes.get(path) {
                    Some(Node::File { blocks, open, .. }) => blocks.last().map(|last| {
                        let writing = open.as_ref().is_some_and(|open| open.writing);
                        Block {
                            len: if writing { (*len).max(last.len) } else { last.len },
                            ..*last
                        }
                    }),
                    _ => None,
                };
                let request = complete::Request { path, file: None, client_name: client, last };
                let proposal =
                    complete::check(&self.fixture.ns, &request, &ctx, &self.fixture.known);
                let got = self.propose(proposal);
                let closed =
                    matches!(self.model.nodes.get(path), Some(Node::File { open: None, .. }));
                let want = if closed {
                    Ok(complete::Answer::Closed)
                } else {
                    self.model.held(path, client).map(|(blocks, open)| {
                        if let Some(block) = blocks.last_mut() {
                            *block = last.unwrap();
                        }
                        *open = None;
                        complete::Answer::Closed
                    })
                };
                assert_eq!(got, want);
            }
            Step::Delete { path, recursive } => {
                let request = delete::Request { path, recursive: *recursive };
                let proposal = delete::check(&self.fixture.ns, &request, &ctx);
                assert_eq!(self.propose(proposal), self.model.delete(path, *recursive));
            }
            Step::Rename(src, dst) => {
                let proposal = rename::check(&self.fixture.ns, &rename::Request { src, dst }, &ctx);
                assert_eq!(self.propose(proposal), self.model.rename(src, dst), "{src} {dst}");
            }
            Step::Rename2(src, dst, overwrite) => {
                let request = rename2::Request { src, dst, overwrite: *overwrite };
                let proposal = rename2::check(&self.fixture.ns, &request, &ctx);
                let got = self.propose(proposal).map(|()| true);
                assert_eq!(got, self.model.rename2(src, dst, *overwrite), "{src} {dst}");
            }
            Step::SetReplication(path, replication) => {
                let request = set_replication::Request { path, replication: *replication };
                let proposal = set_replication::check(&self.fixture.ns, &request, &ctx);
                let got = self.propose(proposal);
                let want = match self.model.nodes.get_mut(path) {
                    _ if *replication == 0 => Err(ErrorKind::Io),
                    Some(Node::File { replication: now, .. }) => {
                        *now = *replication;
                        Ok(true)
                    }
                    _ => Ok(false),
                };
                assert_eq!(got, want);
            }
            Step::Recover(path) => {
                let request = recover_lease::Request { path, client_name: "rescuer" };
                let proposal =
                    recover_lease::check(&self.fixture.ns, &request, &ctx, &self.fixture.known);
                let got = self.propose(proposal);
                match self.model.nodes.get_mut(path) {
                    Some(Node::File { open, .. }) => match open {
                        Some(writer) if writer.writing || writer.recovering => {
                            assert!(matches!(got, Ok(recover_lease::Answer::Recovering { .. })));
                            *open = Some(Open {
                                holder: NAMENODE_HOLDER,
                                writing: false,
                                recovering: true,
                            });
                        }
                        _ => {
                            assert_eq!(got, Ok(recover_lease::Answer::Closed));
                            *open = None;
                        }
                    },
                    _ => assert_eq!(got, Err(ErrorKind::NotFound)),
                }
            }
            Step::Recovered { path, len, delete } => {
                let Some(status) = self.fixture.ns.stat(path, &ctx_caller).unwrap() else { return };
                let proposal = recover_lease::check_expired(
                    &self.fixture.ns,
                    status.inode,
                    false,
                    &ctx,
                    &self.fixture.known,
                );
                let Ok(Proposal {
                    entry: None,
                    answer: recover_lease::Answer::Recovering { block, recovery_id, .. },
                }) = proposal
                else {
                    return;
                };
                let delete = *delete && block.len == 0;
                let new_len = (*len).max(block.len);
                let request = commit_block_synchronization::Request {
                    file: status.inode,
                    block,
                    new_gen_stamp: recovery_id,
                    new_len,
                    close_file: true,
                    delete_block: delete,
                };
                let stale = commit_block_synchronization::Request {
                    new_gen_stamp: block.gen_stamp.next(),
                    ..request
                };
                if stale.new_gen_stamp != recovery_id {
                    let refused =
                        commit_block_synchronization::check(&self.fixture.ns, &stale, &ctx);
                    assert_eq!(refused.unwrap_err().kind, ErrorKind::Io);
                }
                let proposal =
                    commit_block_synchronization::check(&self.fixture.ns, &request, &ctx);
                self.propose(proposal).unwrap();
                let Some(Node::File { blocks, open, .. }) = self.model.nodes.get_mut(path) else {
                    panic!("{path}")
                };
                *open = None;
                blocks.pop();
                if !delete {
                    blocks.push(Block { id: block.id, gen_stamp: recovery_id, len: new_len });
                }
            }
            Step::Concat(target, source) => {
                let request = concat::Request { target, sources: &[source] };
                let proposal = concat::check(&self.fixture.ns, &request, &ctx);
                let file = |path: &str| match self.model.nodes.get(path) {
                    Some(Node::File { blocks, replication, open }) => {
                        Some((blocks.clone(), *replication, open.is_some()))
                    }
                    _ => None,
                };
                let want = match (file(target), file(source)) {
                    (None, _) => Err(ErrorKind::NotFound),
                    (Some((_, _, true)), _) => Err(ErrorKind::InvalidArgument),
                    (Some(_), None) => Err(ErrorKind::NotFound),
                    (Some((into, most, _)), Some((from, replication, open))) => {
                        if target == source
                            || parent(target) != parent(source)
                            || open
                            || from.is_empty()
                            || replication > most
                        {
                            Err(ErrorKind::InvalidArgument)
                        } else {
                            Ok((into, from))
                        }
                    }
                };
                let got = self.propose(proposal);
                assert_eq!(got, want.clone().map(|_| ()));
                if let Ok((into, from)) = want {
                    self.model.remove(source);
                    if let Some(Node::File { blocks, .. }) = self.model.nodes.get_mut(target) {
                        *blocks = [into, from].concat();
                    }
                }
            }
            Step::Expire => {
                let now = self.fixture.now_ms * 100_000;
                self.fixture.ns.tick(now);
            }
        }
    }

    /// Everything that can be seen through the namesystem's reads.
    fn seen(&self) -> BTreeMap<String, Node> {
        let mut seen = BTreeMap::new();
        let mut todo = vec!["/".to_owned()];
        let superuser = &self.fixture.caller;
        while let Some(path) = todo.pop() {
            let status = self.fixture.stat(&path);
            if status.kind == FileKind::Directory {
                let mut after = String::new();
                loop {
                    let page = self.fixture.ns.list(&path, &after, 2, superuser).unwrap().unwrap();
                    for entry in &page.entries {
                        todo.push(FsPath::parse(&path).unwrap().join(&entry.name).to_string());
                    }
                    let Some(last) = page.entries.last().filter(|_| page.remaining > 0) else {
                        break;
                    };
                    after = last.name.to_string();
                }
                seen.insert(path, Node::Dir);
                continue;
            }
            let view = self.fixture.ns.file(status.inode).unwrap();
            let located = self.fixture.ns.blocks(&path, 0, u64::MAX, superuser).unwrap();
            assert!(
                located
                    .blocks
                    .iter()
                    .map(|(block, _)| block)
                    .filter(|b| b.len > 0)
                    .eq(view.blocks.iter().filter(|b| b.len > 0))
            );
            assert_eq!(status.len, view.blocks.iter().map(|block| block.len).sum::<u64>());
            let open = view.holder.map(|holder| {
                let holder =
                    CLIENTS.into_iter().chain([NAMENODE_HOLDER]).find(|c| **c == *holder).unwrap();
                let recovering = holder == NAMENODE_HOLDER;
                Open { holder, writing: !view.last_committed && !recovering, recovering }
            });
            seen.insert(
                path,
                Node::File { blocks: view.blocks, replication: view.replication, open },
            );
        }
        seen
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn random_histories_agree_with_the_model(steps in proptest::collection::vec(step(), 1..60)) {
        let mut pair = Pair { fixture: Fixture::new(), model: Model::new() };
        for step in &steps {
            pair.step(step);
            assert_eq!(pair.seen(), pair.model.nodes, "{step:?}");
        }
        pair.fixture.assert_recoverable();
    }
}
