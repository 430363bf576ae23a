//! The command line: arguments, what is printed, exit codes.
//!
//! Exit codes: 0 good, 1 the policy or artifact has errors, 2 wrong usage (a file that is not there
//! counts as that).

use std::fs;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use artifact::format::{Artifact, MAGIC};
use clap::{Args, Parser, Subcommand};

use crate::code::Code;
use crate::compile::{Compiled, Options, compile};
use crate::explain;
use crate::rehearsal;
use crate::sign;
use crate::source::SourceFile;

/// Compiles Postern's policies: Cisco's C3PL text in, an artifact for `postern run` out.
#[derive(Debug, Parser)]
#[command(
    name = "posternc",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 good, 1 a policy or artifact has errors, 2 wrong usage."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print every diagnostic of every file.
    #[command(
        after_help = "Example:\n  posternc check mail.policy branch.policy\n  posternc check --json mail.policy\n  posternc check --seed-compat cisco.policy"
    )]
    Check(Check),
    /// Compile a policy into an artifact.
    #[command(
        after_help = "Examples:\n  posternc compile mail.policy -o mail.postern\n  openssl genpkey -algorithm ed25519 -out key.pem\n  posternc compile mail.policy -o mail.postern --sign key.pem"
    )]
    Compile(Compile),
    /// Say in plain words what a policy or artifact does, or what a diagnostic code means.
    #[command(
        after_help = "Examples:\n  posternc explain mail.policy\n  posternc explain mail.postern\n  posternc explain P0012"
    )]
    Explain(Explain),
    /// Run written dialogues through a policy, without a network, and print each verdict with the line of policy that
    /// caused it.
    #[command(
        after_help = "A dialogue is a text file: `C: ` and `S: ` begin lines of client and server, `C> ` and `S> ` octets without a line end, `#` a comment, \\xNN is an octet.\n\nExamples:\n  posternc test mail.policy spammer.dialogue\n  posternc test --json mail.postern *.dialogue"
    )]
    Test(Test),
}

#[derive(Debug, Args)]
struct Check {
    /// Policy files.
    #[arg(required = true)]
    policy: Vec<PathBuf>,
    /// Print diagnostics as a JSON list.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    dialect: Dialect,
}

#[derive(Debug, Args)]
struct Compile {
    /// Policy file.
    policy: PathBuf,
    /// Artifact to write.
    #[arg(short, long, value_name = "FILE.postern")]
    output: PathBuf,
    /// Sign with this ed25519 private key (PKCS #8 in PEM, as openssl writes it).
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    #[command(flatten)]
    dialect: Dialect,
}

#[derive(Debug, Args)]
struct Explain {
    /// Policy file, artifact, or code such as P0012.
    #[arg(value_name = "POLICY | FILE.postern | CODE")]
    subject: String,
    #[command(flatten)]
    dialect: Dialect,
}

#[derive(Debug, Args)]
struct Test {
    /// Policy file or artifact.
    #[arg(value_name = "POLICY | FILE.postern")]
    policy: PathBuf,
    /// Dialogue files.
    #[arg(required = true)]
    dialogue: Vec<PathBuf>,
    /// The SMTP policy map (or inspection rule) to test, where there are several.
    #[arg(long, value_name = "NAME")]
    policy_map: Option<String>,
    /// Print the steps as a JSON list, one for each dialogue.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    dialect: Dialect,
}

#[derive(Debug, Args)]
struct Dialect {
    /// Refuse what Cisco's routers do not have: `match not` in SMTP classes, `parameters`, `nocase`, `$`, shell-style stars.
    #[arg(long)]
    strict_cisco: bool,
    /// Accept the misplaced lines of Cisco's own SMTP examples: `match protocol smtp` alone in an SMTP class and `inspect` in an
    /// SMTP policy are taken for the top-level class and policy they mean, with a warning.
    #[arg(long)]
    seed_compat: bool,
}

impl Dialect {
    fn options(&self) -> Options {
        Options { strict_cisco: self.strict_cisco, seed_compat: self.seed_compat }
    }
}

/// The policy or artifact has errors.
const BAD: u8 = 1;
/// The command cannot be carried out as it was given.
const USAGE: u8 = 2;

/// What stops a command: its exit code, and the text for standard error.
struct Failure(u8, String);

type Outcome = Result<(), Failure>;

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Check(arguments) => check(&arguments),
        Command::Compile(arguments) => compile_file(&arguments),
        Command::Explain(arguments) => explain_subject(&arguments),
        Command::Test(arguments) => test(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(code, text)) => {
            if !text.is_empty() {
                eprintln!("posternc: {text}");
            }
            ExitCode::from(code)
        }
    }
}

fn usage(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure(USAGE, format!("{}: {error}", path.display()))
}

fn read_policy(path: &Path) -> Result<SourceFile, Failure> {
    let name = path.display().to_string();
    let bytes = fs::read(path).map_err(|error| usage(path, &error))?;
    if bytes.starts_with(&MAGIC) {
        return Err(Failure(BAD, format!("{name}: this is an artifact, not a policy text")));
    }
    String::from_utf8(bytes).map(|text| SourceFile::new(name.clone(), text)).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(good).filter(|&&octet| octet == b'\n').count() + 1;
        Failure(BAD, format!("{name}:{line}: the text is not UTF-8"))
    })
}

/// Findings as text on standard error, coloured on a terminal.
fn show(compiled: &Compiled, file: &SourceFile) {
    let mut out = anstream::AutoStream::auto(io::stderr().lock());
    let colour = io::stderr().is_terminal();
    for diagnostic in &compiled.diagnostics {
        // Nothing is left to say where nobody reads.
        let _ = writeln!(out, "{}", diagnostic.render(file, colour));
    }
}

