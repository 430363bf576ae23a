//! Arguments and `--config`: what a user says, checked as far as it can be without the policy.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use inspect::engine::Uninspected;
use serde::Deserialize;

use crate::limits::{Limits, documentation};
use crate::placement::Cidr;

/// Where the control socket is unless said otherwise.
pub const CONTROL_PATH: &str = "/run/postern.sock";
/// How long sessions in flight keep flowing after SIGTERM.
pub const DRAIN_SECONDS: u64 = 10;

/// Inline SMTP firewall: carries mail between two ports and enforces a compiled policy.
#[derive(Debug, Parser)]
#[command(name = "postern", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Carry frames between two ports and enforce a policy, until SIGTERM
    #[command(after_help = RUN_EXAMPLE, after_long_help = run_help())]
    Run(Box<RunArgs>),
    /// Run a capture through a policy, as if it came by now
    #[command(after_help = REPLAY_EXAMPLE)]
    Replay(ReplayArgs),
    /// Bring another compiled policy into force; sessions that exist keep theirs
    #[command(after_help = RELOAD_EXAMPLE)]
    Reload(ReloadArgs),
    /// See whether this host is ready, and how to mend what is not
    #[command(after_help = CHECK_HOST_EXAMPLE)]
    CheckHost(CheckHostArgs),
    /// Ask a running gateway
    #[command(after_help = SHOW_EXAMPLE)]
    Show(ShowArgs),
}

const RUN_EXAMPLE: &str = "\
Example:
  postern run --policy mail.postern --port inside=eth0 --port outside=eth1 --events /var/log/postern/events.json
Exits 0 after SIGTERM or SIGINT, 1 when the policy or a port cannot be used, 2 on wrong usage.";

const REPLAY_EXAMPLE: &str = "\
Examples:
  postern replay --policy mail.postern --in mail.pcap --out passed.pcap --events -
  postern replay --policy mail.postern --in mail.pcap --zone 10.0.0.0/8=inside --zone 0.0.0.0/0=outside
Exits 0 when the capture was read to its end, 1 when the policy or the capture is bad, 2 on wrong usage.";

const SHOW_EXAMPLE: &str = "\
Examples:
  postern show sessions detail
  postern show zone-pair in-out
  postern show statistics --json
Exits 0 with an answer, 1 when no gateway answers at the socket, 2 on wrong usage.";

const CHECK_HOST_EXAMPLE: &str = "\
Example:
  postern check-host --port inside=eth0 --port outside=eth1 --workers 4
Each line is ok, warn or fail, and what is not ok says how to mend it. Nothing is changed.
Exits 0 when nothing fails, 1 when something does, 2 on wrong usage.";

const RELOAD_EXAMPLE: &str = "\
Example:
  postern reload --policy mail.postern
SIGHUP does the same with the file that `run` was given.
Exits 0 when the policy is in force, 1 when it is bad (then the one before stays in force) or no gateway answers at the
socket, 2 on wrong usage.";

fn run_help() -> String {
    format!(
        "{RUN_EXAMPLE}\n\nThe file of --config is TOML. It may hold the options above under their names (`policy`, `ports`, \
         `workers`, `cores`, `mode`, `steering`, `on_failure`, `unknown_sessions`, `uninspected_sessions`, `checksum`, \
         `metrics`, `control`, `events`, `syslog`, `drain_seconds`); what the command line says counts. Its limits, with their \
         defaults:\n\n{}",
        documentation()
    )
}

