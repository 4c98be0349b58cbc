//! Job programs that hfs brings along.

pub mod wordcount;
