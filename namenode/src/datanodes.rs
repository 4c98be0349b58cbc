//! The node table: which datanodes there are, how they are, and which stream speaks for each.
//!
//! Pure: time is an argument (milliseconds of a monotonic clock), and what follows from an event
//! is returned. The streams themselves live in [`crate::front::datanode_grpc`].
//!
//! ```text
//!             register                    stream broke
//!   (unknown) ────────▶ Live ───────────────────────────▶ Suspected
//!                        ▲ │ no heartbeat for the interval     │ interval over, or its
//!               register │ ▼                                   ▼ port refuses a connection
//!                        └─ Dead ◀─────────────────────────────┘
//! ```

#![deny(clippy::disallowed_methods, clippy::iter_over_hash_type)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::blocks::placement::Candidate;
use crate::blocks::{NodeId, StorageId};
use crate::topology::normalise_rack;

/// Where a datanode is dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Its IP address as text; clients dial this one.
    pub ip: String,
    /// Its host name, shown to people.
    pub host: String,
    /// Data transfer protocol.
    pub transfer_port: u16,
    /// `ClientDatanodeProtocol`.
    pub ipc_port: u16,
    /// Web pages.
    pub http_port: u16,
}

/// A data directory of a datanode as it reported it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StorageReport {
    /// Its identity, kept in the directory.
    pub uuid: String,
    /// Bytes it may hold.
    pub capacity: u64,
    /// Bytes that replicas use.
    pub used: u64,
    /// Bytes free for replicas.
    pub remaining: u64,
    /// The disk gave an error; its replicas are gone.
    pub failed: bool,
}

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It is connected and heard of.
    Live,
    /// Its stream broke; it gets no new replicas, and is dead when the interval is over.
    Suspected,
    /// It was not heard of for the interval, or its port refuses connections.
    Dead,
}

/// A datanode that has registered since the namenode started.
#[derive(Debug, Clone)]
pub struct Datanode {
    /// Its number here.
    pub id: NodeId,
    /// Its identity for life.
    pub uuid: String,
    /// Where it is dialled.
    pub address: Address,
    /// Where it stands.
    pub rack: String,
    /// Its software version.
    pub version: String,
    /// Its data directories; their order gives [`StorageId`]s and never changes.
    pub storages: Vec<StorageReport>,
    /// How it is.
    pub liveness: Liveness,
    /// Monotonic time of its last word.
    pub last_heard_ms: u64,
    /// Wall time of its last word, for people.
    pub last_heard_wall_ms: u64,
    /// Wall time of its last complete block report; 0 before the first.
    pub last_report_wall_ms: u64,
    /// Transfers it said it serves.
    pub active_transfers: u32,
    /// Pipelines and copies given to it since its last heartbeat whose replicas are not whole yet.
    pub assigned: u32,
    /// Bytes of replicas that became whole there since its last heartbeat.
    received_bytes: u64,
    /// The stream that speaks for it.
    pub session: u64,
    /// Storages that have reported in full since it registered.
    reported: BTreeSet<StorageId>,
    /// When it was last expected to report in full.
    report_asked_ms: u64,
}

impl Datanode {
    /// The data directory with the most room that works.
    #[must_use]
    pub fn roomiest(&self) -> Option<(StorageId, &StorageReport)> {
        self.storages
            .iter()
            .enumerate()
            .filter(|(_, s)| !s.failed)
            .max_by_key(|(at, s)| (s.remaining, std::cmp::Reverse(*at)))
            .and_then(|(at, s)| Some((StorageId(u16::try_from(at).ok()?), s)))
    }

    /// Sums over its working data directories.
    #[must_use]
    pub fn space(&self) -> Space {
        let mut space = Space::default();
        for storage in self.storages.iter().filter(|s| !s.failed) {
            space.capacity = space.capacity.saturating_add(storage.capacity);
            space.used = space.used.saturating_add(storage.used);
            space.remaining = space.remaining.saturating_add(storage.remaining);
        }
        space
    }

    /// Whether each of its working data directories has reported in full since it registered.
    fn has_reported(&self) -> bool {
        self.storages.iter().enumerate().all(|(at, storage)| {
            storage.failed
                || u16::try_from(at).is_ok_and(|at| self.reported.contains(&StorageId(at)))
        })
    }

    /// Keeps the newest report of a storage. False: there are too many.
    fn take_storage(&mut self, report: StorageReport) -> bool {
        if let Some(known) = self.storages.iter_mut().find(|s| s.uuid == report.uuid) {
            *known = report;
            return true;
        }
        let room = self.storages.len() < MAX_STORAGES;
        if room {
            self.storages.push(report);
        }
        room
    }

