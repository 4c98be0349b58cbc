#![allow(clippy::unwrap_used)]
use hfs_protocol::proto::task::{Exit, JobSpec, MapOutputs, MapTask, ReduceTask};
use hfs_protocol::shuffle::{FetchAnswer, FetchRequest, RefusalReason, SegmentIndex};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;

use super::*;
use crate::input::SplitContext;
use crate::{Conf, Emit, Line, Mapper, Reducer, Sum, Text, TextInput, Values, words};

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
    /// Silence that every launch's job allows, ms; 0: any.
    timeout_ms: u64,
}

impl FakeWorker {
    pub(crate) fn start() -> Self {
        Self::start_with(job)
    }

    /// A task process whose program is another one.
    fn start_with(build: fn(&JobSpec) -> Result<Job>) -> Self {
        let (stream, theirs) = UnixStream::pair().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let task = Some(std::thread::spawn(move || serve(theirs, build, |_| Ok(()))));
        let dir = tempfile::tempdir().unwrap();
        let (conf, sort_bytes, timeout_ms) = (Vec::new(), 0, 0);
        let mut worker = Self { stream, task, dir, conf, sort_bytes, timeout_ms };
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
            task_timeout_ms: self.timeout_ms,
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
            skip: None,
            task: Some(task),
        }));
    }

    pub(crate) fn map_of(&self, input: &str) -> launch::Task {
        let inputs = [input.to_owned()];
        let context = SplitContext {
            files: &Files::local(),
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

/// How long the slow program takes for a record, and how many records it is given: its tasks take much longer than
/// the silence they are allowed.
const SLOW_RECORD: Duration = Duration::from_millis(1);
const SLOW_RECORDS: usize = 2500;
const SLOW_TIMEOUT: Duration = Duration::from_millis(1200);

/// All lines under one key; or none, each looked at for long.
#[derive(Clone)]
struct OneKey {
    slow: bool,
}

impl Mapper for OneKey {
    type Input = TextInput;
    type Key = Text;
    type Value = u64;

    fn map(&mut self, _: Line<'_>, out: &mut impl Emit<Text, u64>) -> Result<()> {
        if self.slow {
            std::thread::sleep(SLOW_RECORD);
            return Ok(());
        }
        out.emit(b"key", 1)
    }
}

/// Tells the test when the value of a group was taken after which nothing more happens, and waits for its word.
static HANGING: Mutex<Option<(Sender<()>, Receiver<()>)>> = Mutex::new(None);

/// Sums, and takes long for each value; or takes one and hangs.
#[derive(Clone)]
struct SlowSum {
    slow: bool,
    hangs: bool,
}

impl Reducer<Text, u64> for SlowSum {
    type OutKey = Text;
    type OutValue = u64;

    fn reduce(
        &mut self,
        key: &[u8],
        values: &mut Values<'_, '_, u64>,
        out: &mut impl Emit<Text, u64>,
    ) -> Result<()> {
        let mut sum = 0;
        for value in values {
            sum += value;
            if self.slow {
                std::thread::sleep(SLOW_RECORD);
            }
            if self.hangs
                && let Some((taken, released)) = HANGING.lock().take()
            {
                taken.send(())?;
                released.recv()?;
            }
        }
        out.emit(key, sum)
    }
}

/// A job that is slow where the name of its input says.
fn slow_job(spec: &JobSpec) -> Result<Job> {
    let input = &spec.program_args[0];
    let slow = |place: &str| input.ends_with(place);
    let reduce = SlowSum { slow: slow("reduce"), hangs: slow("hang") };
    let job = Job::map(OneKey { slow: slow("map") });
    let output = &spec.program_args[1];
    if slow("combine") {
        let combine = SlowSum { slow: true, hangs: false };
        job.combine_with(combine).reduce(reduce).input(input).output(output).build()
    } else {
        job.reduce(reduce).input(input).output(output).build()
    }
}

/// What a task has said of itself.
#[derive(Debug, Default)]
struct Told {
    /// The longest time without a word.
    silence: Duration,
    /// How often it was further than before.
    steps: u32,
}

impl FakeWorker {
    /// Runs the slow program's map and, unless it emits nothing, its reduce; gives what the slow one has told.
    fn run_slow(place: &str) -> (Self, Told) {
        let mut worker = Self::start_with(slow_job);
        worker.timeout_ms = SLOW_TIMEOUT.as_millis() as u64;
        let path = worker.dir.path().join(place);
        std::fs::write(&path, "line\n".repeat(SLOW_RECORDS)).unwrap();
        let input = path.to_str().unwrap().to_owned();
        let map = worker.map_of(&input);
        worker.launch("map-0", &input, 1, map);
        let (message, of_map) = worker.timed_result();
        let from_task::Message::Done(done) = message else { panic!("{message:?}") };
        worker.reduce_one(&input, done);
        let (message, of_reduce) = worker.timed_result();
        assert!(matches!(message, from_task::Message::Done(_)), "{message:?}");
        (worker, if place == "reduce" { of_reduce } else { of_map })
    }

    /// Launches a reduce of this map's output.
    fn reduce_one(&mut self, input: &str, done: Done) {
        self.launch("reduce-0", input, 1, launch::Task::Reduce(ReduceTask { partition: 0 }));
        self.send(to_task::Message::MapOutputs(MapOutputs {
            outputs: vec![MapOutput {
                attempt_id: "map-0".into(),
                local_path: done.map_output_path,
                ..MapOutput::default()
            }],
        }));
    }

    /// The next message that is not about progress, and what was told before it.
    fn timed_result(&mut self) -> (from_task::Message, Told) {
        let (mut heard, mut told, mut fraction) = (Instant::now(), Told::default(), 0.0);
        loop {
            let message = self.receive();
            told.silence = told.silence.max(heard.elapsed());
            heard = Instant::now();
            let from_task::Message::Progress(progress) = message else { return (message, told) };
            told.steps += u32::from(progress.fraction > fraction);
            fraction = progress.fraction;
        }
    }
}

/// A group with more values than can be reduced within the task timeout: as in Hadoop every value that is taken is a
/// sign of life, and a step forward.
#[test]
fn a_reducer_that_takes_values_of_one_group_for_long_is_alive() {
    let (worker, told) = FakeWorker::run_slow("reduce");
    assert!(told.silence < SLOW_TIMEOUT && told.steps > 4, "{told:?}");
    assert_eq!(output(worker.dir.path()), format!("key\t{SLOW_RECORDS}\n"));
    worker.end();
}

#[test]
fn a_combiner_that_takes_values_of_one_group_for_long_is_alive() {
    let (worker, told) = FakeWorker::run_slow("combine");
    assert!(told.silence < SLOW_TIMEOUT, "{told:?}");
    assert_eq!(output(worker.dir.path()), format!("key\t{SLOW_RECORDS}\n"));
    worker.end();
}

/// A block of lines is one batch: the mapper need not have done with it in time, only with a line.
#[test]
fn a_mapper_that_takes_records_of_one_batch_for_long_is_alive() {
    let (worker, told) = FakeWorker::run_slow("map");
    assert!(told.silence < SLOW_TIMEOUT, "{told:?}");
    worker.end();
}

/// Signs of life come from what a task does, not from a clock: a reducer that hangs gives none.
#[test]
fn a_reducer_that_hangs_within_a_group_says_nothing() {
    let (taken, hangs) = channel();
    let (release, released) = channel();
    *HANGING.lock() = Some((taken, released));
    let mut worker = FakeWorker::start_with(slow_job);
    worker.timeout_ms = SLOW_TIMEOUT.as_millis() as u64;
    let path = worker.dir.path().join("hang");
    std::fs::write(&path, "line\n".repeat(10)).unwrap();
    let input = path.to_str().unwrap().to_owned();
    let map = worker.map_of(&input);
    worker.launch("map-0", &input, 1, map);
    let from_task::Message::Done(done) = worker.result() else { panic!("the map failed") };
    worker.reduce_one(&input, done);
    hangs.recv().unwrap();
    // What it had done before may be told yet; then there is silence for longer than is allowed.
    worker.stream.set_read_timeout(Some(SLOW_TIMEOUT)).unwrap();
    let mut said = 0;
    while std::io::Read::read(&mut worker.stream, &mut [0; 1024]).is_ok() {
        said += 1;
        assert!(said < 5, "it says that it is alive");
    }
    worker.stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    release.send(()).unwrap();
    assert!(matches!(worker.result(), from_task::Message::Done(_)));
    worker.end();
}
