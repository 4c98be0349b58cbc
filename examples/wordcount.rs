//! Counts the words of text files, on a cluster or, with `--local`, in this process:
//!
//! ```text
//! cargo run --release --example wordcount -- /in /out
//! cargo run --release --example wordcount -- --local README.md /tmp/counts
//! ```

use std::process::ExitCode;

fn main() -> ExitCode {
    hfs::jobs::wordcount::main()
}
