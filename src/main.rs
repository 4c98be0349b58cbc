//! The hfs program. Everything it does is in the library; here is only the way out.

use std::process::ExitCode;

fn main() -> ExitCode {
    hfs::cli::main()
}
