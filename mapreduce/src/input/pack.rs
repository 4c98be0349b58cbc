//! Cutting large files and packing small ones, so that every split is worth a task. Pure.
//!
//! Small files are packed as Hadoop's `CombineFileInputFormat` does it: first those that one node has,
//! as long as they fill splits; of what is left those that one rack has; what is left then, together.

use std::collections::BTreeMap;

use super::file_splits::Piece;
use crate::files::{BlockHosts, FileInfo};

/// A split may be larger than asked by this factor, so that no tiny rest becomes a task.
const SLOP: f64 = 1.1;
/// What opening a file costs, expressed in bytes of reading: a split of many empty files ends too.
const FILE_COST_BYTES: u64 = 32 << 10;
/// The most pieces of one split. Bounds its message.
const MAX_PIECES: usize = 20_000;
/// The most hosts a split names.
const MAX_HOSTS: usize = 3;

/// Where a file may be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    Anywhere,
    /// One task reads all of it.
    Nowhere,
    /// At multiples of so many bytes.
    Every(u64),
}

/// A file, where it lies, and how it is to be cut.
#[derive(Debug, Clone)]
pub(super) struct Located {
    pub(super) file: FileInfo,
    pub(super) blocks: Vec<BlockHosts>,
    pub(super) cut: Cut,
    /// Bytes of its splits, about. At least 1.
    pub(super) target: u64,
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

/// A whole file that waits for others.
struct Small {
    piece: Piece,
    target: u64,
    /// The nodes that hold most of it.
    hosts: Vec<String>,
    racks: Vec<String>,
}

impl Small {
    fn cost(&self) -> u64 {
        self.piece.length + FILE_COST_BYTES
    }
}

fn fits(bytes: u64, target: u64) -> bool {
    bytes as f64 <= target as f64 * SLOP
}

/// Cuts files into splits of about their targets and packs small ones into splits of that size.
pub(super) fn pack(files: Vec<Located>) -> Vec<Packed> {
    let mut splits = Vec::new();
    let mut small = Vec::new();
    for Located { file, blocks, cut, target } in files {
        let length = file.length;
        let step = match cut {
            Cut::Anywhere => target,
            Cut::Nowhere => length,
            Cut::Every(unit) => (target / unit.max(1)).max(1).saturating_mul(unit.max(1)),
        };
        let piece = |start, length| Piece { path: file.path.clone(), start, length };
        if fits(length, target) {
            let (hosts, racks) = hosts_of(&blocks, 0, length);
            small.push(Some(Small { piece: piece(0, length), target, hosts, racks }));
            continue;
        }
        let mut start = 0;
        while start < length {
            let rest = length - start;
            let bytes = if fits(rest, step) { rest } else { step };
            let (hosts, _) = hosts_of(&blocks, start, bytes);
            splits.push(Packed { pieces: vec![piece(start, bytes)], hosts });
            start += bytes;
        }
    }
    pack_by(&mut small, &mut splits, |small| &small.hosts);
    pack_by(&mut small, &mut splits, |small| &small.racks);
    let mut open = Open::default();
    for small in small.into_iter().flatten() {
        if !open.takes(&small) {
            splits.push(std::mem::take(&mut open).close());
        }
        open.add(small);
    }
    if !open.pieces.is_empty() {
        splits.push(open.close());
    }
    // Large splits first: the last tasks to run are then the short ones.
    splits.sort_by_key(|split| std::cmp::Reverse(split.bytes()));
    splits
}

/// Packs what is in one place, place by place in turn, so that no place gets all of what several have.
/// Only full splits are made; the rest stays.
fn pack_by(
    small: &mut [Option<Small>],
    splits: &mut Vec<Packed>,
    places: impl Fn(&Small) -> &[String],
) {
    // For each place, the files that it has and how many of them have been looked at.
    let mut by_place: BTreeMap<String, (Vec<usize>, usize)> = BTreeMap::new();
    for (number, small) in small.iter().enumerate() {
        for place in small.iter().flat_map(&places) {
            by_place.entry(place.clone()).or_default().0.push(number);
        }
    }
    while !by_place.is_empty() {
        by_place.retain(|_, (numbers, looked_at)| {
            let mut open = Open::default();
            let mut taken: Vec<usize> = Vec::new();
            while let Some(&number) = numbers.get(*looked_at) {
                if let Some(file) = &small[number] {
                    if !open.takes(file) {
                        for &number in &taken {
                            open.pieces.extend(small[number].take());
                        }
                        splits.push(open.close());
                        return true;
                    }
                    open.count(file);
                    taken.push(number);
                }
                *looked_at += 1;
            }
            // What is left does not fill a split: it waits for files of other places.
            false
        });
    }
}

/// A split that is being filled.
#[derive(Default)]
struct Open {
    pieces: Vec<Small>,
    count: usize,
    cost: u64,
    /// The least of its files' targets.
    target: Option<u64>,
}

impl Open {
    fn takes(&self, file: &Small) -> bool {
        let target = self.target.map_or(file.target, |target| target.min(file.target));
        self.count == 0 || (fits(self.cost + file.cost(), target) && self.count < MAX_PIECES)
    }

    fn count(&mut self, file: &Small) {
        self.count += 1;
        self.cost += file.cost();
        self.target = Some(self.target.map_or(file.target, |target| target.min(file.target)));
    }

    fn add(&mut self, file: Small) {
        self.count(&file);
        self.pieces.push(file);
    }

    /// The split, with the nodes that hold most of its bytes; where some hold all of them, only those.
    fn close(self) -> Packed {
        let total: u64 = self.pieces.iter().map(|small| small.piece.length).sum();
        let mut held: BTreeMap<String, u64> = BTreeMap::new();
        for small in &self.pieces {
            for host in &small.hosts {
                *held.entry(host.clone()).or_default() += small.piece.length;
            }
        }
        if held.values().any(|&bytes| bytes == total) {
            held.retain(|_, bytes| *bytes == total);
        }
        Packed {
            pieces: self.pieces.into_iter().map(|small| small.piece).collect(),
            hosts: most(held),
        }
    }
}

/// The hosts with most of a range's bytes, by name where they have equally many, and their racks.
fn hosts_of(blocks: &[BlockHosts], offset: u64, length: u64) -> (Vec<String>, Vec<String>) {
    let mut held: BTreeMap<String, u64> = BTreeMap::new();
    let mut rack_of: BTreeMap<&str, &str> = BTreeMap::new();
    for block in blocks {
        let from = block.offset.max(offset);
        let to = (block.offset + block.length).min(offset + length);
        if from < to {
            for (number, host) in block.hosts.iter().enumerate() {
                *held.entry(host.clone()).or_default() += to - from;
                rack_of.extend(block.racks.get(number).map(|rack| (&host[..], &rack[..])));
            }
        }
    }
    let hosts = most(held);
    let racks = hosts.iter().filter_map(|host| rack_of.get(&host[..]));
    let mut racks: Vec<_> = racks.map(|rack| (*rack).to_owned()).collect();
    racks.sort();
    racks.dedup();
    (hosts, racks)
}

fn most(held: BTreeMap<String, u64>) -> Vec<String> {
    let mut hosts: Vec<_> = held.into_iter().collect();
    hosts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    hosts.truncate(MAX_HOSTS);
    hosts.into_iter().map(|(host, _)| host).collect()
}

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;
