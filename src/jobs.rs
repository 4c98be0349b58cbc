//! Job programs that hfs brings along.

pub mod bench;
pub mod grep;
pub mod tera;
pub mod wordcount;
