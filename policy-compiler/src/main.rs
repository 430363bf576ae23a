//! The policy compiler program: `posternc check | compile | explain`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    posternc::cli::main()
}
