//! The store over real directories.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::store::pipeline::NewReplica;
use crate::store::replica::PipelineRecovery;
use hfs_protocol::proto::datanode::ReplicaState;
use hfs_protocol::transfer::checksum::DataChecksum;
use tempfile::TempDir;

const POOL: &str = "BP-1";
const BLOCK: BlockId = BlockId(1_073_741_825);
const STAMP: GenStamp = GenStamp(1001);

#[derive(Debug, Default)]
struct Events {
    changes: Mutex<Vec<(Kind, Block)>>,
    bad: Mutex<Vec<String>>,
    failed: Mutex<Vec<PathBuf>>,
}

impl ReplicaEvents for Events {
    fn changed(&self, kind: Kind, block: Block, _storage_uuid: &str) {
        self.changes.lock().push((kind, block));
    }
    fn bad(&self, _block: Block, reason: &str) {
        self.bad.lock().push(reason.to_owned());
    }
    fn volume_suspect(&self) {}
    fn volume_failed(&self, dir: &Path, _reason: &str) {
        self.failed.lock().push(dir.to_owned());
    }
}

fn options(dirs: &[&Path]) -> StoreOptions {
    StoreOptions {
        dirs: dirs.iter().map(|dir| dir.to_path_buf()).collect(),
        reserve_bytes: 0,
        failed_tolerated: 1,
        fsync: FsyncPolicy::OnHsync,
    }
}

fn pool() -> Pool {
    Pool { cluster_id: "CID-1".into(), pool_id: POOL.into() }
}

fn open(dirs: &[&Path]) -> (Arc<Store>, Arc<Events>) {
    let events = Arc::new(Events::default());
    let store = Store::open(&options(dirs), Arc::clone(&events) as _).unwrap();
    store.adopt(&pool()).unwrap();
    (Arc::new(store), events)
}

fn refusal(dirs: &[&Path]) -> String {
    Store::open(&options(dirs), Arc::new(Events::default())).unwrap_err().to_string()
}

fn new(block: BlockId) -> NewReplica<'static> {
    NewReplica {
        block,
        stamp: STAMP,
        expected_bytes: 0,
        storage_uuid: None,
        checksum: DataChecksum::default(),
        copy: false,
    }
}

fn write(store: &Arc<Store>, block: BlockId, data: &[u8], finish: bool) {
    let mut writer = store.create(&new(block)).unwrap();
    writer.write(0, data, &DataChecksum::default().chunks(data), true).unwrap();
    writer.handle().acknowledge(data.len() as u64);
    if finish {
        writer.handle().finalize(true).unwrap();
    }
}

fn state(store: &Store, block: BlockId) -> (&'static str, GenStamp, u64) {
    let slot = store.slot(block).unwrap();
    let held = slot.held().unwrap();
    (held.replica.state_name(), held.replica.stamp(), held.replica.on_disk())
}

#[test]
fn directories_are_initialised_once_and_recognised() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (store, _) = open(&[a.path(), b.path()]);
    let uuid = store.datanode_uuid().to_owned();
    let storages: Vec<_> = store.storages().into_iter().map(|s| s.storage_uuid).collect();
    let other = Pool { cluster_id: "CID-2".into(), pool_id: "BP-2".into() };
    let sentence = store.adopt(&other).unwrap_err().to_string();
    for part in ["CID-1", "CID-2", &a.path().display().to_string(), "nothing was changed"] {
        assert!(sentence.contains(part), "{sentence}");
    }
    assert!(refusal(&[a.path()]).contains("in use"));
    drop(store);
    let (store, _) = open(&[a.path(), b.path()]);
    assert_eq!(store.datanode_uuid(), uuid);
    assert_eq!(store.pool(), Some(&pool()));
    let again: Vec<_> = store.storages().into_iter().map(|s| s.storage_uuid).collect();
    assert_eq!(again, storages);
}

