//! `bench/run`: how fast the gateway is, as ratios measured in one run.
#![forbid(unsafe_code)]

use std::alloc::System;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bench::live::Measure;
use bench::pipeline::{self, Scale};
use bench::plot::Plot;
use bench::table::Report;
use bench::traffic::{self, Profile, Traffic};
use bench::{flows, forwarder, frames, growth, instructions, live, loss, machine, stages, start, talk};
use clap::{Args, Parser, Subcommand};
use signal_hook::consts::SIGTERM;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// Counts allocations, so that a run can show that there are none per frame.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How fast the gateway is, as ratios measured in one run.
///
/// Prints one table: what was measured, what is to be reached, what was reached, whether it holds. Everything that is
/// compared is measured in turn, in the same run, as processor time of one core; numbers are medians.
#[derive(Debug, Parser)]
#[command(name = "postern-bench", bin_name = "bench/run", version, args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:\n  bench/run --quick\n  bench/run pipeline --json pipeline.json\n  \
                        bench/run traffic --profile large --sessions 300 --seed 1 -o large.pcap")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Args)]
struct Common {
    /// Less traffic and fewer rounds: everything in less than a minute
    #[arg(long)]
    quick: bool,
    /// Also write the rows to FILE, as a JSON list
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also draw the curves, as SVG files in FOLDER
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
    /// With `all`: every row, not only those with something to reach
    #[arg(long)]
    verbose: bool,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// All measures (this is what happens without a command)
    All(Common),
    /// The whole pipeline on memory ports: small, large and pipelined mail, with and without patterns
    #[command(after_help = "Example:\n  bench/run pipeline --quick")]
    Pipeline(Common),
    /// Its stages one by one: parsing, checksums, following connections, SMTP, scanning
    #[command(after_help = "Example:\n  bench/run stages --json stages.json")]
    Stages(Common),
    /// The cost of a frame, and of a session's memory, as sessions grow in number
    #[command(after_help = "Example:\n  bench/run flows --quick")]
    Flows(Common),
    /// The cost of a frame as patterns grow in number, beside raw Hyperscan's
    #[command(after_help = "Example:\n  bench/run patterns --plots plots")]
    Patterns(Common),
    /// How long an artifact of 10,000 patterns takes to load
    Start(Common),
    /// Mail through the gateway beside a kernel bridge, over veth (needs root)
    #[command(after_help = "Example:\n  sudo bench/run wire --quick")]
    Wire(Common),
    /// The time that the gateway adds to a command and its reply (needs root)
    Latency(Common),
    /// What a reload costs sessions that are under way (needs root)
    Reload(Common),
    /// Instructions of a frame, held against the committed baseline (needs valgrind)
    Instructions(InstructionArgs),
    /// Goodput over a network that loses and overtakes, beside a kernel bridge; as root, not part of `all`
    #[command(after_help = "Examples:\n  bench/run loss --quick\n  \
                            bench/run loss --only \"1 % lost at the client,both\" --rounds 21")]
    Loss(LossArgs),
    /// Frames of an uninspected session from port to port, beside the simplest AF_XDP forwarder (needs root)
    Forwarding(Common),
    /// Be that forwarder, until a signal
    #[command(hide = true)]
    Forwarder {
        /// The two interfaces
        #[arg(num_args = 2)]
        ports: Vec<String>,
    },
    /// Send frames as fast as the kernel can
    #[command(hide = true)]
    Frames {
        /// Where they leave
        interface: String,
        /// Octets of each
        len: usize,
        /// For how long
        millis: u64,
    },
    /// Time round trips of NOOP while mail goes beside them
    #[command(hide = true)]
    Talk {
        /// The server
        server: SocketAddr,
        /// Mails a second
        rate: u32,
        /// For how long
        millis: u64,
        /// Between two round trips
        pace_micros: u64,
    },
    /// Make a capture of mail sessions
    #[command(
        after_help = "Example:\n  bench/run traffic --profile attack --sessions 1000 --seed 7 -o attack.pcap"
    )]
    Traffic(TrafficArgs),
}

#[derive(Debug, Clone, Args)]
struct LossArgs {
    #[command(flatten)]
    common: Common,
    /// Only the rows with one of these, separated by commas, in their name
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Rounds of each row: 9, or 3 with `--quick`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
}