/// Arguments of `run`.
#[derive(Debug, Args, Clone, Default)]
pub struct RunArgs {
    /// The compiled policy
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Bind a zone or interface name of the policy to an interface of this machine; twice
    ///
    /// Where the policy's own interface names exist on the machine, it may be left out.
    #[arg(long = "port", value_name = "NAME=INTERFACE")]
    pub ports: Vec<PortBinding>,
    /// Number of workers, each with a core and a queue of both ports [default: 1]
    #[arg(long, value_name = "N", conflicts_with = "cores")]
    pub workers: Option<u32>,
    /// Cores to run on, one worker each
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub cores: Option<Vec<usize>>,
    /// How the XDP program is attached [default: auto]
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    /// Who brings both directions of a session to one worker: the card, or the workers themselves [default: auto]
    #[arg(long, value_enum)]
    pub steering: Option<Steering>,
    /// What becomes of traffic when no worker runs: dropped, or bridged uninspected [default: closed]
    #[arg(long, value_enum)]
    pub on_failure: Option<OnFailure>,
    /// What becomes of sessions that began before the gateway did: dropped, or passed uninspected [default: drop]
    #[arg(long, value_enum)]
    pub unknown_sessions: Option<UnknownSessions>,
    /// What becomes of segments of pinholes and behind STARTTLS: passed as they are, or put in order, verified and made
    /// consistent as those of inspected sessions [default: pass]
    #[arg(long, value_enum)]
    pub uninspected_sessions: Option<UninspectedSessions>,
    /// Whether received checksums are verified or taken as right [default: verify]
    #[arg(long, value_enum)]
    pub checksum: Option<Checksum>,
    /// Serve /metrics, /healthz and /readyz there
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address)]
    pub metrics: Option<String>,
    /// Socket for `postern show` [default: /run/postern.sock]
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// Append events there, one JSON object a line; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub events: Option<String>,
    /// Send syslog lines there: a local socket, or an address for UDP
    #[arg(long, value_name = "ADDRESS|PATH")]
    pub syslog: Option<String>,
    /// How long sessions in flight keep flowing after SIGTERM [default: 10]
    #[arg(long, value_name = "SECONDS")]
    pub drain_seconds: Option<u64>,
    /// Settings and limits
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
}

/// Arguments of `replay`.
#[derive(Debug, Args, Clone)]
pub struct ReplayArgs {
    /// The compiled policy
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// The capture: pcap or pcapng; Ethernet, raw IP, Linux cooked or loopback
    #[arg(long = "in", value_name = "CAPTURE")]
    pub input: PathBuf,
    /// Write the frames that would have been transmitted, as pcap
    #[arg(long = "out", value_name = "CAPTURE")]
    pub output: Option<PathBuf>,
    /// Write events there, one JSON object a line; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub events: Option<String>,
    /// Addresses that are in a zone; needed where the policy has several zone-pairs
    #[arg(long = "zone", value_name = "CIDR=ZONE")]
    pub zones: Vec<ZoneBinding>,
    /// Whether the capture's checksums are verified or taken as right
    #[arg(long, value_enum, default_value = "verify")]
    pub checksum: Checksum,
    /// What becomes of segments of sessions that are not inspected
    #[arg(long, value_enum, default_value = "pass")]
    pub uninspected_sessions: UninspectedSessions,
}

/// Arguments of `check-host`.
#[derive(Debug, Args, Clone)]
pub struct CheckHostArgs {
    /// A port as `run` would be given it
    #[arg(long = "port", value_name = "NAME=INTERFACE", required = true)]
    pub ports: Vec<PortBinding>,
    /// Number of workers that `run` would be given
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub workers: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `reload`.
#[derive(Debug, Args, Clone)]
pub struct ReloadArgs {
    /// The compiled policy; the gateway reads it itself
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// Socket of the gateway
    #[arg(long, value_name = "PATH", default_value = CONTROL_PATH)]
    pub control: PathBuf,
}

/// Arguments of `show`.
#[derive(Debug, Args, Clone)]
pub struct ShowArgs {
    /// What to show
    #[command(subcommand)]
    pub what: What,
    /// Socket of the gateway
    #[arg(long, value_name = "PATH", global = true, default_value = CONTROL_PATH)]
    pub control: PathBuf,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to show.
#[derive(Debug, Subcommand, Clone, PartialEq, Eq)]
pub enum What {
    /// The policy in force
    Policy,
    /// The two ports: what they are bound to, what they carried
    Interfaces,
    /// Sessions under way
    Sessions {
        /// With `detail`: times, octets, and what decides
        detail: Option<Detail>,
    },
    /// Zone-pairs with their classes and what these counted
    ZonePair {
        /// Only this one
        name: Option<String>,
    },
    /// Counters since the start
    Statistics,
    /// All of it
    All,
}

/// The word `detail`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Detail {
    /// More lines for each session
    Detail,
}

/// How the XDP program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In the driver, else in the kernel's generic path
    #[default]
    Auto,
    /// In the driver or not at all
    Native,
    /// In the kernel's generic path
    Skb,
}