#[test]
fn directories_of_others_are_refused_untouched() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    drop(open(&[a.path()]));
    drop(open(&[b.path()]));
    let sentence = refusal(&[a.path(), b.path()]);
    assert!(sentence.contains("datanode uuid"), "{sentence}");

    let other = TempDir::new().unwrap();
    fs::create_dir(other.path().join("current")).unwrap();
    let identity = version::Identity {
        cluster_id: "CID-9".into(),
        datanode_uuid: "u".into(),
        storage_uuid: "DS-9".into(),
    };
    identity.write(other.path()).unwrap();
    let sentence = refusal(&[a.path(), other.path()]);
    for part in
        ["CID-1", "CID-9", &a.path().display().to_string(), &other.path().display().to_string()]
    {
        assert!(sentence.contains(part), "{sentence}");
    }

    let photos = TempDir::new().unwrap();
    fs::write(photos.path().join("cat.jpg"), "x").unwrap();
    assert!(refusal(&[photos.path()]).contains("cat.jpg"));
    assert_eq!(fs::read_dir(photos.path()).unwrap().count(), 1);

    let copy = TempDir::new().unwrap();
    fs::create_dir(copy.path().join("current")).unwrap();
    fs::copy(a.path().join("current/VERSION"), copy.path().join("current/VERSION")).unwrap();
    assert!(refusal(&[a.path(), copy.path()]).contains("is a copy of the other"));
}

#[test]
fn volumes_take_turns_and_reports_are_sorted() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (store, events) = open(&[a.path(), b.path()]);
    for index in (0..6).rev() {
        write(&store, BlockId(BLOCK.0 + index), &[1; 600], index % 2 == 0);
    }
    let reports: Vec<_> = store.volumes().iter().map(|volume| store.report(volume)).collect();
    assert_eq!(reports.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
    for report in &reports {
        assert!(report.is_sorted_by_key(|replica| replica.block.unwrap().block_id));
    }
    let received = events.changes.lock().iter().filter(|(kind, _)| *kind == Kind::Received).count();
    assert_eq!(received, 3);
    assert_eq!(store.storages().iter().map(|s| s.used_bytes).sum::<u64>(), 6 * (600 + 7 + 8));
    let doubled = store.create(&new(BLOCK)).unwrap_err().to_string();
    assert!(doubled.contains("already has a replica"), "{doubled}");
}

#[test]
fn a_full_disk_is_a_sentence() {
    let dir = TempDir::new().unwrap();
    let mut options = options(&[dir.path()]);
    options.reserve_bytes = u64::MAX / 2;
    let store = Arc::new(Store::open(&options, Arc::new(Events::default())).unwrap());
    store.adopt(&pool()).unwrap();
    let sentence = store.create(&new(BLOCK)).unwrap_err().to_string();
    assert!(sentence.contains("free some space"), "{sentence}");
    assert_eq!(store.replica_count(), 0);
}

#[test]
fn running_out_of_descriptors_is_not_the_disks_fault() {
    use rustix::io::Errno;
    let fault =
        |errno: Errno| StoreError::io("open", Path::new("/d"))(errno.into()).is_disk_fault();
    let not_the_disk = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOSPC, Errno::DQUOT];
    assert!(!not_the_disk.into_iter().any(fault));
    assert!([Errno::IO, Errno::ROFS, Errno::NOENT, Errno::ACCESS].into_iter().all(fault));
}

#[test]
fn a_restart_finds_everything_in_its_state() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(&[dir.path()]);
    let data = vec![9; 1300];
    write(&store, BLOCK, &data, true);
    write(&store, BlockId(BLOCK.0 + 1), &data, false);
    let rbw = store.slot(BlockId(BLOCK.0 + 1)).unwrap().held().unwrap().files(BlockId(BLOCK.0 + 1));
    let rbw = rbw.unwrap();
    let copy = NewReplica { copy: true, ..new(BlockId(BLOCK.0 + 2)) };
    store.create(&copy).unwrap();
    drop(store);
    // As a crash between data and checksums leaves it.
    let mut torn = fs::read(&rbw.data).unwrap();
    torn.extend_from_slice(&[3; 40]);
    fs::write(&rbw.data, torn).unwrap();

    let (store, _) = open(&[dir.path()]);
    assert_eq!(store.replica_count(), 2);
    assert_eq!(state(&store, BLOCK), ("FINALIZED", STAMP, 1300));
    assert_eq!(state(&store, BlockId(BLOCK.0 + 1)), ("RWR", STAMP, 1300));
    assert_eq!(fs::metadata(&rbw.data).unwrap().len(), 1300);
    assert!(store.verify(BLOCK, STAMP).unwrap());
    assert!(store.take_bad_at_start().is_empty());
}

#[test]
fn a_lost_tail_is_reported_at_the_start() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(&[dir.path()]);
    write(&store, BLOCK, &[9; 1300], true);
    let files = store.slot(BLOCK).unwrap().held().unwrap().files(BLOCK).unwrap();
    drop(store);
    fs::File::options().write(true).open(&files.data).unwrap().set_len(900).unwrap();
    let (store, _) = open(&[dir.path()]);
    let bad = store.take_bad_at_start();
    assert_eq!(bad.len(), 1);
    assert!(bad[0].1.contains("900 bytes"), "{}", bad[0].1);
}

