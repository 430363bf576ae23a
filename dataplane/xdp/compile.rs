//! Compiles an XDP program, for build scripts. Needs `clang`, no headers of the system and no network.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, io};

/// Compiles `source` to `object` in cargo's folder for what is built. `include` is the folder of `kernel.h`.
pub fn compile(source: &str, include: &str, object: &str) -> ExitCode {
    let [header, this] = ["kernel.h", "compile.rs"].map(|name| Path::new(include).join(name));
    for path in [Path::new(source), &header, &this, Path::new("build.rs")] {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    println!("cargo::rerun-if-env-changed=CLANG");
    let Some(out) = env::var_os("OUT_DIR").map(PathBuf::from) else {
        println!("cargo::error=OUT_DIR is not set: run this by cargo");
        return ExitCode::FAILURE;
    };
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    // `-mcpu=v3`: 32-bit comparisons, Linux 5.1 and later; AF_XDP as we use it needs a later one anyway.
    let status = Command::new(&clang)
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-Wall", "-Wextra", "-Werror"])
        .args(["-I", include, "-c", source, "-o"])
        .arg(out.join(object))
        .status();
    match status {
        Ok(status) if status.success() => return ExitCode::SUCCESS,
        Ok(status) => println!(
            "cargo::error=`{clang}` did not compile {source} ({status}); clang 11 or later is needed"
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => println!(
            "cargo::error=`{clang}` was not found; it compiles an XDP program ({source}). \
             Debian and Ubuntu: apt-get install clang. Or set CLANG to its path."
        ),
        Err(error) => println!("cargo::error=`{clang}` could not be started: {error}"),
    }
    ExitCode::FAILURE
}
