//! Job programs that hfs brings along.

pub mod grep;
pub mod tera;
pub mod wordcount;
