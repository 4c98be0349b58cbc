#![allow(clippy::unwrap_used)]
use hfs_protocol::proto::task::{Exit, JobSpec, MapOutputs, MapTask, ReduceTask};
use hfs_protocol::shuffle::{FetchAnswer, FetchRequest, RefusalReason, SegmentIndex};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;

use super::*;
use crate::input::SplitContext;
use crate::{Conf, Emit, Line, Mapper, Sum, Text, TextInput, words};

#[derive(Clone)]
struct Count;

impl Mapper for Count {
    type Input = TextInput;
    type Key = Text;
    type Value = u64;

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
        assert!(line.bytes != b"PANIC", "the mapper met the forbidden line");
        words(line.bytes).try_for_each(|word| out.emit(word, 1))
    }
}

fn job(spec: &JobSpec) -> Result<Job> {
    let arguments = &spec.program_args;
    Job::map(Count).combine(Sum).reduce(Sum).input(&arguments[0]).output(&arguments[1]).build()
}

/// The worker's end of the socket.
pub(crate) struct FakeWorker {
    stream: UnixStream,
    task: Option<std::thread::JoinHandle<Result<()>>>,
    pub(crate) dir: tempfile::TempDir,
    /// Properties of every launch.
    pub(crate) conf: Vec<(&'static str, &'static str)>,
    /// Sort memory of every launch; 0: as the job says.
    pub(crate) sort_bytes: u64,
}

impl FakeWorker {
    pub(crate) fn start() -> Self {
        let (stream, theirs) = UnixStream::pair().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let task = Some(std::thread::spawn(move || serve(theirs, job, |_| Ok(()))));
        let dir = tempfile::tempdir().unwrap();
        let mut worker = Self { stream, task, dir, conf: Vec::new(), sort_bytes: 0 };
        let from_task::Message::Hello(hello) = worker.receive() else { panic!("no Hello") };
        assert_eq!(hello.protocol_version, PROTOCOL_VERSION);
        worker
    }

    fn receive(&mut self) -> from_task::Message {
        let mut bytes = Vec::new();
        loop {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            bytes.push(byte[0]);
            if byte[0] < 0x80 {
                break;
            }
        }
        let length = prost::decode_length_delimiter(&bytes[..]).unwrap();
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).unwrap();
        FromTask::decode(&bytes[..]).unwrap().message.unwrap()
    }

    /// The next message that is not about progress.
    pub(crate) fn result(&mut self) -> from_task::Message {
        loop {
            match self.receive() {
                from_task::Message::Progress(_) => {}
                message => return message,
            }
        }
    }

    pub(crate) fn send(&mut self, message: to_task::Message) {
        let bytes = ToTask { message: Some(message) }.encode_length_delimited_to_vec();
        self.stream.write_all(&bytes).unwrap();
    }

    pub(crate) fn input(&self, text: &str) -> String {
        let path = self.dir.path().join("input");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn launch(&mut self, attempt: &str, input: &str, maps: u32, task: launch::Task) {
        let dir = self.dir.path().to_str().unwrap().to_owned();
        let spec = JobSpec {
            program_args: vec![input.to_owned(), format!("{dir}/out")],
            fs_url: "file:///".into(),
            maps,
            reduces: 1,
            sort_memory_bytes: self.sort_bytes,
            conf: self.conf.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            ..JobSpec::default()
        };
        self.send(to_task::Message::Launch(Launch {
            job: Some(spec),
            attempt_id: attempt.into(),
            work_dir: format!("{dir}/{attempt}"),
            attempt_output_dir: format!("{dir}/attempt-output"),
            local_address: String::new(),
            cached: Vec::new(),
            task: Some(task),
        }));
    }

    pub(crate) fn map_of(&self, input: &str) -> launch::Task {
        let inputs = [input.to_owned()];
        let context = SplitContext {
            files: &Files::Local,
            conf: &Conf::default(),
            inputs: &inputs,
            parallelism: None,
        };
        let splits =
            job(&JobSpec { program_args: vec![input.into(), "x".into()], ..JobSpec::default() })
                .unwrap()
                .program
                .splits(&context)
                .unwrap();
        launch::Task::Map(MapTask { index: 0, split: splits.into_iter().next() })
    }

    pub(crate) fn end(mut self) {
        self.send(to_task::Message::Exit(Exit {}));
        self.task.take().unwrap().join().unwrap().unwrap();
    }
}

pub(crate) fn output(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("attempt-output/part-r-00000")).unwrap()
}

#[test]
fn one_process_maps_and_reduces_for_its_worker() {
    let mut worker = FakeWorker::start();
    let input = worker.input("b a\nb\n");
    let map = worker.map_of(&input);
    worker.launch("map-0", &input, 1, map);
    let from_task::Message::Done(done) = worker.result() else { panic!("the map failed") };
    assert!(done.counters.iter().any(|c| c.name == "MAP_INPUT_RECORDS" && c.value == 2));

    worker.launch("reduce-0", &input, 1, launch::Task::Reduce(ReduceTask { partition: 0 }));
    worker.send(to_task::Message::MapOutputs(MapOutputs {
        outputs: vec![MapOutput {
            attempt_id: "map-0".into(),
            local_path: done.map_output_path,
            ..MapOutput::default()
        }],
    }));
    let from_task::Message::Done(done) = worker.result() else { panic!("the reduce failed") };
    assert_eq!(done.outputs[0].name, "part-r-00000");
    assert_eq!(output(worker.dir.path()), "a\t1\nb\t2\n");
    worker.end();
}

