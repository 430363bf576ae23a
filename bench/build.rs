//! Compiles the program that makes frames. Needs `clang`, as the gateway itself does.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::{env, io};

const SOURCE: &str = "network/frames.bpf.c";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CLANG");
    let Some(out) = env::var_os("OUT_DIR").map(PathBuf::from) else {
        println!("cargo::error=OUT_DIR is not set: run this by cargo");
        return ExitCode::FAILURE;
    };
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let status = Command::new(&clang)
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-Wall", "-Wextra", "-Werror", "-c", SOURCE, "-o"])
        .arg(out.join("frames.bpf.o"))
        .status();
    match status {
        Ok(status) if status.success() => return ExitCode::SUCCESS,
        Ok(status) => println!("cargo::error=`{clang}` did not compile {SOURCE} ({status})"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            println!("cargo::error=`{clang}` was not found (apt-get install clang, or set CLANG)");
        }
        Err(error) => println!("cargo::error=`{clang}` could not be started: {error}"),
    }
    ExitCode::FAILURE
}
