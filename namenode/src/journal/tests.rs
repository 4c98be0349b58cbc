//! Tests of the journal and of recovery: every way a file can end, every byte it can lose.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use hfs_daemon::storage::{Fault, Faults, Faulty, Storage};
use hfs_protocol::ids::TxId;
use parking_lot::RwLock;
use proptest::prelude::*;

use super::files::{Files, MemoryFiles};
use super::segment::{self, End, HEADER_BYTES};
use super::*;
use crate::namesystem::testing::Fixture;
use crate::namesystem::{Effect, Entry, Namespace};

const CLUSTER: &str = "CID-test";

fn options() -> RecoveryOptions {
    RecoveryOptions {
        owner: "root".to_owned(),
        group: "supergroup".to_owned(),
        cluster_id: Some(CLUSTER.to_owned()),
        now_ms: 1,
        // Small, so that tests that copy files stay fast.
        journal: JournalOptions { preallocate_bytes: 256, ..JournalOptions::default() },
        ..RecoveryOptions::default()
    }
}

fn open(files: &MemoryFiles) -> Result<Recovered, RecoveryError> {
    Recovery::open_files(Arc::new(files.clone()), &options())
}

fn start(files: &MemoryFiles, preallocate_bytes: u64) -> LocalJournal {
    let options = JournalOptions { preallocate_bytes, ..JournalOptions::default() };
    LocalJournal::start(Arc::new(files.clone()), CLUSTER, TxId(1), options).unwrap()
}

/// Entries that make directories /d0, /d1, … and the namespace after each.
fn history(count: usize) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut fixture = Fixture::new();
    let mut images = vec![fixture.ns.to_image()];
    for number in 0..count {
        assert!(fixture.mkdirs(&format!("/d{number}")));
        images.push(fixture.ns.to_image());
    }
    (fixture.journal, images)
}

#[test]
fn all_of_ours_conform() {
    conformance::check(MemoryJournal::new).unwrap();
    conformance::check(|| start(&MemoryFiles::default(), 0)).unwrap();
    conformance::check(|| start(&MemoryFiles::default(), 4096)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut number = 0;
    conformance::check(|| {
        number += 1;
        let dir = dir.path().join(number.to_string());
        std::fs::create_dir(&dir).unwrap();
        let files = Arc::new(DirFiles::new(&dir));
        LocalJournal::start(files, CLUSTER, TxId(1), JournalOptions::default()).unwrap()
    })
    .unwrap();
}

#[test]
fn an_empty_directory_becomes_a_file_system_and_stays_the_same_one() {
    let dir = tempfile::tempdir().unwrap();
    let options = RecoveryOptions { cluster_id: None, ..options() };
    let first = Recovery::open(dir.path(), &options).unwrap();
    assert!(first.report.initialised);
    let mut fixture = Fixture::new();
    fixture.mkdirs("/a");
    for entry in &fixture.journal {
        first.journal.append(entry).unwrap();
    }
    drop(first.journal);
    let again = Recovery::open(dir.path(), &options).unwrap();
    assert!(!again.report.initialised);
    assert_eq!((again.report.replayed, again.report.warnings.len()), (1, 0));
    assert_eq!(again.identity, first.identity);
    assert!(again.namespace.to_image() == fixture.ns.to_image());
}

#[test]
fn a_foreign_directory_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("holiday.jpg"), "x").unwrap();
    let error = Recovery::open(dir.path(), &options()).unwrap_err().to_string();
    assert!(
        error.contains("holiday.jpg") && error.contains("choose an empty directory"),
        "{error}"
    );
    assert!(NameDir::format(dir.path(), None, true, &options()).is_err(), "not even with force");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was put there");
}

