//! Reduce attempts against shuffle servers that are slow, odd or wrong, and against disks that are full.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use hfs_protocol::proto::task::{MapOutputs, ReduceTask, from_task, launch, to_task};
use hfs_protocol::shuffle::{FetchAnswer, FetchRequest, PartitionEntry, SegmentIndex};

use super::*;
use crate::files::Files;
use crate::task::process::tests::{FakeWorker, output};

/// A map's whole segment and where its one run lies in it.
struct Mapped {
    segment: Vec<u8>,
    entry: PartitionEntry,
}

impl Mapped {
    /// Maps a text of `words` different words.
    fn of(worker: &mut FakeWorker, name: &str, words: usize) -> Self {
        let text: String = (0..words).map(|n| format!("{name}-word-{n:05}\n")).collect();
        let input = worker.input(&text);
        let map = worker.map_of(&input);
        worker.launch(name, &input, 1, map);
        let from_task::Message::Done(done) = worker.result() else { panic!("the map failed") };
        let segment = std::fs::read(done.map_output_path).unwrap();
        let entry = SegmentIndex::parse(&segment).unwrap().partitions[0];
        Self { segment, entry }
    }

    fn run(&self) -> &[u8] {
        &self.segment[self.entry.offset as usize..(self.entry.offset + self.entry.length) as usize]
    }

    /// An answer with the run's bytes up to `to`.
    fn answer(&self, offset: u64, to: usize) -> Vec<u8> {
        let PartitionEntry { length, records, crc32, .. } = self.entry;
        let mut bytes = Vec::new();
        FetchAnswer::Found { length, records, crc32 }.encode(&mut bytes);
        bytes.extend_from_slice(&self.run()[offset as usize..to]);
        bytes
    }
}

/// The next request on a connection; what came with it stays in `bytes`. None: the reducer has left.
fn request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<FetchRequest> {
    loop {
        if let Some((request, used)) = FetchRequest::decode(bytes).unwrap() {
            bytes.drain(..used);
            return Some(request);
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(got) => bytes.extend_from_slice(&buffer[..got]),
        }
    }
}

/// A shuffle server on a port of its own: each connection is served by `serve` on its own thread.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let serve = Arc::new(serve);
        for stream in listener.incoming() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream.unwrap()));
        }
    });
    address
}

