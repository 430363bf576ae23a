//! Compiles the XDP program.

use std::process::ExitCode;

#[path = "xdp/compile.rs"]
mod compile;

fn main() -> ExitCode {
    compile::compile("xdp/postern.bpf.c", "xdp", "postern.bpf.o")
}
