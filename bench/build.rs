//! Compiles the program that makes frames.

use std::process::ExitCode;

#[path = "../dataplane/xdp/compile.rs"]
mod compile;

fn main() -> ExitCode {
    compile::compile("network/frames.bpf.c", "../dataplane/xdp", "frames.bpf.o")
}
