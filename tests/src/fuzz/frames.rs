//! Any octets as frames of both ports.
//!
//! An input is records: an octet of settings (port, right checksums or not, how much time passes before; in the first one also whether
//! sessions that are not inspected take the short way), two octets of length, the frame.

use inspect::engine::Uninspected;
use inspect::unit::PortId;

use super::frame::{self, Read};
use super::house::{CHUNK_LEN, Stage, loaded, policy};
use super::octets::Octets;

/// Gives the frames to an engine.
///
/// # Panics
/// When a promise is broken.
pub fn run(data: &[u8]) {
    let Ok(matcher) = loaded().patterns.matcher(8) else { return };
    let is_passing = data.first().is_some_and(|settings| settings & 4 != 0);
    let uninspected = if is_passing { Uninspected::Pass } else { Uninspected::Normalize };
    let mut stage = Stage::with(policy(), matcher, uninspected);
    let mut octets = Octets::new(data);
    while !octets.is_empty() {
        let settings = octets.u8();
        let len = usize::from(octets.u16()) % (CHUNK_LEN + 1);
        let mut bytes = octets.take(len).to_vec();
        if settings & 2 == 0 {
            frame::mend(&mut bytes);
        }
        check(is_passing, stage.pass(1_000_000 << (settings >> 4)));
        check(is_passing, stage.put(if settings & 1 == 0 { PortId::A } else { PortId::B }, &bytes));
        stage.engine.journal_mut().drain().for_each(drop);
    }
    stage.finish();
}

fn check(is_passing: bool, left: Vec<(PortId, Vec<u8>)>) {
    for (_, bytes) in left {
        if let Read::Tcp(reading) = frame::read(&bytes) {
            // The checksum of a plain segment that nobody reads is its receiver's to verify.
            let is_plain = reading.flags & !8 == frame::ACK && reading.urgent == 0;
            assert!(reading.is_sound || is_passing && is_plain, "a wrong checksum left the gateway");
            assert!(reading.flags & (frame::SYN | frame::RST) == 0 || reading.payload.is_empty());
        }
    }
}

/// A record, for whoever makes inputs.
#[must_use]
pub fn record(port: PortId, frame: &[u8]) -> Vec<u8> {
    let len = (frame.len() as u16).to_be_bytes();
    [&[u8::from(port == PortId::B), len[0], len[1]], frame].concat()
}
