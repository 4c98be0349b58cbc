//! Makes rows of 100 bytes for a sort benchmark, the same as Hadoop's TeraGen:
//!
//! ```text
//! cargo run --release --example teragen -- 10m /tera/in
//! ```

use std::process::ExitCode;

fn main() -> ExitCode {
    hfs_mapreduce::run(hfs::jobs::tera::generate)
}
