//! The gateway program.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use postern::config::{Cli, Command, RunConfig};
use postern::failure::Failure;
use postern::{check_host, gateway, reload, replay, show};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => {
            RunConfig::new(*args).map_err(Failure::Usage).and_then(|config| gateway::command(&config))
        }
        Command::Replay(args) => replay::command(&args),
        Command::Show(args) => show::command(&args).map(print),
        Command::CheckHost(args) => {
            let (text, result) = check_host::command(&args);
            print(text);
            result
        }
        Command::Reload(args) => reload::command(&args).map(print),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("postern: {failure}");
            ExitCode::from(failure.status())
        }
    }
}

fn print(text: String) {
    // Whoever reads it may have seen enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