    /// `ip:transfer_port`.
    #[must_use]
    pub fn transfer_address(&self) -> String {
        match self.address.ip.contains(':') {
            true => format!("[{}]:{}", self.address.ip, self.address.transfer_port),
            false => format!("{}:{}", self.address.ip, self.address.transfer_port),
        }
    }
}

/// Bytes of a node or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    /// May be held.
    pub capacity: u64,
    /// Held by replicas.
    pub used: u64,
    /// Free for replicas.
    pub remaining: u64,
}

/// What a node says when it registers.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Its identity.
    pub uuid: String,
    /// Where it is dialled.
    pub address: Address,
    /// Where it stands.
    pub rack: String,
    /// Its software version.
    pub version: String,
    /// Its data directories.
    pub storages: Vec<StorageReport>,
    /// The stream it came on.
    pub session: u64,
}

/// What follows from a registration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registered {
    /// Its number.
    pub id: NodeId,
    /// Another identity that had the same address: it is gone, whoever sits there now.
    pub displaced: Option<NodeId>,
}

/// Most data directories one node may have.
pub const MAX_STORAGES: usize = 256;

/// The node table; see the [module](self).
#[derive(Debug, Default)]
pub struct NodeTable {
    /// Shared with answers that are on their way out: a change copies a node only while one of them
    /// still looks at it.
    nodes: Vec<Arc<Datanode>>,
    by_uuid: BTreeMap<String, NodeId>,
    dead_interval_ms: u64,
}

impl NodeTable {
    /// An empty table. A node is dead when it was not heard of for `dead_interval_ms`.
    #[must_use]
    pub fn new(dead_interval_ms: u64) -> Self {
        Self { dead_interval_ms, ..Self::default() }
    }

    /// Registers a node: new, back from a restart, or with a newer stream.
    ///
    /// # Errors
    /// A sentence when the identity is in use by a live node at another address, or a number is
    /// out of bounds.
    pub fn register(
        &mut self,
        registration: Registration,
        now_ms: u64,
        wall_ms: u64,
    ) -> Result<Registered, String> {
        let Registration { uuid, address, rack, version, storages, session } = registration;
        if uuid.is_empty() || uuid.len() > 256 {
            return Err("a datanode's uuid must have 1 to 256 bytes".to_owned());
        }
        if storages.len() > MAX_STORAGES {
            return Err(format!(
                "datanode {uuid} has {} data directories; at most {MAX_STORAGES} are supported",
                storages.len()
            ));
        }
        let displaced = self
            .nodes
            .iter()
            .find(|n| {
                n.uuid != uuid
                    && n.liveness != Liveness::Dead
                    && n.address.ip == address.ip
                    && n.address.transfer_port == address.transfer_port
            })
            .map(|n| n.id);
        if let Some(&id) = self.by_uuid.get(&uuid) {
            let node = Arc::make_mut(&mut self.nodes[id.0 as usize]);
            if node.liveness == Liveness::Live
                && (node.address.ip != address.ip
                    || node.address.transfer_port != address.transfer_port)
            {
                return Err(format!(
                    "datanode uuid {uuid} is already in use by the live datanode at {}, and now \
                     {}:{} claims it too: a data directory was probably cloned. Stop one of the \
                     two; if it is the copy that shall stay as a datanode of its own, empty its \
                     data directories first",
                    node.transfer_address(),
                    address.ip,
                    address.transfer_port
                ));
            }
            for storage in storages {
                if !node.take_storage(storage) {
                    return Err(format!(
                        "datanode {uuid} has had more than {MAX_STORAGES} data directories since \
                         the namenode started; restart the namenode to forget the old ones"
                    ));
                }
            }
            node.address = address;
            node.rack = normalise_rack(&rack);
            node.version = version;
            node.liveness = Liveness::Live;
            node.last_heard_ms = now_ms;
            node.last_heard_wall_ms = wall_ms;
            node.session = session;
            node.assigned = 0;
            node.received_bytes = 0;
            node.reported.clear();
            node.report_asked_ms = now_ms;
            return Ok(Registered { id, displaced });
        }
        let id = NodeId(u32::try_from(self.nodes.len()).map_err(|_| "too many datanodes")?);
        self.nodes.push(Arc::new(Datanode {
            id,
            uuid: uuid.clone(),
            address,
            rack: normalise_rack(&rack),
            version,
            storages,
            liveness: Liveness::Live,
            last_heard_ms: now_ms,
            last_heard_wall_ms: wall_ms,
            last_report_wall_ms: 0,
            active_transfers: 0,
            assigned: 0,
            received_bytes: 0,
            session,
            reported: BTreeSet::new(),
            report_asked_ms: now_ms,
        }));
        self.by_uuid.insert(uuid, id);
        Ok(Registered { id, displaced })
    }