#[test]
fn format_refuses_a_file_system_and_with_force_puts_it_aside() {
    let dir = tempfile::tempdir().unwrap();
    let options = RecoveryOptions { cluster_id: None, ..options() };
    let first = NameDir::format(dir.path(), Some("CID-a"), false, &options).unwrap();
    assert_eq!(first.cluster_id, "CID-a");
    let error = NameDir::format(dir.path(), None, false, &options).unwrap_err().to_string();
    assert!(error.contains("CID-a"), "{error}");
    let second = NameDir::format(dir.path(), Some("CID-b"), true, &options).unwrap();
    assert_eq!(Recovery::open(dir.path(), &options).unwrap().identity, second);
    let kept = dir.path().join("before_1").join(version::FILE_NAME);
    assert!(std::fs::read_to_string(kept).unwrap().contains("CID-a"), "nothing was deleted");
    let other = RecoveryOptions { cluster_id: Some("CID-c".to_owned()), ..options };
    let error = Recovery::open(dir.path(), &other).unwrap_err().to_string();
    assert!(error.contains("CID-b") && error.contains("CID-c"), "{error}");
}

#[test]
fn an_initialisation_that_was_cut_off_is_done_again() {
    let files = MemoryFiles::default();
    drop(open(&files).unwrap());
    files.remove(version::FILE_NAME).unwrap();
    files.remove(&segment::file_name(TxId(1))).unwrap();
    files.put("VERSION.tmp", b"clust".to_vec());
    assert!(open(&files).unwrap().report.initialised);
}

/// A directory with `count` entries in one segment, each its own batch, as `kill -9` leaves it: no end mark, zeros
/// ahead. With it the offset where each record ends.
fn killed(count: usize, preallocate_bytes: u64) -> (MemoryFiles, Vec<usize>, Vec<Vec<u8>>) {
    let (entries, images) = history(count);
    let files = MemoryFiles::default();
    drop(open(&files).unwrap());
    let journal = start(&files, preallocate_bytes);
    let mut ends = vec![HEADER_BYTES];
    for entry in &entries {
        journal.wait_durable(journal.append(entry).unwrap()).unwrap();
        ends.push(ends.last().unwrap() + segment::RECORD_HEADER_BYTES + entry.len());
    }
    let copy = files.copy();
    drop(journal);
    (copy, ends, images)
}

/// Cuts the last segment at every byte: the start finds exactly the whole records before the cut.
#[test]
fn every_prefix_recovers_exactly_the_whole_records() {
    let (files, ends, images) = killed(6, 0);
    let name = segment::file_name(TxId(1));
    let bytes = files.bytes(&name);
    assert_eq!(bytes.len(), *ends.last().unwrap());
    for cut in 0..=bytes.len() {
        let files = files.copy();
        files.put(&name, bytes[..cut].to_vec());
        let recovered = open(&files).unwrap();
        let whole = ends.iter().filter(|&&end| end <= cut).count().saturating_sub(1);
        assert!(recovered.namespace.to_image() == images[whole], "cut at {cut}");
        let torn = cut != 0 && !ends.contains(&cut) || cut < HEADER_BYTES;
        assert_eq!(!recovered.report.warnings.is_empty(), torn, "cut at {cut}");
        if torn && cut > HEADER_BYTES {
            let warning = &recovered.report.warnings[0];
            assert!(warning.contains(&name), "{warning}");
            assert!(
                warning.contains(&format!("offset {}, after operation {whole}", ends[whole])),
                "{warning}"
            );
        }
        // What was cut stays cut, and the journal goes on behind it.
        let txid =
            recovered.journal.append(&Fixture::entry_for(&recovered.namespace, "/z")).unwrap();
        assert_eq!(txid, TxId(whole as u64 + 1));
        drop(recovered);
        let again = open(&files).unwrap();
        assert!(again.report.warnings.is_empty(), "cut at {cut}: {:?}", again.report.warnings);
        assert_eq!(again.namespace.applied(), txid);
    }
}

