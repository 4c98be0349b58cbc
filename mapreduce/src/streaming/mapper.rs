//! The mapper of a streaming job.

use anyhow::Result;
use memchr::memchr;

use super::command::Step;
use super::environment::input_properties;
use super::input::{Format, StreamInput};
use super::own::Own;
use super::pipe::{self, Pipe, Start};
use super::settings::Settings;
use crate::context::Context;
use crate::input::{FileRange, Line, Lines};
use crate::mapper::{Emit, Mapper};
use crate::record::Text;

/// Bytes gathered before they are written to a command.
const BLOCK_BYTES: usize = 256 << 10;

/// Gives lines to a command, or passes them on. A command runs once for each part of a file, as it would
/// in Hadoop, where a split has one: so it knows its file.
#[derive(Clone)]
pub(super) struct StreamMapper {
    pub(super) step: Step,
    pub(super) format: Format,
    pub(super) environment: Vec<(String, String)>,
    /// Whether the job has reducers, so that keys are to be sorted.
    pub(super) sorts: bool,
    settings: Settings,
    running: Own<Running>,
    buffer: Vec<u8>,
}

struct Running {
    pipe: Pipe,
    /// The file and where its part begins.
    part: Option<(String, u64)>,
}

impl StreamMapper {
    pub(super) fn new(
        step: Step,
        format: Format,
        environment: Vec<(String, String)>,
        sorts: bool,
    ) -> Self {
        Self {
            step,
            format,
            environment,
            sorts,
            settings: Settings::default(),
            running: Own(None),
            buffer: Vec::new(),
        }
    }

    /// Whether keys are numbers of bytes.
    pub(super) fn numbers_keys(&self) -> bool {
        self.step == Step::Identity && self.format != Format::KeyValue
    }

    fn start(
        &self,
        command: &str,
        part: Option<FileRange<'_>>,
        context: &Context,
    ) -> Result<Running> {
        let properties = match part {
            Some(part) => {
                let file = context.files().qualified(part.path);
                input_properties(&file, part.start, part.length)
            }
            None => Vec::new(),
        };
        let start = Start {
            role: "mapper",
            command,
            environment: &self.environment,
            properties: &properties,
        };
        let pipe = Pipe::start(start, context)?;
        Ok(Running { pipe, part: part.map(|part| (part.path.to_owned(), part.start)) })
    }

    /// The input as the command reads it: lines, with their keys in front if it wants them.
    fn feed(&mut self, lines: Lines<'_>, out: &mut impl Emit<Text, Text>) -> Result<()> {
        let Self { settings, running, buffer, format, sorts, .. } = self;
        let Some(running) = &mut running.0 else { return Ok(()) };
        let mut emit = EmitLines { out, settings, sorts: *sorts, key: Vec::new() };
        let with_key = !settings.ignore_key.unwrap_or(*format == Format::Text);
        let bytes = lines.bytes();
        if !with_key && *format != Format::KeyValue && memchr(b'\r', bytes).is_none() {
            running.pipe.feed(bytes, &mut emit)?;
            if bytes.last().is_some_and(|&byte| byte != b'\n') {
                running.pipe.feed(b"\n", &mut emit)?;
            }
            return Ok(());
        }
        buffer.clear();
        for line in lines {
            match format {
                Format::KeyValue => {
                    let (key, value) = settings.key_value.split(line.bytes);
                    if with_key {
                        buffer.extend_from_slice(key);
                        buffer.extend_from_slice(&settings.map_input_separator);
                    }
                    buffer.extend_from_slice(value);
                }
                Format::Text | Format::Numbered => {
                    if with_key {
                        buffer.extend_from_slice(line.offset.to_string().as_bytes());
                        buffer.extend_from_slice(&settings.map_input_separator);
                    }
                    buffer.extend_from_slice(line.bytes);
                }
            }
            buffer.push(b'\n');
            if buffer.len() >= BLOCK_BYTES {
                running.pipe.feed(buffer, &mut emit)?;
                buffer.clear();
            }
        }
        running.pipe.feed(buffer, &mut emit)
    }

    fn finish(&mut self, out: &mut impl Emit<Text, Text>) -> Result<()> {
        let Some(running) = self.running.0.take() else { return Ok(()) };
        let settings = &self.settings;
        let mut emit = EmitLines { out, settings, sorts: self.sorts, key: Vec::new() };
        running.pipe.finish(&mut emit)
    }
}

impl Mapper for StreamMapper {
    type Input = StreamInput;
    type Key = Text;
    type Value = Text;

    fn input(&self) -> StreamInput {
        StreamInput(self.format)
    }

    fn setup(&mut self, context: &mut Context) -> Result<()> {
        self.settings = Settings::read(context.conf(), self.numbers_keys())?;
        Ok(())
    }

    fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, Text>) -> Result<()> {
        let settings = &self.settings;
        let mut emit = EmitLines { out, settings, sorts: self.sorts, key: Vec::new() };
        match self.format {
            Format::KeyValue => {
                let (key, value) = settings.key_value.split(line.bytes);
                emit.record(key, value)
            }
            Format::Text | Format::Numbered => {
                emit.record(line.offset.to_string().as_bytes(), line.bytes)
            }
        }
    }

    fn map_batch(&mut self, lines: Lines<'_>, out: &mut impl Emit<Text, Text>) -> Result<()> {
        let Step::Command(command) = &self.step else {
            for line in lines {
                out.context().tick();
                self.map(line, out)?;
            }
            return Ok(());
        };
        let file = lines.file();
        let same = |running: &Running| {
            running
                .part
                .as_ref()
                .is_some_and(|(path, start)| path == file.path && *start == file.start)
        };
        if !self.running.0.as_ref().is_some_and(same) {
            let command = command.clone();
            self.finish(out)?;
            self.running.0 = Some(self.start(&command, Some(file), out.context())?);
        }
        self.feed(lines, out)
    }

    fn cleanup(&mut self, out: &mut impl Emit<Text, Text>) -> Result<()> {
        if let (Step::Command(command), None) = (&self.step, &self.running.0) {
            // There was no line at all: the command hears that, too.
            self.running.0 = Some(self.start(command, None, out.context())?);
        }
        self.finish(out)
    }
}

/// Emits lines as map output.
struct EmitLines<'a, E> {
    out: &'a mut E,
    settings: &'a Settings,
    sorts: bool,
    key: Vec<u8>,
}

impl<E: Emit<Text, Text>> EmitLines<'_, E> {
    #[inline]
    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match &self.settings.order {
            Some(order) if self.sorts => {
                self.key.clear();
                order.encode(key, &mut self.key);
                self.out.emit(&self.key, value)
            }
            _ => self.out.emit(key, value),
        }
    }
}

impl<E: Emit<Text, Text>> pipe::Lines for EmitLines<'_, E> {
    #[inline]
    fn line(&mut self, line: &[u8]) -> Result<()> {
        let (key, value) = self.settings.map_output.split(line);
        self.record(key, value)
    }

    fn context(&mut self) -> &mut Context {
        self.out.context()
    }
}