/// Who brings both directions of a session to one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Steering {
    /// The card if it can, at both ports alike, else as with `hash`
    #[default]
    Auto,
    /// The card, by a symmetric receive hash over addresses
    Rss,
    /// A worker hands what is not its own to the worker that the addresses belong to
    Hash,
}

/// What becomes of traffic when no worker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// It is dropped
    #[default]
    Closed,
    /// The kernel bridges it, uninspected
    Open,
}

/// What becomes of sessions that began before the gateway did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum UnknownSessions {
    /// They are dropped; their clients start again
    #[default]
    Drop,
    /// They pass until they end, uninspected and reported
    Pass,
}

/// What becomes of the segments of sessions that are not inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum UninspectedSessions {
    /// Those that continue their stream and have nothing odd pass as they are
    #[default]
    Pass,
    /// They are verified, put in order and made consistent, at the cost of inspected ones
    Normalize,
}

impl From<UninspectedSessions> for Uninspected {
    fn from(sessions: UninspectedSessions) -> Self {
        match sessions {
            UninspectedSessions::Pass => Uninspected::Pass,
            UninspectedSessions::Normalize => Uninspected::Normalize,
        }
    }
}

/// What is done with received checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    /// A frame with a wrong one is dropped
    #[default]
    Verify,
    /// Taken as right: for captures and hosts that leave them to the card
    Trust,
}

/// `NAME=INTERFACE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortBinding {
    /// Zone or interface name of the policy.
    pub name: String,
    /// Interface of this machine.
    pub interface: String,
}

impl FromStr for PortBinding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, interface)) if !name.is_empty() && !interface.is_empty() => {
                Ok(Self { name: name.into(), interface: interface.into() })
            }
            _ => Err("must be NAME=INTERFACE".into()),
        }
    }
}

/// An address or host name with a port.
fn address(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    match port.map(str::parse::<u16>) {
        Some(Ok(_)) => Ok(text.to_owned()),
        _ => Err("must be ADDRESS:PORT, such as 127.0.0.1:9598".into()),
    }
}

/// `CIDR=ZONE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneBinding {
    /// Addresses.
    pub cidr: Cidr,
    /// Zone or interface name of the policy.
    pub zone: String,
}

impl FromStr for ZoneBinding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((cidr, zone)) if !zone.is_empty() => Ok(Self { cidr: cidr.parse()?, zone: zone.into() }),
            _ => Err("must be CIDR=ZONE".into()),
        }
    }
}

/// The file of `--config`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    policy: Option<PathBuf>,
    ports: Vec<String>,
    workers: Option<u32>,
    cores: Option<Vec<usize>>,
    mode: Option<Mode>,
    steering: Option<Steering>,
    on_failure: Option<OnFailure>,
    unknown_sessions: Option<UnknownSessions>,
    uninspected_sessions: Option<UninspectedSessions>,
    checksum: Option<Checksum>,
    metrics: Option<String>,
    control: Option<PathBuf>,
    events: Option<String>,
    syslog: Option<String>,
    drain_seconds: Option<u64>,
    limits: Limits,
}

/// What `run` goes by: command line over file over defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunConfig {
    /// The compiled policy.
    pub policy: PathBuf,
    /// Two, or none where the policy's own interface names are to be used.
    pub ports: Vec<PortBinding>,
    /// Workers.
    pub worker_count: u32,
    /// Core of each worker; empty where any will do.
    pub cores: Vec<usize>,
    /// How the XDP program is attached.
    pub mode: Mode,
    /// Who brings both directions of a session to one worker.
    pub steering: Steering,
    /// What becomes of traffic when no worker runs.
    pub on_failure: OnFailure,
    /// What becomes of sessions that began before the gateway did.
    pub unknown_sessions: UnknownSessions,
    /// What becomes of the segments of sessions that are not inspected.
    pub uninspected_sessions: UninspectedSessions,
    /// What is done with received checksums.
    pub checksum: Checksum,
    /// Address of the metrics page.
    pub metrics: Option<String>,
    /// Control socket.
    pub control: PathBuf,
    /// Target of events.
    pub events: Option<String>,
    /// Target of syslog lines.
    pub syslog: Option<String>,
    /// How long sessions in flight keep flowing.
    pub drain: Duration,
    /// Limits.
    pub limits: Limits,
}

