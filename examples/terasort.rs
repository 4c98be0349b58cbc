//! Sorts rows of 100 bytes by the ten at their front, as Hadoop's TeraSort:
//!
//! ```text
//! cargo run --release --example terasort -- /tera/in /tera/out
//! ```

use std::process::ExitCode;

fn main() -> ExitCode {
    hfs_mapreduce::run(hfs::jobs::tera::sort)
}
