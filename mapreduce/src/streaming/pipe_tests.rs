#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use super::*;
use crate::conf::Conf;
use crate::context::Shared;

/// Keeps lines.
struct Kept {
    context: Context,
    lines: Vec<Vec<u8>>,
}

impl Lines for Kept {
    fn line(&mut self, line: &[u8]) -> Result<()> {
        self.lines.push(line.to_vec());
        Ok(())
    }

    fn context(&mut self) -> &mut Context {
        &mut self.context
    }
}

struct Run {
    dir: tempfile::TempDir,
    kept: Kept,
}

impl Run {
    fn new(conf: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let conf: Conf = conf.iter().copied().collect();
        let attempt = "attempt_7_0003_m_000002_0".to_owned();
        let shared = Arc::new(Shared::default());
        let context =
            Context::new(Arc::new(conf), attempt, 2, 4, shared).with_working_dir(dir.path());
        Self { dir, kept: Kept { context, lines: Vec::new() } }
    }

    fn command(&mut self, command: &str, input: &[u8]) -> Result<()> {
        let environment = [("GREETING".to_owned(), "good day".to_owned())];
        let properties = [("mapreduce.map.input.file", "/in/a".to_owned())];
        let start =
            Start { role: "mapper", command, environment: &environment, properties: &properties };
        let mut pipe = Pipe::start(start, &self.kept.context)?;
        for block in input.chunks(100_000) {
            pipe.feed(block, &mut self.kept)?;
        }
        pipe.finish(&mut self.kept)
    }

    fn text(&self) -> Vec<String> {
        self.kept.lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }

    fn counter(&self, name: &str) -> i64 {
        let counters = self.kept.context.counters.to_messages();
        counters.iter().find(|c| c.name == name).map_or(0, |c| c.value)
    }
}

#[test]
fn all_bytes_go_through_in_order() {
    let mut run = Run::new(&[]);
    let input: Vec<u8> =
        (0..2_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    run.command("cat", &input).unwrap();
    let expected: Vec<Vec<u8>> = input
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec())
        .collect();
    assert!(run.kept.lines == expected, "{} and {} lines", run.kept.lines.len(), expected.len());
}

#[test]
fn a_command_may_write_more_than_it_reads_or_nothing_or_not_read() {
    let input = vec![b'x'; 5_000_000];
    let mut run = Run::new(&[]);
    run.command("sh -c 'yes | head -c 3000000; cat > /dev/null'", &input).unwrap();
    assert_eq!(run.kept.lines.len(), 1_500_000);
    let mut run = Run::new(&[]);
    run.command("true", &input).unwrap();
    run.command("head -c 3", &input).unwrap();
    assert_eq!(run.text(), ["xxx"]);
    // It closes its output long before it ends, and its input never.
    let mut run = Run::new(&[]);
    run.command("sh -c 'echo early; exec >&- 2>&-; sleep 0.3'", b"").unwrap();
    assert_eq!(run.text(), ["early"]);
}

#[test]
fn a_command_that_fails_is_quoted_and_not_fed_to_the_end() {
    let mut run = Run::new(&[]);
    let error = run.command("sh -c 'exit 3'", b"").unwrap_err().to_string();
    assert!(error.contains("'sh -c 'exit 3'' failed") && error.contains("code 3"), "{error}");
    let error = run.command("sh -c 'kill -9 $$'", b"").unwrap_err().to_string();
    assert!(error.contains("signal 9"), "{error}");
    let error = format!("{:#}", run.command("no-such-program -x", b"").unwrap_err());
    assert!(error.contains("no-such-program") && error.contains("-files"), "{error}");
    assert!(run.command("", b"").is_err());
    let mut run = Run::new(&[("stream.non.zero.exit.is.failure", "false")]);
    run.command("sh -c 'echo some; exit 3'", b"").unwrap();
    assert_eq!(run.text(), ["some"]);
}

#[test]
fn counters_and_status_come_through_standard_error() {
    let mut run = Run::new(&[]);
    let script = "sh -c 'for n in 1 2 3; do echo reporter:counter:g,lines,2 >&2; done; echo log >&2; \
                  printf reporter:counter:g,last,5 >&2'";
    run.command(script, b"").unwrap();
    assert_eq!((run.counter("lines"), run.counter("last")), (6, 5));
    let mut run = Run::new(&[("stream.stderr.reporter.prefix", "to me:")]);
    run.command("sh -c 'echo reporter:counter:g,a,1 >&2; echo to me:counter:g,b,1 >&2'", b"")
        .unwrap();
    assert_eq!((run.counter("a"), run.counter("b")), (0, 1));
}

#[test]
fn the_environment_names_job_task_and_input() {
    let mut run = Run::new(&[("my.own-property", "x y")]);
    let script = "sh -c 'echo $my_own_property; echo $mapreduce_job_id $mapreduce_task_partition; echo \
                  $mapreduce_map_input_file; echo $GREETING; pwd; test -d \"$TMPDIR\" && echo tmp; \
                  echo ${HFS_TASK_SOCKET-none}'";
    run.command(script, b"").unwrap();
    let dir = run.dir.path().canonicalize().unwrap().display().to_string();
    assert_eq!(run.text(), ["x y", "job_7_0003 2", "/in/a", "good day", &dir, "tmp", "none"]);
}

#[test]
fn a_program_in_the_working_directory_goes_first() {
    use std::os::unix::fs::PermissionsExt;
    let mut run = Run::new(&[]);
    let own = run.dir.path().join("cat");
    std::fs::write(&own, "#!/bin/sh\necho mine\n").unwrap();
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o755)).unwrap();
    run.command("cat", b"theirs\n").unwrap();
    assert_eq!(run.text(), ["mine"]);
}

#[test]
fn an_attempt_that_is_told_to_stop_does() {
    let mut run = Run::new(&[]);
    run.kept.context.abort_for_test();
    let began = Instant::now();
    let error = run.command("sleep 100", b"").unwrap_err().to_string();
    assert!(error.contains("told to stop"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(30));
}
