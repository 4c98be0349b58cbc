//! A table that every task holds whole: the small side of a map-side join.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail};

use crate::conf;
use crate::context::Context;
use crate::input::{InputFormat, SplitContext, TextInput};

/// Memory for a table, MiB, unless configured.
const DEFAULT_TABLE_MB: u64 = 256;
/// What an entry costs apart from its bytes: two boxes, a vector's place and the map's own.
const ENTRY_BYTES: u64 = 96;

/// A table of keys and values, read from lines of text in a mapper's `setup`: a join without sorting
/// and shuffling the large side. It may take `hfs.join.broadcast.mb` MiB (256).
///
/// ```
/// use std::sync::Arc;
///
/// use hfs_mapreduce::{
///     BroadcastTable, Context, Emit, Line, Mapper, Result, Text, TextInput, words,
/// };
///
/// /// Orders, lines as `user order`, with the user's name from `/users`.
/// #[derive(Clone, Default)]
/// struct WithNames {
///     users: Arc<BroadcastTable>,
/// }
///
/// impl Mapper for WithNames {
///     type Input = TextInput;
///     type Key = Text;
///     type Value = Text;
///
///     fn setup(&mut self, context: &mut Context) -> Result<()> {
///         let fields = |line: &[u8]| {
///             let at = line.iter().position(|&byte| byte == b'\t')?;
///             Some((line[..at].to_vec(), line[at + 1..].to_vec()))
///         };
///         self.users = Arc::new(BroadcastTable::read(context, "/users", fields)?);
///         Ok(())
///     }
///
///     fn map(&mut self, line: Line<'_>, out: &mut impl Emit<Text, Text>) -> Result<()> {
///         let mut fields = words(line.bytes);
///         let (Some(user), Some(order)) = (fields.next(), fields.next()) else { return Ok(()) };
///         self.users.get(user).try_for_each(|name| out.emit(name, order))
///     }
/// }
/// ```
#[derive(Debug, Default)]
pub struct BroadcastTable {
    entries: HashMap<Box<[u8]>, Vec<Box<[u8]>>>,
}

impl BroadcastTable {
    /// Reads a file, a directory or a pattern of text. `fields` makes key and value of a line;
    /// `None` leaves it out.
    ///
    /// # Errors
    /// When the files can't be read or the table takes too much memory.
    pub fn read(
        context: &Context,
        path: &str,
        mut fields: impl FnMut(&[u8]) -> Option<(Vec<u8>, Vec<u8>)>,
    ) -> Result<Self> {
        let unreadable = || format!("the table {path} can't be read");
        let (files, conf) = (context.files(), context.conf());
        let most_mb = conf.parsed_or(conf::BROADCAST_MB, DEFAULT_TABLE_MB)?;
        let inputs = [path.to_owned()];
        let input = TextInput;
        let all = SplitContext { files, conf, inputs: &inputs, parallelism: None };
        let mut table = Self::default();
        let mut bytes = 0;
        for split in input.splits(&all).with_context(unreadable)? {
            let mut reader = input.open(&split, files, conf).with_context(unreadable)?;
            while let Some(batch) = reader.next_batch().with_context(unreadable)? {
                for line in batch {
                    let Some((key, value)) = fields(line.bytes) else { continue };
                    bytes += (key.len() + value.len()) as u64 + ENTRY_BYTES;
                    if bytes > most_mb.saturating_mul(1 << 20) {
                        bail!(
                            "the table {path} takes more than {most_mb} MiB in every task; join it on \
                             the reduce side, or raise it with -D {}=...",
                            conf::BROADCAST_MB
                        );
                    }
                    table.entries.entry(key.into()).or_default().push(value.into());
                }
            }
        }
        Ok(table)
    }

    /// The values of a key, in the order of the lines.
    pub fn get(&self, key: &[u8]) -> impl Iterator<Item = &[u8]> {
        self.entries.get(key).into_iter().flatten().map(|value| &**value)
    }

    /// How many different keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
