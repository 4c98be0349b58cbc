//! What the namesystem and the journal can do on this machine, without a network: operations per second in process, bytes per
//! file as the allocator sees them, entries per second through the journal, the pause of a checkpoint.
//!
//! `cargo bench -p hfs-namenode --bench namesystem [-- FILES]`; the default is a million files.
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hfs_namenode::journal::{DirFiles, Journal, JournalOptions, LocalJournal};
use hfs_namenode::namesystem::ops::{add_block, complete, create, delete, mkdirs, rename};
use hfs_namenode::namesystem::{Block, Caller, Ctx, Entry, Namespace, Proposal, Replicas};
use hfs_protocol::ids::{BlockId, TxId};

/// Counts the bytes that are in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

/// What the system's allocator adds to a request: a word, rounded up to 16 bytes.
fn real_size(layout: Layout) -> usize {
    (layout.size() + 8).next_multiple_of(16).max(32)
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches nothing it owns.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(real_size(layout), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(real_size(layout), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`, which is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct All;

impl Replicas for All {
    fn at_minimum(&self, _block: BlockId) -> bool {
        true
    }

    fn any(&self, _block: BlockId) -> bool {
        true
    }

    fn holders_known(&self, _: BlockId) -> bool {
        true
    }
}

fn carry_out<A>(ns: &mut Namespace, proposal: Proposal<A>) -> A {
    if let Some(entry) = proposal.entry {
        let mut effects = Vec::new();
        ns.apply(ns.applied().next(), &entry, &mut effects).unwrap();
    }
    proposal.answer
}

fn report(what: &str, count: usize, took: Duration) {
    println!("{what:<44} {:>12.0} /s", count as f64 / took.as_secs_f64());
}

fn main() {
    // Cargo passes flags of its own.
    let files = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    namespace(files);
    for preallocate_bytes in [0, 1 << 20, 8 << 20] {
        for threads in [1, 64] {
            journal(threads, preallocate_bytes);
        }
    }
}

fn namespace(files: usize) {
    let caller = Caller::superuser("root");
    let ctx = Ctx {
        now_ms: 1_700_000_000_000,
        caller: &caller,
        retry: None,
        client_machine: "127.0.0.1",
    };
    let mut ns = Namespace::new("root", "supergroup", 1);
    // 100 files a directory, names of 14 bytes.
    let path = |number: usize| format!("/data/dir-{:06}/part-{number:09}", number / 100);
    for number in (0..files).step_by(100) {
        let dir = path(number);
        let request =
            mkdirs::Request { path: &dir[..dir.len() - 15], mode: 0o755, create_parent: true };
        let proposal = mkdirs::check(&ns, &request, &ctx).unwrap();
        carry_out(&mut ns, proposal);
    }
    let before = IN_USE.load(Ordering::Relaxed);
    let started = Instant::now();
    let mut journal_bytes = 0;
    for number in 0..files {
        let path = path(number);
        let request = create::Request {
            path: &path,
            mode: 0o644,
            client_name: "bench",
            create: true,
            overwrite: false,
            create_parent: true,
            replication: 3,
            block_size: 128 << 20,
        };
        let proposal = create::check(&ns, &request, &ctx).unwrap();
        journal_bytes += proposal.entry.as_ref().map_or(0, |entry: &Entry| entry.encode().len());
        let file = Some(carry_out(&mut ns, proposal).inode);
        let request =
            add_block::Request { path: &path, file, client_name: "bench", previous: None };
        let proposal = add_block::check(&ns, &request, &ctx, &All).unwrap();
        let block = carry_out(&mut ns, proposal).block;
        let last = Some(Block { len: 1000, ..block });
        let request = complete::Request { path: &path, file, client_name: "bench", last };
        let proposal = complete::check(&ns, &request, &ctx, &All).unwrap();
        carry_out(&mut ns, proposal);
    }
    report("create + add block + close, in process", files, started.elapsed());
    let used = IN_USE.load(Ordering::Relaxed) - before;
    println!("{:<44} {:>12.1} bytes", "memory per file of one block", used as f64 / files as f64);
    println!(
        "{:<44} {:>12.1} bytes",
        "journal payload per create",
        journal_bytes as f64 / files as f64
    );

    // Every 7919th: neighbours are not neighbours in memory.
    let started = Instant::now();
    for number in 0..files {
        let found = ns.stat(&path(number * 7919 % files), &caller).unwrap();
        assert!(found.is_some());
    }
    report("stat of random files", files, started.elapsed());
    let started = Instant::now();
    let lists = files / 100;
    for number in 0..lists {
        let dir = path(number * 100);
        let page = ns.list(&dir[..dir.len() - 15], "", 1000, &caller).unwrap().unwrap();
        assert_eq!(page.entries.len(), 100);
    }
    report("list of 100 entries", lists, started.elapsed());

    let started = Instant::now();
    let image = ns.to_image();
    let took = started.elapsed();
    println!(
        "{:<44} {:>12.1} ms, {:.1} bytes a file",
        "pause of a checkpoint",
        took.as_secs_f64() * 1e3,
        image.len() as f64 / files as f64
    );
    let started = Instant::now();
    let loaded = Namespace::from_image(image.as_slice()).unwrap();
    report("files loaded from an image", files, started.elapsed());
    drop((image, loaded));

    let moves = files / 10;
    let started = Instant::now();
    for number in 0..moves {
        let src = path(number);
        let request = rename::Request { src: &src, dst: &format!("/data/moved-{number:09}") };
        let proposal = rename::check(&ns, &request, &ctx).unwrap();
        assert!(carry_out(&mut ns, proposal));
    }
    report("rename into one large directory", moves, started.elapsed());
    let started = Instant::now();
    for number in 0..moves {
        let request = delete::Request {
            path: &format!("/data/moved-{:09}", number * 7919 % moves),
            recursive: false,
        };
        let proposal = delete::check(&ns, &request, &ctx).unwrap();
        carry_out(&mut ns, proposal);
    }
    report("delete from one large directory", moves, started.elapsed());
}

fn journal(threads: usize, preallocate_bytes: u64) {
    let dir =
        tempfile::tempdir_in(std::env::var("HFS_BENCH_DIR").unwrap_or_else(|_| ".".to_owned()))
            .unwrap();
    let options = JournalOptions { preallocate_bytes, ..JournalOptions::default() };
    let files = Arc::new(DirFiles::new(dir.path()));
    let journal = Arc::new(LocalJournal::start(files, "CID-bench", TxId(1), options).unwrap());
    let payload = [7; 110];
    let span = Duration::from_secs(2);
    let started = Instant::now();
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let journal = Arc::clone(&journal);
            std::thread::spawn(move || {
                while started.elapsed() < span {
                    let txid = journal.append(&payload).unwrap();
                    journal.wait_durable(txid).unwrap();
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    let done = journal.durable().0 as usize;
    let what = format!("journal, {threads} writers, {} KiB ahead", preallocate_bytes >> 10);
    report(&what, done, started.elapsed());
}
