//! The command line; see `onepoll --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    onepoll::cli::main()
}