#[test]
fn a_panic_is_a_failed_attempt_with_message_and_place() {
    let mut worker = FakeWorker::start();
    let input = worker.input("fine\nPANIC\n");
    let map = worker.map_of(&input);
    worker.launch("map-0", &input, 1, map);
    let from_task::Message::Failed(failed) = worker.result() else { panic!("it did not fail") };
    assert!(failed.message.contains("the mapper met the forbidden line"), "{}", failed.message);
    assert!(failed.message.contains(&format!("{input}, at byte 5")), "{}", failed.message);
    assert!(failed.message.contains("process_tests.rs"), "{}", failed.message);
    let input = worker.input("the process lives\n");
    let map = worker.map_of(&input);
    worker.launch("map-1", &input, 1, map);
    assert!(matches!(worker.result(), from_task::Message::Done(_)));
    worker.end();
}

#[test]
fn an_abort_stops_a_waiting_reducer() {
    let mut worker = FakeWorker::start();
    let input = worker.input("x\n");
    worker.launch("reduce-0", &input, 1, launch::Task::Reduce(ReduceTask { partition: 0 }));
    // The launch is taken before the abort is: progress of the waiting reducer says so.
    while !matches!(worker.receive(), from_task::Message::Progress(_)) {}
    worker.send(to_task::Message::Abort(hfs_protocol::proto::task::Abort {
        reason: "a test".into(),
    }));
    let from_task::Message::Failed(failed) = worker.result() else { panic!("it did not stop") };
    assert!(failed.message.contains("told to stop"), "{}", failed.message);
    worker.end();
}

/// Serves one segment, badly at first: a refusal, a cut in the middle, then from where it was cut.
fn bad_shuffle_server(listener: &TcpListener, segment: &[u8]) {
    let index = SegmentIndex::parse(segment).unwrap();
    let entry = index.partitions[0];
    let run = &segment[entry.offset as usize..(entry.offset + entry.length) as usize];
    for step in 0..3 {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        let request = loop {
            let mut buffer = [0; 64];
            let got = stream.read(&mut buffer).unwrap();
            bytes.extend_from_slice(&buffer[..got]);
            if let Some((request, _)) = FetchRequest::decode(&bytes).unwrap() {
                break request;
            }
        };
        let mut answer = Vec::new();
        if step == 0 {
            let reason = RefusalReason::Busy;
            FetchAnswer::Refused { reason, message: "busy".into() }.encode(&mut answer);
        } else {
            let (length, records, crc32) = (entry.length, entry.records, entry.crc32);
            FetchAnswer::Found { length, records, crc32 }.encode(&mut answer);
            let to = if step == 1 { run.len() / 2 } else { run.len() };
            answer.extend_from_slice(&run[request.offset as usize..to]);
        }
        stream.write_all(&answer).unwrap();
    }
}

#[test]
fn a_remote_fetch_survives_refusal_and_broken_connections() {
    let mut worker = FakeWorker::start();
    let input = worker.input("b a\nb\n");
    let map = worker.map_of(&input);
    worker.launch("map-0", &input, 1, map);
    let from_task::Message::Done(done) = worker.result() else { panic!("the map failed") };
    let segment = std::fs::read(&done.map_output_path).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || bad_shuffle_server(&listener, &segment));

    worker.launch("reduce-0", &input, 1, launch::Task::Reduce(ReduceTask { partition: 0 }));
    worker.send(to_task::Message::MapOutputs(MapOutputs {
        outputs: vec![MapOutput {
            attempt_id: "map-0".into(),
            shuffle_address: address,
            ..MapOutput::default()
        }],
    }));
    assert!(matches!(worker.result(), from_task::Message::Done(_)));
    assert_eq!(output(worker.dir.path()), "a\t1\nb\t2\n");
    server.join().unwrap();
    worker.end();
}

#[test]
fn a_damaged_segment_is_reported_and_a_newer_one_taken() {
    let mut worker = FakeWorker::start();
    let input = worker.input("b a\nb\n");
    let map = worker.map_of(&input);
    worker.launch("map-0", &input, 1, map);
    let from_task::Message::Done(done) = worker.result() else { panic!("the map failed") };
    let mut segment = std::fs::read(&done.map_output_path).unwrap();
    segment[10] ^= 1;
    let damaged = worker.dir.path().join("damaged");
    std::fs::write(&damaged, segment).unwrap();

    worker.launch("reduce-0", &input, 1, launch::Task::Reduce(ReduceTask { partition: 0 }));
    let output_at = |attempt: &str, path: &str| {
        to_task::Message::MapOutputs(MapOutputs {
            outputs: vec![MapOutput {
                attempt_id: attempt.into(),
                local_path: path.into(),
                ..MapOutput::default()
            }],
        })
    };
    worker.send(output_at("map-0", damaged.to_str().unwrap()));
    let from_task::Message::FetchFailed(failed) = worker.result() else { panic!("not reported") };
    assert_eq!(failed.map_attempt_id, "map-0");
    assert!(failed.message.contains("checksum"), "{}", failed.message);
    worker.send(output_at("map-1", &done.map_output_path));
    assert!(matches!(worker.result(), from_task::Message::Done(_)));
    assert_eq!(output(worker.dir.path()), "a\t1\nb\t2\n");
    worker.end();
}