impl RunConfig {
    /// What the arguments and the file they name say.
    ///
    /// # Errors
    /// A sentence that names the option, or the file and what is wrong in it.
    pub fn new(args: RunArgs) -> Result<Self, String> {
        let file = match &args.config {
            None => File::default(),
            Some(path) => read_file(path)?,
        };
        let from_file =
            |text: &String| text.parse::<PortBinding>().map_err(|error| format!("ports: `{text}` {error}"));
        let ports = if args.ports.is_empty() {
            file.ports.iter().map(from_file).collect::<Result<Vec<_>, _>>()?
        } else {
            args.ports
        };
        // A number of workers on the command line counts more than a list of cores in the file.
        let cores = args.cores.or(if args.workers.is_some() { None } else { file.cores });
        let worker_count = match (&cores, args.workers.or(file.workers)) {
            (Some(cores), _) => u32::try_from(cores.len()).unwrap_or(u32::MAX),
            (None, workers) => workers.unwrap_or(1),
        };
        if !(1..=1024).contains(&worker_count) {
            return Err(format!("--workers: {worker_count} must be from 1 to 1024"));
        }
        let config = Self {
            policy: args.policy.or(file.policy).ok_or("--policy FILE is missing")?,
            ports,
            worker_count,
            cores: cores.unwrap_or_default(),
            mode: args.mode.or(file.mode).unwrap_or_default(),
            steering: args.steering.or(file.steering).unwrap_or_default(),
            on_failure: args.on_failure.or(file.on_failure).unwrap_or_default(),
            unknown_sessions: args.unknown_sessions.or(file.unknown_sessions).unwrap_or_default(),
            uninspected_sessions: args.uninspected_sessions.or(file.uninspected_sessions).unwrap_or_default(),
            checksum: args.checksum.or(file.checksum).unwrap_or_default(),
            metrics: match (args.metrics, file.metrics) {
                (None, Some(text)) => {
                    Some(address(&text).map_err(|error| format!("metrics: `{text}` {error}"))?)
                }
                (given, _) => given,
            },
            control: args.control.or(file.control).unwrap_or_else(|| CONTROL_PATH.into()),
            events: args.events.or(file.events),
            syslog: args.syslog.or(file.syslog),
            drain: Duration::from_secs(args.drain_seconds.or(file.drain_seconds).unwrap_or(DRAIN_SECONDS)),
            limits: file.limits,
        };
        Ok(config)
    }
}

