//! Where new replicas go: the writer's own node first, then spread over racks and nodes by load
//! and free space.

use super::map::NodeId;

/// What placement knows of a live datanode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The node.
    pub node: NodeId,
    /// Its rack, such as `/default-rack`.
    pub rack: &'a str,
    /// Free bytes of its roomiest storage, less what is already on its way there.
    pub remaining_bytes: u64,
    /// Transfers it serves now, plus those just given to it.
    pub active_transfers: u32,
}

/// One question to the policy.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The datanode that shares the writer's machine.
    pub writer: Option<NodeId>,
    /// Nodes that hold (or are about to hold) a replica: not chosen again, but counted for spread.
    pub holders: &'a [NodeId],
    /// Never chosen.
    pub excluded: &'a [NodeId],
    /// Chosen first where possible.
    pub favoured: &'a [NodeId],
    /// New replicas wanted.
    pub count: usize,
    /// A node needs at least this many free bytes.
    pub needed_bytes: u64,
}

/// Chooses nodes. Pure: the same candidates, request and generator state give the same answer.
pub trait PlacementPolicy: Send + Sync + std::fmt::Debug {
    /// At most `request.count` different nodes, in pipeline order; fewer when there are no more.
    fn choose(
        &self,
        candidates: &[Candidate<'_>],
        request: &Request<'_>,
        random: &mut SplitMix,
    ) -> Vec<NodeId>;
}

/// A small seeded generator (splitmix64), so that a history of decisions can be replayed.
#[derive(Debug, Clone)]
pub struct SplitMix(u64);

impl SplitMix {
    /// A generator with this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 {
            return 0;
        }
        usize::try_from(self.draw() % bound as u64).unwrap_or(0)
    }
}

/// The default policy (the aims of HDFS `BlockPlacementPolicyDefault`): the writer's node, then a
/// node of another rack, then a second node of that remote rack, then any; never two replicas on
/// one node. Between equals, two random nodes are compared and the less loaded, then the roomier
/// one wins: nearly as even as a full sort and immune to herding.
#[derive(Debug, Default, Clone, Copy)]
pub struct SpreadPolicy;

impl PlacementPolicy for SpreadPolicy {
    fn choose(
        &self,
        candidates: &[Candidate<'_>],
        request: &Request<'_>,
        random: &mut SplitMix,
    ) -> Vec<NodeId> {
        let usable: Vec<Candidate<'_>> = candidates
            .iter()
            .filter(|c| !request.excluded.contains(&c.node) && !request.holders.contains(&c.node))
            .filter(|c| c.remaining_bytes >= request.needed_bytes)
            .copied()
            .collect();
        let rack_of = |node: &NodeId| candidates.iter().find(|c| c.node == *node).map(|c| c.rack);
        // Racks of all replicas so far, in pipeline order.
        let mut racks: Vec<&str> = request.holders.iter().filter_map(rack_of).collect();
        let mut chosen: Vec<NodeId> = Vec::with_capacity(request.count);
        let wishes = request.favoured.iter().chain(request.writer.iter());
        let wished: Vec<NodeId> = if request.holders.is_empty() || !request.favoured.is_empty() {
            wishes.copied().collect()
        } else {
            Vec::new()
        };
        for wish in wished {
            if chosen.len() == request.count {
                break;
            }
            if let Some(candidate) = usable.iter().find(|c| c.node == wish)
                && !chosen.contains(&wish)
            {
                chosen.push(wish);
                racks.push(candidate.rack);
            }
        }
        while chosen.len() < request.count {
            let left: Vec<&Candidate<'_>> =
                usable.iter().filter(|c| !chosen.contains(&c.node)).collect();
            let preferred: Vec<&Candidate<'_>> = match racks.as_slice() {
                [] => Vec::new(),
                // All replicas so far share a rack: leave it.
                all if all.iter().all(|rack| *rack == all[0]) => {
                    left.iter().filter(|c| c.rack != all[0]).copied().collect()
                }
                // The third joins the second: a pipeline crosses racks once.
                [_, second] => left.iter().filter(|c| c.rack == *second).copied().collect(),
                _ => Vec::new(),
            };
            let pool = if preferred.is_empty() { &left } else { &preferred };
            let Some(candidate) = better_of_two(pool, random) else { break };
            chosen.push(candidate.node);
            racks.push(candidate.rack);
        }
        chosen
    }
}

