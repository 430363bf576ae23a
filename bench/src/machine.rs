//! What was measured where.

use crate::pipeline::Scale;

/// The first line of a report.
#[must_use]
pub fn heading(scale: Scale) -> String {
    let size = if scale.is_quick { "quick" } else { "full" };
    format!(
        "Postern bench ({size}): processor time of one core, medians of {} rounds in turn; {}; matcher library {}",
        scale.rounds(),
        processor(),
        hyperscan::version(),
    )
}

/// The processor's name, as Linux tells it.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let name = name.trim_start_matches(['\t', ' ', ':']).trim();
    if name.is_empty() { "unknown processor".into() } else { name.to_owned() }
}

/// Octets of memory that this process has in use.
#[must_use]
pub fn resident_len() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}