    /// The node, if this stream still speaks for it.
    fn of_session(&mut self, node: NodeId, session: u64) -> Option<&mut Datanode> {
        self.get_mut(node).filter(|n| n.session == session)
    }

    fn get_mut(&mut self, node: NodeId) -> Option<&mut Datanode> {
        self.nodes.get_mut(node.0 as usize).map(Arc::make_mut)
    }

    /// Any word from the node. False: this stream was replaced or the node is dead, and nothing it
    /// says counts.
    pub fn heard(&mut self, node: NodeId, session: u64, now_ms: u64, wall_ms: u64) -> bool {
        let Some(node) = self.of_session(node, session) else { return false };
        if node.liveness == Liveness::Dead {
            return false;
        }
        node.last_heard_ms = node.last_heard_ms.max(now_ms);
        node.last_heard_wall_ms = wall_ms;
        true
    }

    /// A heartbeat's numbers. Storages the node did not register with are added.
    pub fn heartbeat(&mut self, node: NodeId, storages: Vec<StorageReport>, transfers: u32) {
        let Some(node) = self.get_mut(node) else { return };
        node.active_transfers = transfers;
        node.assigned = 0;
        node.received_bytes = 0;
        for storage in storages {
            // One too many is not counted; registering with it is what gets the explanation.
            node.take_storage(storage);
        }
    }

    /// The number of a storage of a node; a new one is added.
    pub fn storage_id(&mut self, node: NodeId, uuid: &str) -> Option<StorageId> {
        let node = self.get_mut(node)?;
        let at = match node.storages.iter().position(|s| s.uuid == uuid) {
            Some(at) => at,
            None if node.storages.len() < MAX_STORAGES => {
                node.storages.push(StorageReport { uuid: uuid.to_owned(), ..Default::default() });
                node.storages.len() - 1
            }
            None => return None,
        };
        u16::try_from(at).ok().map(StorageId)
    }

    /// The node's stream broke. True: it is suspected now; an older stream's end says nothing.
    pub fn disconnected(&mut self, node: NodeId, session: u64) -> bool {
        match self.of_session(node, session) {
            Some(node) if node.liveness == Liveness::Live => {
                node.liveness = Liveness::Suspected;
                true
            }
            _ => false,
        }
    }

    /// The suspected node's port refuses connections. True: it is dead now.
    pub fn refused(&mut self, node: NodeId, session: u64) -> bool {
        match self.of_session(node, session) {
            Some(node) if node.liveness == Liveness::Suspected => {
                node.liveness = Liveness::Dead;
                true
            }
            _ => false,
        }
    }

    /// Another identity took its address. True: it is dead now.
    pub fn displace(&mut self, node: NodeId) -> bool {
        match self.get_mut(node) {
            Some(node) if node.liveness != Liveness::Dead => {
                node.liveness = Liveness::Dead;
                true
            }
            _ => false,
        }
    }

    /// Nodes whose interval is over: they are dead from now on.
    pub fn tick(&mut self, now_ms: u64) -> Vec<NodeId> {
        let interval = self.dead_interval_ms;
        let mut dead = Vec::new();
        for node in &mut self.nodes {
            if node.liveness != Liveness::Dead
                && now_ms.saturating_sub(node.last_heard_ms) >= interval
            {
                Arc::make_mut(node).liveness = Liveness::Dead;
                dead.push(node.id);
            }
        }
        dead
    }

    /// A node was given work: it counts as load until a replica is whole there or its next heartbeat.
    pub fn assign(&mut self, node: NodeId) {
        if let Some(node) = self.get_mut(node) {
            node.assigned = node.assigned.saturating_add(1);
        }
    }

    /// A replica became whole on a node: its own bytes count now, not those that it might have had
    /// (HDFS `decrementBlocksScheduled`). Which one it is makes no difference: they are set aside alike.
    pub fn received(&mut self, node: NodeId, bytes: u64) {
        if let Some(node) = self.get_mut(node) {
            node.assigned = node.assigned.saturating_sub(1);
            node.received_bytes = node.received_bytes.saturating_add(bytes);
        }
    }

    /// Storages of a node that it said have failed.
    pub fn failed_storages(&self, node: NodeId) -> Vec<StorageId> {
        let storages = self.get(node).map_or(&[][..], |n| &n.storages);
        let failed = storages.iter().enumerate().filter(|(_, s)| s.failed);
        failed.filter_map(|(at, _)| u16::try_from(at).ok().map(StorageId)).collect()
    }

