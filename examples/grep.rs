//! Counts what matches a pattern in text files, the most frequent first, as Hadoop's grep:
//!
//! ```text
//! cargo run --release --example grep -- /in /out 'dfs[a-z.]+'
//! cargo run --release --example grep -- --local README.md /tmp/links 'https://[^ )]+'
//! ```

use std::process::ExitCode;

fn main() -> ExitCode {
    hfs_mapreduce::run(hfs::jobs::grep::job)
}