/// Flips each byte of a segment: before the last batch that is damage, and the start says where.
#[test]
fn a_flipped_byte_before_the_last_batch_is_refused() {
    let (files, ends, images) = killed(5, 256);
    let name = segment::file_name(TxId(1));
    let bytes = files.bytes(&name);
    let last = ends[ends.len() - 2];
    for at in 0..*ends.last().unwrap() {
        for flip in [0x01, 0x80, 0xff] {
            let files = files.copy();
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            files.put(&name, bytes);
            match open(&files) {
                Ok(recovered) => {
                    // The last batch can't be told from one that was torn.
                    assert!(at >= last, "flip at {at} went unseen");
                    assert!(recovered.namespace.to_image() == images[4]);
                    assert_eq!(recovered.report.warnings.len(), 1);
                }
                Err(RecoveryError::Damaged { offset, file, .. }) => {
                    assert!(at < last, "flip at {at}");
                    assert!(file.ends_with(&name));
                    let record = ends.iter().rfind(|&&end| end <= at).copied().unwrap_or(0);
                    assert_eq!(offset, record, "flip at {at}");
                }
                Err(other) => panic!("flip at {at}: {other}"),
            }
        }
    }
}

/// In a segment that was finished in peace, damage anywhere is seen.
#[test]
fn a_flipped_byte_in_a_finished_segment_is_refused() {
    let (entries, _) = history(5);
    let files = MemoryFiles::default();
    drop(open(&files).unwrap());
    let journal = start(&files, 0);
    entries.iter().for_each(|entry| {
        journal.append(entry).unwrap();
    });
    drop(journal);
    let name = segment::file_name(TxId(1));
    let bytes = files.bytes(&name);
    let mark = bytes.len() - segment::RECORD_HEADER_BYTES;
    for at in 0..mark {
        let files = files.copy();
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        files.put(&name, bytes);
        let error = open(&files).unwrap_err();
        assert!(matches!(error, RecoveryError::Damaged { .. }), "flip at {at}: {error}");
        assert!(error.to_string().contains("Restore the name directory"), "{error}");
    }
}

#[test]
fn missing_segments_are_named() {
    let (entries, _) = history(9);
    let files = MemoryFiles::default();
    drop(open(&files).unwrap());
    let journal = start(&files, 256);
    for (number, entry) in entries.iter().enumerate() {
        journal.append(entry).unwrap();
        if number % 3 == 2 {
            journal.roll().unwrap();
        }
    }
    drop(journal);
    assert_eq!(open(&files.copy()).unwrap().report.replayed, 9);
    let gap = |first: u64| {
        let files = files.copy();
        files.remove(&segment::file_name(TxId(first))).unwrap();
        match open(&files).unwrap_err() {
            RecoveryError::Gap { from, to, .. } => (from.0, to.0),
            other => panic!("{other}"),
        }
    };
    assert_eq!(gap(1), (1, 3));
    assert_eq!(gap(4), (4, 6));
    // A torn end of a segment that others follow was durable once.
    let files = files.copy();
    let name = segment::file_name(TxId(4));
    let bytes = files.bytes(&name);
    files.put(&name, bytes[..bytes.len() - 30].to_vec());
    assert!(matches!(open(&files).unwrap_err(), RecoveryError::Damaged { .. }));
}

#[test]
fn a_segment_of_another_cluster_is_refused() {
    let (files, _, _) = killed(2, 0);
    let name = segment::file_name(TxId(1));
    let mut bytes = files.bytes(&name);
    bytes[..HEADER_BYTES].copy_from_slice(&segment::encode_header("CID-other", TxId(1)));
    files.put(&name, bytes);
    let error = open(&files).unwrap_err().to_string();
    assert!(error.contains("CID-other") && error.contains(CLUSTER), "{error}");
}