#[derive(Debug, Clone, Args)]
struct InstructionArgs {
    /// Write the baseline anew
    #[arg(long)]
    bless: bool,
    /// Only play one case: what valgrind is given
    #[arg(long, value_name = "CASE", hide = true)]
    play: Option<String>,
    /// The baseline
    #[arg(long, value_name = "FILE", hide = true)]
    baseline: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
struct TrafficArgs {
    /// What the sessions are like
    #[arg(long, value_enum)]
    profile: Profile,
    /// How many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..1 << 31))]
    sessions: u64,
    /// The same seed gives the same octets
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Capture to write (pcap)
    #[arg(short, long, value_name = "CAPTURE")]
    output: PathBuf,
}

fn main() -> ExitCode {
    let Cli { command, common } = Cli::parse();
    let command = command.unwrap_or(Command::All(common));
    let result = match &command {
        Command::Traffic(args) => make_traffic(args).map(|()| true),
        Command::Instructions(args) => count_instructions(args),
        Command::Forwarder { ports } => forward(ports).map(|()| true),
        Command::Talk { server, rate, millis, pace_micros } => {
            let (time, pace) = (Duration::from_millis(*millis), Duration::from_micros(*pace_micros));
            let plan = talk::Plan { server: *server, rate: *rate, time, pace };
            let seen =
                talk::run(&plan).and_then(|seen| serde_json::to_string(&seen).map_err(io::Error::other));
            seen.map(|text| println!("{text}")).map(|()| true).map_err(|error| error.to_string())
        }
        Command::Frames { interface, len, millis } => {
            let made = frames::run(interface, *len, Duration::from_millis(*millis));
            made.map(|made| println!("{made}")).map(|()| true).map_err(|error| error.to_string())
        }
        Command::All(common)
        | Command::Pipeline(common)
        | Command::Stages(common)
        | Command::Flows(common)
        | Command::Patterns(common)
        | Command::Start(common)
        | Command::Wire(common)
        | Command::Latency(common)
        | Command::Reload(common)
        | Command::Forwarding(common)
        | Command::Loss(LossArgs { common, .. }) => measure(&command, common),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("bench: some numbers do not mean what they say (see the lines with `!`)");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, prints, writes; whether the numbers are sound.
fn measure(command: &Command, common: &Common) -> Result<bool, String> {
    let scale = Scale { is_quick: common.quick };
    let is_all = matches!(command, Command::All(_));
    let mut report = Report { heading: machine::heading(scale), sections: Vec::new() };
    let mut plots: Vec<Plot> = Vec::new();
    if is_all || matches!(command, Command::Pipeline(_)) {
        report.sections.extend(pipeline::run(scale, allocations)?);
    }
    if is_all || matches!(command, Command::Stages(_)) {
        report.sections.extend(stages::run(scale, allocations)?);
    }
    if is_all || matches!(command, Command::Flows(_)) {
        let (sections, plot) = flows::run(scale, allocations)?;
        report.sections.extend(sections);
        plots.push(plot);
    }
    if is_all || matches!(command, Command::Patterns(_)) {
        let (sections, plot) = growth::run(scale, allocations)?;
        report.sections.extend(sections);
        plots.push(plot);
    }
    if is_all || matches!(command, Command::Start(_)) {
        report.sections.extend(start::run(scale)?);
    }
    for measure in Measure::ALL {
        let is_asked = match measure {
            Measure::Wire => matches!(command, Command::Wire(_)),
            Measure::Latency => matches!(command, Command::Latency(_)),
            Measure::Reload => matches!(command, Command::Reload(_)),
            Measure::Forwarding => matches!(command, Command::Forwarding(_)),
        };
        if is_all || is_asked {
            report.sections.push(live::run(measure, scale)?);
        }
    }
    if let Command::Loss(LossArgs { only, rounds, .. }) = command {
        report.sections.extend(loss::run(scale, only.as_deref(), *rounds)?);
    }
    let stdout = io::stdout();
    let shown = if is_all && !common.verbose { report.summary() } else { report.clone() };
    write!(stdout.lock(), "{shown}").map_err(|error| format!("standard output: {error}"))?;
    if let Some(folder) = &common.plots {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for plot in &plots {
            let path = folder.join(format!("{}.svg", plot.name));
            std::fs::write(&path, plot.svg()).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    if let Some(path) = &common.json {
        std::fs::write(path, report.json()).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(report.is_sound())
}

/// Counts instructions, or plays the case that is counted.
fn count_instructions(args: &InstructionArgs) -> Result<bool, String> {
    if let Some(case) = &args.play {
        println!("{}", instructions::play(case)?);
        return Ok(true);
    }
    let committed = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.json"));
    let baseline = args.baseline.clone().unwrap_or_else(committed);
    let section = instructions::run(&baseline, args.bless)?;
    let report = Report { heading: "Postern bench: instructions".into(), sections: vec![section] };
    print!("{report}");
    Ok(report.is_sound())
}

/// Forwards until SIGTERM.
fn forward(ports: &[String]) -> Result<(), String> {
    let [a, b] = ports else { return Err("two interfaces are needed".into()) };
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, Arc::clone(&stop)).map_err(|error| error.to_string())?;
    let ready = || println!("ready");
    forwarder::run([a, b], &stop, ready).map(drop).map_err(|error| error.to_string())
}

fn make_traffic(args: &TrafficArgs) -> Result<(), String> {
    let TrafficArgs { profile, sessions, seed, output } = args;
    let fail = |error: io::Error| format!("{}: {error}", output.display());
    let file = BufWriter::with_capacity(1 << 20, File::create(output).map_err(fail)?);
    let mut traffic = Traffic::new(*profile, *sessions, *seed);
    let (frames, octets) = traffic::write(&mut traffic, file).map_err(fail)?;
    println!("{}: {sessions} sessions, {frames} frames, {:.1} MB", output.display(), octets as f64 / 1e6);
    Ok(())
}

/// Allocations since the start of the program. What the matcher library takes with `malloc` is not among them.
fn allocations() -> u64 {
    let stats = ALLOCATOR.stats();
    (stats.allocations + stats.reallocations) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_allocator_counts() {
        let before = allocations();
        drop(std::hint::black_box(vec![0_u8; 100]));
        assert!(allocations() > before);
    }
}
