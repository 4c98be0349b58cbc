//! Records in the order of their keys, wherever they come from.

use anyhow::Result;

use super::buffer::SortedRecords;
use super::merge::Merger;

/// Gives records in the order of their keys.
pub(crate) trait Sorted<'a> {
    /// The next record.
    fn peek(&self) -> Option<(&'a [u8], &'a [u8])>;
    /// Goes past the next record.
    fn advance(&mut self) -> Result<()>;
    /// The same records for code that is not compiled once for each kind of source.
    fn source(&mut self) -> Source<'_, 'a>;
}

/// Every kind of source: merged runs, or what a sort buffer holds. An enum and not a trait object:
/// which one it is never changes within a task, so asking costs a branch that is always predicted.
pub(crate) enum Source<'m, 'a> {
    Merged(&'m mut Merger<'a>),
    Buffered(&'m mut SortedRecords<'a>),
}

impl<'a> Source<'_, 'a> {
    /// The same source, lent.
    pub(crate) fn reborrow(&mut self) -> Source<'_, 'a> {
        match self {
            Self::Merged(merger) => Source::Merged(merger),
            Self::Buffered(records) => Source::Buffered(records),
        }
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<(&'a [u8], &'a [u8])> {
        match self {
            Self::Merged(merger) => merger.peek(),
            Self::Buffered(records) => records.peek(),
        }
    }

    #[inline]
    pub(crate) fn advance(&mut self) -> Result<()> {
        match self {
            Self::Merged(merger) => merger.advance(),
            Self::Buffered(records) => records.advance(),
        }
    }
}

impl<'a> Sorted<'a> for Merger<'a> {
    #[inline]
    fn peek(&self) -> Option<(&'a [u8], &'a [u8])> {
        Self::peek(self)
    }

    #[inline]
    fn advance(&mut self) -> Result<()> {
        Self::advance(self)
    }

    fn source(&mut self) -> Source<'_, 'a> {
        Source::Merged(self)
    }
}