/// A server that has one output and sends it to whoever asks.
fn good_server(mapped: Arc<Mapped>) -> String {
    server(move |mut stream| {
        let mut bytes = Vec::new();
        while let Some(request) = request(&mut stream, &mut bytes) {
            let answer = mapped.answer(request.offset, mapped.run().len());
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    })
}

fn at(map: u32, attempt: &str, address: &str) -> MapOutput {
    MapOutput {
        map_index: map,
        attempt_id: attempt.into(),
        shuffle_address: address.into(),
        ..MapOutput::default()
    }
}

fn send(worker: &mut FakeWorker, outputs: Vec<MapOutput>) {
    worker.send(to_task::Message::MapOutputs(MapOutputs { outputs }));
}

fn reduce(worker: &mut FakeWorker, maps: u32) {
    let input = worker.dir.path().join("input").to_str().unwrap().to_owned();
    worker.launch("reduce", &input, maps, launch::Task::Reduce(ReduceTask { partition: 0 }));
}

fn fetch_failed(worker: &mut FakeWorker) -> FetchFailed {
    match worker.result() {
        from_task::Message::FetchFailed(failed) => failed,
        other => panic!("{other:?}"),
    }
}

/// FAULTS 47: a full disk is this node's trouble. The reduce fails and names its own file; no map is blamed.
#[test]
fn fault_47_a_full_local_disk_fails_the_reduce_and_blames_no_map() {
    let mut worker = FakeWorker::start();
    let mapped = Mapped::of(&mut worker, "map-0", 4000);
    let address = good_server(Arc::new(mapped));
    // Every write to this device fails as on a full disk.
    let work_dir = worker.dir.path().join("reduce");
    std::fs::create_dir(&work_dir).unwrap();
    for number in 0..4 {
        symlink("/dev/full", work_dir.join(format!("fetch-{number}"))).unwrap();
    }
    worker.sort_bytes = 64 << 10;
    reduce(&mut worker, 1);
    send(&mut worker, vec![at(0, "map-0", &address)]);
    let failed = match worker.result() {
        from_task::Message::Failed(failed) => failed,
        other => panic!("{other:?}"),
    };
    let path = work_dir.join("fetch-");
    for part in [path.to_str().unwrap(), "disk", "No space left on device"] {
        assert!(failed.message.contains(part), "no {part:?} in: {}", failed.message);
    }
    worker.end();
}

/// Waits for a file of the reduce whose size passes.
fn wait_for_file(dir: &Path, size: impl Fn(u64) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let found = || {
        let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).any(|meta| size(meta.len()))
    };
    while !found() {
        assert!(Instant::now() < deadline, "no such file comes about in {}", dir.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Two attempts of one map, fetched at the same time: neither touches the other's bytes.
#[test]
fn two_attempts_of_one_map_do_not_write_into_one_file() {
    let mut worker = FakeWorker::start();
    let mapped = Arc::new(Mapped::of(&mut worker, "map-0", 4000));
    let other = good_server(Arc::new(Mapped::of(&mut worker, "other", 1)));
    let work_dir = worker.dir.path().join("reduce");
    let half = mapped.run().len() / 2;
    let (run, dir) = (Arc::clone(&mapped), work_dir.clone());
    let first = server(move |mut stream| {
        let mut bytes = Vec::new();
        let Some(request) = request(&mut stream, &mut bytes) else { return };
        stream.write_all(&run.answer(request.offset, half)).unwrap();
        // The rest comes when the other attempt's fetch has begun.
        wait_for_file(&dir, |size| (1..=1000).contains(&size));
        stream.write_all(&run.run()[half..]).unwrap();
    });
    let run = Arc::clone(&mapped);
    let second = server(move |mut stream| {
        let mut bytes = Vec::new();
        let Some(request) = request(&mut stream, &mut bytes) else { return };
        stream.write_all(&run.answer(request.offset, 1000)).unwrap();
        // It never comes to its end: the first one counts.
        let _ = stream.read(&mut [0]);
    });
    worker.sort_bytes = 64 << 10;
    worker.conf.push(("mapreduce.reduce.shuffle.parallelcopies", "2"));
    reduce(&mut worker, 2);
    send(&mut worker, vec![at(0, "map-0", &first)]);
    wait_for_file(&work_dir, |size| size == half as u64);
    send(&mut worker, vec![at(0, "map-1", &second)]);
    send(&mut worker, vec![at(1, "other", &other)]);
    let done = worker.result();
    assert!(matches!(done, from_task::Message::Done(_)), "{done:?}");
    let mut expected: String = (0..4000).map(|n| format!("map-0-word-{n:05}\t1\n")).collect();
    expected.push_str("other-word-00000\t1\n");
    assert!(output(worker.dir.path()) == expected, "the records are not those of the maps");
    worker.end();
}

/// A server that sends a byte now and then is no better than one that sends none.
#[test]
fn a_server_that_trickles_is_given_up() {
    let mut worker = FakeWorker::start();
    let mapped = Arc::new(Mapped::of(&mut worker, "map-0", 4000));
    let run = Arc::clone(&mapped);
    let slow = server(move |mut stream| {
        let mut bytes = Vec::new();
        while let Some(request) = request(&mut stream, &mut bytes) {
            for byte in run.answer(request.offset, run.run().len()) {
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    });
    worker.conf.push(("mapreduce.reduce.shuffle.read.timeout", "400"));
    reduce(&mut worker, 1);
    send(&mut worker, vec![at(0, "map-0", &slow)]);
    let failed = fetch_failed(&mut worker);
    assert!(failed.message.contains("in 0.4 s"), "{}", failed.message);
    let fast = good_server(mapped);
    send(&mut worker, vec![at(0, "map-1", &fast)]);
    assert!(matches!(worker.result(), from_task::Message::Done(_)));
    worker.end();
}

/// FAULTS 47: a node that answers garbage, in each of the ways there are: foreign bytes, a run with another
/// checksum, a run longer than any disk, an end in the middle. Each is reported, and a good output is taken.
#[test]
fn fault_47_garbage_is_never_taken_for_a_run() {
    let mut worker = FakeWorker::start();
    let mapped = Arc::new(Mapped::of(&mut worker, "map-0", 100));
    let good = mapped.answer(0, mapped.run().len());
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 0x40;
    let mut endless = good.clone();
    endless[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    let garbage: [(&str, Vec<u8>); 5] = [
        ("shuffle protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("checksum", flipped),
        ("closed", endless),
        ("tries", good[..good.len() / 2].to_vec()),
        ("closed", Vec::new()),
    ];
    reduce(&mut worker, 1);
    for (number, (why, answer)) in garbage.into_iter().enumerate() {
        let address = server(move |mut stream| {
            if request(&mut stream, &mut Vec::new()).is_some() {
                let _ = stream.write_all(&answer);
            }
        });
        let attempt = format!("map-0-{number}");
        send(&mut worker, vec![at(0, &attempt, &address)]);
        let failed = fetch_failed(&mut worker);
        assert_eq!(failed.map_attempt_id, attempt);
        assert!(failed.message.contains(why), "{attempt}, no {why:?} in: {}", failed.message);
    }
    let address = good_server(mapped);
    send(&mut worker, vec![at(0, "map-good", &address)]);
    let done = worker.result();
    assert!(matches!(done, from_task::Message::Done(_)), "{done:?}");
    let expected: String = (0..100).map(|n| format!("map-0-word-{n:05}\t1\n")).collect();
    assert_eq!(output(worker.dir.path()), expected);
    worker.end();
}

/// Many small runs from one server: few connections, and they are used again.
#[test]
fn many_small_runs_come_over_few_connections() {
    const MAPS: u32 = 150;
    let mut worker = FakeWorker::start();
    let maps: Vec<Mapped> =
        (0..MAPS).map(|n| Mapped::of(&mut worker, &format!("map-{n:03}"), 3)).collect();
    let maps = Arc::new(maps);
    let connections = Arc::new(AtomicUsize::new(0));
    let (served, counted) = (Arc::clone(&maps), Arc::clone(&connections));
    let address = server(move |mut stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        let mut bytes = Vec::new();
        while let Some(request) = request(&mut stream, &mut bytes) {
            let map: usize = request.attempt_id["map-".len()..].parse().unwrap();
            let map = &served[map];
            stream.write_all(&map.answer(request.offset, map.run().len())).unwrap();
        }
    });
    reduce(&mut worker, MAPS);
    for some in 0..3 {
        let maps = (0..MAPS).filter(|map| map % 3 == some);
        let outputs = maps.map(|map| at(map, &format!("map-{map:03}"), &address)).collect();
        send(&mut worker, outputs);
    }
    let done = worker.result();
    assert!(matches!(done, from_task::Message::Done(_)), "{done:?}");
    assert_eq!(output(worker.dir.path()).lines().count(), 3 * MAPS as usize);
    let connections = connections.load(Ordering::Relaxed);
    assert!(connections <= 2, "{connections} connections to one server");
    worker.end();
}

/// More runs than memory arrive while the reducer is at something else: no more are taken than there is room for, and
/// all are given in the end.
#[test]
fn runs_that_arrive_faster_than_they_are_merged_wait_outside() {
    const MAPS: u32 = 60;
    const SORT_BYTES: u64 = 64 << 10;
    let mut worker = FakeWorker::start();
    let mapped = Arc::new(Mapped::of(&mut worker, "map", 900));
    let run_bytes = mapped.run().len() as u64;
    assert!(run_bytes * 5 > SORT_BYTES && run_bytes * 4 < SORT_BYTES);
    let address = good_server(mapped);
    let env = Environment {
        files: Files::local(),
        conf: Arc::default(),
        work_dir: worker.dir.path().to_owned(),
        output_dir: String::new(),
        sort_bytes: SORT_BYTES,
        fan_in: 10,
        write_behind: false,
        unmerged_spills: 0,
        pool: None,
        packing: None,
        skip: None,
    };
    let (arrive, arrivals) = channel();
    arrive.send((0..MAPS).map(|map| at(map, &format!("map-{map}"), &address)).collect()).unwrap();
    let report = Box::new(|failed: FetchFailed| panic!("{failed:?}"));
    let mut fetcher = Fetcher::start(&env, 0, MAPS, "reduce".into(), arrivals, report);
    let shared = Arc::new(crate::context::Shared::default());
    let mut context = Context::new(Arc::default(), "reduce".into(), 0, 1, shared);
    let budget = Arc::clone(&fetcher.shared.place.budget);
    let mut held = vec![fetcher.next(&mut context).unwrap().unwrap()];
    let deadline = Instant::now() + Duration::from_secs(60);
    while budget.most() < run_bytes * 4 {
        assert!(Instant::now() < deadline, "the memory does not fill");
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut given = 1;
    while let Some(fetched) = fetcher.next(&mut context).unwrap() {
        given += 1;
        held.push(fetched);
        if held.len() == 2 {
            held.clear();
        }
    }
    assert_eq!(given, MAPS);
    assert!(budget.most() <= SORT_BYTES, "{} bytes were taken", budget.most());
    worker.end();
}

/// Runs in memory and on disk, merged many times on the way: every record is there, once, in order.
#[test]
fn many_merges_lose_nothing() {
    let plain = shuffled_bytes_of_many_merges(&[]);
    for codec in ["lz4", "zstd"] {
        let properties = [
            ("mapreduce.map.output.compress", "true"),
            ("mapreduce.map.output.compress.codec", codec),
        ];
        let packed = shuffled_bytes_of_many_merges(&properties);
        assert!(packed * 2 < plain, "{packed} bytes with {codec}, {plain} without");
    }
}

/// Bytes that a reduce of many runs takes over, in a job with these properties.
fn shuffled_bytes_of_many_merges(properties: &[(&'static str, &'static str)]) -> i64 {
    const MAPS: u32 = 60;
    let mut worker = FakeWorker::start();
    worker.conf.extend(properties);
    worker.sort_bytes = 16 << 10;
    let mut outputs = Vec::new();
    let mut expected = Vec::new();
    for map in 0..MAPS {
        // From runs of a few bytes to ones that don't go to memory at all.
        let words = if map % 5 == 0 { 500 } else { 10 + map as usize };
        let name = format!("map-{map:02}");
        let mapped = Mapped::of(&mut worker, &name, words);
        expected.extend((0..words).map(|n| format!("{name}-word-{n:05}\t1\n")));
        if map % 2 == 0 {
            outputs.push(at(map, &name, &good_server(Arc::new(mapped))));
        } else {
            let path = worker.dir.path().join(format!("{name}.segment"));
            std::fs::write(&path, &mapped.segment).unwrap();
            let local_path = path.to_str().unwrap().to_owned();
            outputs.push(MapOutput { local_path, ..at(map, &name, "") });
        }
    }
    worker.conf.push(("mapreduce.task.io.sort.factor", "3"));
    reduce(&mut worker, MAPS);
    send(&mut worker, outputs);
    let from_task::Message::Done(done) = worker.result() else { panic!("the reduce failed") };
    let counter = |name: &str| done.counters.iter().find(|c| c.name == name).map_or(0, |c| c.value);
    assert_eq!(counter("REDUCE_INPUT_RECORDS"), expected.len() as i64);
    assert!(counter("SPILLED_RECORDS") > expected.len() as i64, "merged more than once");
    assert!(output(worker.dir.path()) == expected.concat());
    worker.end();
    counter("REDUCE_SHUFFLE_BYTES")
}
