//! Cutting large files and packing small ones, so that every split is worth a task. Pure.

use std::collections::BTreeMap;

use crate::files::{BlockHosts, FileInfo};

/// A split may be larger than asked by this factor, so that no tiny rest becomes a task.
const SLOP: f64 = 1.1;
/// What opening a file costs, expressed in bytes of reading: a split of many empty files ends too.
const FILE_COST_BYTES: u64 = 32 << 10;
/// The most pieces of one split. Bounds its message.
const MAX_PIECES: usize = 20_000;
/// The most hosts a split names.
const MAX_HOSTS: usize = 3;

/// A range of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) path: String,
    pub(super) offset: u64,
    pub(super) length: u64,
    /// Whether a line is known to begin at the offset, so that none is to be skipped.
    pub(super) at_line: bool,
}

/// Pieces for one task and the nodes that hold most of their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packed {
    pub(super) pieces: Vec<Piece>,
    pub(super) hosts: Vec<String>,
}

impl Packed {
    pub(super) fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.length).sum()
    }
}

/// Cuts files into splits of about `split_bytes` and packs small ones into splits of that size.
pub(super) fn pack(
    files: &[(FileInfo, Vec<BlockHosts>)],
    split_bytes: impl Fn(&FileInfo) -> u64,
) -> Vec<Packed> {
    let mut splits = Vec::new();
    // Small pieces wait with others that have the same hosts: together they are as local as alone.
    let mut waiting: BTreeMap<Vec<String>, (u64, Vec<Piece>)> = BTreeMap::new();
    for (file, blocks) in files {
        if file.length == 0 {
            continue;
        }
        let target = split_bytes(file).max(1);
        let mut offset = 0;
        while offset < file.length {
            let rest = file.length - offset;
            let length = if rest as f64 <= target as f64 * SLOP { rest } else { target };
            let piece = Piece { path: file.path.clone(), offset, length, at_line: false };
            let hosts = hosts_of(blocks, offset, length);
            if length == file.length {
                let (waiting_cost, group) = waiting.entry(hosts.clone()).or_default();
                let cost = length + FILE_COST_BYTES;
                let too_large = (*waiting_cost + cost) as f64 > target as f64 * SLOP;
                if !group.is_empty() && (too_large || group.len() >= MAX_PIECES) {
                    splits.push(Packed { pieces: std::mem::take(group), hosts });
                    *waiting_cost = 0;
                }
                group.push(piece);
                *waiting_cost += cost;
            } else {
                splits.push(Packed { pieces: vec![piece], hosts });
            }
            offset += length;
        }
    }
    for (hosts, (_, pieces)) in waiting {
        if !pieces.is_empty() {
            splits.push(Packed { pieces, hosts });
        }
    }
    // Large splits first: the last tasks to run are then the short ones.
    splits.sort_by_key(|split| std::cmp::Reverse(split.bytes()));
    splits
}

/// The hosts with most of a range's bytes, by name where they have equally many.
fn hosts_of(blocks: &[BlockHosts], offset: u64, length: u64) -> Vec<String> {
    let mut held: BTreeMap<&str, u64> = BTreeMap::new();
    for block in blocks {
        let from = block.offset.max(offset);
        let to = (block.offset + block.length).min(offset + length);
        if from < to {
            for host in &block.hosts {
                *held.entry(host).or_default() += to - from;
            }
        }
    }
    let mut hosts: Vec<_> = held.into_iter().collect();
    hosts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    hosts.truncate(MAX_HOSTS);
    hosts.into_iter().map(|(host, _)| host.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(number: usize, length: u64) -> FileInfo {
        FileInfo { path: format!("/f{number}"), is_dir: false, length, block_bytes: 0 }
    }

    proptest! {
        #[test]
        fn every_byte_is_in_one_split(
            lengths in prop::collection::vec(0u64..5_000_000, 0..30), target in 1000u64..1_000_000,
        ) {
            let files: Vec<_> =
                lengths.iter().enumerate().map(|(n, &l)| (file(n, l), Vec::new())).collect();
            let splits = pack(&files, |_| target);
            let mut next = vec![0; lengths.len()];
            let mut pieces: Vec<_> = splits.iter().flat_map(|s| s.pieces.clone()).collect();
            pieces.sort_by_key(|p| (p.path.clone(), p.offset));
            for piece in pieces {
                let number: usize = piece.path[2..].parse().unwrap_or(usize::MAX);
                prop_assert_eq!(piece.offset, next[number]);
                next[number] += piece.length;
            }
            prop_assert_eq!(next, lengths);
            for split in splits {
                prop_assert!(split.bytes() as f64 <= target as f64 * SLOP);
            }
        }
    }

    #[test]
    fn small_files_share_splits_and_large_ones_keep_their_hosts() {
        let on = |hosts: &[&str]| {
            vec![BlockHosts {
                offset: 0,
                length: u64::MAX / 2,
                hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
            }]
        };
        let mut files: Vec<_> = (0..10_000).map(|n| (file(n, 10), on(&["a", "b"]))).collect();
        files.push((file(10_000, 250 << 20), on(&["c"])));
        let splits = pack(&files, |_| 128 << 20);
        assert_eq!(splits.len(), 2 + 3);
        assert_eq!(splits[0].hosts, ["c"]);
        assert_eq!(splits.last().map(|s| s.hosts.clone()), Some(vec!["a".into(), "b".into()]));
    }
}
