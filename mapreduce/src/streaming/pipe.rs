//! A running command: lines go in, lines come out, and what it says on standard error is heard.
//!
//! One thread does all of it, without ever waiting for one pipe alone: a command that does not read, that
//! does not write, or that writes before it has read all can't make it stand still. Bytes move in
//! blocks; the only work for each line is to find its end.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use memchr::{memchr, memrchr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::command::split_command;
use super::environment::{task_properties, variables};
use super::reporter::{self, Said};
use crate::context::Context;
use crate::run::{JOB_ANNOUNCE, TASK_SOCKET};

/// Bytes that wait in a pipe, where the system allows it: enough to keep the command busy while map
/// output is sorted.
const PIPE_BYTES: usize = 1 << 20;
/// Bytes read from a pipe at once.
const READ_BYTES: usize = 256 << 10;
/// So often it is looked whether the attempt must stop and whether the command has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Something that moves is told at most so often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// How long what an ended command has started may keep its pipes open.
const LINGER: Duration = Duration::from_secs(2);
/// The longest line of standard error that is kept together.
const MAX_SAID_BYTES: usize = 64 << 10;

/// Where a command's lines go.
pub(super) trait Lines {
    /// Takes a line, without its end.
    fn line(&mut self, line: &[u8]) -> Result<()>;
    /// The task's surroundings.
    fn context(&mut self) -> &mut Context;
}

/// What is started, besides what the job's configuration says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start<'a> {
    /// The command, for whom it works included: "mapper".
    pub(super) role: &'static str,
    pub(super) command: &'a str,
    /// Variables from `-cmdenv`.
    pub(super) environment: &'a [(String, String)],
    /// More properties of the task.
    pub(super) properties: &'a [(&'static str, String)],
}

/// A command that runs.
pub(super) struct Pipe {
    role: &'static str,
    command: String,
    child: Child,
    status: Option<ExitStatus>,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    /// Room for standard output, and how much of it holds the front of a line whose end has not come.
    output: Vec<u8>,
    filled: usize,
    said: Vec<u8>,
    prefix: String,
    failure_counts: bool,
    told: Instant,
    /// When something came from or went to the command last.
    last_moved: Instant,
}

