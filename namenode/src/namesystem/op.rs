//! The operations that change a namespace, numbered, and their form in bytes.
//!
//! Every change there ever is goes through one of these. Each carries everything it needs: the time, the ids that it gives
//! out, the caller's name. A check makes them from a request; [`Namespace::apply`](super::Namespace::apply) alone carries
//! them out, live, at a start and in tests.

use super::codec::{DecodeError, Field};
use super::mutate::Diverged;
use super::types::{Effect, RetryKey};
use super::{Namespace, ops};

/// The version of the records' form, the first byte of each.
///
/// | version | since | what changed |
/// | --- | --- | --- |
/// | 1 | 0.1 | first |
pub const FORMAT: u8 = 1;

macro_rules! operations {
    ($($(#[$doc:meta])* $code:literal since $since:literal $name:ident ($module:ident),)*) => {
        /// A change of the namespace. The numbers are the ones in the journal: they are never given out twice.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Op { $($(#[$doc])* #[doc = concat!("Number ", $code, ", since format ", $since, ".")] $name(ops::$module::$name),)* }

        $(
            impl From<ops::$module::$name> for Op {
                fn from(op: ops::$module::$name) -> Self {
                    Self::$name(op)
                }
            }

            impl ops::$module::$name {
                /// The operation's number in the journal.
                pub const CODE: u8 = $code;
            }
        )*

        impl Op {
            /// The operation's number in the journal.
            #[must_use]
            pub const fn code(&self) -> u8 {
                match self { $(Self::$name(_) => $code,)* }
            }

            /// The operation's name, for people.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name),)* }
            }

            fn put(&self, out: &mut Vec<u8>) {
                out.push(self.code());
                match self { $(Self::$name(op) => op.put(out),)* }
            }

            fn get(from: &mut &[u8]) -> Result<Self, DecodeError> {
                match u8::get(from)? {
                    $($code => Ok(Self::$name(Field::get(from)?)),)*
                    other => Err(DecodeError::Unknown { what: "operation", number: other.into() }),
                }
            }

            /// The one place where an operation meets the state.
            pub(crate) fn apply(
                &self,
                namespace: &mut Namespace,
                time_ms: u64,
                effects: &mut Vec<Effect>,
            ) -> Result<(), Diverged> {
                match self { $(Self::$name(op) => ops::$module::apply(namespace, op, time_ms, effects),)* }
            }
        }
    };
}

operations! {
    1 since 1 Mkdirs(mkdirs),
    2 since 1 Create(create),
    3 since 1 Append(append),
    4 since 1 AddBlock(add_block),
    5 since 1 AbandonBlock(abandon_block),
    6 since 1 Complete(complete),
    7 since 1 Fsync(fsync),
    8 since 1 NextGenStamp(update_block_for_pipeline),
    9 since 1 UpdatePipeline(update_pipeline),
    10 since 1 Delete(delete),
    11 since 1 Rename(rename),
    12 since 1 SetPermission(set_permission),
    13 since 1 SetOwner(set_owner),
    14 since 1 SetTimes(set_times),
    15 since 1 SetReplication(set_replication),
    16 since 1 StartRecovery(recover_lease),
    17 since 1 CommitRecovery(commit_block_synchronization),
    18 since 1 Concat(concat),
}

/// What one journal record holds: an operation, when it was decided, and which call it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Wall time of the decision, milliseconds since the epoch.
    pub time_ms: u64,
    /// The call, where its answer has to be remembered.
    pub retry: Option<RetryKey>,
    /// The change.
    pub op: Op,
}

impl Entry {
    /// The entry's bytes for the journal.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        out.push(FORMAT);
        self.time_ms.put(&mut out);
        self.retry.put(&mut out);
        self.op.put(&mut out);
        out
    }

    /// Reads an entry back.
    ///
    /// # Errors
    /// When the bytes are no entry of a format that this version knows.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, DecodeError> {
        let from = &mut bytes;
        match u8::get(from)? {
            FORMAT => {}
            other => {
                return Err(DecodeError::Unknown { what: "record format", number: other.into() });
            }
        }
        let entry =
            Self { time_ms: Field::get(from)?, retry: Field::get(from)?, op: Op::get(from)? };
        if from.is_empty() { Ok(entry) } else { Err(DecodeError::Long(from.len())) }
    }
}
