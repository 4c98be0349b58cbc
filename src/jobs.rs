//! Job programs that hfs brings along.

pub mod tera;
pub mod wordcount;
