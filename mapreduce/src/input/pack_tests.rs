use proptest::prelude::*;

use super::*;

fn file(number: usize, length: u64, hosts: &[usize], target: u64) -> Located {
    let path = format!("/f{number}");
    let block = BlockHosts {
        offset: 0,
        length,
        hosts: hosts.iter().map(|host| format!("host{host:02}")).collect(),
        racks: hosts.iter().map(|host| format!("/rack{}", host / 4)).collect(),
    };
    Located {
        file: FileInfo { path, is_dir: false, length, block_bytes: 0 },
        blocks: vec![block],
        cut: Cut::Anywhere,
        target,
    }
}

/// Three different ones of `nodes`.
fn replicas(seed: usize, nodes: usize) -> Vec<usize> {
    let first = seed.wrapping_mul(2_654_435_761) % nodes;
    let second = (first + 1 + seed / 7 % (nodes - 1)) % nodes;
    let third = (0..nodes).map(|n| (n + seed / 3) % nodes).find(|n| *n != first && *n != second);
    [Some(first), Some(second), third].into_iter().flatten().collect()
}

proptest! {
    #[test]
    fn every_byte_is_in_one_split_and_no_split_is_too_large(
        files in prop::collection::vec((0u64..5_000_000, 0usize..1000, 0u8..4), 0..60),
        target in 1000u64..1_000_000, unit in 1u64..3000,
    ) {
        let located: Vec<_> = files
            .iter()
            .enumerate()
            .map(|(number, &(length, seed, kind))| Located {
                cut: match kind { 0 => Cut::Nowhere, 1 => Cut::Every(unit), _ => Cut::Anywhere },
                ..file(number, length, &replicas(seed, 9), target)
            })
            .collect();
        let splits = pack(located.clone());
        let mut pieces: Vec<_> = splits.iter().flat_map(|s| s.pieces.clone()).collect();
        pieces.sort_by_key(|p| (p.path.clone(), p.start));
        let mut next = vec![0; files.len()];
        for piece in pieces {
            let number: usize = piece.path[2..].parse().unwrap_or(usize::MAX);
            prop_assert_eq!(piece.start, next[number]);
            prop_assert!(piece.length > 0 || files[number].0 == 0);
            next[number] += piece.length;
            match located[number].cut {
                Cut::Nowhere => prop_assert_eq!(piece.length, files[number].0),
                Cut::Every(unit) => prop_assert_eq!(piece.start % unit, 0),
                Cut::Anywhere => {}
            }
        }
        prop_assert_eq!(next, files.iter().map(|file| file.0).collect::<Vec<_>>());
        for split in splits {
            let whole = split.pieces.len() == 1
                && located.iter().any(|l| l.file.path == split.pieces[0].path && l.cut != Cut::Anywhere);
            prop_assert!(whole || split.bytes() as f64 <= target as f64 * SLOP);
            prop_assert!(split.hosts.len() <= MAX_HOSTS);
        }
    }
}

#[test]
fn small_files_share_splits_and_large_ones_keep_their_hosts() {
    let mut files: Vec<_> = (0..10_000).map(|n| file(n, 10, &[1, 2], 128 << 20)).collect();
    files.push(file(10_000, 250 << 20, &[3], 128 << 20));
    let splits = pack(files);
    assert_eq!(splits.len(), 2 + 3);
    assert_eq!(splits[0].hosts, ["host03"]);
    assert_eq!(
        splits.last().map(|s| s.hosts.clone()),
        Some(vec!["host01".into(), "host02".into()])
    );
}

/// A thousand files on random nodes of twenty: 1,140 sets of three hosts are possible, so sharing only
/// with files of the same set would give hundreds of splits.
#[test]
fn files_on_many_nodes_are_packed_by_node_then_by_rack() {
    let files: Vec<_> =
        (0..1000).map(|n| file(n, 1 << 20, &replicas(n * 37 + 11, 20), 16 << 20)).collect();
    let held: BTreeMap<_, _> =
        files.iter().map(|l| (l.file.path.clone(), l.blocks[0].hosts.clone())).collect();
    let splits = pack(files);
    let per_split = 1000.0 / splits.len() as f64;
    assert!(per_split > 13.0, "{} splits, {per_split} files each", splits.len());
    let local = splits.iter().filter(|split| {
        let holds = |host: &String| split.pieces.iter().all(|p| held[&p.path].contains(host));
        split.hosts.first().is_some_and(holds)
    });
    let local = local.count();
    assert!(local * 4 >= splits.len() * 3, "{local} of {} splits are on one node", splits.len());
    // No node has all of them to do.
    let mut by_host: BTreeMap<&str, usize> = BTreeMap::new();
    for split in &splits {
        *by_host.entry(&split.hosts[0]).or_default() += 1;
    }
    assert!(by_host.values().all(|&count| count <= splits.len() / 4), "{by_host:?}");
}

#[test]
fn what_no_node_can_fill_is_packed_by_rack() {
    // Each node has one file alone; rack 0 is nodes 0 to 3, rack 1 nodes 4 to 7.
    let files: Vec<_> = (0..8).map(|n| file(n, 1 << 20, &[n], 2 << 20)).collect();
    let splits = pack(files);
    let of_one_rack = splits.iter().filter(|split| {
        let rack = |piece: &Piece| piece.path[2..].parse::<usize>().map(|n| n / 4).unwrap_or(9);
        split.pieces.iter().all(|piece| rack(piece) == rack(&split.pieces[0]))
    });
    // Two files each fit; the last of a rack waits to see whether more come.
    assert!(splits.len() <= 5 && of_one_rack.count() >= splits.len() - 1, "{splits:?}");
}

#[test]
fn a_file_that_can_not_be_cut_is_one_split() {
    let files = vec![
        Located { cut: Cut::Nowhere, ..file(0, 10 << 30, &[1], 128 << 20) },
        file(1, 100, &[1], 128 << 20),
    ];
    let splits = pack(files);
    assert_eq!(splits.len(), 2);
    assert_eq!((splits[0].bytes(), splits[0].pieces.len()), (10 << 30, 1));
}