fn better_of_two<'a>(pool: &[&Candidate<'a>], random: &mut SplitMix) -> Option<Candidate<'a>> {
    let first = **pool.get(random.below(pool.len()))?;
    let second = **pool.get(random.below(pool.len()))?;
    let load = first.active_transfers.cmp(&second.active_transfers);
    let room = second.remaining_bytes.cmp(&first.remaining_bytes);
    Some(if load.then(room).is_gt() { second } else { first })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(node: u32, rack: &str) -> Candidate<'_> {
        Candidate { node: NodeId(node), rack, remaining_bytes: 1 << 40, active_transfers: 0 }
    }

    fn request(count: usize) -> Request<'static> {
        Request {
            writer: None,
            holders: &[],
            excluded: &[],
            favoured: &[],
            count,
            needed_bytes: 1 << 20,
        }
    }

    #[test]
    fn the_writer_comes_first_then_two_of_another_rack() {
        let nodes =
            [candidate(0, "/a"), candidate(1, "/a"), candidate(2, "/b"), candidate(3, "/b")];
        for seed in 0..50 {
            let chosen = SpreadPolicy.choose(
                &nodes,
                &Request { writer: Some(NodeId(1)), ..request(3) },
                &mut SplitMix::new(seed),
            );
            assert_eq!(chosen[0], NodeId(1));
            let mut others = chosen[1..].to_vec();
            others.sort_unstable();
            assert_eq!(others, [NodeId(2), NodeId(3)], "seed {seed}");
        }
    }

    #[test]
    fn one_rack_still_gives_different_nodes_and_no_more_than_there_are() {
        let nodes = [candidate(0, "/a"), candidate(1, "/a"), candidate(2, "/a")];
        for seed in 0..50 {
            let mut chosen = SpreadPolicy.choose(&nodes, &request(5), &mut SplitMix::new(seed));
            chosen.sort_unstable();
            assert_eq!(chosen, [NodeId(0), NodeId(1), NodeId(2)]);
        }
    }

    #[test]
    fn excluded_holding_and_full_nodes_are_never_chosen() {
        let mut nodes =
            vec![candidate(0, "/a"), candidate(1, "/a"), candidate(2, "/a"), candidate(3, "/a")];
        nodes[3].remaining_bytes = 5;
        let chosen = SpreadPolicy.choose(
            &nodes,
            &Request {
                writer: Some(NodeId(0)),
                excluded: &[NodeId(0)],
                holders: &[NodeId(1)],
                ..request(3)
            },
            &mut SplitMix::new(7),
        );
        assert_eq!(chosen, [NodeId(2)]);
    }

    #[test]
    fn favoured_nodes_go_before_the_writer() {
        let nodes = [candidate(0, "/a"), candidate(1, "/a"), candidate(2, "/a")];
        let chosen = SpreadPolicy.choose(
            &nodes,
            &Request { writer: Some(NodeId(0)), favoured: &[NodeId(2)], ..request(2) },
            &mut SplitMix::new(1),
        );
        assert_eq!(chosen, [NodeId(2), NodeId(0)]);
    }

    #[test]
    fn load_is_spread() {
        let mut nodes: Vec<Candidate<'_>> = (0..10).map(|n| candidate(n, "/a")).collect();
        nodes[0].active_transfers = 100;
        let mut random = SplitMix::new(3);
        let busy = (0..1000)
            .filter(|_| SpreadPolicy.choose(&nodes, &request(1), &mut random) == [NodeId(0)])
            .count();
        assert!(busy < 30, "the busy node was chosen {busy} times of 1000");
    }
}
