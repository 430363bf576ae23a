//! The stages of the pipeline, one by one.
//!
//! Parsing and scanning are run alone. What lies between has no life of its own: following connections is what a gateway
//! takes that inspects nothing, less the parsing; SMTP is what one takes that inspects without patterns, less that.

use inspect::wire::{Checksums, Packet, parse};

use crate::baseline::Scanner;
use crate::gateway::{Gateway, Meter};
use crate::measure::{Samples, Stopwatch, in_turn};
use crate::patterns::Target;
use crate::pipeline::{Contender, PATTERN_COUNT, SEED, Scale, title};
use crate::policy::Rules;
use crate::table::{Row, Section};
use crate::traffic::{Profile, Trace};

/// Measures the stages on all three profiles.
///
/// # Errors
/// When something could not be measured at all.
pub fn run(scale: Scale, meter: Meter) -> Result<Vec<Section>, String> {
    let mut gateway = Gateway::new(meter);
    let profiles = [Profile::Small, Profile::Large, Profile::Pipelined];
    profiles.into_iter().map(|profile| section(profile, scale, &mut gateway)).collect()
}

fn section(profile: Profile, scale: Scale, gateway: &mut Gateway) -> Result<Section, String> {
    let trace = Trace::new(profile, scale.sessions(profile), SEED);
    let mut scanner = Scanner::new(Target::Body, PATTERN_COUNT)?;
    let mut contenders = [Contender::new(Rules::Pinhole)?, Contender::new(Rules::Smtp)?];
    let mut faults = Vec::new();
    let samples = in_turn(scale.rounds(), 5, |contender, round| match contender {
        0 => parse_lap(&trace, Checksums::Trust),
        1 => parse_lap(&trace, Checksums::Verify),
        4 => Ok(scanner.stream_lap(&trace).map_err(|error| error.to_string())?.seconds),
        _ => contenders[contender - 2].lap(gateway, &trace, round, &mut faults),
    })?;
    let [parsed, verified, followed, inspected, scanned] = &samples[..] else {
        return Err("five contenders have five lists of samples".into());
    };
    let none = Samples::new(vec![0.0; scale.rounds()]);
    let frames = trace.entries().len() as f64;
    let row = |name: &str, more: &Samples, less: &Samples, detail: &str| {
        let samples = more.less(less);
        let seconds = samples.median();
        let rate = match seconds {
            seconds if seconds > 0.0 => format!("{:.2} GB/s, ", trace.octet_count() as f64 / seconds / 1e9),
            _ => String::new(),
        };
        let detail = format!("{rate}{}{detail}", samples.spread());
        Row::new(format!("{}: {name}", profile.word()), "ns/frame", seconds / frames * 1e9, detail)
    };
    let rows = vec![
        row("parse", parsed, &none, ""),
        row("checksums", verified, parsed, " (the difference that verifying makes)"),
        row("follow connections", followed, verified, " (not inspected, less parse and checksums)"),
        row("follow SMTP", inspected, followed, " (no patterns, less not inspected)"),
        row("scan", scanned, &none, " (raw Hyperscan, 100 body patterns, streaming, all payload)"),
        row("pipeline, not inspected", followed, &none, ""),
        row("pipeline, no patterns", inspected, &none, ""),
    ];
    Ok(Section { title: title("stages", &trace), rows, faults })
}

fn parse_lap(trace: &Trace, checksums: Checksums) -> Result<f64, String> {
    let mut watch = Stopwatch::default();
    let mut payload_len = 0;
    watch.time(|| {
        for entry in trace.entries() {
            if let Ok(Packet::Tcp(segment)) = parse(trace.frame(entry), checksums) {
                payload_len += u64::from(core::hint::black_box(segment).payload_len);
            }
        }
    });
    if payload_len != trace.payload_len {
        return Err(format!("parsed {payload_len} octets of payload of {}", trace.payload_len));
    }
    Ok(watch.total().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsing_alone_sees_all_payload() {
        let trace = Trace::new(Profile::Small, 20, 1);
        for checksums in [Checksums::Trust, Checksums::Verify] {
            assert!(parse_lap(&trace, checksums).unwrap() > 0.0);
        }
    }
}