fn check(arguments: &Check) -> Outcome {
    let mut records = Vec::new();
    let mut files = Vec::new();
    for path in &arguments.policy {
        files.push(read_policy(path)?);
    }
    let results: Vec<Compiled> =
        files.iter().map(|file| compile(file, arguments.dialect.options())).collect();
    let mut bad = 0;
    for (file, compiled) in files.iter().zip(&results) {
        let (errors, warnings) = compiled.counts();
        bad += usize::from(errors > 0);
        if arguments.json {
            records.extend(compiled.diagnostics.iter().map(|diagnostic| diagnostic.record(file)));
        } else {
            show(compiled, file);
            print(&format!("{}: {}\n", file.name, summary(errors, warnings)))?;
        }
    }
    if arguments.json {
        let mut text = serde_json::to_string_pretty(&records).unwrap_or_default();
        text.push('\n');
        print(&text)?;
    }
    if bad > 0 { Err(Failure(BAD, String::new())) } else { Ok(()) }
}

fn summary(errors: usize, warnings: usize) -> String {
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    match (errors, warnings) {
        (0, 0) => "good".into(),
        (0, warnings) => format!("good, {}", count(warnings, "warning")),
        (errors, 0) => count(errors, "error"),
        (errors, warnings) => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    }
}

fn compile_file(arguments: &Compile) -> Outcome {
    let seed = match &arguments.sign {
        None => None,
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|error| usage(path, &error))?;
            Some(sign::seed(&text).map_err(|error| Failure(USAGE, format!("{}: {error}", path.display())))?)
        }
    };
    let file = read_policy(&arguments.policy)?;
    let compiled = compile(&file, arguments.dialect.options());
    show(&compiled, &file);
    let (errors, warnings) = compiled.counts();
    let Some(artifact) = compiled.artifact else {
        return Err(Failure(BAD, format!("{}: {}, nothing written", file.name, summary(errors, warnings))));
    };
    let bytes = match seed {
        Some(seed) => artifact.write_signed(&seed),
        None => artifact.write(),
    };
    // What the gateway would refuse is not handed out.
    if let Err(error) = Artifact::read(&bytes) {
        return Err(Failure(BAD, format!("{}: {error}", file.name)));
    }
    write_whole(&arguments.output, &bytes)?;
    print(&format!("{}: {} octets, {}\n", arguments.output.display(), bytes.len(), summary(0, warnings)))
}

/// Writes beside the file and renames, so that a gateway that reloads never sees half of it.
fn write_whole(path: &Path, bytes: &[u8]) -> Outcome {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    fs::write(&beside, bytes).map_err(|error| usage(&beside, &error))?;
    fs::rename(&beside, path).map_err(|error| {
        let _ = fs::remove_file(&beside);
        usage(path, &error)
    })
}

fn explain_subject(arguments: &Explain) -> Outcome {
    if let Some(code) = Code::parse(&arguments.subject) {
        return print(&explain::code(code));
    }
    let path = Path::new(&arguments.subject);
    if !path.exists() && Code::looks_like(&arguments.subject) {
        return Err(Failure(USAGE, format!("there is no code `{}`", arguments.subject)));
    }
    print(&explain::artifact(&load(path, &arguments.dialect)?))
}

/// The artifact in a file, or that of the policy in it.
fn load(path: &Path, dialect: &Dialect) -> Result<Artifact, Failure> {
    let bytes = fs::read(path).map_err(|error| usage(path, &error))?;
    if bytes.starts_with(&MAGIC) {
        return Artifact::read(&bytes).map_err(|error| Failure(BAD, format!("{}: {error}", path.display())));
    }
    let file = read_policy(path)?;
    let compiled = compile(&file, dialect.options());
    show(&compiled, &file);
    let (errors, warnings) = compiled.counts();
    compiled.artifact.ok_or_else(|| Failure(BAD, format!("{}: {}", file.name, summary(errors, warnings))))
}

fn test(arguments: &Test) -> Outcome {
    let artifact = load(&arguments.policy, &arguments.dialect)?;
    let names: Vec<&str> = artifact.policy.smtp.iter().map(|policy| policy.name.as_str()).collect();
    let place = arguments.policy.display();
    let smtp = match (&arguments.policy_map, names.as_slice()) {
        (Some(name), names) => names.iter().position(|other| other == name).ok_or_else(|| {
            Failure(
                USAGE,
                format!("{place}: there is no SMTP policy `{name}` (there are: {})", names.join(", ")),
            )
        })?,
        (None, []) => {
            return Err(Failure(BAD, format!("{place}: it inspects no SMTP, so there is nothing to test")));
        }
        (None, [_]) => 0,
        (None, names) => {
            let text =
                format!("{place}: say which of its SMTP policies with --policy-map: {}", names.join(", "));
            return Err(Failure(USAGE, text));
        }
    };
    let mut all = Vec::new();
    for path in &arguments.dialogue {
        let text = fs::read_to_string(path).map_err(|error| usage(path, &error))?;
        let lines =
            rehearsal::read(&text).map_err(|error| Failure(BAD, format!("{}:{error}", path.display())))?;
        let steps = rehearsal::run(&artifact.policy, smtp as u16, &lines);
        if arguments.json {
            all.push(steps);
        } else {
            let report = rehearsal::report(&steps, &artifact.policy.source.name);
            print(&format!("{}\n{report}", path.display()))?;
        }
    }
    if arguments.json {
        let mut text = serde_json::to_string_pretty(&all).unwrap_or_default();
        text.push('\n');
        print(&text)?;
    }
    Ok(())
}

/// Standard output; a reader that has gone is no error.
fn print(text: &str) -> Outcome {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure(USAGE, format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}
