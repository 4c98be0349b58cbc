//! The reducer of a streaming job.

use anyhow::{Result, bail};

use super::aggregate::{Aggregate, split_key};
use super::command::Step;
use super::key_order::decode;
use super::own::Own;
use super::pipe::{Lines, Pipe, Start};
use super::settings::Settings;
use crate::context::Context;
use crate::mapper::Emit;
use crate::record::Text;
use crate::reducer::Reducer;
use crate::values::Values;

/// Bytes gathered before they are written to a command.
pub(super) const BLOCK_BYTES: usize = 256 << 10;

/// Gives lines of keys and values to a command, in the order of the keys; or passes them on, or
/// aggregates them.
#[derive(Clone)]
pub(super) struct StreamReducer {
    step: Step,
    environment: Vec<(String, String)>,
    /// Whether keys are the numbers of an identity mapper.
    numbered: bool,
    settings: Settings,
    running: Own<Pipe>,
    input: Vec<u8>,
    /// Whether there was a record.
    fed: bool,
}

impl StreamReducer {
    pub(super) fn new(step: Step, environment: Vec<(String, String)>, numbered: bool) -> Self {
        Self {
            step,
            environment,
            numbered,
            settings: Settings::default(),
            running: Own(None),
            input: Vec::new(),
            fed: false,
        }
    }

    fn flush(&mut self, out: &mut impl Emit<Text, Text>) -> Result<()> {
        let Self { settings, running, input, fed, .. } = self;
        let Some(pipe) = &mut running.0 else { bail!("the reducer's command does not run") };
        pipe.feed(input, &mut EmitLines { out, settings, wanted: *fed })?;
        input.clear();
        Ok(())
    }
}

/// Appends a line for a command.
#[inline]
pub(super) fn put_line(key: &[u8], separator: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(key);
    out.extend_from_slice(separator);
    out.extend_from_slice(value);
    out.push(b'\n');
}

impl Reducer<Text, Text> for StreamReducer {
    type OutKey = Text;
    type OutValue = Text;

    fn setup(&mut self, context: &mut Context) -> Result<()> {
        self.settings = Settings::read(context.conf(), self.numbered)?;
        if let Step::Command(command) = &self.step {
            let environment = &self.environment;
            let start = Start { role: "reducer", command, environment, properties: &[] };
            self.running.0 = Some(Pipe::start(start, context)?);
        }
        Ok(())
    }

    fn reduce(
        &mut self,
        key: &[u8],
        values: &mut Values<'_, '_, Text>,
        out: &mut impl Emit<Text, Text>,
    ) -> Result<()> {
        let key = if self.settings.order.is_some() { decode(key)? } else { key };
        match &self.step {
            Step::Identity => {
                for value in values {
                    out.emit(key, value)?;
                }
            }
            Step::Aggregate => {
                let (how, id) = split_key(key)?;
                let mut aggregate = Aggregate::begin(how)?;
                for value in values {
                    aggregate.add(value)?;
                }
                out.emit(id, &aggregate.report())?;
            }
            Step::Command(_) => {
                self.fed = true;
                for value in values {
                    put_line(key, &self.settings.reduce_input_separator, value, &mut self.input);
                    if self.input.len() >= BLOCK_BYTES {
                        self.flush(out)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn cleanup(&mut self, out: &mut impl Emit<Text, Text>) -> Result<()> {
        if self.running.0.is_some() {
            self.flush(out)?;
        }
        let Some(pipe) = self.running.0.take() else { return Ok(()) };
        let settings = &self.settings;
        pipe.finish(&mut EmitLines { out, settings, wanted: self.fed })
    }
}

/// Emits lines as output.
struct EmitLines<'a, E> {
    out: &'a mut E,
    settings: &'a Settings,
    /// As in Hadoop what a command says to no input at all is not output.
    wanted: bool,
}

impl<E: Emit<Text, Text>> Lines for EmitLines<'_, E> {
    #[inline]
    fn line(&mut self, line: &[u8]) -> Result<()> {
        if !self.wanted {
            return Ok(());
        }
        let (key, value) = self.settings.reduce_output.split(line);
        self.out.emit(key, value)
    }

    fn context(&mut self) -> &mut Context {
        self.out.context()
    }
}