fn read_file(path: &Path) -> Result<File, String> {
    let at = |error: &dyn std::fmt::Display| format!("--config {}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| at(&error))?;
    let file: File = toml::from_str(&text).map_err(|error| at(&error))?;
    file.limits.check().map_err(|error| at(&error))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn run(args: &[&str]) -> Result<RunConfig, String> {
        let words = ["postern", "run"].iter().chain(args);
        match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
            Command::Run(args) => RunConfig::new(*args),
            _ => unreachable!("`run` was given"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_lists_every_option_with_an_example() {
        let mut cli = Cli::command();
        for (name, options) in [
            (
                "run",
                "--policy --port --workers --cores --mode --steering --on-failure --unknown-sessions --uninspected-sessions \
                 --checksum --metrics --control --events --syslog --drain-seconds --config",
            ),
            ("replay", "--policy --in --out --events --zone --checksum"),
            ("show", "--control --json policy interfaces sessions zone-pair statistics all"),
            ("reload", "--policy --control"),
            ("check-host", "--port --workers --json"),
        ] {
            let help = cli.find_subcommand_mut(name).unwrap().render_long_help().to_string();
            assert!(help.contains("Example"), "{name}: {help}");
            assert!(help.contains("Exits 0"), "{name}: {help}");
            for option in options.split_whitespace() {
                assert!(help.contains(option), "{name} {option}: {help}");
            }
        }
        let help = cli.find_subcommand_mut("run").unwrap().render_long_help().to_string();
        for limit in crate::limits::LIMITS {
            assert!(help.contains(limit.name), "{}: {help}", limit.name);
        }
        let top = cli.render_help().to_string();
        for command in ["run", "replay", "reload", "check-host", "show"] {
            assert!(top.contains(&format!("\n  {command} ")), "{top}");
        }
    }

    #[test]
    fn defaults_are_as_documented() {
        let config = run(&["--policy", "p", "--port", "in=eth0", "--port", "out=eth1"]).unwrap();
        assert_eq!(config.worker_count, 1);
        assert_eq!((config.mode, config.on_failure, config.checksum), Default::default());
        assert_eq!(config.unknown_sessions, UnknownSessions::Drop);
        assert_eq!(config.uninspected_sessions, UninspectedSessions::Pass);
        assert_eq!(config.control, Path::new("/run/postern.sock"));
        assert_eq!(config.drain, Duration::from_secs(10));
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.steering, Steering::Auto);
        assert_eq!(config.ports[1], PortBinding { name: "out".into(), interface: "eth1".into() });
    }

    #[test]
    fn wrong_usage_names_the_option() {
        assert!(run(&["--metrics", "nowhere"]).unwrap_err().contains("'nowhere' for '--metrics"));
        for (args, error) in [
            (&["--workers", "0"][..], "--workers: 0 must be from 1 to 1024"),
            (&[], "--policy FILE is missing"),
        ] {
            assert_eq!(run(args).unwrap_err(), error);
        }
        assert!(
            run(&["--port", "eth0"])
                .unwrap_err()
                .contains("'--port <NAME=INTERFACE>': must be NAME=INTERFACE")
        );
        assert!(run(&["--workers", "1", "--cores", "1"]).unwrap_err().contains("cannot be used with"));
    }

    #[test]
    fn the_file_is_read_and_the_command_line_counts_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("postern.toml");
        let text = r#"
            policy = "from-file"
            ports = ["in=eth0", "out=eth1"]
            cores = [2, 3]
            mode = "skb"
            steering = "hash"
            on_failure = "open"
            drain_seconds = 3
            [limits]
            flow_limit = 1000
        "#;
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        let config = run(&["--config", path, "--mode", "native"]).unwrap();
        assert_eq!((config.policy.to_str(), config.worker_count), (Some("from-file"), 2));
        assert_eq!((config.mode, config.on_failure), (Mode::Native, OnFailure::Open));
        assert_eq!(config.steering, Steering::Hash);
        assert_eq!((config.cores.as_slice(), config.limits.flow_limit), (&[2, 3][..], 1000));
        assert_eq!(config.ports.len(), 2);
        assert_eq!(run(&["--config", path, "--workers", "4"]).unwrap().worker_count, 4);
    }

    #[test]
    fn a_bad_file_is_named_with_line_and_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("postern.toml");
        for (text, expected) in [
            ("policy = ", "line 1"),
            ("polcy = \"x\"", "unknown field `polcy`"),
            ("[limits]\nflow_limit = 1", "limits.flow_limit = 1: must be from 16 to 16777216"),
            ("[limits]\nnone = 1", "unknown field `none`"),
            ("mode = \"fast\"", "unknown variant `fast`"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = run(&["--policy", "p", "--config", path.to_str().unwrap()]).unwrap_err();
            assert!(error.starts_with("--config ") && error.contains("postern.toml"), "{error}");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn show_and_replay_are_understood() {
        let parse = |words: &[&str]| Cli::try_parse_from(words).map(|cli| cli.command);
        let Ok(Command::Show(show)) =
            parse(&["postern", "show", "sessions", "detail", "--json", "--control", "/x"])
        else {
            panic!("not understood")
        };
        assert_eq!(show.what, What::Sessions { detail: Some(Detail::Detail) });
        assert!(show.json && show.control == Path::new("/x"));
        let replay =
            parse(&["postern", "replay", "--policy", "p", "--in", "c", "--zone", "10.0.0.0/8=inside"]);
        let Ok(Command::Replay(replay)) = replay else { panic!("not understood") };
        assert_eq!(replay.zones[0].zone, "inside");
        for bad in [
            &["postern", "show"][..],
            &["postern", "show", "weather"],
            &["postern", "reload"],
            &["postern", "check-host"],
        ] {
            assert!(parse(bad).is_err());
        }
        let error =
            parse(&["postern", "replay", "--policy", "p", "--in", "c", "--zone", "10/8=x"]).unwrap_err();
        assert!(error.to_string().contains("`10` is not an IP address"), "{error}");
    }
}
