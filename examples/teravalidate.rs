//! Checks that rows are sorted and adds up their checksums, as Hadoop's TeraValidate:
//!
//! ```text
//! cargo run --release --example teravalidate -- /tera/out /tera/report
//! ```

use std::process::ExitCode;

fn main() -> ExitCode {
    hfs_mapreduce::run(hfs::jobs::tera::validate)
}
