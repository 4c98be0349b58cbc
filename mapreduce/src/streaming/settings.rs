//! The properties that decide how lines become records, read once in every task.

use anyhow::Result;

use super::fields::{Fields, read_separator};
use super::key_order::KeyOrder;
use crate::conf::Conf;

/// Which class compares keys; only one is known beside the order of bytes.
const COMPARATOR: &str = "mapreduce.job.output.key.comparator.class";

/// How a task reads and writes lines.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    /// Lines of the mapper and the combiner.
    pub(super) map_output: Fields,
    /// Lines of the reducer.
    pub(super) reduce_output: Fields,
    /// Between key and value of what the mapper reads, where it is given keys.
    pub(super) map_input_separator: Vec<u8>,
    /// Between key and value of what the combiner and the reducer read.
    pub(super) reduce_input_separator: Vec<u8>,
    /// Between key and value of input that has keys.
    pub(super) key_value: Fields,
    /// Whether the mapper is not given the input's keys, if the job says.
    pub(super) ignore_key: Option<bool>,
    /// Another order of keys than that of their bytes.
    pub(super) order: Option<KeyOrder>,
}

impl Settings {
    /// Reads them. `numbered`: keys are the numbers that an identity mapper gives to lines.
    pub(super) fn read(conf: &Conf, numbered: bool) -> Result<Self> {
        let compared = conf.get(COMPARATOR).unwrap_or_default();
        let order = match compared.rsplit('.').next().unwrap_or_default() {
            "KeyFieldBasedComparator" => Some(KeyOrder::read(conf)?),
            "" | "Text" | "Comparator" | "BytesWritable" if numbered => Some(KeyOrder::numbers()),
            "" | "Text" | "Comparator" | "BytesWritable" => None,
            _ => anyhow::bail!(
                "the property {COMPARATOR} is {compared}, a Java class; there is no Java here, and the \
                 one comparator there is is KeyFieldBasedComparator"
            ),
        };
        Ok(Self {
            map_output: Fields::read(
                conf,
                "stream.map.output.field.separator",
                "stream.num.map.output.key.fields",
            )?,
            reduce_output: Fields::read(
                conf,
                "stream.reduce.output.field.separator",
                "stream.num.reduce.output.key.fields",
            )?,
            map_input_separator: read_separator(conf, "stream.map.input.field.separator")?,
            reduce_input_separator: read_separator(conf, "stream.reduce.input.field.separator")?,
            key_value: Fields::first(read_separator(
                conf,
                "mapreduce.input.keyvaluelinerecordreader.key.value.separator",
            )?),
            ignore_key: conf.parsed("stream.map.input.ignoreKey")?,
            order,
        })
    }
}