impl Pipe {
    /// Starts a command in the attempt's working directory.
    pub(super) fn start(start: Start<'_>, context: &Context) -> Result<Self> {
        let Start { role, command, environment, properties } = start;
        let words = split_command(command);
        let Some((program, arguments)) = words.split_first() else {
            bail!("the {role}'s command is empty");
        };
        let conf = context.conf();
        let dir = context.working_dir();
        let mut task = task_properties(context.attempt_id(), context.reduces());
        task.push(("mapreduce.job.local.dir", dir.display().to_string()));
        task.extend(properties.iter().cloned());
        let mut process = Command::new(find(program, dir));
        process.args(arguments).envs(variables(conf, &task));
        if context.files().hdfs().is_some() {
            process.env("HFS_FS", context.files().url());
        }
        let temporary = dir.join("tmp");
        std::fs::create_dir_all(&temporary)
            .with_context(|| format!("the directory {} can't be made", temporary.display()))?;
        let mut child = process
            .env("TMPDIR", &temporary)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            // It is no task process itself, whatever it runs.
            .env_remove(TASK_SOCKET)
            .env_remove(JOB_ANNOUNCE)
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| {
                format!(
                    "the {role} '{command}' can't be started: its program {program} is neither in the \
                     working directory (bring it with -files) nor in the PATH, or can't be run"
                )
            })?;
        let stdin = child.stdin.take().map(OwnedFd::from);
        let stdout = child.stdout.take().map(OwnedFd::from);
        let stderr = child.stderr.take().map(OwnedFd::from);
        for end in [&stdin, &stdout, &stderr].into_iter().flatten() {
            // A small pipe works, too.
            let _ = rustix::pipe::fcntl_setpipe_size(end, PIPE_BYTES);
            let flags = rustix::fs::fcntl_getfl(end)?;
            rustix::fs::fcntl_setfl(end, flags | OFlags::NONBLOCK)?;
        }
        Ok(Self {
            role,
            command: command.to_owned(),
            child,
            status: None,
            stdin,
            stdout,
            stderr,
            output: Vec::new(),
            filled: 0,
            said: Vec::new(),
            prefix: conf
                .get("stream.stderr.reporter.prefix")
                .unwrap_or(reporter::DEFAULT_PREFIX)
                .to_owned(),
            failure_counts: conf.parsed_or("stream.non.zero.exit.is.failure", true)?,
            told: Instant::now(),
            last_moved: Instant::now(),
        })
    }

    /// Writes all of `input` to the command, and hands on what it says meanwhile. A command that takes no
    /// more is no error: how it ends decides.
    pub(super) fn feed(&mut self, mut input: &[u8], lines: &mut impl Lines) -> Result<()> {
        while !input.is_empty() {
            let Some(stdin) = &self.stdin else {
                self.check_early_end(lines)?;
                break;
            };
            match rustix::io::write(stdin, input) {
                Ok(written) => {
                    input = &input[written..];
                    self.moved(lines);
                }
                Err(Errno::AGAIN) => self.wait(lines)?,
                Err(Errno::INTR) => {}
                Err(Errno::PIPE) => self.stdin = None,
                Err(error) => {
                    return Err(io::Error::from(error))
                        .with_context(|| format!("the {} can't be written to", self.named()));
                }
            }
        }
        self.take(lines)
    }

    /// Tells the command that there is no more, and waits for its end.
    pub(super) fn finish(mut self, lines: &mut impl Lines) -> Result<()> {
        self.stdin = None;
        self.drain(lines)?;
        self.take_last(lines)?;
        self.judge()
    }

    /// Reads until the command has ended and all it said is heard.
    fn drain(&mut self, lines: &mut impl Lines) -> Result<()> {
        let mut ended: Option<Instant> = None;
        loop {
            let open = self.stdout.is_some() || self.stderr.is_some();
            if open {
                self.wait(lines)?;
            } else {
                check_stop(lines)?;
            }
            if self.ended()? {
                if !open {
                    return Ok(());
                }
                // What it has left behind may hold its pipes open for ever.
                let since = *ended.get_or_insert_with(Instant::now);
                if since.max(self.last_moved).elapsed() > LINGER {
                    return Ok(());
                }
            } else if !open {
                std::thread::sleep(LOOK_INTERVAL / 10);
            }
        }
    }

    /// A command that has failed need not be given the rest of the input.
    fn check_early_end(&mut self, lines: &mut impl Lines) -> Result<()> {
        check_stop(lines)?;
        if self.ended()?
            && self.status.is_some_and(|status| !status.success())
            && self.failure_counts
        {
            self.drain(lines)?;
            self.take_last(lines)?;
            return self.judge();
        }
        Ok(())
    }

    fn ended(&mut self) -> Result<bool> {
        if self.status.is_none() {
            self.status = self.child.try_wait().with_context(|| {
                format!("it can't be seen whether the {} has ended", self.named())
            })?;
        }
        Ok(self.status.is_some())
    }

    fn named(&self) -> String {
        format!("{} '{}'", self.role, self.command)
    }

    fn judge(&self) -> Result<()> {
        let Some(status) = self.status.filter(|status| !status.success()) else { return Ok(()) };
        if !self.failure_counts {
            eprintln!("the {} ended with {status}; it counts as a success", self.named());
            return Ok(());
        }
        match (status.code(), status.signal()) {
            (Some(code), _) => bail!(
                "the {} failed: subprocess failed with code {code}; its own words are in the log",
                self.named()
            ),
            (None, Some(signal)) => bail!("the {} was ended by signal {signal}", self.named()),
            (None, None) => bail!("the {} failed", self.named()),
        }
    }

    /// Waits until a pipe can be used, for a moment at most, and reads what there is.
    fn wait(&mut self, lines: &mut impl Lines) -> Result<()> {
        let mut ends = Vec::with_capacity(3);
        if let Some(stdin) = &self.stdin {
            ends.push(PollFd::new(stdin, PollFlags::OUT));
        }
        for end in [&self.stdout, &self.stderr].into_iter().flatten() {
            ends.push(PollFd::new(end, PollFlags::IN));
        }
        let interval = Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK_INTERVAL.subsec_nanos()) };
        match poll(&mut ends, Some(&interval)) {
            Ok(0) | Err(Errno::INTR) => check_stop(lines),
            Ok(_) => self.take(lines),
            Err(error) => {
                Err(io::Error::from(error)).context("the pipes of a command can't be waited for")
            }
        }
    }

    /// Reads what there is.
    fn take(&mut self, lines: &mut impl Lines) -> Result<()> {
        self.hear(lines)?;
        // Not without end: whoever feeds the command wants to go on.
        for _ in 0..8 {
            let Some(stdout) = &self.stdout else { return Ok(()) };
            let kept = self.filled;
            if self.output.len() < kept + READ_BYTES / 2 {
                self.output.resize(kept + READ_BYTES, 0);
            }
            match rustix::io::read(stdout, &mut self.output[kept..]) {
                Ok(0) => self.stdout = None,
                Ok(got) => {
                    self.filled += got;
                    self.moved(lines);
                    self.pass_on(kept, lines)?;
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => {
                    return Err(io::Error::from(error))
                        .with_context(|| format!("the {} can't be read from", self.named()));
                }
            }
        }
        Ok(())
    }

    /// Hands on the whole lines. Up to `searched` there is no line's end.
    fn pass_on(&mut self, searched: usize, lines: &mut impl Lines) -> Result<()> {
        let Some(last) = memrchr(b'\n', &self.output[searched..self.filled]) else { return Ok(()) };
        let end = searched + last + 1;
        each_line(&self.output[..end], |line| lines.line(line))?;
        self.output.copy_within(end..self.filled, 0);
        self.filled -= end;
        Ok(())
    }

    /// Hands on a last line without an end.
    fn take_last(&mut self, lines: &mut impl Lines) -> Result<()> {
        each_line(&self.output[..self.filled], |line| lines.line(line))?;
        self.filled = 0;
        let mut said = std::mem::take(&mut self.said);
        if !said.is_empty() {
            said.push(b'\n');
            self.understand(&said, lines);
        }
        Ok(())
    }

    /// Reads standard error: counters and the status are taken out, the rest is the task's.
    fn hear(&mut self, lines: &mut impl Lines) -> Result<()> {
        loop {
            let Some(stderr) = &self.stderr else { return Ok(()) };
            let mut block = [0; 16 << 10];
            match rustix::io::read(stderr, &mut block) {
                Ok(0) => self.stderr = None,
                Ok(got) => {
                    self.moved(lines);
                    self.said.extend_from_slice(&block[..got]);
                    let end = match memrchr(b'\n', &self.said) {
                        Some(last) => last + 1,
                        None if self.said.len() > MAX_SAID_BYTES => self.said.len(),
                        None => continue,
                    };
                    let whole: Vec<u8> = self.said.drain(..end).collect();
                    self.understand(&whole, lines);
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => {
                    return Err(io::Error::from(error))
                        .with_context(|| format!("the {} can't be heard", self.named()));
                }
            }
        }
    }

    fn understand(&self, said: &[u8], lines: &mut impl Lines) {
        let mut log = Vec::with_capacity(said.len());
        for line in said.split_inclusive(|&byte| byte == b'\n') {
            let bare = line.strip_suffix(b"\n").unwrap_or(line);
            let bare = bare.strip_suffix(b"\r").unwrap_or(bare);
            match reporter::read(bare, &self.prefix) {
                Said::Counter { group, name, amount } => {
                    lines.context().increment(&group, &name, amount);
                }
                Said::Status(status) => lines.context().set_status(status),
                Said::Unclear => {
                    log.extend_from_slice(b"this line is no counter and no status: ");
                    log.extend_from_slice(line);
                }
                Said::Other => log.extend_from_slice(line),
            }
        }
        // The log is a courtesy; the attempt is what it is without it.
        let _ = io::stderr().lock().write_all(&log);
    }

    /// Something has moved: the attempt is alive.
    #[inline]
    fn moved(&mut self, lines: &mut impl Lines) {
        self.last_moved = Instant::now();
        if self.last_moved - self.told >= PROGRESS_INTERVAL {
            self.told = self.last_moved;
            lines.context().progress();
        }
    }
}

impl Drop for Pipe {
    /// A command that nobody waits for ends.
    fn drop(&mut self) {
        if self.status.is_none() {
            // Errors mean that it is gone.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn check_stop(lines: &mut impl Lines) -> Result<()> {
    lines.context().check_stop()
}

/// A program in the working directory goes before one in the PATH.
fn find(program: &str, dir: &Path) -> std::path::PathBuf {
    let here = dir.join(program);
    if !program.starts_with('/') && here.is_file() { here } else { program.into() }
}

/// Calls `take` with each line, without its end: a line feed, or a carriage return and a line feed.
#[inline]
fn each_line(mut bytes: &[u8], mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    while !bytes.is_empty() {
        let (line, rest) = match memchr(b'\n', bytes) {
            Some(end) => (&bytes[..end], &bytes[end + 1..]),
            None => (bytes, &[][..]),
        };
        take(line.strip_suffix(b"\r").unwrap_or(line))?;
        bytes = rest;
    }
    Ok(())
}

#[cfg(test)]
#[path = "pipe_tests.rs"]
mod tests;
