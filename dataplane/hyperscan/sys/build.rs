//! Links the matcher library statically, with the functions that `src/repair.rs` replaces hidden: what calls them is linked with
//! ours, or not at all. Needs `objcopy` and `nm`, which come with the linker (GNU binutils).

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Prefixes of the library's variants for different processors; without one, a library that was built for one kind.
const VARIANTS: [&str; 6] = ["", "core2_", "corei7_", "avx2_", "avx512_", "avx512vbmi_"];
/// What `src/repair.rs` replaces.
const REPLACED: [&str; 4] =
    ["shuftiDoubleExec", "rvermicelliDoubleExec", "vermicelliExec", "nvermicelliExec"];

fn main() -> ExitCode {
    for variable in ["HYPERSCAN_ROOT", "OBJCOPY", "NM"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    match link() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error={error}");
            ExitCode::FAILURE
        }
    }
}

fn link() -> Result<(), String> {
    let out = env::var_os("OUT_DIR").map(PathBuf::from).ok_or("OUT_DIR is not set: run this by cargo")?;
    let compiles = env::var_os("CARGO_FEATURE_COMPILE").is_some();
    // Not `libhs_runtime.a`: Debian's has no `hs_valid_platform`. Of an archive only what is used is linked, so a program that
    // compiles nothing gets no compiler.
    let archive = find("libhs.a")?;
    println!("cargo::rerun-if-changed={}", archive.display());

    let ours = out.join("libpostern_hs.a");
    let mut objcopy = Command::new(env::var_os("OBJCOPY").unwrap_or_else(|| "objcopy".into()));
    for (variant, name) in VARIANTS.iter().flat_map(|variant| REPLACED.map(|name| (variant, name))) {
        objcopy.arg(format!("--localize-symbol={variant}{name}"));
    }
    run(objcopy.arg(&archive).arg(&ours))?;

    // A variant that nobody here knows of would keep its defects without a word.
    let mut nm = Command::new(env::var_os("NM").unwrap_or_else(|| "nm".into()));
    let symbols = run(nm.args(["--defined-only", "--no-sort", "--format=posix"]).arg(&ours))?;
    let stranger = |symbol: &&str| {
        let variant = REPLACED.iter().find_map(|name| symbol.strip_suffix(name));
        // `rvermicelliExec` and `rnvermicelliExec` end like others, and are sound.
        variant.is_some_and(|variant| variant.is_empty() || variant.ends_with('_'))
    };
    if let Some(symbol) = symbols.lines().filter_map(visible).find(stranger) {
        return Err(format!(
            "{}: `{symbol}` is a variant that is not known here, so its defects would stay: add it to \
             VARIANTS in build.rs and in src/repair.rs",
            archive.display()
        ));
    }

    println!("cargo::rustc-link-search=native={}", out.display());
    println!("cargo::rustc-link-lib=static=postern_hs");
    if compiles {
        println!("cargo::rustc-link-lib=stdc++");
    }
    Ok(())
}

/// The name in a line of `nm`, if it is a function that other files see.
fn visible(line: &str) -> Option<&str> {
    let mut words = line.split(' ');
    let name = words.next()?;
    ["T", "W"].contains(&words.next()?).then_some(name)
}

/// Where an archive of the library is. Debian keeps it in a folder of the architecture.
fn find(name: &str) -> Result<PathBuf, String> {
    let root = env::var_os("HYPERSCAN_ROOT").map_or_else(|| PathBuf::from("/usr"), PathBuf::from);
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let folders = ["lib".into(), "lib64".into(), format!("lib/{architecture}-linux-gnu")];
    let found = folders.iter().map(|folder| root.join(folder).join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        format!(
            "{name} was not found in {}. Debian and Ubuntu: apt-get install libvectorscan-dev. Or set \
             HYPERSCAN_ROOT to where Hyperscan or Vectorscan was installed with BUILD_STATIC_LIBS=ON.",
            folders.map(|folder| Path::new(&root).join(folder).display().to_string()).join(", ")
        )
    })
}

fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("`{program}` could not be started: {error}. It comes with GNU binutils."))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("`{program}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}
