//! The stages of the pipeline, one by one, each as what it adds to those before it.
//!
//! All run over frames in the same chunks, so that each pays for the memory that it is the first to touch: the ports touch
//! no frame, the first touch is one octet of each, verifying checksums brings in the rest. Then a gateway that follows connections and
//! inspects nothing; then one that inspects without patterns. Scanning is run alone.

use inspect::wire::{Checksums, Packet, parse};

use crate::baseline::Scanner;
use crate::gateway::{CHUNKS, Gateway, Meter};
use crate::measure::{Samples, in_turn};
use crate::patterns::Target;
use crate::pipeline::{Contender, PATTERN_COUNT, SEED, Scale, bare_lap, title};
use crate::policy::Rules;
use crate::table::{Row, Section};
use crate::traffic::{Profile, Trace};

/// Measures the stages on all three profiles.
///
/// # Errors
/// When something could not be measured at all.
pub fn run(scale: Scale, meter: Meter) -> Result<Vec<Section>, String> {
    let mut gateway = Gateway::new(meter, CHUNKS);
    let profiles = [Profile::Small, Profile::Large, Profile::Pipelined];
    profiles.into_iter().map(|profile| section(profile, scale, &mut gateway)).collect()
}

fn section(profile: Profile, scale: Scale, gateway: &mut Gateway) -> Result<Section, String> {
    let trace = Trace::new(profile, scale.sessions(profile), SEED);
    let mut scanner = Scanner::new(Target::Body, PATTERN_COUNT)?;
    let mut contenders = [Contender::new(Rules::Pinhole)?, Contender::new(Rules::Smtp)?];
    let mut faults = Vec::new();
    let samples = in_turn(scale.rounds(), 7, |contender, round| match contender {
        0 => bare_lap(gateway, &trace, |_| {}),
        1 => bare_lap(gateway, &trace, |frame| {
            core::hint::black_box(frame.first().copied());
        }),
        2 => parse_lap(gateway, &trace, Checksums::Trust),
        3 => parse_lap(gateway, &trace, Checksums::Verify),
        6 => Ok(scanner.stream_lap(&trace).map_err(|error| error.to_string())?.seconds),
        _ => contenders[contender - 4].lap(gateway, &trace, round, &mut faults),
    })?;
    let [bare, touched, parsed, verified, followed, inspected, scanned] = &samples[..] else {
        return Err("seven contenders have seven lists of samples".into());
    };
    let nanos = 1e9 / trace.entries().len() as f64;
    let row = |name: &str, samples: &Samples, detail: &str| {
        let (low, high) = samples.range();
        let detail = format!("{:.0} to {:.0}, {detail}", low * nanos, high * nanos);
        Row::new(format!("{}: {name}", profile.word()), "ns/frame", samples.median() * nanos, detail)
    };
    let scanned_rate = trace.payload_len as f64 / scanned.median() / 1e9;
    let rows = vec![
        row("memory ports", bare, "nothing between"),
        row("first touch", &touched.less(bare), "more than that: one octet of each frame comes from memory"),
        row("parse", &parsed.less(touched), "more than that"),
        row("checksums", &verified.less(parsed), "more than that: the rest of the frame comes from memory"),
        row("follow connections", &followed.less(verified), "more than that: the engine, not inspecting"),
        row("follow SMTP", &inspected.less(followed), "more than that: inspecting, no patterns"),
        row("all of that", inspected, "the pipeline without patterns"),
        row(
            "scan",
            scanned,
            &format!("raw, {PATTERN_COUNT} body patterns, all payload, {scanned_rate:.2} GB/s"),
        ),
    ];
    Ok(Section { title: title("stages", &trace), rows, faults })
}

fn parse_lap(gateway: &mut Gateway, trace: &Trace, checksums: Checksums) -> Result<f64, String> {
    let mut payload_len = 0;
    let seconds = bare_lap(gateway, trace, |frame| {
        if let Ok(Packet::Tcp(segment)) = parse(frame, checksums) {
            payload_len += u64::from(core::hint::black_box(segment).payload_len);
        }
    })?;
    if payload_len != trace.payload_len {
        return Err(format!("parsed {payload_len} octets of payload of {}", trace.payload_len));
    }
    Ok(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsing_alone_sees_all_payload() {
        let trace = Trace::new(Profile::Small, 20, 1);
        let mut gateway = Gateway::new(|| 0, CHUNKS);
        for checksums in [Checksums::Trust, Checksums::Verify] {
            assert!(parse_lap(&mut gateway, &trace, checksums).unwrap() > 0.0);
        }
        assert!(gateway.is_empty());
    }
}