    /// Whether this stream was the node's last and the node is suspected.
    #[must_use]
    pub fn is_suspect(&self, node: NodeId, session: u64) -> bool {
        self.get(node).is_some_and(|n| n.session == session && n.liveness == Liveness::Suspected)
    }

    /// A complete block report of this storage arrived.
    pub fn reported(&mut self, node: NodeId, storage: StorageId, wall_ms: u64) {
        if let Some(node) = self.get_mut(node) {
            node.last_report_wall_ms = wall_ms;
            node.reported.insert(storage);
        }
    }

    /// Live nodes of whose working storages one has not reported for `patience_ms` since it
    /// registered or was last asked: they are to be asked (again), and count as asked.
    pub fn overdue_reports(&mut self, now_ms: u64, patience_ms: u64) -> Vec<NodeId> {
        let mut overdue = Vec::new();
        for node in &mut self.nodes {
            let complete = node.has_reported();
            let due = now_ms.saturating_sub(node.report_asked_ms) >= patience_ms;
            if node.liveness == Liveness::Live && !complete && due {
                Arc::make_mut(node).report_asked_ms = now_ms;
                overdue.push(node.id);
            }
        }
        overdue
    }

    /// Whether every node that is not dead has reported in full since it registered.
    #[must_use]
    pub fn all_have_reported(&self) -> bool {
        self.nodes.iter().all(|n| n.liveness == Liveness::Dead || n.has_reported())
    }