#[test]
fn the_disk_may_write_the_sectors_of_a_batch_in_any_order() {
    // Three records in one batch, the first of them lost: the later ones prove nothing, for their batch was never synced.
    let mut bytes = segment::encode_header(CLUSTER, TxId(1)).to_vec();
    let mut batch = Vec::new();
    for number in 1..=3 {
        segment::push_record(&mut batch, TxId(number), b"some payload");
    }
    segment::seal_batch(&mut batch);
    batch[segment::RECORD_HEADER_BYTES] ^= 1;
    bytes.extend_from_slice(&batch);
    let scan = |bytes: &[u8]| segment::scan(bytes, TxId(1), |_, _| Ok::<(), ()>(())).unwrap();
    assert!(matches!(scan(&bytes), (TxId(1), End::Torn { offset: HEADER_BYTES, .. })));
    // A record of a later batch does.
    let mut later = Vec::new();
    segment::push_record(&mut later, TxId(4), b"later");
    segment::seal_batch(&mut later);
    bytes.extend_from_slice(&later);
    assert!(matches!(scan(&bytes), (TxId(1), End::Damaged { offset: HEADER_BYTES, .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Cuts the power at a random moment of a random history: what was reported durable is there, in order and whole, and
    /// what follows it is a whole run of what was appended next.
    #[test]
    fn what_was_durable_survives_a_loss_of_power(
        seed in any::<u64>(),
        waits in proptest::collection::vec(any::<bool>(), 1..40),
        preallocate in prop_oneof![Just(0_u64), Just(700), Just(4096)],
        roll_at in 0_usize..40,
    ) {
        let (entries, images) = history(waits.len());
        let files = MemoryFiles::default();
        drop(open(&files).unwrap());
        let journal = start(&files, preallocate);
        for (number, (entry, wait)) in entries.iter().zip(&waits).enumerate() {
            let txid = journal.append(entry).unwrap();
            if *wait {
                journal.wait_durable(txid).unwrap();
            }
            if number == roll_at {
                journal.roll().unwrap();
            }
        }
        let durable = journal.durable().0 as usize;
        let crashed = files.crash(seed);
        drop(journal);
        let recovered = open(&crashed).unwrap();
        let found = recovered.namespace.applied().0 as usize;
        prop_assert!(found >= durable, "{found} of {durable}");
        prop_assert!(recovered.namespace.to_image() == images[found]);
    }

    #[test]
    fn garbage_is_never_a_panic(garbage in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut bytes = segment::encode_header(CLUSTER, TxId(1)).to_vec();
        bytes.extend_from_slice(&garbage);
        let _ = segment::scan(&bytes, TxId(1), |_, _| Ok::<(), ()>(()));
        let _ = segment::check_header(&garbage, CLUSTER, TxId(1));
        let _ = Entry::decode(&garbage);
        let _ = Namespace::from_image(garbage.as_slice());
    }
}

/// A directory whose files fail on request.
#[derive(Debug, Default)]
struct FaultyFiles {
    inner: MemoryFiles,
    faults: parking_lot::Mutex<Vec<Faults>>,
    /// What the next file that is opened suffers from.
    next: parking_lot::Mutex<Option<Fault>>,
}

impl Files for FaultyFiles {
    fn list(&self) -> std::io::Result<Vec<String>> {
        self.inner.list()
    }

    fn open(&self, name: &str) -> std::io::Result<Box<dyn Storage>> {
        let file = Faulty::new(Boxed(self.inner.open(name)?));
        if let Some(fault) = self.next.lock().take() {
            file.faults().arm(fault);
        }
        self.faults.lock().push(file.faults());
        Ok(Box::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> std::io::Result<()> {
        self.inner.remove(name)
    }

    fn sync(&self) -> std::io::Result<()> {
        self.inner.sync()
    }

    fn path(&self, name: &str) -> String {
        self.inner.path(name)
    }
}

#[derive(Debug)]
struct Boxed(Box<dyn Storage>);

impl Storage for Boxed {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.read_at(offset, into)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write_at(offset, data)
    }

    fn set_len(&self, length: u64) -> std::io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&self) -> std::io::Result<()> {
        self.0.sync()
    }

    fn close(&self) -> std::io::Result<()> {
        self.0.close()
    }
}

fn faulty() -> (Arc<FaultyFiles>, LocalJournal) {
    let files = Arc::new(FaultyFiles::default());
    let journal = LocalJournal::start(
        Arc::clone(&files) as Arc<dyn Files>,
        CLUSTER,
        TxId(1),
        JournalOptions { preallocate_bytes: 0, ..JournalOptions::default() },
    )
    .unwrap();
    (files, journal)
}

/// Fault 4: a failed fsync is never tried again as if the disk were clean.
#[test]
fn a_failed_sync_poisons_for_good() {
    let (files, journal) = faulty();
    let first = journal.append(b"one").unwrap();
    journal.wait_durable(first).unwrap();
    files.faults.lock()[0].arm(Fault::SyncFails);
    let second = journal.append(b"two").unwrap();
    let error = journal.wait_durable(second).unwrap_err();
    files.faults.lock()[0].heal();
    assert!(matches!(error, JournalError::Poisoned { durable: TxId(1), disk_full: false, .. }));
    assert_eq!(journal.append(b"three").unwrap_err(), error);
    assert_eq!(journal.wait_durable(second).unwrap_err(), error);
    assert_eq!(journal.poisoned(), Some(error));
    assert_eq!(journal.durable(), first, "what was durable stays so");
    journal.wait_durable(first).unwrap();
    assert!(journal.roll().is_err());
}

/// Fault 6: a full disk is said to be one.
#[test]
fn a_full_disk_is_named() {
    let (files, journal) = faulty();
    files.faults.lock()[0].arm(Fault::FullAt(HEADER_BYTES as u64 + 50));
    let txid = journal.append(&[7; 100]).unwrap();
    let error = journal.wait_durable(txid).unwrap_err();
    assert!(matches!(error, JournalError::Poisoned { durable: TxId(0), disk_full: true, .. }));
    assert!(error.to_string().contains("Free space"), "{error}");
}

/// Applies and journals entries of a fixture as the service does.
fn feed(recovered: &Recovered, namespace: &RwLock<Namespace>, entries: &[Vec<u8>]) {
    for bytes in entries {
        let txid = recovered.journal.append(bytes).unwrap();
        let mut effects: Vec<Effect> = Vec::new();
        let entry = Entry::decode(bytes).unwrap();
        namespace.write().apply(txid, &entry, &mut effects).unwrap();
    }
}

#[test]
fn checkpoints_shorten_the_replay_and_keep_two_images() {
    let (entries, images) = history(12);
    let files = MemoryFiles::default();
    let recovered = open(&files).unwrap();
    let namespace = RwLock::new(recovered.namespace.clone());
    for chunk in entries.chunks(3) {
        feed(&recovered, &namespace, chunk);
        let report =
            Checkpointer::run(&recovered.name_dir, &namespace, &recovered.journal).unwrap();
        assert!(report.bytes > 0);
    }
    let again = Checkpointer::run(&recovered.name_dir, &namespace, &recovered.journal).unwrap();
    assert_eq!(again.bytes, 0, "there is one of this very state");
    drop(recovered);
    let names = files.list().unwrap();
    let kept: Vec<_> = names.iter().filter_map(|name| checkpoint::image_txid(name)).collect();
    assert_eq!(kept, [TxId(9), TxId(12)]);
    let segments: Vec<_> = names.iter().filter_map(|name| segment::first_of(name)).collect();
    assert_eq!(segments, [TxId(10), TxId(13)], "the older image can still be brought up to date");
    let copy = files.copy();
    let recovered = open(&files).unwrap();
    assert_eq!((recovered.report.image_txid, recovered.report.replayed), (TxId(12), 0));
    assert!(recovered.namespace.to_image() == images[12]);

    // Fault 5: a flipped bit in the newest image.
    let name = checkpoint::image_name(TxId(12));
    let bytes = copy.bytes(&name);
    for at in (0..bytes.len()).step_by(7) {
        let copy = copy.copy();
        let mut bytes = bytes.clone();
        bytes[at] ^= 4;
        copy.put(&name, bytes);
        let recovered = open(&copy).unwrap();
        assert_eq!((recovered.report.image_txid, recovered.report.replayed), (TxId(9), 3), "{at}");
        assert!(recovered.namespace.to_image() == images[12]);
        assert!(recovered.report.warnings[0].contains(&name));
        // It counts no more: the next checkpoint does not let the good one go for it.
        assert_eq!(checkpoint::images(&copy).unwrap(), [TxId(9)]);
        assert!(copy.list().unwrap().contains(&format!("{name}.bad")));
        let namespace = RwLock::new(recovered.namespace.clone());
        let made = Checkpointer::run(&recovered.name_dir, &namespace, &recovered.journal).unwrap();
        assert!(made.bytes > 0 && copy.bytes(&name) == images[12]);
        assert_eq!(checkpoint::images(&copy).unwrap(), [TxId(9), TxId(12)]);
    }
    // Both: refused with a sentence.
    for txid in [9, 12] {
        copy.put(&checkpoint::image_name(TxId(txid)), b"hfsimage".to_vec());
    }
    let error = open(&copy).unwrap_err().to_string();
    assert!(error.contains("Restore"), "{error}");
}

/// A checkpoint that the disk fails, at any of its operations or for want of space, leaves the images and the journal as
/// they were and nothing half-written; the next one succeeds.
#[test]
fn a_checkpoint_that_the_disk_fails_leaves_nothing_behind() {
    let (entries, images) = history(6);
    for fault in [Fault::FullAt(40), Fault::SyncFails, Fault::FailOnce(0), Fault::FailOnce(1)] {
        let whole = MemoryFiles::default();
        let recovered = open(&whole).unwrap();
        let namespace = RwLock::new(recovered.namespace.clone());
        feed(&recovered, &namespace, &entries);
        let files = Arc::new(FaultyFiles { inner: whole.clone(), ..FaultyFiles::default() });
        *files.next.lock() = Some(fault);
        let name_dir = checkpoint::NameDir::new(Arc::clone(&files) as Arc<dyn Files>, 2);
        let before = whole.list().unwrap();
        let failed = Checkpointer::run(&name_dir, &namespace, &recovered.journal);
        assert!(matches!(failed, Err(CheckpointError::Io(_))), "{fault:?}: {failed:?}");
        assert_eq!(whole.list().unwrap(), before, "{fault:?}");
        let made = Checkpointer::run(&name_dir, &namespace, &recovered.journal).unwrap();
        let image = whole.bytes(&checkpoint::image_name(made.txid));
        assert!(image == images[6] && made.bytes == image.len() as u64, "{fault:?}");
    }
}

/// An image that goes to the disk in several chunks is the same bytes as one made in memory.
#[test]
fn a_large_image_is_streamed() {
    let mut fixture = Fixture::new();
    let journal = MemoryJournal::new();
    let name = "n".repeat(240);
    (0..5000).for_each(|number| assert!(fixture.mkdirs(&format!("/{name}{number}"))));
    for entry in &fixture.journal {
        journal.append(entry).unwrap();
    }
    let image = fixture.ns.to_image();
    assert!(image.len() > 1 << 20, "it is one chunk only");
    let files = MemoryFiles::default();
    let name_dir = checkpoint::NameDir::new(Arc::new(files.clone()), 2);
    let namespace = RwLock::new(fixture.ns);
    let made = Checkpointer::run(&name_dir, &namespace, &journal).unwrap();
    assert!(files.bytes(&checkpoint::image_name(made.txid)) == image);
}
