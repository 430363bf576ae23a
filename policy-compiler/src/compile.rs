//! The whole way: text, findings, tables, databases, artifact.

use std::collections::BTreeMap;

use artifact::format::{Artifact, source_digest};
use artifact::model::Policy;
use artifact::smtp::Region;

use crate::ast::Config;
use crate::check::{self, patterns::Patterns};
use crate::code::Code;
use crate::diagnostic::{Diagnostic, Severity};
use crate::hyperscan::{self, Expression, Refusal};
use crate::lower::lower;
use crate::parser::parse;
use crate::source::{SourceFile, Span};

/// How to compile.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Refuse what Cisco's routers do not have.
    pub strict_cisco: bool,
    /// Accept the misplaced lines of Cisco's own SMTP examples.
    pub seed_compat: bool,
}

/// What came of a policy text.
#[derive(Debug)]
pub struct Compiled {
    /// Every finding, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// The artifact; `None` if there are errors.
    pub artifact: Option<Artifact>,
}

impl Compiled {
    /// How many findings are errors, and how many warnings.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let errors = self.diagnostics.iter().filter(|found| found.severity == Severity::Error).count();
        (errors, self.diagnostics.len() - errors)
    }
}

/// Compiles a policy. Same text, name and options: same artifact.
#[must_use]
pub fn compile(file: &SourceFile, options: Options) -> Compiled {
    let (config, mut diagnostics) = parse(file, options);
    let patterns = check::check(&config, file, options.strict_cisco, &mut diagnostics);
    let good = diagnostics.iter().all(|found| found.severity != Severity::Error);
    let artifact = if good { build(&config, file, &patterns, &mut diagnostics) } else { None };
    diagnostics.sort_by_key(|found| (found.span.start, found.code, found.span.end));
    diagnostics.dedup();
    Compiled { diagnostics, artifact }
}

fn build(
    config: &Config,
    file: &SourceFile,
    patterns: &Patterns,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Artifact> {
    let mut policy = lower(config, file);
    databases(config, patterns, &mut policy, diagnostics)?;
    if let Err(invalid) = policy.validate() {
        let span = Span::new(0, file.text.find('\n').unwrap_or(file.text.len()));
        diagnostics.push(
            Diagnostic::error(Code::POLICY_LIMITS, span, "the policy is larger than an artifact can hold")
                .note(invalid.to_string()),
        );
        return None;
    }
    Some(Artifact {
        library: hyperscan::version(),
        target: hyperscan::target(),
        source_digest: source_digest(&file.text),
        signed_by: None,
        policy,
    })
}

/// Fills in the databases of every SMTP policy.
fn databases(
    config: &Config,
    patterns: &Patterns,
    policy: &mut Policy,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<()> {
    for smtp in &mut policy.smtp {
        let mut regions: BTreeMap<Region, Vec<Expression>> = BTreeMap::new();
        for (id, criterion) in smtp.criteria.iter().enumerate() {
            let Some(region) = criterion.test.region() else { continue };
            // The line ends with the name of its map.
            let map = criterion.text.rsplit(' ').next().unwrap_or_default();
            for (pattern, _) in patterns.get(map).map(Vec::as_slice).unwrap_or_default() {
                let expression = Expression { pattern: pattern.clone(), id: id as u32 };
                regions.entry(region).or_default().push(expression);
            }
        }
        for (region, expressions) in regions {
            match hyperscan::database(&expressions, region) {
                Ok(database) => smtp.databases.push(database),
                Err(refusal) => {
                    let map = config.smtp_policies.iter().find(|map| map.name.text == smtp.name);
                    let span = map.map_or(Span::default(), |map| map.name.span);
                    diagnostics.push(refused(&refusal, span, &smtp.name));
                    return None;
                }
            }
        }
    }
    Some(())
}

/// Patterns that pass one by one, but not together.
fn refused(refusal: &Refusal, span: Span, policy: &str) -> Diagnostic {
    let message = format!("the patterns of policy `{policy}` cannot be compiled together");
    let diagnostic = Diagnostic::error(Code::PATTERN_COST, span, message);
    match refusal {
        Refusal::Time(limit) => diagnostic.note(format!("it takes longer than {} seconds", limit.as_secs())),
        Refusal::Library(why, _) => diagnostic.note(format!("the matcher library says: {why}")),
    }
    .help("use fewer patterns, or fewer repeats in them")
}