#[test]
fn a_crash_between_the_two_renames_is_mended() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(&[dir.path()]);
    write(&store, BLOCK, &[9; 700], true);
    let held = store.slot(BLOCK).unwrap().held().unwrap().clone();
    let from = held.files(BLOCK).unwrap();
    let to = held.volume.files(replica::Place::Rbw, BLOCK, STAMP).unwrap();
    drop(held);
    drop(store);
    fs::rename(&from.data, &to.data).unwrap();
    let (store, _) = open(&[dir.path()]);
    assert_eq!(state(&store, BLOCK), ("RWR", STAMP, 700));
    assert!(to.meta.exists());
}

#[test]
fn invalidation_removes_files_but_not_newer_replicas() {
    let dir = TempDir::new().unwrap();
    let (store, events) = open(&[dir.path()]);
    write(&store, BLOCK, &[9; 700], true);
    let files = store.slot(BLOCK).unwrap().held().unwrap().files(BLOCK).unwrap();
    assert_eq!(store.invalidate(&[named(BLOCK, GenStamp(1000), 700)]), 0);
    assert!(files.data.exists());
    assert_eq!(store.invalidate(&[named(BLOCK, STAMP, 700), named(BlockId(5), STAMP, 0)]), 1);
    assert!(!files.data.exists() && !files.meta.exists());
    assert_eq!(store.replica_count(), 0);
    assert_eq!(events.changes.lock().last().unwrap().0, Kind::Deleted);
    assert_eq!(store.storages()[0].used_bytes, 0);
    write(&store, BLOCK, &[8; 10], true);
}

#[test]
fn a_recovery_cuts_every_kind_of_replica_to_the_agreed_length() {
    let dir = TempDir::new().unwrap();
    let (store, events) = open(&[dir.path()]);
    let data: Vec<u8> = (0..1300_u32).map(|i| i as u8).collect();
    let recovery = GenStamp(2000);
    write(&store, BLOCK, &data, true);
    write(&store, BlockId(BLOCK.0 + 1), &data, false);
    let mapped = store.open_reader(BLOCK, STAMP).unwrap();
    for (block, was) in
        [(BLOCK, ReplicaState::Finalized), (BlockId(BLOCK.0 + 1), ReplicaState::Rbw)]
    {
        let offered = store.init_recovery(block, STAMP, recovery).unwrap();
        assert_eq!((offered.state, offered.block.length), (was, 1300));
        assert!(store.finish_recovery(block, GenStamp(1999), 700).is_err());
        store.finish_recovery(block, recovery, 700).unwrap();
        store.finish_recovery(block, recovery, 700).unwrap();
        assert_eq!(state(&store, block), ("FINALIZED", recovery, 700));
        assert!(store.verify(block, recovery).unwrap());
        let reader = store.open_reader(block, recovery).unwrap();
        assert_eq!(reader.files().read_data(0, 700).unwrap(), data[..700]);
        assert!(store.init_recovery(block, STAMP, GenStamp(1500)).is_err());
    }
    // Who had the complete replica open still has all of it.
    mapped.verify().unwrap();
    assert!(events.bad.lock().is_empty());
    drop(mapped);
    drop(store);
    let (store, _) = open(&[dir.path()]);
    assert_eq!(state(&store, BLOCK), ("FINALIZED", recovery, 700));
    assert!(store.take_bad_at_start().is_empty());
}

#[test]
fn pipeline_recovery_cuts_what_was_never_acked() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(&[dir.path()]);
    let data: Vec<u8> = (0..1300_u32).map(|i| (i * 7) as u8).collect();
    let checksum = DataChecksum::default();
    let mut writer = store.create(&new(BLOCK)).unwrap();
    writer.write(0, &data, &checksum.chunks(&data), true).unwrap();
    writer.handle().acknowledge(600);
    drop(writer);
    let asked = PipelineRecovery {
        block: BLOCK,
        stamp: STAMP,
        new_stamp: GenStamp(1002),
        min_bytes: 500,
        max_bytes: 1300,
    };
    let mut writer = store.recover(&asked, checksum, 0).unwrap();
    assert_eq!(writer.on_disk(), 600);
    // The client sends again from where it knows.
    writer.write(512, &data[512..], &checksum.chunks(&data[512..]), false).unwrap();
    writer.handle().acknowledge(1300);
    writer.handle().finalize(false).unwrap();
    drop(writer);
    assert!(store.verify(BLOCK, GenStamp(1002)).unwrap());
    assert_eq!(state(&store, BLOCK), ("FINALIZED", GenStamp(1002), 1300));
}