    /// The node of this number.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&Datanode> {
        self.nodes.get(node.0 as usize).map(Arc::as_ref)
    }

    /// The node of this number as it is now, to be looked at after the table was let go.
    #[must_use]
    pub fn shared(&self, node: NodeId) -> Option<&Arc<Datanode>> {
        self.nodes.get(node.0 as usize)
    }

    /// The node of this identity.
    #[must_use]
    pub fn by_uuid(&self, uuid: &str) -> Option<&Datanode> {
        self.by_uuid.get(uuid).and_then(|id| self.get(*id))
    }

    /// The live node on the machine with this address, if one runs there.
    #[must_use]
    pub fn on_machine(&self, ip: std::net::IpAddr) -> Option<&Datanode> {
        let ip = ip.to_canonical();
        let here = |n: &&Arc<Datanode>| {
            n.liveness == Liveness::Live
                && n.address.ip.parse::<std::net::IpAddr>().is_ok_and(|a| a.to_canonical() == ip)
        };
        self.nodes.iter().find(here).map(Arc::as_ref)
    }

    /// All nodes, in the order of first registration.
    #[must_use]
    pub fn all(&self) -> &[Arc<Datanode>] {
        &self.nodes
    }

    /// How many are live.
    #[must_use]
    pub fn live(&self) -> usize {
        self.nodes.iter().filter(|n| n.liveness == Liveness::Live).count()
    }

    /// Live nodes as placement sees them. `block_bytes` is set aside for each assignment that is
    /// neither whole nor part of the node's own numbers yet.
    #[must_use]
    pub fn candidates(&self, block_bytes: u64) -> Vec<Candidate<'_>> {
        self.nodes
            .iter()
            .filter(|n| n.liveness == Liveness::Live)
            .filter_map(|n| {
                let (_, storage) = n.roomiest()?;
                let under_way = block_bytes.saturating_mul(u64::from(n.assigned));
                let aside = under_way.saturating_add(n.received_bytes);
                Some(Candidate {
                    node: n.id,
                    rack: &n.rack,
                    remaining_bytes: storage.remaining.saturating_sub(aside),
                    active_transfers: n.active_transfers.saturating_add(n.assigned),
                })
            })
            .collect()
    }

    /// Sums over live nodes.
    #[must_use]
    pub fn space(&self) -> Space {
        let mut all = Space::default();
        for node in self.nodes.iter().filter(|n| n.liveness != Liveness::Dead) {
            let space = node.space();
            all.capacity = all.capacity.saturating_add(space.capacity);
            all.used = all.used.saturating_add(space.used);
            all.remaining = all.remaining.saturating_add(space.remaining);
        }
        all
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn registration(uuid: &str, ip: &str, session: u64) -> Registration {
        Registration {
            uuid: uuid.to_owned(),
            address: Address {
                ip: ip.to_owned(),
                host: ip.to_owned(),
                transfer_port: 9866,
                ipc_port: 9867,
                http_port: 9864,
            },
            rack: String::new(),
            version: String::new(),
            storages: vec![StorageReport {
                uuid: format!("{uuid}-s0"),
                capacity: 100,
                used: 10,
                remaining: 90,
                failed: false,
            }],
            session,
        }
    }

    #[test]
    fn a_silent_node_dies_after_the_interval_and_not_before() {
        let mut table = NodeTable::new(10_000);
        let id = table.register(registration("a", "10.0.0.1", 1), 0, 0).unwrap().id;
        assert!(table.heard(id, 1, 5_000, 0));
        assert!(table.tick(14_999).is_empty());
        assert_eq!(table.tick(15_000), [id]);
        assert!(table.tick(99_000).is_empty(), "it dies once");
        assert!(!table.heard(id, 1, 99_001, 0), "a dead node must register again");
        table.register(registration("a", "10.0.0.1", 2), 99_002, 0).unwrap();
        assert_eq!(table.live(), 1);
    }

    #[test]
    fn a_broken_stream_makes_a_suspect_that_a_refused_port_kills() {
        let mut table = NodeTable::new(10_000);
        let id = table.register(registration("a", "10.0.0.1", 1), 0, 0).unwrap().id;
        assert!(!table.refused(id, 1), "a live node is not killed by a probe");
        assert!(table.disconnected(id, 1));
        assert!(table.candidates(0).is_empty(), "a suspect gets no new replicas");
        assert!(table.refused(id, 1));
        assert_eq!(table.get(id).unwrap().liveness, Liveness::Dead);
    }

    #[test]
    fn a_newer_stream_replaces_the_older_one() {
        let mut table = NodeTable::new(10_000);
        let id = table.register(registration("a", "10.0.0.1", 1), 0, 0).unwrap().id;
        assert_eq!(table.register(registration("a", "10.0.0.1", 2), 1, 0).unwrap().id, id);
        assert!(!table.heard(id, 1, 2, 0));
        assert!(!table.disconnected(id, 1), "the old stream's end says nothing");
        assert_eq!(table.get(id).unwrap().liveness, Liveness::Live);
    }

    #[test]
    fn a_clone_is_refused_while_the_first_is_live_and_welcome_after() {
        let mut table = NodeTable::new(10_000);
        let id = table.register(registration("a", "10.0.0.1", 1), 0, 0).unwrap().id;
        let refusal = table.register(registration("a", "10.0.0.2", 2), 1, 0).unwrap_err();
        assert!(refusal.contains("10.0.0.1:9866") && refusal.contains("cloned"), "{refusal}");
        assert!(table.heard(id, 1, 2, 0), "the first is unaffected");
        table.disconnected(id, 1);
        assert_eq!(table.register(registration("a", "10.0.0.2", 3), 3, 0).unwrap().id, id);
    }

    #[test]
    fn a_new_identity_at_an_old_address_displaces_the_old_one() {
        let mut table = NodeTable::new(10_000);
        let old = table.register(registration("a", "10.0.0.1", 1), 0, 0).unwrap().id;
        let registered = table.register(registration("b", "10.0.0.1", 2), 1, 0).unwrap();
        assert_eq!(registered.displaced, Some(old));
        assert!(table.displace(old));
        assert_eq!(table.live(), 1);
    }

    #[test]
    fn a_full_block_is_set_aside_until_its_replica_is_whole_and_then_its_own_bytes() {
        let mut table = NodeTable::new(10_000);
        let id = table.register(registration("a", "10.0.0.1", 1), 0, 0).unwrap().id;
        let seen = |table: &NodeTable| {
            let candidates = table.candidates(40);
            (candidates[0].remaining_bytes, candidates[0].active_transfers)
        };
        table.assign(id);
        table.assign(id);
        assert_eq!(seen(&table), (10, 2));
        table.received(id, 3);
        assert_eq!(seen(&table), (47, 1));
        table.received(id, 7);
        // One that was assigned before the last heartbeat, or was here already.
        table.received(id, 5);
        assert_eq!(seen(&table), (75, 0));
        let report = StorageReport { uuid: "a-s0".into(), remaining: 70, ..Default::default() };
        table.heartbeat(id, vec![report], 1);
        assert_eq!(seen(&table), (70, 1), "the node's own numbers count");
    }

    #[test]
    fn failed_storages_count_for_nothing() {
        let mut table = NodeTable::new(10_000);
        let id = table.register(registration("a", "10.0.0.1", 1), 0, 0).unwrap().id;
        let failed = StorageReport {
            uuid: "a-s0".into(),
            remaining: 90,
            failed: true,
            ..Default::default()
        };
        table.heartbeat(id, vec![failed], 0);
        assert!(table.candidates(0).is_empty());
        assert_eq!(table.space(), Space::default());
    }
}
