//! The runtime of one task: what happens between a split and a segment, and between segments and an
//! output file.

pub(crate) mod attempt;
pub(crate) mod buffer;
mod collect;
pub(crate) mod combine;
pub(crate) mod fetch;
pub(crate) mod guard;
pub(crate) mod keep;
pub(crate) mod map;
mod memory;
pub(crate) mod merge;
pub(crate) mod packed;
pub(crate) mod process;
pub(crate) mod reduce;
pub(crate) mod run;
pub(crate) mod sample;
pub(crate) mod segment;
pub(crate) mod skip;
mod sort;
mod spill;
pub(crate) mod table;