/// What a writer leaves that was stopped, or whose disk was full, after a packet's bytes and
/// checksums reached the files and before the replica counted them.
fn leave_half_a_packet(store: &Store, block: BlockId, counted: &[u8]) {
    let files = store.slot(block).unwrap().held().unwrap().files(block).unwrap();
    let longer = [counted, &[5; 1000]].concat();
    let checksum = DataChecksum::default();
    fs::write(&files.data, &longer).unwrap();
    let meta = [&checksum.encode_meta_header()[..], &checksum.chunks(&longer)].concat();
    fs::write(&files.meta, meta).unwrap();
}

#[test]
fn no_recovery_keeps_a_packet_that_was_stopped_half_way() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(&[dir.path()]);
    let data: Vec<u8> = (0..1300_u32).map(|i| (i * 3) as u8).collect();
    let blocks = [0, 1, 2, 3].map(|index| BlockId(BLOCK.0 + index));
    for block in blocks {
        write(&store, block, &data, false);
        leave_half_a_packet(&store, block, &data);
    }
    let stamp = GenStamp(2000);
    for (block, length) in [(blocks[0], 1300), (blocks[1], 1290)] {
        store.init_recovery(block, STAMP, stamp).unwrap();
        store.finish_recovery(block, stamp, length).unwrap();
    }
    let asked = |block| PipelineRecovery {
        block,
        stamp: STAMP,
        new_stamp: stamp,
        min_bytes: 1300,
        max_bytes: 1300,
    };
    store.recover_close(&asked(blocks[2])).unwrap();
    let writer = store.recover(&asked(blocks[3]), DataChecksum::default(), 0).unwrap();
    writer.handle().finalize(false).unwrap();
    drop(writer);
    let lengths = [1300, 1290, 1300, 1300];
    let check = |store: &Store| {
        for (block, length) in blocks.into_iter().zip(lengths) {
            assert_eq!(state(store, block), ("FINALIZED", stamp, length));
            assert!(store.verify(block, stamp).unwrap(), "{block}");
            let reader = store.open_reader(block, stamp).unwrap();
            let bytes = reader.files().read_data(0, length as usize).unwrap();
            assert_eq!(bytes, data[..length as usize]);
        }
    };
    check(&store);
    drop(store);
    // The start goes by the files' lengths.
    let (store, _) = open(&[dir.path()]);
    check(&store);
    assert!(store.take_bad_at_start().is_empty());
}

#[test]
fn a_damaged_last_chunk_is_not_appended_to() {
    let dir = TempDir::new().unwrap();
    let (store, events) = open(&[dir.path()]);
    write(&store, BLOCK, &[9; 700], true);
    let files = store.slot(BLOCK).unwrap().held().unwrap().files(BLOCK).unwrap();
    let mut bytes = fs::read(&files.data).unwrap();
    bytes[600] ^= 4;
    fs::write(&files.data, bytes).unwrap();
    let asked = PipelineRecovery {
        block: BLOCK,
        stamp: STAMP,
        new_stamp: GenStamp(1002),
        min_bytes: 700,
        max_bytes: 700,
    };
    let error = store.append(&asked, DataChecksum::default(), 0).unwrap_err().to_string();
    assert!(error.contains("corrupt"), "{error}");
    assert_eq!(events.bad.lock().len(), 1);
}

#[test]
fn a_dead_directory_is_given_up_and_taken_back() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (store, events) = open(&[a.path(), b.path()]);
    for index in 0..4 {
        write(&store, BlockId(BLOCK.0 + index), &[1; 600], true);
    }
    let hidden = a.path().join("hidden");
    fs::rename(a.path().join("current"), &hidden).unwrap();
    store.volumes().iter().for_each(|volume| store.check_volume(volume));
    assert_eq!(*events.failed.lock(), [a.path().to_owned()]);
    assert_eq!(store.replica_count(), 2);
    store.check_tolerated().unwrap();
    assert!(store.storages()[0].failed);
    // New replicas go elsewhere.
    write(&store, BlockId(BLOCK.0 + 9), &[1; 600], true);
    fs::rename(&hidden, a.path().join("current")).unwrap();
    assert!(store.retry_volume(&store.volumes()[0]).unwrap());
    assert_eq!(store.replica_count(), 5);
    assert!(!store.storages()[0].failed);
    for volume in store.volumes() {
        volume.set_failed();
    }
    assert!(store.check_tolerated().unwrap_err().to_string().contains("2 of 2 data directories"));
}
